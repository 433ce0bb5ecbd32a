-- Tables of leave & attendance. Idempotent: running it again changes nothing.

CREATE TABLE IF NOT EXISTS app_users (
    id          uuid PRIMARY KEY,  -- the Cognito `sub`
    email       text NOT NULL UNIQUE,
    full_name   text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS leave_policies (
    leave_type      text PRIMARY KEY,
    days_per_year   integer NOT NULL CHECK (days_per_year >= 0)
);

-- Days taken in a year; no row means that none were.
CREATE TABLE IF NOT EXISTS leave_balances (
    user_id     uuid NOT NULL REFERENCES app_users (id),
    year        integer NOT NULL,
    leave_type  text NOT NULL REFERENCES leave_policies (leave_type),
    used        integer NOT NULL DEFAULT 0 CHECK (used >= 0),
    PRIMARY KEY (user_id, year, leave_type)
);

CREATE TABLE IF NOT EXISTS leave_requests (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id     uuid NOT NULL REFERENCES app_users (id),
    leave_type  text NOT NULL REFERENCES leave_policies (leave_type),
    start_date  date NOT NULL,
    end_date    date NOT NULL CHECK (end_date >= start_date),
    days        integer NOT NULL CHECK (days > 0),
    reason      text,
    status      text NOT NULL DEFAULT 'PENDING'
                CHECK (status IN ('PENDING', 'APPROVED', 'REJECTED', 'CANCELLED')),
    decided_by  uuid REFERENCES app_users (id),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS leave_requests_by_user ON leave_requests (user_id, start_date);
CREATE INDEX IF NOT EXISTS leave_requests_by_age ON leave_requests (created_at DESC, id);

CREATE TABLE IF NOT EXISTS attendance_logs (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id           uuid NOT NULL REFERENCES app_users (id),
    clock_in_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    clock_out_at      timestamptz,
    duration_minutes  integer CHECK (duration_minutes >= 0),
    status            text NOT NULL DEFAULT 'OPEN' CHECK (status IN ('OPEN', 'CLOSED')),
    latitude          double precision,
    longitude         double precision,
    idempotency_key   text,
    UNIQUE (user_id, idempotency_key)
);

-- An employee is at work once at a time.
CREATE UNIQUE INDEX IF NOT EXISTS attendance_logs_one_open ON attendance_logs (user_id) WHERE status = 'OPEN';
CREATE INDEX IF NOT EXISTS attendance_logs_by_user ON attendance_logs (user_id, clock_in_at DESC);

INSERT INTO leave_policies (leave_type, days_per_year)
VALUES ('ANNUAL', 20), ('SICK', 10), ('UNPAID', 366)
ON CONFLICT DO NOTHING;

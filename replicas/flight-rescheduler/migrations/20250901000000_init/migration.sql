CREATE FUNCTION hashed(word text, salt text) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$ SELECT encode(sha256(convert_to(salt || word, 'UTF8')), 'hex') $$;

CREATE TABLE users (
    id        uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    username  text NOT NULL UNIQUE,
    email     text NOT NULL UNIQUE,
    role      text NOT NULL DEFAULT 'PASSENGER' CHECK (role IN ('PASSENGER', 'DISPATCHER')),
    salt      text NOT NULL,
    password  text NOT NULL
);

CREATE TABLE airports (
    code       text PRIMARY KEY CHECK (code ~ '^[A-Z]{4}$'),
    latitude   double precision NOT NULL,
    longitude  double precision NOT NULL
);

CREATE TABLE flights (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    number       text NOT NULL,
    origin       text NOT NULL REFERENCES airports (code),
    destination  text NOT NULL REFERENCES airports (code),
    departs_at   timestamptz NOT NULL
);

CREATE INDEX flights_by_route ON flights (origin, destination, departs_at);

CREATE TABLE bookings (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id     uuid NOT NULL REFERENCES users (id),
    flight_id   uuid NOT NULL REFERENCES flights (id),
    status      text NOT NULL DEFAULT 'CONFIRMED' CHECK (status IN ('CONFIRMED', 'CANCELLED')),
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX bookings_by_user ON bookings (user_id, created_at DESC);
CREATE INDEX bookings_by_flight ON bookings (flight_id) WHERE status = 'CONFIRMED';

CREATE TABLE alerts (
    id          uuid PRIMARY KEY,
    flight_id   uuid NOT NULL REFERENCES flights (id),
    source      text NOT NULL CHECK (source IN ('MONITOR', 'DISPATCHER', 'MESSAGE')),
    severity    text NOT NULL CHECK (severity IN ('MODERATE', 'SEVERE')),
    queued_at   timestamptz NOT NULL DEFAULT now(),
    handled_at  timestamptz
);

-- The monitor says once that the weather of a flight is bad, until that was dealt with.
CREATE UNIQUE INDEX alerts_one_pending ON alerts (flight_id) WHERE handled_at IS NULL AND source = 'MONITOR';

CREATE TABLE proposals (
    id            uuid PRIMARY KEY,
    booking_id    uuid NOT NULL UNIQUE REFERENCES bookings (id),
    alert_id      uuid NOT NULL REFERENCES alerts (id),
    reason        text NOT NULL,
    options       jsonb NOT NULL,
    status        text NOT NULL DEFAULT 'OPEN' CHECK (status IN ('OPEN', 'ACCEPTED')),
    created_at    timestamptz NOT NULL DEFAULT now(),
    announced_at  timestamptz
);

CREATE INDEX proposals_by_alert ON proposals (alert_id);

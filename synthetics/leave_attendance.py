"""Canaries of Leave & Attendance: the post-deploy validation of its runbook (section 6), one journey a check."""

from __future__ import annotations

import random
import uuid
from datetime import date, timedelta

from tocsin.canary import Journey

WORKER_LOGS = "/aws/lambda/leave-attendance-dev-calendarSyncWorker"


def canary_health(api: Journey) -> None:
    """6.1: the health check answers without authentication."""
    with api.step("healthz"):
        assert api.get("/healthz", expect=200).json()["status"] == "ok"


def canary_access(api: Journey) -> None:
    """6.2: a token is needed, and only ADMIN sees other people."""
    with api.step("no token"):
        assert api.get("/api/v1/leave/balance", expect=401).json()["error"]["code"] == "UNAUTHORIZED"
    with api.step("own balance"):
        mine = api.get("/api/v1/leave/balance", as_="employee", expect=200).json()
    with api.step("admin sees others"):
        params = {"user_id": mine["userId"]}
        other = api.get("/api/v1/leave/balance", params=params, as_="admin", expect=200).json()
        assert other["userId"] == mine["userId"]
    with api.step("employee does not"):
        admin = api.get("/api/v1/leave/balance", as_="admin", expect=200).json()
        params = {"user_id": admin["userId"]}
        refused = api.get("/api/v1/leave/balance", params=params, as_="employee", expect=403).json()
        assert refused["error"]["code"] == "FORBIDDEN"


def canary_leave(api: Journey) -> None:
    """6.3: a request is PENDING, is approved, takes days from the balance, and cannot be overlapped."""
    # Far years, so that two runs never meet; a Monday, so that two days are two working days.
    start = _monday(random.randrange(2100, 9000))
    body = {"type": "ANNUAL", "startDate": start.isoformat(), "endDate": (start + timedelta(1)).isoformat()}
    with api.step("create"):
        created = api.post("/api/v1/leave/requests", json=body, as_="employee", expect=201).json()
        path = f"/api/v1/leave/requests/{created['id']}"
        api.cleanup(lambda: api.patch(path, json={"action": "CANCEL"}, as_="admin"))
        assert created["status"] == "PENDING"
    with api.step("approve"):
        before = _used(api, start.year)
        approved = api.patch(path, json={"action": "APPROVE"}, as_="admin", expect=200).json()
        assert approved["status"] == "APPROVED"
    with api.step("balance decreases"):
        assert _used(api, start.year) == before + 2
    with api.step("overlap"):
        overlap = api.post("/api/v1/leave/requests", json=body, as_="employee", expect=409).json()
        assert overlap["error"]["code"] == "LEAVE_OVERLAP"


def canary_attendance(api: Journey) -> None:
    """6.4: clocking in opens one log, clocking out closes it with its duration."""
    # Also closes what a killed run left open: the second attempt then passes.
    api.cleanup(lambda: api.post("/api/v1/attendance/clock-out", as_="employee"))
    key = str(uuid.uuid4())
    with api.step("clock in"):
        opened = _clock_in(api, key, expect=201)
        assert opened["status"] == "OPEN"
    with api.step("same key, same answer"):
        assert _clock_in(api, key, expect=201) == opened
    with api.step("no duplicates"):
        assert _clock_in(api, str(uuid.uuid4()), expect=409)["error"]["code"] == "ALREADY_CLOCKED_IN"
    with api.step("clock out"):
        closed = api.post("/api/v1/attendance/clock-out", as_="employee", expect=200).json()
        assert closed["id"] == opened["id"]
        assert closed["status"] == "CLOSED"
        assert closed["durationMinutes"] >= 0


def canary_calendar(api: Journey) -> None:
    """6.5: a sync is accepted, and the worker logs that it is done."""
    with api.step("sync"):
        queued = api.post("/api/v1/integrations/msgraph/sync", json={}, as_="admin", expect=202).json()
        assert queued["messageId"]
    with api.step("worker done"):
        api.logged(WORKER_LOGS, event="calendar.sync.done", syncId=queued["syncId"], within="2m")


def canary_reports(api: Journey) -> None:
    """6.6: the leave summary is for ADMIN."""
    with api.step("summary"):
        assert "items" in api.get("/api/v1/reports/leave-summary", as_="admin", expect=200).json()
    with api.step("not for employees"):
        api.get("/api/v1/reports/leave-summary", as_="employee", expect=403)


DATABASE = "itcenter/dev/db"
SYNTHETIC = "(SELECT id FROM app_users WHERE email LIKE 'synthetic-%@example.com')"
"""Employees that are nobody: the deployment makes them, and no address of a person begins so."""


def remove_synthetic(api: Journey) -> None:
    """Leave, balances and hours of the synthetic employees, whom the API lets cancel and not delete."""
    for table in ("leave_requests", "leave_balances", "attendance_logs"):
        theirs = f"FROM {table} WHERE user_id IN {SYNTHETIC}"
        with api.step(f"remove {table}"):
            api.sql(DATABASE, f"DELETE {theirs}")
            ((left,),) = api.sql(DATABASE, f"SELECT count(*) {theirs}")
            assert left == 0, f"{left} of {table} are left: is a drill running?"


def _clock_in(api: Journey, key: str, expect: int) -> dict[str, object]:
    headers = {"Idempotency-Key": key}
    answer: dict[str, object] = api.post(
        "/api/v1/attendance/clock-in", headers=headers, json={}, as_="employee", expect=expect
    ).json()
    return answer


def _used(api: Journey, year: int) -> int:
    answer = api.get("/api/v1/leave/balance", params={"year": year}, as_="employee", expect=200).json()
    return next(int(balance["used"]) for balance in answer["balances"] if balance["type"] == "ANNUAL")


def _monday(year: int) -> date:
    day = date(year, 3, 1)
    return day + timedelta((7 - day.weekday()) % 7)

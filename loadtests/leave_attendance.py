"""Load of Leave & Attendance: what employees and their administrators do in an ordinary minute.

Reads dominate. Clocking in and out alternate, as do asking for leave and cancelling it, so that neither the day nor
the balance of an employee runs out, however long the load lasts.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from tocsin.load import ArrivalUser, Call, arrival

REQUESTS = "/api/v1/leave/requests"


class Visitor(ArrivalUser):
    """One employee at a browser, with an administrator at the next desk."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._at_work = False
        self._leave: str | None = None
        # One thing at a time of each kind: a second click before the answer would only be a conflict.
        self._clocking = False
        self._asking = False

    @arrival(weight=26, name="GET /api/v1/leave/balance")
    def balance(self, call: Call) -> None:
        call.get("/api/v1/leave/balance", as_="load")

    @arrival(weight=20, name="GET /api/v1/leave/requests")
    def requests(self, call: Call) -> None:
        call.get(f"{REQUESTS}?page=1&pageSize=20", as_="load", name="GET /api/v1/leave/requests")

    @arrival(weight=18, name="GET /api/v1/attendance")
    def attendance(self, call: Call) -> None:
        call.get("/api/v1/attendance?page=1", as_="load", name="GET /api/v1/attendance")

    @arrival(weight=18, name="POST /api/v1/attendance/clock-in")
    def clock(self, call: Call) -> None:
        if self._clocking:
            self.attendance(call)
            return
        self._clocking = True
        try:
            self._clock_out(call) if self._at_work else self._clock_in(call)
        finally:
            self._clocking = False

    def _clock_in(self, call: Call) -> None:
        # 409: the answer to an earlier clock-in was lost on its way.
        answer = call.post("/api/v1/attendance/clock-in", json={}, as_="load")
        self._at_work = answer.status_code in (201, 409)

    def _clock_out(self, call: Call) -> None:
        name = "POST /api/v1/attendance/clock-out"
        answer = call.post("/api/v1/attendance/clock-out", json={}, as_="load", name=name)
        self._at_work = answer.status_code not in (200, 409)

    @arrival(weight=8, name="POST /api/v1/leave/requests")
    def leave(self, call: Call) -> None:
        if self._asking:
            self.requests(call)
            return
        self._asking = True
        try:
            self._cancel(call, self._leave) if self._leave else self._ask(call)
        finally:
            self._asking = False

    def _ask(self, call: Call) -> None:
        # A week somewhere in a century: far from what canaries take, and free of one's own earlier requests.
        monday = date(2030, 1, 7) + timedelta(weeks=self.random.randrange(3000))
        day = (monday + timedelta(days=self.random.randrange(5))).isoformat()
        answer = call.post(REQUESTS, json={"type": "ANNUAL", "startDate": day, "endDate": day}, as_="load")
        if answer.status_code == 201:
            self._leave = answer.json()["id"]

    def _cancel(self, call: Call, leave: str) -> None:
        answer = call.patch(
            f"{REQUESTS}/{leave}",
            json={"action": "CANCEL"},
            as_="load",
            name="PATCH /api/v1/leave/requests/{id}",
        )
        if answer.status_code in (200, 404, 409):
            self._leave = None

    @arrival(weight=4, name="POST /api/v1/integrations/msgraph/sync")
    def sync(self, call: Call) -> None:
        call.post("/api/v1/integrations/msgraph/sync", json={}, as_="admin")

    @arrival(weight=3, name="GET /api/v1/reports/leave-summary")
    def summary(self, call: Call) -> None:
        call.get("/api/v1/reports/leave-summary", as_="admin")

    @arrival(weight=3, name="GET /healthz")
    def health(self, call: Call) -> None:
        call.get("/healthz")

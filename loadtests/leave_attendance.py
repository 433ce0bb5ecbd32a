"""Load of Leave & Attendance: a working morning, all endpoints, open-loop.

    tocsin run experiments/leave-attendance ...     the drills use it
    locust -f loadtests/leave_attendance.py --headless --host URL --users 20 --spawn-rate 20 --arrivals-per-s 20 \\
        --tokens stdin < tokens.json                by hand; `--processes 2` or `--master` and `--worker` for more

`tokens.json` is one line: `{"load": [token, ...], "admin": [token]}`, one token for each person.

Most arrivals read. Each user writes as a person of its own, one thing at a time, and knows what it did: nobody clocks
in twice or cancels what is cancelled, so that a 4xx in the statistics means something. Leave is UNPAID in far years,
one day in many thousands, and cancelled again: nothing runs out, however long it runs.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

from locust.contrib.fasthttp import FastResponse
from locust.env import Environment

from tocsin.load import ArrivalUser, Call, arrival

ATTENDANCE = "/api/v1/attendance"
REQUESTS = "/api/v1/leave/requests"
APPROVED_SHARE = 0.3


class Employee(ArrivalUser):
    """One employee, and now and then what ADMIN does for employees."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.at_work: bool | None = None
        self.clock_in_key: str | None = None
        self.leave: str | None = None
        self.leave_approved = False
        self.writing = False

    @arrival(weight=24, name="GET /api/v1/leave/balance")
    def balance(self, call: Call) -> None:
        """My leave."""
        call.get("/api/v1/leave/balance", as_="load")

    @arrival(weight=18, name="GET /api/v1/leave/requests")
    def requests(self, call: Call) -> None:
        """My requests."""
        self._list_requests(call)

    @arrival(weight=16, name="GET /api/v1/attendance")
    def logs(self, call: Call) -> None:
        """My hours."""
        self._list_logs(call)

    @arrival(weight=8, name="GET /healthz")
    def health(self, call: Call) -> None:
        """The load balancer's question."""
        call.get("/healthz")

    @arrival(weight=18, name="POST /api/v1/attendance/clock-in")
    def clock(self, call: Call) -> None:
        """Come when not here, go when here; look first when unsure."""
        with self._alone() as alone:
            if not alone:
                self._list_logs(call)
            elif self.clock_in_key or self.at_work is False:
                self._clock_in(call)
            elif self.at_work:
                self._clock_out(call)
            else:
                newest = _document(self._list_logs(call)).get("items")
                self.at_work = None if newest is None else bool(newest) and newest[0]["status"] == "OPEN"

    @arrival(weight=10, name="POST /api/v1/leave/requests")
    def take_leave(self, call: Call) -> None:
        """Ask for leave; some of it is approved; all of it is cancelled."""
        with self._alone() as alone:
            if not alone:
                self._list_requests(call)
            elif self.leave is None:
                self._ask_for_leave(call)
            elif not self.leave_approved and self.random.random() < APPROVED_SHARE:
                self.leave_approved = self._decide(call, "APPROVE", as_="admin")
            else:
                self._decide(call, "CANCEL", as_="load")
                self.leave = None

    @arrival(weight=3, name="GET /api/v1/reports/leave-summary")
    def summary(self, call: Call) -> None:
        """The report of this year."""
        year = datetime.now(UTC).year
        call.get(f"/api/v1/reports/leave-summary?from={year}-01-01&to={year}-12-31", as_="admin")

    @arrival(weight=3, name="POST /api/v1/integrations/msgraph/sync")
    def sync(self, call: Call) -> None:
        """A calendar message: at 20 arrivals a second about one every two seconds."""
        call.post("/api/v1/integrations/msgraph/sync", json={}, as_="admin")

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether this arrival may write: no other one of this person is doing so at this moment."""
        if self.writing or not self.owns_person("load"):
            yield False
            return
        self.writing = True
        try:
            yield True
        finally:
            self.writing = False

    def _list_requests(self, call: Call) -> FastResponse:
        return call.get(f"{REQUESTS}?pageSize=20", as_="load", name=f"GET {REQUESTS}")

    def _list_logs(self, call: Call) -> FastResponse:
        return call.get(f"{ATTENDANCE}?pageSize=20", as_="load", name=f"GET {ATTENDANCE}")

    def _clock_in(self, call: Call) -> None:
        # The same key until it worked: whether an unanswered attempt did is then no question.
        self.clock_in_key = self.clock_in_key or str(uuid.uuid4())
        headers = {"Idempotency-Key": self.clock_in_key}
        body = {"lat": -36.85, "lng": 174.76}
        response = call.post(f"{ATTENDANCE}/clock-in", json=body, headers=headers, as_="load")
        if response.status_code == 201:
            self.at_work, self.clock_in_key = True, None
        elif response.status_code == 409:
            # A log that somebody else opened: look, and begin again.
            self.at_work, self.clock_in_key = None, None

    def _clock_out(self, call: Call) -> None:
        path = f"{ATTENDANCE}/clock-out"
        response = call.post(path, as_="load", name=f"POST {path}")
        self.at_work = False if response.status_code == 200 else None

    def _ask_for_leave(self, call: Call) -> None:
        first = self._far_monday()
        last = first + timedelta(days=self.random.randrange(5))
        body = {"type": "UNPAID", "startDate": first.isoformat(), "endDate": last.isoformat(), "reason": "load test"}
        self.leave = _document(call.post(REQUESTS, json=body, as_="load")).get("id")
        self.leave_approved = False

    def _decide(self, call: Call, action: str, *, as_: str) -> bool:
        name = f"PATCH {REQUESTS}/{{id}}"
        response = call.patch(f"{REQUESTS}/{self.leave}", json={"action": action}, as_=as_, name=name)
        return response.status_code == 200

    def _far_monday(self) -> date:
        # Not from the seed: a second run of the same seed must not ask for the days of the first.
        day = date(2100, 1, 1) + timedelta(days=uuid.uuid4().int % 2_500_000)
        monday = day - timedelta(days=day.weekday())
        # A request lies within one year.
        return monday if (monday + timedelta(days=4)).year == monday.year else monday - timedelta(days=7)


def _document(response: FastResponse) -> dict[str, Any]:
    """The JSON object of a good answer; an empty one for any other."""
    if not 200 <= response.status_code < 300:
        return {}
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}

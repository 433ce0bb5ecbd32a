"""Load of Clocked: people start and stop sessions, and look at their groups. Open-loop.

tocsin run experiments/clocked ...     the drills use it
"""

from __future__ import annotations

import json

from locust.env import Environment

from tocsin.load import ArrivalUser, Call, arrival


class Person(ArrivalUser):
    """One user of Clocked, who waits for longer than the server lets any statement run."""

    timeout_s = 15.0

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.session: str | None = None

    @arrival(weight=40, name="GET /sessions")
    def sessions(self, call: Call) -> None:
        """My sessions."""
        call.get("/sessions", as_="load")

    @arrival(weight=20, name="GET /groups")
    def groups(self, call: Call) -> None:
        """My groups."""
        call.get("/groups", as_="load")

    @arrival(weight=30, name="POST /sessions")
    def clock(self, call: Call) -> None:
        """Start a session when none runs, else stop it."""
        session, self.session = self.session, None
        if session is not None:
            call.patch(f"/sessions/{session}/stop", as_="load", name="PATCH /sessions/{session_id}/stop")
            return
        response = call.post("/sessions", json={"project": "load test"}, as_="load")
        if response.status_code == 201:
            self.session = str(json.loads(response.text)["id"])

    @arrival(weight=10, name="GET /health")
    def health(self, call: Call) -> None:
        """The status page's question."""
        call.get("/health")

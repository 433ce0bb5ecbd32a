"""Load of Flight Rescheduler: people look at flights and book, and now and then the weather turns. Open-loop.

    tocsin run experiments/flight-rescheduler ...     the drills use it

Each arrival is one request that ends, so nobody here holds a stream open. That streams deliver is asked by the canary
`stream`.
"""

from __future__ import annotations

import json
from typing import Any

from locust.contrib.fasthttp import FastResponse
from locust.env import Environment

from tocsin.load import ArrivalUser, Call, arrival

BURST = 3
"""So many flights meet bad weather at once."""


class Passenger(ArrivalUser):
    """One passenger, and the dispatcher who knows first that a flight of hers meets bad weather."""

    timeout_s = 15.0
    """Longer than the server lets any statement run."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.flights: list[str] = []
        self.booked: list[str] = []
        """flights with a booking that nothing was proposed for yet"""
        self.storm: list[str] = []

    @arrival(weight=30, name="GET /api/flights")
    def look(self, call: Call) -> None:
        """The next flights."""
        self._look(call)

    @arrival(weight=20, name="GET /api/bookings")
    def bookings(self, call: Call) -> None:
        """My bookings."""
        call.get("/api/bookings", as_="load")

    @arrival(weight=15, name="GET /api/proposals")
    def proposals(self, call: Call) -> None:
        """What was proposed to me."""
        call.get("/api/proposals", as_="load")

    @arrival(weight=20, name="POST /api/bookings")
    def book(self, call: Call) -> None:
        """Book a flight; look first, when none is known."""
        if not self.flights:
            self._look(call)
            return
        flight = self.random.choice(self.flights)
        if call.post("/api/bookings", json={"flightId": flight}, as_="load").status_code == 201:
            self.booked.append(flight)

    @arrival(weight=15, name="POST /api/alerts")
    def alert(self, call: Call) -> None:
        """Alerts come in bursts: a storm concerns several flights that are booked, one arrival each."""
        if not self.storm and len(self.booked) >= BURST:
            self.storm, self.booked = self.booked, []
        if not self.storm:
            self._look(call)
            return
        call.post("/api/alerts", json={"flightId": self.storm.pop(), "severity": "SEVERE"}, as_="dispatcher")

    def _look(self, call: Call) -> None:
        response = call.get("/api/flights", as_="load", name="GET /api/flights")
        self.flights = [flight["id"] for flight in _document(response).get("flights", [])] or self.flights


def _document(response: FastResponse) -> dict[str, Any]:
    """The JSON object of a good answer; an empty one for any other."""
    try:
        document = json.loads(response.text) if response.status_code == 200 else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}

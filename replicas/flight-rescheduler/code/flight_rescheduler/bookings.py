"""What the API does, a function an endpoint: flights, bookings, proposals, and alerts of dispatchers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from .calls import Call
from .database import Pool, Row
from .errors import ApiError
from .monitor import publish_alert
from .tokens import LIFE_S, User, issue, user_of

PAGE = 20
_STARTED = time.monotonic()
_BOOKING = """
SELECT b.id, b.flight_id, b.status, b.created_at, f.number, f.departs_at
FROM bookings b JOIN flights f ON f.id = b.flight_id
"""

Answer = tuple[int, Any]
Handler = Callable[[Pool, Call], Answer]


def health(_: Pool, __: Call) -> Answer:
    """Alive: the load balancer's question. Says nothing of database and Redis."""
    uptime = round(time.monotonic() - _STARTED, 3)
    return 200, {"status": "ok", "uptime": uptime, "version": os.environ["APP_VERSION"]}


def login(database: Pool, call: Call) -> Answer:
    """A token for a name and a password."""
    with database.transaction() as run:
        found = run.rows(
            "SELECT id, role FROM users WHERE username = :name AND password = hashed(:word, salt)",
            name=call.text("username"),
            word=call.text("password"),
        )
    if not found:
        raise ApiError(401, "unauthorized")
    return 200, {"token": issue(User(str(found[0]["id"]), found[0]["role"])), "expiresIn": LIFE_S}


def list_flights(database: Pool, call: Call) -> Answer:
    """The next flights."""
    user_of(call.authorization)
    with database.transaction() as run:
        rows = run.rows("SELECT * FROM flights WHERE departs_at > now() ORDER BY departs_at LIMIT :page", page=PAGE)
    return 200, {
        "flights": [
            {
                "id": str(row["id"]),
                "number": row["number"],
                "origin": row["origin"],
                "destination": row["destination"],
                "departsAt": _iso(row["departs_at"]),
            }
            for row in rows
        ]
    }


def list_bookings(database: Pool, call: Call) -> Answer:
    """My latest bookings."""
    me = user_of(call.authorization)
    with database.transaction() as run:
        rows = run.rows(f"{_BOOKING} WHERE b.user_id = :me ORDER BY b.created_at DESC LIMIT :page", me=me.id, page=PAGE)
    return 200, {"bookings": [_booking(row) for row in rows]}


def create_booking(database: Pool, call: Call) -> Answer:
    """Book a flight that has not left."""
    me, flight = user_of(call.authorization), call.uuid("flightId")
    with database.transaction() as run:
        if not run.rows("SELECT FROM flights WHERE id = :flight AND departs_at > now()", flight=flight):
            raise ApiError(404, "not found")
        (made,) = run.rows(
            "INSERT INTO bookings (user_id, flight_id) VALUES (:me, :flight) RETURNING id", me=me.id, flight=flight
        )
        (row,) = run.rows(f"{_BOOKING} WHERE b.id = :id", id=str(made["id"]))
    return 201, _booking(row)


def read_booking(database: Pool, call: Call) -> Answer:
    """One of my bookings."""
    me = user_of(call.authorization)
    with database.transaction() as run:
        return 200, _booking(_mine(run, call.id("booking_id"), me))


def cancel_booking(database: Pool, call: Call) -> Answer:
    """Cancel one of my bookings; cancelling it again changes nothing."""
    me = user_of(call.authorization)
    with database.transaction() as run:
        row = _mine(run, call.id("booking_id"), me)
        run.rows("UPDATE bookings SET status = 'CANCELLED' WHERE id = :id", id=str(row["id"]))
        return 200, _booking(row) | {"status": "CANCELLED"}


def list_proposals(database: Pool, call: Call) -> Answer:
    """What was proposed to me, newest first."""
    me = user_of(call.authorization)
    with database.transaction() as run:
        rows = run.rows(
            "SELECT p.* FROM proposals p JOIN bookings b ON b.id = p.booking_id WHERE b.user_id = :me"
            " ORDER BY p.created_at DESC LIMIT :page",
            me=me.id,
            page=PAGE,
        )
    return 200, {"proposals": [_proposal(row) for row in rows]}


def accept_proposal(database: Pool, call: Call) -> Answer:
    """Take the flight that is proposed first; taking it again changes nothing."""
    me = user_of(call.authorization)
    with database.transaction() as run:
        found = run.rows(
            "SELECT p.* FROM proposals p JOIN bookings b ON b.id = p.booking_id"
            " WHERE p.id = :id AND b.user_id = :me FOR UPDATE",
            id=call.id("proposal_id"),
            me=me.id,
        )
        if not found:
            raise ApiError(404, "not found")
        proposal = found[0]
        run.rows("UPDATE proposals SET status = 'ACCEPTED' WHERE id = :id", id=str(proposal["id"]))
        run.rows(
            "UPDATE bookings SET flight_id = :flight WHERE id = :booking",
            flight=proposal["options"][0]["flightId"],
            booking=str(proposal["booking_id"]),
        )
    return 200, _proposal(proposal) | {"status": "ACCEPTED"}


def create_alert(database: Pool, call: Call) -> Answer:
    """A dispatcher says that the weather of a flight is bad, without waiting for the monitor."""
    if user_of(call.authorization).role != "DISPATCHER":
        raise ApiError(403, "forbidden")
    flight, severity = call.uuid("flightId"), call.text("severity")
    if severity not in ("MODERATE", "SEVERE"):
        raise ApiError(400, "expected severity MODERATE or SEVERE")
    with database.transaction() as run:
        found = run.rows("SELECT origin FROM flights WHERE id = :flight", flight=flight)
    if not found:
        raise ApiError(404, "not found")
    forecast = {"at": int(time.time()), "code": 211, "windMs": 20.0, "visibilityM": 800}
    alert = publish_alert(database, flight, found[0]["origin"], forecast, severity, "DISPATCHER")
    return 202, {"alertId": alert}


HANDLERS: list[tuple[str, str, Handler]] = [
    ("GET", "/health", health),
    ("POST", "/auth/login", login),
    ("GET", "/api/flights", list_flights),
    ("GET", "/api/bookings", list_bookings),
    ("POST", "/api/bookings", create_booking),
    ("GET", "/api/bookings/{booking_id}", read_booking),
    ("POST", "/api/bookings/{booking_id}/cancel", cancel_booking),
    ("GET", "/api/proposals", list_proposals),
    ("POST", "/api/proposals/{proposal_id}/accept", accept_proposal),
    ("POST", "/api/alerts", create_alert),
]


def _mine(run: Any, booking_id: str, me: User) -> Row:
    found: list[Row] = run.rows(f"{_BOOKING} WHERE b.id = :id AND b.user_id = :me", id=booking_id, me=me.id)
    if not found:
        raise ApiError(404, "not found")
    return found[0]


def _booking(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "flightId": str(row["flight_id"]),
        "number": row["number"],
        "departsAt": _iso(row["departs_at"]),
        "status": row["status"],
        "createdAt": _iso(row["created_at"]),
    }


def _proposal(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "bookingId": str(row["booking_id"]),
        "reason": row["reason"],
        "options": row["options"],
        "status": row["status"],
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

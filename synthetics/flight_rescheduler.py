"""Canaries of Flight Rescheduler: what its users come for, and what to look at when notifications are missing."""

from __future__ import annotations

import json
import uuid

from tocsin.canary import Journey

STREAM, PROBE = "/api/notifications/stream", "/api/notifications/probe"
MONITOR_LOGS = "/aws/lambda/weather-monitor-production"
ADDRESS = "synthetic-passenger@example.com"
DELIVERED_WITHIN_S = 5.0
"""Of a message on its way from one server through Redis to the other: 30 ms when all is well."""


def canary_booking(api: Journey) -> None:
    """Somebody books a flight, sees the booking, and cancels it."""
    with api.step("no token"):
        api.get("/api/bookings", expect=401)
    with api.step("book"):
        booking = _book(api)
    with api.step("see it"):
        mine = api.get(f"/api/bookings/{booking}", as_="passenger", expect=200).json()
        assert mine["status"] == "CONFIRMED"
    with api.step("cancel"):
        cancelled = api.post(f"/api/bookings/{booking}/cancel", as_="passenger", expect=200).json()
        assert cancelled["status"] == "CANCELLED"


def canary_stream(api: Journey) -> None:
    """Missing Notifications: what is sent through Redis arrives on the stream. That it opens proves nothing."""
    with api.step("through Redis"), api.events(STREAM, as_="passenger", within_s=DELIVERED_WITHIN_S) as stream:
        probe = str(uuid.uuid4())
        api.post(PROBE, json={"probeId": probe}, as_="passenger", expect=202)
        said = json.loads(stream.wait("probe", containing=probe))
        assert said == {"probeId": probe}


def canary_weather(api: Journey) -> None:
    """The hourly check was made, of flights that people can book.

    It is looked for and not made by `invoke`: an invocation of ours would hide from the heartbeat that nobody else
    makes one, and its errors would ring where those of one check an hour never do.
    """
    with api.step("flights"):
        assert api.get("/api/flights", as_="passenger", expect=200).json()["flights"]
    with api.step("checked"):
        api.logged(MONITOR_LOGS, event="weather.checked", within="65m")


def canary_mail(api: Journey) -> None:
    """Test SES email delivery: bad weather for a booking ends in a mail."""
    with api.step("book"):
        booking = _book(api)
    with api.step("alert"):
        flight = api.get(f"/api/bookings/{booking}", as_="passenger", expect=200).json()["flightId"]
        alert = {"flightId": flight, "severity": "SEVERE"}
        assert api.post("/api/alerts", json=alert, as_="dispatcher", expect=202).json()["alertId"]
    with api.step("mail"):
        api.mailed(ADDRESS, containing=booking, within="5m")


DATABASE = "prod/db-admin"
OURS = """
WITH ours AS MATERIALIZED (
    SELECT b.id, b.flight_id FROM bookings b JOIN users u ON u.id = b.user_id WHERE u.username LIKE 'synthetic-%'
), theirs AS MATERIALIZED (
    SELECT b.flight_id FROM bookings b JOIN users u ON u.id = b.user_id WHERE u.username NOT LIKE 'synthetic-%'
)
"""
# In one statement: without its proposals nobody would know of which alert they were made.
REMOVE = f"""
{OURS}, proposed AS (
    DELETE FROM proposals WHERE booking_id IN (SELECT id FROM ours) RETURNING alert_id
), alerted AS (
    DELETE FROM alerts a
    WHERE (a.id IN (SELECT alert_id FROM proposed) OR a.flight_id IN (SELECT flight_id FROM ours))
      AND a.flight_id NOT IN (SELECT flight_id FROM theirs)
      AND NOT EXISTS (SELECT FROM proposals p WHERE p.alert_id = a.id AND p.booking_id NOT IN (SELECT id FROM ours))
)
DELETE FROM bookings WHERE id IN (SELECT id FROM ours)
"""  # noqa: S608 - both parts are above


def remove_synthetic(api: Journey) -> None:
    """Bookings of synthetic passengers, what was proposed for them, and alerts that concerned nobody else."""
    with api.step("remove"):
        api.sql(DATABASE, REMOVE)
        left = api.sql(DATABASE, f"{OURS} SELECT id FROM ours")  # noqa: S608 - ours
        assert left == [], f"{len(left)} are left: is a drill running?"


def _book(api: Journey) -> str:
    """Book the last of the next flights: the id of the booking, which is cancelled at the end."""
    flights = api.get("/api/flights", as_="passenger", expect=200).json()["flights"]
    body = {"flightId": flights[-1]["id"]}
    booking: str = api.post("/api/bookings", json=body, as_="passenger", expect=201).json()["id"]
    api.cleanup(lambda: api.post(f"/api/bookings/{booking}/cancel", as_="passenger"))
    return booking

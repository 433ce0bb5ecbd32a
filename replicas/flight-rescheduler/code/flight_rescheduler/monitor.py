"""The weather monitor: once an hour, the weather at every airport from which somebody flies soon.

A flight in bad weather is an alert, until that was dealt with. Alerts go to a topic, so that a second queue can see
them: from a queue that a worker reads nobody else could take one. Each has an `alertId`, logged when it was published
(`alert.queued`).
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from typing import Any

from . import aws, logs
from .database import Pool, Row, pool
from .settings import setting

WEATHER_TIMEOUT_S = 20
GALE_MS = 17.2
SEVERE_GROUPS = (2, 6)
"""Thunderstorms and snow: https://openweathermap.org/weather-conditions"""

_AIRPORTS = """
SELECT a.code, a.latitude, a.longitude, count(*) AS flights
FROM airports a JOIN flights f ON f.origin = a.code
WHERE f.departs_at BETWEEN now() AND now() + interval '48 hours'
GROUP BY a.code ORDER BY a.code
"""
# Somebody is booked who was proposed nothing yet, and nobody was alerted.
_CONCERNED = """
SELECT f.id FROM flights f
WHERE f.origin = :airport AND f.departs_at BETWEEN now() AND now() + interval '48 hours'
  AND EXISTS (
    SELECT FROM bookings b WHERE b.flight_id = f.id AND b.status = 'CONFIRMED'
    AND NOT EXISTS (SELECT FROM proposals p WHERE p.booking_id = b.id))
  AND NOT EXISTS (SELECT FROM alerts l WHERE l.flight_id = f.id AND l.handled_at IS NULL)
ORDER BY f.departs_at
"""


class WeatherError(Exception):
    """OpenWeatherMap refused, or did not answer in time."""


def handler(event: object, context: Any) -> dict[str, int]:
    """One check: how many flights were looked at, and how many alerts were made.

    Raises:
        WeatherError, DatabaseUnavailable, AwsError: Lambda tries again, and at last puts the event into the DLQ.
    """
    logs.begin(requestId=context.aws_request_id, functionName=context.function_name)
    try:
        checked, alerts = _check(pool("weather-monitor"))
    except Exception as cause:
        logs.error("weather.check.failed", reason=f"{type(cause).__name__}: {cause}")
        raise
    logs.info("weather.checked", checked=checked, alerts=alerts)
    return {"checked": checked, "alerts": alerts}


def _check(database: Pool) -> tuple[int, int]:
    with database.transaction() as run:
        airports = run.rows(_AIRPORTS)
    alerts = 0
    for airport in airports:
        forecast = _forecast(airport)
        severity = severity_of(forecast)
        if severity is not None:
            alerts += _alert(database, airport["code"], forecast, severity)
    return sum(airport["flights"] for airport in airports), alerts


def severity_of(forecast: dict[str, Any]) -> str | None:
    """How bad weather is; None where it is not. What cannot be read counts as bad: a person shall look at it."""
    code, wind = forecast["code"], forecast["windMs"]
    if not isinstance(code, int) or code // 100 in SEVERE_GROUPS:
        return "SEVERE"
    return "MODERATE" if isinstance(wind, int | float) and wind >= GALE_MS else None


def _alert(database: Pool, airport: str, forecast: dict[str, Any], severity: str) -> int:
    """Alerts for the flights of an airport: how many."""
    with database.transaction() as run:
        flights = [str(row["id"]) for row in run.rows(_CONCERNED, airport=airport)]
    return sum(
        publish_alert(database, flight, airport, forecast, severity, "MONITOR") is not None for flight in flights
    )


def publish_alert(
    database: Pool, flight: str, airport: str, forecast: dict[str, Any], severity: str, source: str
) -> str | None:
    """Publish an alert: its id, None where one of the monitor is pending. Raises AwsError, DatabaseUnavailable."""
    alert_id = str(uuid.uuid4())
    message = {
        "alertId": alert_id,
        "flightId": flight,
        "airport": airport,
        "forecast": forecast,
        "severity": severity,
    }
    with database.transaction() as run:
        made = run.rows(
            "INSERT INTO alerts (id, flight_id, source, severity) VALUES (:id, :flight, :source, :severity)"
            " ON CONFLICT DO NOTHING RETURNING id",
            id=alert_id,
            flight=flight,
            source=source,
            severity=severity,
        )
        if not made:
            return None
        aws.publish(setting("ALERT_TOPIC_ARN"), json.dumps(message), {"severity": severity})
        logs.info("alert.queued", alertId=alert_id, flightId=flight, severity=severity)
    return alert_id


def _forecast(airport: Row) -> dict[str, Any]:
    """What OpenWeatherMap says of the next hours at an airport, passed on as it says it."""
    asked = {
        "lat": airport["latitude"],
        "lon": airport["longitude"],
        "cnt": 1,
        "units": "metric",
        "appid": setting("OPENWEATHERMAP_API_KEY"),
    }
    base = setting("OPENWEATHERMAP_BASE_URL", "https://api.openweathermap.org")
    url = f"{base}/data/2.5/forecast?{urllib.parse.urlencode(asked)}"
    try:
        with urllib.request.urlopen(url, timeout=WEATHER_TIMEOUT_S) as answer:  # noqa: S310 - a setting
            entry = json.load(answer)["list"][0]
    except urllib.error.HTTPError as refusal:
        raise WeatherError(f"OpenWeatherMap answered {refusal.code} for {airport['code']}") from None
    except (OSError, ValueError, KeyError, IndexError, TypeError) as cause:
        raise WeatherError(f"no forecast for {airport['code']}: {type(cause).__name__}") from None
    return {
        "at": entry.get("dt"),
        "code": next((one.get("id") for one in entry.get("weather", ())), None),
        "windMs": entry.get("wind", {}).get("speed"),
        "visibilityM": entry.get("visibility"),
    }

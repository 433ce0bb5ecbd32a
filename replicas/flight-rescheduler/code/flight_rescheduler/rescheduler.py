"""The AI rescheduler: for each alert, a proposal to everybody who is booked on that flight.

Delivered twice, done once: `alertId` is the key. What was done stands in the database before it is told, so that a
delivery that ends in the middle is taken up by the next one: proposals first, then their announcement, and the alert
is handled last (`alert.handled`, once; `alert.repeated` when there was nothing left to do). `proposal.made` is logged
once for each proposal. `alert.failed` is one attempt.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from . import aws, logs, openai
from .database import Pool, Row, pool
from .settings import setting

OFFERED = 3
"""How many later flights are offered to the model."""


@dataclass(frozen=True)
class Alert:
    """A message of the alert queue."""

    id: str
    flight_id: str
    airport: str
    severity: str
    weather: str

    @classmethod
    def parse(cls, body: str) -> Alert:
        """Raises ValueError, KeyError or TypeError for a message that can never be handled."""
        message = json.loads(body)
        forecast = message["forecast"]
        code, wind = int(forecast["code"]), float(forecast["windMs"])
        if message["severity"] not in ("MODERATE", "SEVERE"):
            raise ValueError("expected severity MODERATE or SEVERE")
        return cls(
            id=str(uuid.UUID(message["alertId"])),
            flight_id=str(uuid.UUID(message["flightId"])),
            airport=str(message["airport"]),
            severity=message["severity"],
            weather=f"condition {code}, wind {wind:.0f} m/s",
        )


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle each message of a batch, and name those that failed.

    `ON_FAILURE` is `batchItemFailures`, with which only what failed comes again and no invocation counts as an error;
    or `raise`, with which the whole batch comes again and the invocation is one.
    """
    failed: list[str] = []
    for attempted, record in enumerate(event["Records"], start=1):
        logs.begin(
            requestId=context.aws_request_id,
            functionName=context.function_name,
            messageId=record["messageId"],
            receiveCount=int(record["attributes"]["ApproximateReceiveCount"]),
        )
        try:
            _handle(pool("ai-rescheduler"), Alert.parse(record["body"]))
        except Exception as cause:
            logs.error("alert.failed", reason=f"{type(cause).__name__}: {cause}")
            failed.append(record["messageId"])
            if setting("ON_FAILURE", "batchItemFailures") == "raise":
                _count(attempted, len(failed))
                raise
    _count(len(event["Records"]), len(failed))
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _count(attempted: int, failed: int) -> None:
    try:
        aws.count(AlertsFailed=failed, AlertsAttempted=attempted)
    except aws.AwsError as cause:  # what was done must not be done again for want of a figure
        logs.error("metrics.failed", reason=str(cause))


def _handle(database: Pool, alert: Alert) -> None:
    with database.transaction() as run:
        # The monitor wrote it before; unless its transaction broke after the message was out.
        run.rows(
            "INSERT INTO alerts (id, flight_id, source, severity) VALUES (:id, :flight, 'MESSAGE', :severity)"
            " ON CONFLICT DO NOTHING",
            id=alert.id,
            flight=alert.flight_id,
            severity=alert.severity,
        )
        (known,) = run.rows("SELECT handled_at FROM alerts WHERE id = :id", id=alert.id)
        concerned = run.rows(
            "SELECT id FROM bookings b WHERE flight_id = :flight AND status = 'CONFIRMED'"
            " AND NOT EXISTS (SELECT FROM proposals p WHERE p.booking_id = b.id) ORDER BY id",
            flight=alert.flight_id,
        )
        later = run.rows(
            "SELECT later.id, later.number, later.departs_at FROM flights f JOIN flights later"
            " ON later.origin = f.origin AND later.destination = f.destination AND later.departs_at > f.departs_at"
            " WHERE f.id = :flight ORDER BY later.departs_at LIMIT :offered",
            flight=alert.flight_id,
            offered=OFFERED,
        )
    if known["handled_at"] is None and concerned and later:
        _propose(database, alert, concerned, later)
    _announce(database, alert)
    with database.transaction() as run:
        now_handled = run.rows(
            "UPDATE alerts SET handled_at = now() WHERE id = :id AND handled_at IS NULL RETURNING id", id=alert.id
        )
    logs.info("alert.handled" if now_handled else "alert.repeated", alertId=alert.id)


def _propose(database: Pool, alert: Alert, concerned: list[Row], later: list[Row]) -> None:
    """Ask the model once, outside of any transaction, and write a proposal for each booking."""
    listed = "\n".join(
        f"{place}. {flight['number']} at {flight['departs_at'].isoformat()}" for place, flight in enumerate(later, 1)
    )
    question = f"Weather at {alert.airport}: {alert.weather} ({alert.severity}).\nLater flights:\n{listed}"
    choices, reason = openai.choose(setting("PROMPT"), question, len(later))
    options = [{"flightId": str(later[choice - 1]["id"]), "number": later[choice - 1]["number"]} for choice in choices]
    made: list[Row] = []
    with database.transaction() as run:
        for booking in concerned:
            made += run.rows(
                "INSERT INTO proposals (id, booking_id, alert_id, reason, options)"
                " VALUES (:id, :booking, :alert, :reason, :options ::jsonb) ON CONFLICT DO NOTHING"
                " RETURNING id, booking_id",
                id=str(uuid.uuid5(uuid.UUID(alert.id), str(booking["id"]))),
                booking=str(booking["id"]),
                alert=alert.id,
                reason=reason,
                options=json.dumps(options),
            )
    for proposal in made:
        logs.info("proposal.made", proposalId=proposal["id"], bookingId=proposal["booking_id"], alertId=alert.id)


def _announce(database: Pool, alert: Alert) -> None:
    """Publish what was not announced yet; once more, when it breaks between here and the commit."""
    with database.transaction() as run:
        waiting = run.rows(
            "SELECT p.id, p.booking_id, b.user_id, p.options FROM proposals p JOIN bookings b ON b.id = p.booking_id"
            " WHERE p.alert_id = :alert AND p.announced_at IS NULL ORDER BY p.id FOR UPDATE OF p",
            alert=alert.id,
        )
        for proposal in waiting:
            message = {
                "type": "RESCHEDULE_PROPOSED",
                "proposalId": str(proposal["id"]),
                "bookingId": str(proposal["booking_id"]),
                "userId": str(proposal["user_id"]),
                "options": proposal["options"],
            }
            aws.publish(setting("NOTIFICATION_TOPIC_ARN"), json.dumps(message), {"type": message["type"]})
            run.rows("UPDATE proposals SET announced_at = now() WHERE id = :id", id=str(proposal["id"]))

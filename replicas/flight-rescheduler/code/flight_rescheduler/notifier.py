"""The notification service: each proposal that is announced becomes one mail, and one message on its owner's stream.

Lambda runs it again when it fails, and SNS may deliver twice, so both are noted beside the proposal. One does not wait
for the other: a mail that cannot be sent leaves the stream as it is. `proposal.published` tells how many servers
listened: Redis keeps nothing for somebody who comes later.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from valkey import Valkey

from . import aws, logs
from .database import Pool, Row, pool
from .settings import setting

REDIS_TIMEOUT_S = 2.0

_PROPOSAL = """
SELECT p.id, p.booking_id, p.reason, p.options, p.mailed_at, p.published_at, u.id AS user_id, u.email
FROM proposals p JOIN bookings b ON b.id = p.booking_id JOIN users u ON u.id = b.user_id
WHERE p.id = :id FOR UPDATE OF p
"""


def handler(event: dict[str, Any], context: Any) -> None:
    """Tell the owner of each proposal. What fails is raised when the rest is done; Lambda runs it again."""
    logs.begin(requestId=context.aws_request_id, functionName=context.function_name)
    database = pool("reschedule-notifier")
    for record in event["Records"]:
        proposal_id = json.loads(record["Sns"]["Message"])["proposalId"]
        errors: list[Exception] = []
        for how, column, tell in (("published", "published_at", _publish), ("mailed", "mailed_at", _mail)):
            try:
                _once(database, proposal_id, how, column, tell)
            except Exception as cause:
                logs.error("notification.failed", proposalId=proposal_id, how=how, reason=f"{cause}")
                errors.append(cause)
        if errors:
            raise errors[0]


def _once(database: Pool, proposal_id: str, how: str, column: str, tell: Callable[[Row], dict[str, Any]]) -> None:
    """Tell the owner in one way, unless that was done. Raises LookupError of a proposal that is not there."""
    with database.transaction() as run:
        found = run.rows(_PROPOSAL, id=proposal_id)
        if not found:
            raise LookupError(f"no proposal {proposal_id}")
        if found[0][column] is not None:
            return
        details = tell(found[0])
        run.rows(f"UPDATE proposals SET {column} = now() WHERE id = :id", id=proposal_id)  # noqa: S608 - ours
    logs.info(f"proposal.{how}", proposalId=proposal_id, **details)


def _publish(proposal: Row) -> dict[str, Any]:
    message = {
        "proposalId": str(proposal["id"]),
        "bookingId": str(proposal["booking_id"]),
        "options": proposal["options"],
    }
    channel = f"notifications:{proposal['user_id']}"
    return {"listeners": _redis().publish(channel, json.dumps({"event": "reschedule", "data": message}))}


def _mail(proposal: Row) -> dict[str, Any]:
    listed = "\n".join(f"- {option['number']}" for option in proposal["options"])
    text = f"{proposal['reason']}\n\nWe propose:\n{listed}\n\nBooking {proposal['booking_id']}\n"
    aws.send_mail(setting("MAIL_FROM"), proposal["email"], "Bad weather: a new flight for your booking", text)
    return {}


@cache
def _redis() -> Valkey:
    return Valkey.from_url(setting("REDIS_URL"), socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S)

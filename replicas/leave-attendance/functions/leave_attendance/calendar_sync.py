"""Calendar sync: into the queue (API) and out of it into Microsoft Graph (worker).

Each message has a `syncId`. It is logged once when the message is in the queue (`calendar.sync.queued`) and once
when its event was made (`calendar.sync.done`), so that nobody has to guess whether one was lost.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from . import aws, logs
from .api import Request, Response, endpoint, uuid_of
from .database import transaction
from .errors import DependencyUnavailable, not_found
from .settings import enabled, setting

GRAPH_TIMEOUT_S = 5
# Renewed this long before it ends, or at half of its life when it is short.
TOKEN_MARGIN_S = 60


@endpoint(admin_only=True)
def request_sync(request: Request) -> Response:
    """POST /api/v1/integrations/msgraph/sync: put a sync for an employee (or for oneself) into the queue."""
    body = request.json()
    user = request.user.id if body.get("userId") is None else uuid_of("userId", body["userId"])
    with transaction() as connection:
        if not connection.run("SELECT 1 FROM app_users WHERE id = :user", user=user):
            raise not_found("There is no such employee.")
    today = datetime.now(UTC).date().isoformat()
    message_id, sync_id = _queue(user, "Leave calendar synchronised", today, today)
    return Response(202, {"messageId": message_id, "syncId": sync_id})


def queue_leave(leave: dict[str, Any]) -> None:
    """Put the calendar event of an approved request into the queue, if the feature is on."""
    if enabled("CALENDAR_SYNC_ENABLED"):
        _queue(leave["userId"], f"Leave: {leave['type']}", leave["startDate"], leave["endDate"])


def _queue(user: str, subject: str, start: str, end: str) -> tuple[str, str]:
    sync_id = str(uuid.uuid4())
    message = {"syncId": sync_id, "userId": user, "subject": subject, "startDate": start, "endDate": end}
    try:
        message_id = aws.send_message(setting("CALENDAR_SYNC_QUEUE_URL"), json.dumps(message))
    except aws.AwsError as cause:
        raise DependencyUnavailable("queue", str(cause)) from cause
    logs.info("calendar.sync.queued", syncId=sync_id, messageId=message_id)
    return message_id, sync_id


@dataclass(frozen=True)
class Sync:
    """A message from the queue."""

    sync_id: str
    user_id: str
    subject: str
    start: date
    end: date

    @classmethod
    def parse(cls, body: str) -> Sync:
        """Raises ValueError, KeyError or TypeError for a message that can never be processed."""
        message = json.loads(body)
        return cls(
            sync_id=str(uuid.UUID(message["syncId"])),
            user_id=str(uuid.UUID(message["userId"])),
            subject=str(message["subject"]),
            start=date.fromisoformat(message["startDate"]),
            end=date.fromisoformat(message["endDate"]),
        )


class GraphError(Exception):
    """Entra or Graph did not do it; the message goes back to the queue."""


_token = ("", 0.0)


def worker(event: dict[str, Any], context: Any) -> None:
    """Make the calendar event of each message. What it raises sends the message back to the queue."""
    for record in event["Records"]:
        logs.begin(
            requestId=context.aws_request_id,
            userId=None,
            functionName=context.function_name,
            functionVersion=context.function_version,
            messageId=record["messageId"],
            receiveCount=int(record["attributes"]["ApproximateReceiveCount"]),
        )
        try:
            sync = Sync.parse(record["body"])
            logs.add(userId=sync.user_id, syncId=sync.sync_id)
            created = _create_event(sync)
        except Exception as cause:
            logs.error("calendar.sync.failed", reason=f"{type(cause).__name__}: {cause}")
            raise
        # Delivered twice, made once: Graph knows the transaction already.
        logs.info("calendar.sync.done" if created else "calendar.sync.repeated")


def _create_event(sync: Sync) -> bool:
    """Whether the event was made now; False when it was there already."""
    # An all-day event ends at the midnight after its last day.
    end = sync.end + timedelta(days=1)
    status, _ = _call(
        f"{setting('GRAPH_BASE_URL')}/v1.0/users/{sync.user_id}/events",
        json.dumps(
            {
                "subject": sync.subject,
                "isAllDay": True,
                "start": {"dateTime": f"{sync.start}T00:00:00", "timeZone": "UTC"},
                "end": {"dateTime": f"{end}T00:00:00", "timeZone": "UTC"},
                "transactionId": sync.sync_id,
            }
        ).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {_access_token()}"},
    )
    return status == 201


def _access_token() -> str:
    global _token
    token, renew_at = _token
    if time.monotonic() < renew_at:
        return token
    form = {
        "grant_type": "client_credentials",
        "client_id": setting("GRAPH_CLIENT_ID"),
        "client_secret": setting("GRAPH_CLIENT_SECRET"),
        "scope": setting("GRAPH_SCOPE"),
    }
    _, answer = _call(
        f"{setting('GRAPH_AUTHORITY')}/{setting('GRAPH_TENANT')}/oauth2/v2.0/token",
        urllib.parse.urlencode(form).encode(),
        {"Content-Type": "application/x-www-form-urlencoded"},
    )
    lifetime = float(answer["expires_in"])
    margin = min(TOKEN_MARGIN_S, lifetime / 2)
    _token = (answer["access_token"], time.monotonic() + lifetime - margin)
    return _token[0]


def _call(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    global _token
    try:
        # The address is the deployment's own setting, never a caller's.
        request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=GRAPH_TIMEOUT_S) as response:  # noqa: S310
            return response.status, json.load(response)
    except urllib.error.HTTPError as refusal:
        if refusal.code == 401:
            _token = ("", 0.0)
        raise GraphError(f"{refusal.code} from {url}: {_reason(refusal)}") from None
    except OSError as cause:
        raise GraphError(f"no answer from {url}: {cause}") from cause


def _reason(refusal: urllib.error.HTTPError) -> str:
    """The code of Entra's or Graph's error, and nothing of what was sent."""
    try:
        document = json.load(refusal)
        found = document["error"]
        return str(found["code"]) if isinstance(found, dict) else f"{found} {document.get('error_codes')}"
    except (ValueError, KeyError, TypeError, OSError):
        return "no reason given"

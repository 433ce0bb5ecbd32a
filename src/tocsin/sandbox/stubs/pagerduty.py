"""PagerDuty, as far as it is told of alarms: Events API v2, and the integration that is subscribed to a topic.

| request | answer |
|---|---|
| `POST /v2/enqueue` | 202 with the `dedup_key`; 400 with what is wrong, also of the key |
| `POST /integration/<key>/enqueue` | 200 for what SNS posts: it confirms, and keeps each notification |

Each event is kept: which of them are one incident, and who is woken by it, is not modelled. That another key than the
one that is known gets 400 is ours; PagerDuty documents it of one of the wrong length.

https://developer.pagerduty.com/docs/send-alert-event
https://www.pagerduty.com/docs/guides/amazon-cloudwatch-integration-guide/
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field, ValidationError, model_validator
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tocsin.errors import SandboxError
from tocsin.sandbox.stubs import ThirdParty
from tocsin.sandbox.stubs.told import Kept, NotTakenError, alarm_of, posted

_KEY_LENGTH = 32


@dataclass(frozen=True)
class Options:
    """The key of the integration."""

    routing_key: str

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> Options:
        """From `routing_key`, 32 characters. Raises SandboxError."""
        key = options.get("routing_key", "")
        if len(key) != _KEY_LENGTH:
            raise SandboxError(
                f"the stub 'pagerduty' expects the option routing_key of {_KEY_LENGTH} characters, found {len(key)}"
            )
        return cls(key)

    def has(self, key: str) -> bool:
        """Whether it is this one."""
        return hmac.compare_digest(key.encode(), self.routing_key.encode())


class Payload(BaseModel):
    """What happened; more is allowed."""

    summary: str = Field(min_length=1, max_length=1024)
    source: str = Field(min_length=1)
    severity: Literal["critical", "warning", "error", "info"]


class AlertEvent(BaseModel):
    """An event; more is allowed."""

    routing_key: str
    event_action: Literal["trigger", "acknowledge", "resolve"]
    dedup_key: str | None = Field(default=None, max_length=255)
    payload: Payload | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> AlertEvent:
        if self.event_action == "trigger" and self.payload is None:
            raise ValueError("'payload' is missing or blank")
        if self.event_action != "trigger" and self.dedup_key is None:
            raise ValueError("'dedup_key' is missing or blank")
        return self


class PagerDuty:
    """What is behind the stub."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.kept = Kept()

    async def enqueue(self, request: Request) -> Response:
        """One event."""
        try:
            event = AlertEvent.model_validate_json(await request.body())
        except ValidationError as cause:
            return _invalid(*(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in cause.errors()))
        if len(event.routing_key) != _KEY_LENGTH:
            return _invalid(f"Length of 'routing_key' is incorrect (should be {_KEY_LENGTH} characters)")
        if not self._options.has(event.routing_key):
            return _invalid("'routing_key' is invalid")
        key = event.dedup_key or uuid.uuid4().hex
        self.kept.add(event.payload.summary if event.payload else "", alarm=key, state=event.event_action)
        return JSONResponse({"status": "success", "message": "Event processed", "dedup_key": key}, 202)

    async def integration(self, request: Request) -> Response:
        """What SNS posts."""
        if not self._options.has(request.path_params["key"]):
            return _invalid("'routing_key' is invalid")
        try:
            notification = await posted(request)
        except NotTakenError as error:
            return _invalid(str(error))
        if notification is not None:
            changed = alarm_of(notification.text)
            about = {"topic": notification.topic, "message_id": notification.message_id}
            if changed is None:
                self.kept.add(notification.text, **about)
            else:
                self.kept.add(changed.text, alarm=changed.name, state=changed.state, **about)
        return JSONResponse({"status": "success", "message": "Event processed"})


def make(options: Mapping[str, str]) -> ThirdParty:
    """The stub. Options: see `Options.parse`. Raises SandboxError."""
    pagerduty = PagerDuty(Options.parse(options))
    routes = [
        Route("/v2/enqueue", pagerduty.enqueue, methods=["POST"]),
        Route("/integration/{key}/enqueue", pagerduty.integration, methods=["POST"]),
    ]
    return ThirdParty(
        Starlette(routes=routes),
        lambda status: {"status": "error", "message": "The fault door is open."},
        pagerduty.kept.documents,
    )


def _invalid(*errors: str) -> Response:
    return JSONResponse({"status": "invalid event", "message": "Event object is invalid", "errors": list(errors)}, 400)

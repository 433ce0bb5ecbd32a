"""A channel of Slack, and the two ways into it: an incoming webhook, and what AWS subscribes to a topic for it.

| request | answer |
|---|---|
| `POST /services/<webhook>` | 200 `ok`; 400 `invalid_payload` or `no_text`; 404 `no_service` of another webhook |
| `POST /chatbot` | 200 for what SNS posts |

A webhook understands messages of Slack and no messages of SNS: one that is subscribed to a topic itself confirms
nothing, and gets nothing. `/chatbot` stands for Amazon Q Developer in chat applications, which does: it confirms, and
writes what CloudWatch publishes of an alarm into the channel. Text of others it leaves out here.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
https://docs.aws.amazon.com/chatbot/latest/adminguide/what-is.html
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tocsin.errors import SandboxError
from tocsin.sandbox.stubs import ThirdParty
from tocsin.sandbox.stubs.told import Kept, NotTakenError, alarm_of, posted

_SAYS = ("text", "blocks", "attachments")


@dataclass(frozen=True)
class Options:
    """What is secret about a webhook: the end of its URL."""

    webhook: str

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> Options:
        """From `webhook`, such as `T0/B0/not-a-secret`. Raises SandboxError."""
        webhook = options.get("webhook", "").strip("/")
        if not webhook:
            raise SandboxError("the stub 'slack' expects the option webhook, found none")
        return cls(webhook)


class Slack:
    """What is behind the stub."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.kept = Kept()

    async def webhook(self, request: Request) -> Response:
        """A message of whoever has the webhook."""
        if not hmac.compare_digest(request.path_params["webhook"].encode(), self._options.webhook.encode()):
            return PlainTextResponse("no_service", 404)
        try:
            said = json.loads(await _payload(request))
        except ValueError:
            return PlainTextResponse("invalid_payload", 400)
        if not isinstance(said, dict):
            return PlainTextResponse("invalid_payload", 400)
        if not any(said.get(name) for name in _SAYS):
            return PlainTextResponse("no_text", 400)
        text = said.get("text")
        self.kept.add(text if isinstance(text, str) and text else json.dumps(said))
        return PlainTextResponse("ok")

    async def chatbot(self, request: Request) -> Response:
        """What SNS posts."""
        try:
            notification = await posted(request)
        except NotTakenError as error:
            return PlainTextResponse(str(error), 400)
        changed = None if notification is None else alarm_of(notification.text)
        if notification is not None and changed is not None:
            about = {"topic": notification.topic, "message_id": notification.message_id}
            self.kept.add(changed.text, alarm=changed.name, state=changed.state, **about)
        return PlainTextResponse("ok")


async def _payload(request: Request) -> str:
    """The JSON of a message: the body, or the field `payload` of a form. Raises ValueError."""
    body = (await request.body()).decode()
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return parse_qs(body).get("payload", [""])[0]
    return body


def make(options: Mapping[str, str]) -> ThirdParty:
    """The stub. Options: see `Options.parse`. Raises SandboxError."""
    slack = Slack(Options.parse(options))
    routes = [
        Route("/services/{webhook:path}", slack.webhook, methods=["POST"]),
        Route("/chatbot", slack.chatbot, methods=["POST"]),
    ]
    return ThirdParty(Starlette(routes=routes), lambda status: "rollup_error", slack.kept.documents)

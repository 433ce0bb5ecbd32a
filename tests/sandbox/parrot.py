"""A service of the tests' own, with every power, in a sandbox beside the real ones: `python -m tests.sandbox.parrot`.

AWS's name for it is Comprehend, which ministack has not. It says what language a text is in, and is always right.
`PARROT` in the environment plants a bug: an internal that is not there, a behaviour that does not hold, or a stumble at
every minute before the turn of the others.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from tocsin.alarms.cloudwatch import metric_key
from tocsin.sandbox import daemon
from tocsin.sandbox.http import ApiError, App, Message, Receive, Send, listen, send_answer
from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.ministack import expect
from tocsin.sandbox.service import Asked, Door, ReliedOn
from tocsin.sandbox.services.catalogue import SERVICES
from tocsin.sandbox.services.sqs import Sqs
from tocsin.sandbox.world import World

BUG = os.environ.get("PARROT", "")
ARN = "arn:aws:comprehend:us-east-1:123456789012:document-classifier/parrot"


class Parrot:
    """Every power that a service can have."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "services.sqs": {"_queues": "", **({"_parrots": ""} if BUG == "internal" else {})},
    }
    signed_for = "comprehend"
    routes = None
    settles = frozenset({"sqs"})
    finds = "parrot"

    def adapt(self, world: World) -> None:
        self._world = world
        self._queues = world.ministack.module("services.sqs")._queues
        self._listener: socket.socket | None = None
        self._ticks: list[int] = []
        self._seen = 0
        world.service(Sqs)

    async def try_out(self) -> None:
        expect(self, "a parrot speaks", BUG != "behaviour")

    def start(self) -> None:
        self._listener = listen()

    def ports(self) -> Mapping[str, int]:
        return {} if self._listener is None else {"parrot": self._listener.getsockname()[1]}

    def pids(self) -> Mapping[int, str]:
        return {os.getpid(): "a parrot's"}

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        (self._world.directory / "farewell").write_text("the parrot has flown")

    async def publish(self, wall: float) -> None:
        if BUG == "stumble":
            raise RuntimeError("off its perch")
        scope = self._world.account, self._world.region
        self._world.store.put(scope, metric_key("Parrots", "Feathers", {}), 1.0, wall=wall)

    def tick(self, now_s: int) -> None:
        self._ticks.append(now_s)

    async def settle(self) -> None:
        self._seen = len(self._queues)

    def call(self, scope: Scope, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        del scope
        if operation != "DetectDominantLanguage":
            raise ApiError("UnsupportedOperation", f"A parrot does not {operation}.")
        return {"Languages": [{"LanguageCode": request["Text"], "Score": 1.0}]}

    def pages(self) -> Mapping[str, App]:
        return {"/_parrot/": self._page}

    async def _page(self, scope: Message, receive: Receive, send: Send) -> None:
        del receive
        await send_answer(send, 200, {}, str(scope["path"]).encode())

    def doors(self) -> Mapping[str, Door]:
        return {"parrot": self._door}

    async def _door(self, _request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"queues": self._seen, "ticks": self._ticks}

    def addresses(self, target: str) -> Sequence[str]:
        return [target]

    def iam_resource(self, asked: Asked) -> str | None:
        return f"{ARN}-{asked.operation}"

    def tags(self) -> Iterable[tuple[str, Sequence[Mapping[str, str]]]]:
        yield ARN, [{"Key": "colour", "Value": "green"}]
        yield ARN.replace("us-east-1", "eu-west-1"), [{"Key": "colour", "Value": "red"}]


if __name__ == "__main__":
    daemon.main((Parrot, *SERVICES) if BUG == "stumble" else (*SERVICES, Parrot))

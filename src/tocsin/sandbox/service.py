"""What a service of the sandbox is, and what else it may be able to do.

A service is a class without constructor arguments, with its line in `services/catalogue.py`. It must say what it relies
on and take its place in the world; everything else is an optional power: a small protocol below, found by `isinstance`.
Who loops over the services (the daemon, the gateway, IAM, the tagging API) knows powers and no service.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from tocsin.sandbox.http import App, Message
from tocsin.sandbox.metrics import Scope

if TYPE_CHECKING:
    from tocsin.sandbox.signatures import Refusal
    from tocsin.sandbox.world import World

ReliedOn = Mapping[str, Mapping[str, str]]
"""Module of ministack -> name in it -> its parameters (empty: not a function, or one without parameters)."""

Door = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""A request of the host side to the daemon: JSON object in, JSON object out. It raises TocsinError to refuse."""

Routes = tuple[tuple[str, str, str], ...]
"""Of a service of the REST protocol: (method, pattern of the path, operation). Groups of the pattern are parameters."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A request to the AWS API, as IAM is asked about it."""

    service: str
    """that it is signed for"""
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, Any]
    """name -> its values"""
    scope: Scope

    @property
    def operation(self) -> str:
        """Of a request of a JSON protocol; "" for another."""
        targets = (value for name, value in self.headers.items() if name.lower() == "x-amz-target")
        return next(targets, "").rsplit(".", 1)[-1]


class Service(Protocol):
    """An AWS service of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn]
    """What it relies on of ministack's internals. Checked before any service is adapted."""

    def adapt(self, world: World) -> None:
        """Change ministack where it must be changed; called once, in the event loop, in the order of `SERVICES`."""


@runtime_checkable
class Tries(Protocol):
    """A service that checks the behaviour it builds on, before the API answers."""

    async def try_out(self) -> None:
        """Try it, in an account of its own that is emptied afterwards.

        Raises:
            SandboxError: says what was expected and what was found.
        """


@runtime_checkable
class Starts(Protocol):
    """A service that works by itself."""

    def start(self) -> None:
        """Begin; called once, in the event loop, before the API answers."""


@runtime_checkable
class Closes(Protocol):
    """A service with something that must be ended."""

    async def close(self) -> None:
        """Stop every process and close every port; called once, in the opposite order of `SERVICES`."""


@runtime_checkable
class Listens(Protocol):
    """A service with ports of its own."""

    def ports(self) -> Mapping[str, int]:
        """What listens -> its port, for `tocsin sandbox status`."""


@runtime_checkable
class HasProcesses(Protocol):
    """A service with processes of its own."""

    def pids(self) -> Mapping[int, str]:
        """Process id -> what it is, for `tocsin sandbox status`."""


@runtime_checkable
class Publishes(Protocol):
    """A service with gauges."""

    async def publish(self, wall: float) -> None:
        """Publish the gauges of the system minute that `wall` (epoch seconds) is in; called once a system minute."""


@runtime_checkable
class Ticks(Protocol):
    """A service with a clock of its own."""

    def tick(self, now_s: int) -> None:
        """Do what is due at a system second; called every ten of them, after the gauges were published."""


@runtime_checkable
class Settles(Protocol):
    """A service whose plant follows what was called."""

    settles: frozenset[str]
    """names that a request is signed for"""

    async def settle(self) -> None:
        """Awaited after each such request, before it is answered."""


@runtime_checkable
class Answers(Protocol):
    """A service of a JSON or REST protocol that ministack has not."""

    signed_for: str
    """the name that its requests are signed for"""
    routes: Routes | None
    """None when it does not speak REST"""

    def call(self, scope: Scope, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer one request. Raises ApiError."""


@runtime_checkable
class Serves(Protocol):
    """A service that is reached at paths beside those of the AWS API."""

    def pages(self) -> Mapping[str, App]:
        """Beginning of the path -> the application that answers below it; it gets the whole path."""


@runtime_checkable
class AnswersAnybody(Protocol):
    """A service with a data plane: what was deployed answers there whoever comes, also pages, as it is configured."""

    def answers_anybody(self, scope: Message) -> bool:
        """Whether a request (the scope of ASGI) is one to it: it needs no signature, may have an `Origin`, and keeps
        the CORS headers of its answer. Its Host was looked at before."""


@runtime_checkable
class DeclaresCors(Protocol):
    """A service whose resources say which pages may ask for them. A signature is asked for all the same."""

    def preflight(self, scope: Message) -> tuple[int, Mapping[str, str], bytes] | None:
        """Status, headers and body for a browser that asks first; None where it is not this service that is asked."""

    def cors_headers(self, scope: Message) -> Mapping[str, str] | None:
        """What the answer to a page says of CORS; None where no page may ask."""


@runtime_checkable
class TakesBodies(Protocol):
    """A service that takes other bodies than the AWS API usually does. Others who did not prove their key get less."""

    signed_for: str
    largest_body: int
    """bytes"""
    too_large: Refusal
    """of a longer one"""
    undeclared: Refusal
    """of one that does not say its length"""


@runtime_checkable
class Opens(Protocol):
    """A service that can do what no AWS API offers."""

    def doors(self) -> Mapping[str, Door]:
        """Name -> the door of that name."""


@runtime_checkable
class Finds(Protocol):
    """A service that knows where things listen."""

    finds: str
    """scheme of the targets that it can resolve, such as `ecs` in `ecs://cluster/service`"""

    def addresses(self, target: str) -> Sequence[str]:
        """Where it listens at this moment ("host:port"); `target` is without its scheme."""


@runtime_checkable
class NamesActions(Protocol):
    """A service whose IAM actions ministack does not name as AWS does."""

    signed_for: str

    def iam_action(self, asked: Asked) -> str | None:
        """Such as "sqs:SendMessage"; None when it is no operation of the service."""


@runtime_checkable
class SharesActions(Protocol):
    """A service with operations that AWS allows by the IAM action of another one."""

    signed_for: str
    allowed_by: Mapping[str, str]
    """operation -> the one whose action allows it, such as "SendMessageBatch" -> "SendMessage" """


@runtime_checkable
class NamesResources(Protocol):
    """A service whose resources ministack does not name as AWS does."""

    signed_for: str

    def iam_resource(self, asked: Asked) -> str | None:
        """ARN of the resource that policies are asked about; None: as ministack says."""


@runtime_checkable
class HasPolicies(Protocol):
    """A service whose resources have policies that ministack does not ask."""

    signed_for: str

    def policy_of(self, arn: str) -> str | None:
        """The policy of a resource of the present account and region, as JSON; None without one."""


@runtime_checkable
class Tagged(Protocol):
    """A service that the Resource Groups Tagging API finds, though ministack's does not."""

    signed_for: str

    def tags(self) -> Iterable[tuple[str, Sequence[Mapping[str, str]]]]:
        """ARN and tags of the resources of the present account, of whatever region."""

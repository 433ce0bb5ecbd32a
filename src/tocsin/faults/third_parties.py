"""Faults of third parties, through the fault door that every stub of the sandbox has."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field

from tocsin.aws import environments
from tocsin.aws.doors import ask_door
from tocsin.aws.iam import ANY, Arns
from tocsin.aws.sns import http_subscribers
from tocsin.aws.target import Aws
from tocsin.errors import InvalidInput, NotFound, Refused, TargetError, near_match
from tocsin.faults.base import Fault, State
from tocsin.faults.door import PATIENCE_S, Door, written
from tocsin.model.system import System
from tocsin.model.system import ThirdParty as Described
from tocsin.model.third_party import WrongAnswer
from tocsin.model.third_party_cases import CASES, spelled_out
from tocsin.project.documents import load_system
from tocsin.project.places import find_root


class ThirdPartyState(State):
    """What the door of a stub is told, and what its callers get."""

    url: str = Field(description="where the stub listens")
    fault: str | None = Field(description="what its door does, as JSON; None when it is closed")
    answers: Literal["usual", "wrong"] = Field(description="what a call of our own got: wrong as this fault makes them")
    wrong: str | None = Field(default=None, description="of a `case`: what it stands for, as JSON; never changes")


class ThirdParty(Fault[ThirdPartyState], WrongAnswer):
    """Make a third party answer wrongly: an error, late, broken, in pieces, or not at all.

    The system file says which environment variable of which functions and services holds its base URL
    (`third_parties`), or to which SNS topics it is subscribed over HTTP. In the sandbox that leads to a stub with a
    fault door; the evidence is what the door says it does and a call of our own that gets the wrong answer, and the
    undo is verified in the same way. Who calls the third party is who is hurt: those functions, services and topics
    must have opted in. Everywhere else the URL leads to somebody who did not: there is no door, nothing is sent there,
    and the fault is refused. `endpoint_override` is the way then. No schedule can end it: no call of AWS reaches a
    stub.
    """

    kind: ClassVar[str] = "third_party"
    state: ClassVar[type[State]] = ThirdPartyState
    summary: ClassVar[str] = "make the stub of a third party answer wrongly, late or not at all"
    aws_service: ClassVar[str] = "lambda"
    permissions: ClassVar[tuple[str, ...]] = (
        "lambda:GetFunctionConfiguration",
        "ecs:DescribeServices",
        "ecs:DescribeTaskDefinition",
        "sns:ListSubscriptionsByTopic",
    )
    effect_within_s: ClassVar[float] = 10.0

    system: str = Field(description="name of the system, as in `systems/`")
    name: str = Field(description="name of the third party in the system file")

    @property
    def resource(self) -> str:
        return f"third party {self.name} of {self.system}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        described = self._described()
        return (
            *(aws.arn("lambda", f"function:{name}") for name in described.functions),
            *(aws.arn("ecs", f"service/{name}") for name in described.services),
            *(aws.arn("sns", name) for name in described.topics),
        )

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        described = self._described()
        match action:
            case "lambda:GetFunctionConfiguration":
                return tuple(arns("lambda", f"function:{name}") for name in described.functions)
            case "ecs:DescribeServices":
                return tuple(arns("ecs", f"service/{name}") for name in described.services)
            case "sns:ListSubscriptionsByTopic":
                return tuple(arns("sns", name) for name in described.topics)
        # A task definition cannot be named to IAM when it is described; without a service none is.
        return ANY if described.services else ()

    def observe(self, aws: Aws, prior: ThirdPartyState | None) -> ThirdPartyState:
        url = self._stub(aws) if prior is None else prior.url
        wrong = self._wrong(prior)
        door = self._door(aws, url)
        try:
            told = door.told()
        except NotFound:
            raise _no_door(self.resource, f"something else at {url}") from None
        if prior is None and told not in (None, written(wrong)):
            raise TargetError(
                f"expected the fault door of the {self.resource} to be closed, found {told}. One fault at a time: undo "
                f"that one (`tocsin recover`), or close the door (DELETE {url}/_tocsin/fault with the token)."
            )
        answers: Literal["usual", "wrong"] = "wrong" if door.shows(wrong) else "usual"
        if prior is None and told is None and answers == "wrong":
            raise TargetError(
                f"expected the {self.resource} to answer as usual before the fault, found its answers wrong in the "
                "same way already: no effect could be told from that"
            )
        spelled = (None if self.case is None else written(wrong)) if prior is None else prior.wrong
        return ThirdPartyState(url=url, fault=told, answers=answers, wrong=spelled)

    def broken(self, prior: ThirdPartyState) -> ThirdPartyState:
        return prior.model_copy(update={"fault": written(self._wrong(prior)), "answers": "wrong"})

    def inject(self, aws: Aws, prior: ThirdPartyState) -> None:
        self._door(aws, prior.url).tell(written(self._wrong(prior)))

    def undo(self, aws: Aws, prior: ThirdPartyState) -> None:
        self._door(aws, prior.url).tell(prior.fault)

    def _wrong(self, prior: ThirdPartyState | None) -> WrongAnswer:
        """What callers are to get, spelled out: of a case as the ledger has it, for an undo knows no system file."""
        if prior is not None and prior.wrong is not None:
            return WrongAnswer.model_validate_json(prior.wrong)
        wrong = WrongAnswer.model_validate({name: getattr(self, name) for name in WrongAnswer.model_fields})
        return wrong if self.case is None else spelled_out(self._described().stub, wrong)

    def unknown_in(self, system: System) -> str | None:
        known = system.third_parties
        if self.system != system.system:
            return None
        if self.name not in known:
            near = near_match(self.name, known)
            return f"expected a third party of systems/{self.system}.yaml, found '{self.name}'. {near}"
        stub = known[self.name].stub
        cases = CASES.get(stub, {})
        if self.case is not None and self.case not in cases:
            return f"expected a case of the stub {stub}, found '{self.case}'. {near_match(self.case, cases)}"
        return None

    def _described(self) -> Described:
        """The third party as the system file has it."""
        system = load_system(find_root(Path.cwd()), self.system)
        if (unknown := self.unknown_in(system)) is not None:
            raise InvalidInput(unknown)
        return system.third_parties[self.name]

    def _stub(self, aws: Aws) -> str:
        """Where the stub listens, as those who call it are told."""
        described = self._described()
        _check_target(self.resource, aws)
        urls = sorted({*self._called(aws, described), *self._subscribed(aws, described)})
        if len(urls) != 1:
            ways = (*([described.env] if described.env else ()), *(f"topic {name}" for name in described.topics))
            raise TargetError(
                f"expected {' and '.join(ways)} of the {self.resource} to lead to one place, found {urls}"
            )
        return urls[0]

    @staticmethod
    def _called(aws: Aws, described: Described) -> set[str]:
        """Where those who call it do so."""
        if described.env is None:
            return set()
        return {
            *(_origin(environments.of_function(aws, name, described.env)) for name in described.functions),
            *(_origin(environments.of_service(aws, name, described.env)) for name in described.services),
        }

    def _subscribed(self, aws: Aws, described: Described) -> set[str]:
        """Where its stub is subscribed. Others are, too: who is no stub of this sandbox is not asked."""
        found = set()
        for topic in described.topics:
            urls = {_origin(url) for url in http_subscribers(aws.target, aws.arn("sns", topic))}
            ports = _ports_of_stubs(aws)
            here = {url for url in urls if _is_here(url) and urlsplit(url).port in ports}
            stubs = {url for url in here if self._door(aws, url).kind() == described.stub}
            if not stubs:
                raise TargetError(
                    f"expected the stub {described.stub} to be subscribed to the topic {topic} over HTTP, and to have "
                    f"confirmed it, found {len(urls)} other subscribers"
                )
            found |= stubs
        return found

    def _door(self, aws: Aws, url: str) -> Door:
        """The door at a URL. Only what listens on this machine, for an account that is on this machine, is asked."""
        _check_target(self.resource, aws)
        if not _is_here(url):
            raise _no_door(self.resource, f"{url}, which is not on this machine and was not asked")
        return Door(url, aws.target.door_token)


def _ports_of_stubs(aws: Aws) -> set[int | None]:
    """On which ports of this machine the sandbox has stubs. Raises TargetError."""
    target = aws.target
    try:
        told = ask_door(target.endpoint_url or "", target.door_token, "status", {}, PATIENCE_S)
        return {urlsplit(str(url)).port for url in told["stubs"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TargetError(f"expected the sandbox to tell its stubs, found: {error}") from error


def _check_target(resource: str, aws: Aws) -> None:
    """A function of a real account that is told `localhost` means itself, and not this machine.

    Raises:
        Refused: the account is not on this machine.
    """
    if not _is_here(aws.target.endpoint_url):
        raise _no_door(resource, f"the real one, which was not asked: '{aws.target.name}' is no sandbox")


def _no_door(resource: str, found: str) -> Refused:
    return Refused(
        "third-party",
        f"expected a stub with a fault door as the {resource}, found {found}. Only stubs of the sandbox have a door. "
        "Use endpoint_override: it points the base URL of a function at a fault server that you name (`url`).",
    )


def _origin(url: str) -> str:
    """Scheme, host and port: no path, and no credentials."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise TargetError(f"expected a base URL, found a value that is none: {error}") from None
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _is_here(url: str | None) -> bool:
    """Whether a URL is of plain HTTP and leads to this machine."""
    if url is None:
        return False
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return False
    try:
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return parts.hostname == "localhost"

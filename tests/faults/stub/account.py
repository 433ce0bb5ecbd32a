"""The account: its services, the errors it is told to answer, and a target that leads to it.

botocore checks what is asked against its own model of the service; what is answered is checked against it, too.
Nothing is sent: the answer is given where botocore would make the HTTP request, so that its own retries are no part of
a test.
"""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.session
import pg8000.native
from botocore import xform_name
from botocore.exceptions import ReadTimeoutError
from tests.faults.stub.clock import Clock
from tests.faults.stub.errors import StubError
from tests.faults.stub.postgres import Postgres
from tests.faults.stub.services import SERVICES

from tocsin.aws.target import Target

ACCOUNT, REGION = "123456789012", "eu-west-1"
TIMEOUT = "(no answer)"
"""An error that is none: AWS does not answer in time."""
_COMMON = {"query": ("Throttling", "RequestExpired"), "rest-xml": ("SlowDown", "RequestTimeout")}
_STATUS = {"InternalFailure": 500, "ServiceUnavailable": 503, "SlowDown": 503}
_QUERY_CODES = {
    "QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
    "KmsThrottled": "KMS.ThrottlingException",
    "KmsAccessDenied": "KMS.AccessDeniedException",
}
"""What SQS answers instead of the name in the model: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""


@dataclass
class Failure:
    """The next `times` calls of an operation, after `after` that are answered, are answered with an error."""

    operation: str
    code: str
    times: float = float("inf")
    after: int = 0
    done: bool = field(default=False)
    """Whether AWS does what it was asked for all the same, and only the answer is an error."""


@dataclass
class Omission:
    """The next `times` answers of an operation lack a member: `Targets[].Port`."""

    operation: str
    member: str
    times: float = float("inf")


class StubAws:
    """What happens to every call; `asked` are their names in order, as `sqs:ReceiveMessage`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked: list[str] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        """Each of them with its parameters."""
        self.failures: list[Failure] = []
        self.omissions: list[Omission] = []
        self.optional: dict[str, set[str]] = {}
        """By operation: members that were answered, and that no model requires."""
        self.services: dict[str, Any] = {name: make(clock) for name, make in SERVICES.items()}
        self.postgres = Postgres()

    def install(self, patch: Any) -> None:
        """Stand where code of functions, databases and AWS are reached, as long as a test lasts."""
        patch.setattr(StubTarget, "here", self, raising=False)
        patch.setattr(urllib.request, "urlopen", self.download)
        patch.setattr(pg8000.native, "Connection", self.postgres.connect)

    def fails(self, operation: str, code: str, **how: Any) -> Failure:
        """Answer an operation with an error from now on."""
        self.failures.append(Failure(operation, code, **how))
        return self.failures[-1]

    def answer(self, model: Any, request: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """What botocore takes for the HTTP answer, and for what it read of it."""
        service, operation = model.service_model.service_name, model.name
        name = f"{service}:{operation}"
        self.asked.append(name)
        failure = self._failure(name)
        asked = request["context"]["asked"]
        self.requests.append((name, asked))
        if failure is not None:
            if failure.done:
                with suppress(StubError):  # what would have been refused is not told either
                    self._do(service, operation, asked)
            if failure.code == TIMEOUT:
                raise ReadTimeoutError(endpoint_url=f"https://{service}")
            return _error(status_of(model, failure.code), failure.code, "as the test said")
        try:
            answer = self._do(service, operation, asked)
        except StubError as error:
            return _error(status_of(model, error.code), error.code, error.message)
        known = set(model.output_shape.members) if model.output_shape is not None else set()
        assert set(answer) <= known, f"{name} answers {set(answer) - known}, which it has not"
        if model.output_shape is not None:
            self.optional.setdefault(name, set()).update(optional_members(model.output_shape, answer))
        for omission in self.omissions:
            if omission.operation == name and omission.times > 0:
                omission.times -= 1
                answer = without(answer, omission.member.split("."))
        return _http(200), {**answer, "ResponseMetadata": {"HTTPStatusCode": 200}}

    def download(self, url: str, timeout: float) -> io.BytesIO:
        """What the presigned address of a function's code leads to."""
        return io.BytesIO(self.services["lambda"].code[url.partition("example.com/")[2]])

    def _do(self, service: str, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = getattr(self.services[service], xform_name(operation))(asked) or {}
        return found

    def _failure(self, name: str) -> Failure | None:
        for failure in self.failures:
            if failure.operation == name and failure.times > 0:
                if failure.after > 0:
                    failure.after -= 1
                    continue
                failure.times -= 1
                return failure
        return None


def optional_members(shape: Any, answer: Any, path: str = "") -> Iterator[str]:
    """What an answer says and could leave out: every member of a structure that its model does not require."""
    if shape.type_name == "list":
        for one in answer:
            yield from optional_members(shape.member, one, f"{path}[]")
    elif shape.type_name == "structure" and isinstance(answer, dict):
        for name in answer.keys() & shape.members.keys():
            here = f"{path}.{name}".removeprefix(".")
            if name not in shape.required_members:
                yield here
            yield from optional_members(shape.members[name], answer[name], here)


def without(answer: Any, path: Sequence[str]) -> Any:
    """A copy of an answer that lacks one member, in each element of a list."""
    name = path[0].removesuffix("[]")
    if len(path) == 1:
        return {key: value for key, value in answer.items() if key != name}
    if name not in answer:
        return answer
    inner = answer[name]
    cut = [without(one, path[1:]) for one in inner] if path[0].endswith("[]") else without(inner, path[1:])
    return {**answer, name: cut}


def status_of(model: Any, code: str) -> int:
    """HTTP status of an error, as the model of the operation has it."""
    for shape in model.error_shapes:
        told = shape.metadata.get("error", {})
        if code in (told.get("code", shape.name), shape.name):
            return int(told.get("httpStatusCode", 500 if shape.metadata.get("fault") else 400))
    return _STATUS.get(code, 400)


def model_of(call: str) -> Any:
    """botocore's model of an operation, as `sqs:ReceiveMessage`."""
    service, operation = call.split(":")
    return _session().get_service_model(service).operation_model(operation)


def documented(service: str, operation: str) -> tuple[str, ...]:
    """Codes of every error that an operation may answer: those of its model, and those common to all of AWS.

    https://docs.aws.amazon.com/awssupport/latest/APIReference/CommonErrors.html
    """
    model = model_of(f"{service}:{operation}")
    own = [str(shape.metadata.get("error", {}).get("code", shape.name)) for shape in model.error_shapes]
    own = [_QUERY_CODES.get(code, code) if service == "sqs" else code for code in own]
    protocol = model.service_model.metadata["protocol"]
    common: Iterable[str] = _COMMON.get(protocol, ("ThrottlingException", "ExpiredTokenException"))
    denied = "AccessDenied" if protocol in ("query", "rest-xml") else "AccessDeniedException"
    return tuple(dict.fromkeys([*own, *common, denied, "InternalFailure", "ServiceUnavailable", TIMEOUT]))


_SESSIONS: list[Any] = []


def _session() -> Any:
    if not _SESSIONS:
        _SESSIONS.append(botocore.session.get_session())
    return _SESSIONS[0]


def _http(status: int) -> Any:
    return SimpleNamespace(status_code=status, headers={}, content=b"")


def _error(status: int, code: str, message: str) -> tuple[Any, dict[str, Any]]:
    told = {"Code": code, "Message": message}
    return _http(status), {"Error": told, "ResponseMetadata": {"HTTPStatusCode": status}}


class StubTarget(Target):
    """A target whose clients ask whichever account is `here` at the time: clients are dear to make."""

    here: StubAws

    @cached_property
    def session(self) -> boto3.Session:
        session = boto3.Session("AKIA0000000000000000", "no-secret", region_name=self.region)
        session.events.register("provide-client-params", _keep_params)
        session.events.register("before-call", self._ask)
        return session

    def _ask(self, model: Any, params: dict[str, Any], **_: Any) -> Any:
        return type(self).here.answer(model, params)

    def renew(self) -> None:
        """Credentials are no part of it."""


def _keep_params(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context["asked"] = params


TARGET = StubTarget(name="account", region=REGION, account=ACCOUNT)
"""At the speed of a real account."""
SCALE = 60.0
FAST = StubTarget(name="fast", region=REGION, account=ACCOUNT, scale=SCALE)
ARMED = StubTarget(
    name="armed", region=REGION, account=ACCOUNT, scale=SCALE, dead_man_role=f"arn:aws:iam::{ACCOUNT}:role/dead-man"
)
"""With schedules that end a fault when nobody is left to do it."""

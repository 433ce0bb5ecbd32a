"""Where a system runs: the embedded sandbox, or an AWS account and region."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, HTTPClientError, WaiterError
from botocore.parsers import ResponseParserError

from tocsin.errors import NotFound, TargetError, Unavailable
from tocsin.iam import CallLog
from tocsin.model.rules import GuardRules

_NOT_FOUND = ("NotFound", "NonExistent", "DoesNotExist", "NoSuch")
_LATER = frozenset(
    {
        "BandwidthLimitExceeded",
        "ConcurrentModification",
        "EC2ThrottledException",
        "ExpiredToken",
        "ExpiredTokenException",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "LimitExceededException",
        "OperationAborted",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestExpired",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ResourceConflictException",
        "ResourceInUseException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
"""Error codes after which the same call may succeed: those that botocore's standard mode retries
(https://boto3.amazonaws.com/v1/documentation/api/latest/guide/retries.html), expired credentials, which whoever owns
them renews, and conflicts of Lambda, IAM, S3 and DynamoDB with a change that is still going on."""

_SAID_BY_THE_TARGET = frozenset(
    {"aws_access_key_id", "aws_account_id", "aws_secret_access_key", "aws_session_token", "endpoint_url"}
)
"""Options of `boto3.client` that say where, and as whom."""


@dataclass(frozen=True)
class Target:
    """An AWS-compatible API and the speed of its clock.

    `scale` is 1 on a real account; in the sandbox, production durations are divided by it. `timeout_s` is how long one
    call may take, in wall seconds. `role_arn` is assumed with the credentials found, and renewed before it ends.
    `rules` are kept by the guards. `calls` counts what is asked of the account. `dead_man_role` is the ARN of the role
    under which EventBridge Scheduler ends a fault that nobody is left to undo; None for no such schedules.
    """

    name: str
    region: str
    endpoint_url: str | None = None
    account: str | None = None
    profile: str | None = None
    dead_man_role: str | None = None
    role_arn: str | None = None
    scale: float = 1.0
    timeout_s: float = 20.0
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    rules: GuardRules = field(default_factory=GuardRules, repr=False)
    calls: CallLog = field(default_factory=CallLog, repr=False, compare=False)

    _clients: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _making: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    @cached_property
    def session(self) -> boto3.Session:
        """A session of its own: never boto3's process-wide default."""
        session = boto3.Session(
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name=self.region,
            profile_name=self.profile,
        )
        if self.role_arn is not None:
            session = _in_role(session, self.role_arn, self.endpoint_url)
        session.events.register("before-call", self.calls.see)
        return session

    def client(self, service: str) -> Any:
        """A boto3 client with bounded time-outs and the standard retries; one a service, for all threads.

        Clients may be shared between threads, but not made by two at once
        (https://boto3.amazonaws.com/v1/documentation/api/latest/guide/clients.html).
        """
        with self._making:
            if service not in self._clients:
                self._clients[service] = self._make_client(service)
            return self._clients[service]

    @contextmanager
    def as_default(self) -> Iterator[None]:
        """As long as this lasts, boto3's process-wide default session is this target.

        For code that is not ours and calls `boto3.client(...)`, as the actions of chaostoolkit-aws do: it reaches the
        endpoint with the credentials that the guards have looked at, and its calls are counted. Whatever account or
        endpoint it names itself is not used.
        """
        before = boto3.DEFAULT_SESSION
        boto3.DEFAULT_SESSION = _DefaultSession(self, self._make_for_others)
        try:
            yield
        finally:
            boto3.DEFAULT_SESSION = before

    def _make_for_others(self, kind: str, service: str, region_name: str | None = None, **options: Any) -> Any:
        kept = {name: value for name, value in options.items() if name not in _SAID_BY_THE_TARGET}
        with self._making:
            make = getattr(self.session, kind)
            return make(service, region_name=region_name or self.region, endpoint_url=self.endpoint_url, **kept)

    def renew(self) -> None:
        """Forget all clients and credentials: the next client reads them again from where they come from."""
        with self._making:
            self._clients.clear()
            self.__dict__.pop("session", None)

    def _make_client(self, service: str) -> Any:
        return self.session.client(
            service,
            endpoint_url=self.endpoint_url,
            config=Config(
                connect_timeout=5, read_timeout=self.timeout_s, retries={"mode": "standard", "max_attempts": 3}
            ),
        )


class _DefaultSession:
    """What boto3 asks of its default session, answered by a target."""

    def __init__(self, target: Target, make: Callable[..., Any]) -> None:
        self._target = target
        self._make = make

    def client(self, service: str, *region: str, **options: Any) -> Any:
        return self._make("client", service, *region, **options)

    def resource(self, service: str, *region: str, **options: Any) -> Any:
        return self._make("resource", service, *region, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target.session, name)


def _in_role(session: boto3.Session, role_arn: str, endpoint_url: str | None) -> boto3.Session:
    """A session in a role that `session` may assume: when first used, and again before its credentials end."""

    class _Role(CredentialProvider):  # type: ignore[misc]  # botocore carries no types
        METHOD = "assume-role"

        def load(self) -> Any:
            fetcher = AssumeRoleCredentialFetcher(
                client_creator=_sts_of(session, endpoint_url),
                source_credentials=session.get_credentials(),
                role_arn=role_arn,
                extra_args={"RoleSessionName": _session_name()},
            )
            return DeferredRefreshableCredentials(method=self.METHOD, refresh_using=fetcher.fetch_credentials)

    inner = botocore.session.Session()
    inner.register_component("credential_provider", CredentialResolver([_Role()]))
    return boto3.Session(botocore_session=inner, region_name=session.region_name)


def _sts_of(session: boto3.Session, endpoint_url: str | None) -> Callable[..., Any]:
    """How botocore makes the STS client of a role; the credentials that it passes are the session's own."""

    def create(service: str, **_: Any) -> Any:
        return session.client(service, endpoint_url=endpoint_url)

    return create


def _session_name() -> str:
    """Who is calling, as CloudTrail will show it: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html"""
    return re.sub(r"[^\w+=,.@-]", "-", f"tocsin-{getpass.getuser()}")[:64]


@contextmanager
def aws_errors(doing: str) -> Iterator[None]:
    """The one door at which botocore's errors become ours.

    Raises:
        NotFound: the resource does not exist.
        Unavailable: throttled, timed out, 5xx or expired credentials; the same call may succeed later.
        TargetError: any other answer.
    """
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        message = error.response.get("Error", {}).get("Message", "")
        raise _kind(code, error.response)(f"{doing}: AWS answered {code}: {message}") from error
    except (HTTPClientError, CredentialRetrievalError, WaiterError, ResponseParserError) as error:
        raise Unavailable(f"{doing}: {error}") from error
    except BotoCoreError as error:
        raise TargetError(f"{doing}: {error}") from error


def _kind(code: str, response: Mapping[str, Any]) -> type[TargetError]:
    if any(mark in code for mark in _NOT_FOUND):
        return NotFound
    failed_by_itself = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500
    return Unavailable if code in _LATER or failed_by_itself else TargetError

"""Where a system runs: the embedded sandbox, or an AWS account and region."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, HTTPClientError, WaiterError
from botocore.parsers import ResponseParserError

from tocsin.errors import NotFound, TargetError, Unavailable
from tocsin.iam import CallLog

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


@dataclass(frozen=True)
class Target:
    """An AWS-compatible API and the speed of its clock.

    `scale` is 1 on a real account; in the sandbox, production durations are divided by it. `timeout_s` is how long one
    call may take, in wall seconds. `calls` counts what is asked of the account. `dead_man_role` is the ARN of the role
    under which EventBridge Scheduler ends a fault that nobody is left to undo; None for no such schedules.
    """

    name: str
    region: str
    endpoint_url: str | None = None
    account: str | None = None
    profile: str | None = None
    dead_man_role: str | None = None
    scale: float = 1.0
    timeout_s: float = 20.0
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
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

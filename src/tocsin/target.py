"""Where a system runs: the embedded sandbox, or an AWS account and region."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from tocsin.errors import NotFound, TargetError

_NOT_FOUND = ("NotFound", "NonExistent", "DoesNotExist", "NoSuch")


@dataclass(frozen=True)
class Target:
    """An AWS-compatible API and the speed of its clock.

    `scale` is 1 on a real account; in the sandbox, production durations are divided by it.
    """

    name: str
    region: str
    endpoint_url: str | None = None
    account: str | None = None
    profile: str | None = None
    scale: float = 1.0
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)

    _clients: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _making: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    @cached_property
    def session(self) -> boto3.Session:
        """A session of its own: never boto3's process-wide default."""
        return boto3.Session(
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name=self.region,
            profile_name=self.profile,
        )

    def client(self, service: str) -> Any:
        """A boto3 client with bounded time-outs and the standard retries; one a service, for all threads.

        Clients may be shared between threads, but not made by two at once
        (https://boto3.amazonaws.com/v1/documentation/api/latest/guide/clients.html).
        """
        with self._making:
            if service not in self._clients:
                self._clients[service] = self._make_client(service)
            return self._clients[service]

    def _make_client(self, service: str) -> Any:
        return self.session.client(
            service,
            endpoint_url=self.endpoint_url,
            config=Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 3}),
        )


@contextmanager
def aws_errors(doing: str) -> Iterator[None]:
    """The one door at which botocore's errors become ours.

    Raises:
        NotFound: the resource does not exist.
        TargetError: any other answer, or none.
    """
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        message = error.response.get("Error", {}).get("Message", "")
        kind = NotFound if any(mark in code for mark in _NOT_FOUND) else TargetError
        raise kind(f"{doing}: AWS answered {code}: {message}") from error
    except (BotoCoreError, ResponseParserError) as error:
        raise TargetError(f"{doing}: {error}") from error

"""Where a system runs: the embedded sandbox, or an AWS account and region."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html import unescape
from threading import Lock
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    LoginRefreshRequired,
    NoCredentialsError,
    RefreshWithMFAUnsupportedError,
    SSOError,
    TokenRetrievalError,
    WaiterError,
)
from botocore.parsers import ResponseParserError

from tocsin.aws.answers import naming
from tocsin.aws.error_codes import BUSY, EXPIRED, LATER, NOT_FOUND
from tocsin.aws.iam import CallLog
from tocsin.aws.login import Login
from tocsin.aws.secret_answers import know
from tocsin.errors import Busy, CredentialsExpired, Incomplete, NotFound, TargetError, Unavailable, shortened
from tocsin.model.rules import GuardRules
from tocsin.model.spent import Spent

_NOT_RENEWED = (
    CredentialRetrievalError,
    LoginRefreshRequired,
    RefreshWithMFAUnsupportedError,
    SSOError,
    TokenRetrievalError,
)
"""What botocore raises where it cannot renew them by itself, and a person can."""
NO_CREDENTIALS = (
    "expected credentials, found none. Name a `profile` in tocsin.toml, or set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY; an emulator takes any."
)
_ANSWER_CHARACTERS = 300
_PAGE = re.compile(r"(\bb['\"])?(<!doctype html|<html\b)", re.IGNORECASE)
_BLANKS = re.compile(r"(\s|\\[nrt])+")
"""Also as botocore writes the line ends of bytes."""
_TITLE = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)
_STILL_EXPIRED = "refreshed credentials are still expired"
"""What botocore says in a bare RuntimeError."""

_SAID_BY_THE_TARGET = frozenset(
    {"aws_access_key_id", "aws_account_id", "aws_secret_access_key", "aws_session_token", "endpoint_url"}
)
"""Options of `boto3.client` that say where, and as whom."""


RETRY_AFTER_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Production seconds between the attempts of a change, two minutes in all; botocore's own retries come on top.
https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
"""
_ATTEMPTS = 3
_RETRY_WALL_S = 0.05
"""No sooner than this on a fast clock."""


@dataclass(frozen=True)
class Target:
    """An AWS-compatible API and the speed of its clock.

    `scale` is 1 on a real account; in the sandbox, production durations are divided by it. `timeout_s` is how long one
    call may take, in wall seconds. `role_arn` is assumed with the credentials found, and renewed before it ends.
    `rules` are kept by the guards. `calls` counts what is asked of the account. `dead_man_role` is the ARN of the role
    under which EventBridge Scheduler ends a fault that nobody is left to undo; None for no such schedules. `door_token`
    opens what a sandbox offers beside the AWS API.
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
    door_token: str | None = field(default=None, repr=False)
    rules: GuardRules = field(default_factory=GuardRules, repr=False)
    calls: CallLog = field(default_factory=CallLog, repr=False, compare=False)

    login: Login = field(init=False, repr=False, compare=False)
    """As whom it is called: forgotten by whatever else is the same in another target."""
    _clients: dict[tuple[str, bool], tuple[int, Any]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _making: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Whatever names it differently is somebody else; `in_region` is the same one elsewhere."""
        login = Login(
            region=self.region,
            profile=self.profile,
            role_arn=self.role_arn,
            endpoint_url=self.endpoint_url,
            key=(self.access_key_id, self.secret_access_key),
            see=self.calls.see,
        )
        object.__setattr__(self, "login", login)
        know(self.door_token)

    @property
    def session(self) -> boto3.Session:
        """A session of its own: never boto3's process-wide default."""
        return self.login.session

    @property
    def is_account(self) -> bool:
        """Whether it is AWS itself, where other people's data is, and not an emulator that is thrown away."""
        return self.endpoint_url is None

    def in_region(self, region: str) -> Target:
        """The same target in another region, with the same credentials: whoever is asked for a code is asked once."""
        if region == self.region:
            return self
        there = replace(self, region=region)
        object.__setattr__(there, "login", self.login)
        return there

    def client(self, service: str, *, retries: bool = True) -> Any:
        """A boto3 client with bounded time-outs and the standard retries, or none; one a service, for all threads.

        Clients may be shared between threads, but not made by two at once
        (https://boto3.amazonaws.com/v1/documentation/api/latest/guide/clients.html).
        """
        with self._making:
            renewed = self.login.renewals
            made, client = self._clients.get((service, retries), (-1, None))
            if made != renewed:
                client = self._make_client(service, attempts=_ATTEMPTS if retries else 1)
                self._clients[service, retries] = (renewed, client)
            return client

    @contextmanager
    def as_default(self) -> Iterator[None]:
        """As long as this lasts, boto3's process-wide default session is this target.

        For code that is not ours and calls `boto3.client(...)`, as the actions of chaostoolkit-aws do: it reaches the
        endpoint with the credentials that the guards have looked at, and its calls are counted. Whatever account or
        endpoint it names itself is not used. Safe in several threads at once: what was there before comes back when the
        last of them is done.
        """
        with _DEFAULTS.lasting(_DefaultSession(self, self._make_for_others)):
            yield

    def _make_for_others(self, kind: str, service: str, region_name: str | None = None, **options: Any) -> Any:
        kept = {name: value for name, value in options.items() if name not in _SAID_BY_THE_TARGET}
        with self._making:
            make = getattr(self.session, kind)
            return make(service, region_name=region_name or self.region, endpoint_url=self.endpoint_url, **kept)

    def renew(self) -> None:
        """Forget all clients and credentials, in every region: the next client reads them from where they come from."""
        self.login.renew()

    def _make_client(self, service: str, attempts: int) -> Any:
        client = self.session.client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            config=Config(
                connect_timeout=5, read_timeout=self.timeout_s, retries={"mode": "standard", "max_attempts": attempts}
            ),
        )
        return naming(client)


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


class _Defaults:
    """Which session is boto3's default one: of those that last, the one that began last."""

    def __init__(self) -> None:
        self._changing = Lock()
        self._lasting: list[_DefaultSession] = []
        self._before: Any = None

    @contextmanager
    def lasting(self, session: _DefaultSession) -> Iterator[None]:
        with self._changing:
            if not self._lasting:
                self._before = boto3.DEFAULT_SESSION
            self._lasting.append(session)
            boto3.DEFAULT_SESSION = session
        try:
            yield
        finally:
            with self._changing:
                self._lasting.remove(session)
                boto3.DEFAULT_SESSION = self._lasting[-1] if self._lasting else self._before


_DEFAULTS = _Defaults()
"""boto3 has one default session in a process, and activities in the background run beside others."""


def pause_wall_s(target: Target, attempt: int) -> float:
    """Wall seconds after an attempt that failed, counted from 0, until the next one."""
    return max(_RETRY_WALL_S, RETRY_AFTER_S[min(attempt, len(RETRY_AFTER_S) - 1)] / target.scale)


@contextmanager
def aws_errors(doing: str) -> Iterator[None]:
    """The one door at which botocore's errors become ours.

    Raises:
        NotFound: the resource does not exist.
        Unavailable: throttled, timed out, 5xx; the same call may succeed later.
        Incomplete: an Unavailable because an answer lacks what it must say.
        Busy: an Unavailable because another change of it is going on; nothing was done.
        CredentialsExpired: an Unavailable after which `Target.renew` may help.
        TargetError: any other answer.
    """
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        said = _said(error.response.get("Error", {}).get("Message", ""))
        raise _kind(code, error.response)(f"{doing}: AWS answered {code}: {said}") from error
    except _NOT_RENEWED as error:
        raise CredentialsExpired(f"{doing}: {error}") from error
    except (HTTPClientError, WaiterError, ResponseParserError) as error:
        raise Unavailable(f"{doing}: {shortened(_said(str(error)), _ANSWER_CHARACTERS)}") from error
    except NoCredentialsError as error:
        raise TargetError(f"{doing}: {NO_CREDENTIALS}") from error
    except BotoCoreError as error:
        raise TargetError(f"{doing}: {error}") from error
    except Incomplete as error:
        raise Incomplete(f"{doing}: {error}") from error
    except (KeyError, IndexError) as error:
        # A proxy, an endpoint that only looks like AWS: botocore leaves out what an answer does not say.
        what = f"without {error}" if isinstance(error, KeyError) else "with an empty list"
        raise Unavailable(f"{doing}: expected an answer that says it, found one {what}") from error
    except RuntimeError as error:
        if _STILL_EXPIRED not in str(error):
            raise
        raise CredentialsExpired(f"{doing}: {error}") from error


def _said(text: str) -> str:
    """What was answered: instead of an error of AWS it may be the page of a proxy or of a server, told by its title."""
    page = _PAGE.search(text)
    if page is None:
        return text
    title = _TITLE.search(text, page.end())
    called = f" called '{_BLANKS.sub(' ', unescape(title[1])).strip()}'" if title else ""
    return f"{' '.join(text[: page.start()].split())} a page of HTML{called}".lstrip()


def may_be_done(error: Unavailable) -> bool:
    """Whether AWS may have done what it was asked for, although it did not say so: no answer came, or one of its own
    failures. What it refused, as where it throttles, it has not done.
    """
    answered = error.__cause__
    if not isinstance(answered, ClientError):
        return True
    return int(answered.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)) >= 500


def _kind(code: str, response: Mapping[str, Any]) -> type[TargetError]:
    if any(mark in code for mark in NOT_FOUND):
        return NotFound
    if code in BUSY:
        return Busy
    if code in EXPIRED:
        return CredentialsExpired
    failed_by_itself = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500
    return Unavailable if code in LATER or failed_by_itself else TargetError


def _nothing_to_spend(limit: int, what: Spent) -> bool:
    """Without a ledger nobody remembers what was spent."""
    return False


def _nothing_spent(what: Spent) -> int:
    """Without a ledger nothing was."""
    return 0


def _nothing_noted(name: str) -> str | None:
    """Without a ledger nothing is known of before."""
    return None


def _noted_nowhere(name: str, value: str | None) -> bool:
    """Without a ledger nobody will know."""
    return False


@dataclass(frozen=True)
class Aws:
    """What a fault may use: clients of the target, the id of its ledger entry, and production time."""

    target: Target
    entry: str
    expires_at: float | None = None
    """Epoch seconds at which a self-expiring fault ends by itself."""
    wait: Callable[[float], None] = time.sleep
    """Sleeps in wall seconds. While a drill injects, raises Refused when its end is asked for."""
    spend: Callable[[int, Spent], bool] = _nothing_to_spend
    """Takes one of so many that the entry has in all, in whichever process; False when none is left."""
    spent: Callable[[Spent], int] = _nothing_spent
    """How many the entry has taken so far."""
    noted: Callable[[str], str | None] = _nothing_noted
    """What the ledger holds under a name, whichever entry wrote it. Raises LedgerError."""
    note: Callable[[str, str | None], bool] = _noted_nowhere
    """Writes it for every entry and process after this one; False when it could not be written."""

    patience_s: float = 0.0
    """Production seconds for which `ask` waits for what is busy."""

    def client(self, service: str) -> Any:
        """A boto3 client of the target."""
        return self.target.client(service)

    def ask(self, doing: str, call: Callable[..., Any], **request: Any) -> Any:
        """One call of a client that changes something, made again as long as its resource is busy and patience lasts.

        Raises:
            Busy: it still is.
            TargetError: any other answer, as `aws_errors` has it.
        """
        deadline, attempt = time.monotonic() + self.patience_s / self.target.scale, 0
        while True:
            try:
                with aws_errors(doing):
                    return call(**request)
            except Busy:
                pause, attempt = pause_wall_s(self.target, attempt), attempt + 1
                if time.monotonic() + pause > deadline:
                    raise
                self.wait(pause)

    @property
    def partition(self) -> str:
        """`aws`, or that of China or of the government regions."""
        return str(self.target.session.get_partition_for_region(self.target.region))

    def arn(self, service: str, resource: str) -> str:
        """ARN of a resource in the target's account and region, whose name is all there is to know."""
        return f"arn:{self.partition}:{service}:{self.target.region}:{self.target.account}:{resource}"

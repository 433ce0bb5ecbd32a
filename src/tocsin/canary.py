"""What a file of canaries imports: a user's journey through the API, in named steps.

    def canary_orders(api: Journey) -> None:
        with api.step("create"):
            order = api.post("/orders", json={"sku": "1"}, as_="customer").json()
            api.cleanup(lambda: api.delete(f"/orders/{order['id']}", as_="customer"))
        with api.step("read"):
            assert api.get(f"/orders/{order['id']}", as_="customer").json()["state"] == "NEW"

Any status but 2xx fails the step unless it is expected, a redirect too: whoever is sent to a login page was not served.
A journey that wants the redirect says `expect=302`, one that wants to go where it leads says `follow_redirects=True`.
Every answer is checked against the contract, by the library that makes the contract tests.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from typing import Any, NoReturn, Protocol

import httpx

from tocsin.errors import InvalidInput, TargetError
from tocsin.masking import KNOWN, mask
from tocsin.model.duration import parse_duration
from tocsin.model.events import CanaryRan, CanaryStep
from tocsin.model.synthetic import READING, carries, may_only_look, unmarked, unmarked_statement
from tocsin.project.canary_files import canaries_in
from tocsin.project.event_streams import EventStream, EventStreamError
from tocsin.project.openapi import OpenApiDocument
from tocsin.project.proxies import is_loopback
from tocsin.project.python_files import import_python

_TIMEOUT = httpx.Timeout(10.0, connect=3.0)
_RETRY_AFTER_S = 0.2
"""Wall seconds before the second attempt: a blip is over, an outage is not."""
_READ, _TOLD = 4000, 200
"""Characters of an answer that are looked at, and that are told: masked before it is cut, for half a secret is one."""

Canary = Callable[["Journey"], None]


class CanaryFailed(AssertionError):
    """The system did not do what the canary expects of it."""


class Logs(Protocol):
    """Reads the system's own logs, where a journey ends in a worker that no caller sees."""

    def find(self, log_group: str, fields: Mapping[str, str], within_s: float) -> bool:
        """Whether a JSON line with these fields appears within production seconds."""


class Mails(Protocol):
    """Reads what the system mailed, where a target keeps it."""

    def find(self, to: str, containing: str, within_s: float) -> bool:
        """Whether a mail to this address, with this in its subject or text, appears within production seconds."""


class Pages(Protocol):
    """Reads what those were told who are told of alarms, where a target keeps it."""

    def find(self, by: str, containing: str, within_s: float) -> bool:
        """Whether a stub of this kind was told a text with this in it within production seconds."""


class Statements(Protocol):
    """Runs statements of SQL in one session."""

    def __call__(self, sql: str, **values: Any) -> Any:
        """The rows of the answer; `:name` in the statement is a value."""


@dataclass(frozen=True)
class Surroundings:
    """What all journeys of a system share."""

    base_url: str
    token: Callable[[str], str]
    """bearer token of an identity of the system file"""
    contract: OpenApiDocument | None = None
    logs: Logs | None = None
    mails: Mails | None = None
    pages: Pages | None = None
    database: Callable[[str], AbstractContextManager[Statements]] | None = None
    """a session in the database that a secret of this name leads to"""
    marks: tuple[str, ...] = ()
    """one of them is in each request and statement that may change something; none where nothing is said of it"""
    removing: bool = False
    """the journeys only remove: their requests need no mark, their statements do"""
    user: Callable[[str], str] = str
    """name of the user behind an identity of the system file"""
    ssl: SSLContext = field(default_factory=httpx.create_ssl_context)
    """made once: reading the certificates of the world takes longer than most requests"""


class Journey:
    """One attempt of one canary."""

    def __init__(self, surroundings: Surroundings, client: httpx.Client) -> None:
        self._around = surroundings
        self._client = client
        self._cleanups: list[Callable[[], object]] = []
        self._cleaning = False
        self._in_step = False
        self.steps: list[CanaryStep] = []
        self.requests_in_steps = 0
        self.failure: BaseException | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A named part of the journey, timed; what goes wrong in it is told under its name."""
        started = time.perf_counter()
        before, self._in_step = self.failure, True
        try:
            yield
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self._in_step = False
            ms = round((time.perf_counter() - started) * 1000, 1)
            # Also a failure that the canary caught itself: once seen it cannot be talked away.
            failed = self.failure if self.failure is not before else None
            detail = describe(failed) if failed is not None else ""
            self.steps.append(CanaryStep(name=name, ok=failed is None, ms=ms, detail=detail))

    def request(
        self, method: str, path: str, *, as_: str | None = None, expect: int | None = None, **arguments: Any
    ) -> httpx.Response:
        """Send one request and check the answer.

        Args:
            method: HTTP method.
            path: path below the system's base URL, without a host.
            as_: identity of the system file to send a token of; none by default.
            expect: the one status that is right; by default any of success (2xx).
            arguments: as for `httpx.Client.request` (json, params, headers, follow_redirects, ...).

        Raises:
            CanaryFailed: another status, or an answer that breaks the contract.
            httpx.HTTPError: no answer.
            InvalidInput: it may change something and carries no mark of `test_data`; it is not sent.
        """
        headers = dict(arguments.pop("headers", None) or {})
        _learn_secrets(headers, arguments)
        options = {name: arguments.pop(name) for name in ("auth", "follow_redirects") if name in arguments}
        request = self._client.build_request(method, self._around.base_url + path, headers=headers, **arguments)
        self._check_marked(request, f"{method} {path}", as_, headers, options.get("auth"))
        request.headers.update(self._authorization(as_))
        try:
            response = self._client.send(request, **options)
            for cookie in response.headers.get_list("set-cookie"):
                KNOWN.learn_named({"set-cookie": cookie.partition(";")[0]})
            if not self._cleaning:
                self._check(method, path, response, expect)
        except (CanaryFailed, httpx.HTTPError) as error:
            self.failure = self.failure if self._cleaning else error
            raise
        finally:
            self.requests_in_steps += self._in_step
        return response

    def _authorization(self, as_: str | None) -> dict[str, str]:
        """The header by which an identity is known; none for nobody."""
        if as_ is None:
            return {}
        token = self._around.token(as_)
        KNOWN.learn(token)
        return {"Authorization": f"Bearer {token}"}

    def _check_marked(
        self, request: httpx.Request, told: str, as_: str | None, own: Mapping[str, str], auth: object
    ) -> None:
        """`own`: the headers that the canary names; those of every request tell nobody's data from another's."""
        marks, around = self._around.marks, self._around
        if not marks or around.removing or self._cleaning or request.method.upper() in READING:
            return
        user = None if as_ is None else around.user(as_)
        signs_in = auth[0] if isinstance(auth, tuple) and auth and isinstance(auth[0], str | bytes) else None
        if not carries(marks, user, signs_in, *_sent(request, around.base_url, own)):
            self._refuse(unmarked(marks, told))

    def _refuse(self, why: str) -> NoReturn:
        error = InvalidInput(why)
        # Also where the canary goes on without it: once seen it cannot be talked away.
        self.failure = self.failure or error
        raise error

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        """GET, as `request`."""
        return self.request("GET", path, **arguments)

    def post(self, path: str, **arguments: Any) -> httpx.Response:
        """POST, as `request`."""
        return self.request("POST", path, **arguments)

    def put(self, path: str, **arguments: Any) -> httpx.Response:
        """PUT, as `request`."""
        return self.request("PUT", path, **arguments)

    def patch(self, path: str, **arguments: Any) -> httpx.Response:
        """PATCH, as `request`."""
        return self.request("PATCH", path, **arguments)

    def delete(self, path: str, **arguments: Any) -> httpx.Response:
        """DELETE, as `request`."""
        return self.request("DELETE", path, **arguments)

    @contextmanager
    def events(self, path: str, *, as_: str | None = None, within_s: float = 10.0) -> Iterator[EventStream]:
        """A stream of server-sent events, open until the block ends: `stream.wait("order", containing=...)`.

        That a stream opens says little: send something through it, and wait for that. It is not held against the
        contract, which knows whole answers only.

        Args:
            path: path below the system's base URL.
            as_: identity of the system file to send a token of; none by default.
            within_s: real seconds that its beginning, and by default each wait, may take.

        Raises:
            CanaryFailed: another answer than 200 with a stream of events, or what is waited for did not come.
            httpx.HTTPError: no answer, or it broke off.
        """
        headers = {"Accept": "text/event-stream", **self._authorization(as_)}
        url = self._around.base_url + path
        try:
            with self._client.stream("GET", url, headers=headers, timeout=within_s) as response:
                yield EventStream(response, within_s)
        except EventStreamError as error:
            self.failure = CanaryFailed(f"GET {path}: {mask(str(error))}")
            raise self.failure from error
        except httpx.HTTPError as error:
            self.failure = error
            raise
        finally:
            self.requests_in_steps += self._in_step

    def cleanup(self, function: Callable[[], object]) -> None:
        """Call `function` at the end, whatever happens; its own answer never decides anything."""
        self._cleanups.append(function)

    def logged(self, log_group: str, *, within: str = "2m", **fields: str) -> None:
        """Wait until the system's logs hold a JSON line with these fields.

        Raises:
            CanaryFailed: no such line within the (production) time.
            InvalidInput: this target has no logs to read.
        """
        if self._around.logs is None:
            raise InvalidInput("expected a target with CloudWatch Logs for `logged`, found none")
        if not self._around.logs.find(log_group, fields, parse_duration(within)):
            raise CanaryFailed(f"no line with {fields} in {log_group} within {within}")

    def mailed(self, to: str, *, containing: str, within: str = "2m") -> None:
        """Wait until SES accepted a mail to an address, with this in its subject or text: what no other mail has.

        Only the sandbox keeps what was mailed; on AWS a mail is gone.

        Raises:
            CanaryFailed: no such mail within the (production) time.
            InvalidInput: this target keeps no mails.
        """
        if self._around.mails is None:
            raise InvalidInput("expected a target that keeps mails for `mailed`, which only the sandbox is")
        if not self._around.mails.find(to, containing, parse_duration(within)):
            raise CanaryFailed(f"no mail to {to} with '{containing}' within {within}")

    def told(self, by: str, *, containing: str, within: str = "2m") -> None:
        """Wait until a stub of `slack` or `pagerduty` was told a text with this in it: what no other text has.

        Only the sandbox keeps what they were told.

        Raises:
            CanaryFailed: no such text within the (production) time.
            InvalidInput: this target keeps none.
        """
        if self._around.pages is None:
            raise InvalidInput(
                "expected a target that keeps what people are told for `told`, which only the sandbox is"
            )
        if not self._around.pages.find(by, containing, parse_duration(within)):
            raise CanaryFailed(f"nothing with '{containing}' was told to {by} within {within}")

    def sql(self, secret: str, statement: str, **values: Any) -> list[Any]:
        """Run a statement in the PostgreSQL database that a secret leads to; the rows of its answer.

        For what the system offers nobody through its API, as removing what drills wrote into it. Where the system
        file has marks, one of them is in the statement or in its values, in a clean-up too; else it may only look.

        Raises:
            CanaryFailed: there is no way in, or PostgreSQL refused.
            InvalidInput: this target has no secrets to read; or the statement may change something and carries no mark
                of `test_data`, and is not run.
        """
        if self._around.database is None:
            raise InvalidInput("expected a target with Secrets Manager for `sql`, found none")
        marks = self._around.marks
        looks = not carries(marks, statement, *map(str, values.values()))
        if looks and not may_only_look(statement):
            self._refuse(unmarked_statement(marks, statement))
        try:
            with self._around.database(secret) as run:
                if looks:
                    # What begins as one that looks may write all the same: WITH ... INSERT, or a function that does.
                    run("BEGIN READ ONLY")
                rows = run(statement, **values)
        except TargetError as error:
            self.failure = CanaryFailed(str(error))
            raise self.failure from error
        finally:
            self.requests_in_steps += self._in_step
        return list(rows or [])

    def clean_up(self) -> None:
        """Run the clean-ups, latest first."""
        self._cleaning = True
        for function in reversed(self._cleanups):
            # After a failed journey anything may be missing that a clean-up needs; and it may not end the process.
            with contextlib.suppress(Exception, SystemExit):
                function()

    def _check(self, method: str, path: str, response: httpx.Response, expect: int | None) -> None:
        status = response.status_code
        if not (status == expect if expect is not None else response.is_success):
            wanted = expect if expect is not None else "a status of success (2xx)"
            raise CanaryFailed(f"{method} {path}: expected {wanted}, found {_told(response)}")
        if self._around.contract is not None:
            # A redirect that was followed is an answer of the system too.
            for answer in (*response.history, response):
                problems = self._around.contract.problems(answer, self._around.base_url)
                if problems:
                    raise CanaryFailed(f"contract: {'; '.join(problems)}")


def _sent(request: httpx.Request, base_url: str, own: Mapping[str, str]) -> Iterator[str | bytes]:
    """What of a request reaches the system and is of this request alone: no host, and no fragment of its URL."""
    yield request.url.raw_path.removeprefix(httpx.URL(base_url).raw_path.rstrip(b"/"))
    names = {name.lower() for name in own} | {"cookie"}
    for name, value in request.headers.multi_items():
        if name.lower() in names:
            yield f"{name}: {value}"
    yield request.read()


def _told(response: httpx.Response) -> str:
    """A wrong answer in a few words: where a redirect leads says more than its body."""
    told = f"{response.status_code} {mask(response.text[:_READ])[:_TOLD]}"
    if not response.has_redirect_location:
        return told
    leads_to = mask(response.headers["location"])[:_TOLD]
    return (
        f"{response.status_code}, a redirect to {leads_to}. A journey that wants it says "
        f"expect={response.status_code}, or follow_redirects=True"
    )


def _learn_secrets(headers: Mapping[str, str], arguments: Mapping[str, Any]) -> None:
    """What a canary sends of its own: no answer that repeats it is written down as it is."""
    KNOWN.learn_named([headers, arguments])
    for name in ("auth", "cookies"):
        KNOWN.learn_leaves(arguments.get(name))


def describe(error: BaseException) -> str:
    """One line about what went wrong in a step."""
    text = mask(str(error).strip().split("\n", 1)[0])
    if isinstance(error, httpx.HTTPError):
        return f"no answer: {type(error).__name__}: {text}"
    return text if isinstance(error, CanaryFailed) else f"{type(error).__name__}: {text}"


def load_canaries(path: Path) -> dict[str, Canary]:
    """The canaries of a file, by name without the prefix, in the order of the file.

    Raises:
        InvalidInput: the file cannot be imported, or holds none.
    """
    module = import_python(path, f"tocsin_canaries_{path.stem}")
    return canaries_in(module, path)


def run_canary(name: str, canary: Canary, surroundings: Surroundings, *, retry: bool = True) -> CanaryRan:
    """Run one canary, once more after a failure. Both results are kept: a retry never erases the evidence.

    A canary that raises anything but a failed expectation, or that asks nothing of the system, is broken: it says
    nothing about the system, and least of all that it is well.
    """
    started = time.time()
    first = _attempt(canary, surroundings)
    last = first
    if retry and not first.ok and not first.broken:
        time.sleep(_RETRY_AFTER_S)
        last = _attempt(canary, surroundings)
    return CanaryRan(
        at=started,
        canary=name,
        ok=first.ok,
        ok_after_retry=last.ok,
        ms=first.ms,
        steps=first.steps,
        detail=first.detail,
        broken=first.broken or last.broken,
        ended_at=time.time(),
    )


@dataclass(frozen=True)
class _Attempt:
    ok: bool
    broken: bool
    ms: float
    steps: tuple[CanaryStep, ...]
    detail: str


def _attempt(canary: Canary, surroundings: Surroundings) -> _Attempt:
    started = time.perf_counter()
    proxies = not is_loopback(surroundings.base_url)
    with httpx.Client(timeout=_TIMEOUT, verify=surroundings.ssl, trust_env=proxies) as client:
        journey = Journey(surroundings, client)
        ok, broken, detail = _travel(canary, journey)
        ms = round((time.perf_counter() - started) * 1000, 1)
        journey.clean_up()
    return _Attempt(ok=ok, broken=broken, ms=ms, steps=tuple(journey.steps), detail=detail)


def _travel(canary: Canary, journey: Journey) -> tuple[bool, bool, str]:
    try:
        canary(journey)
    except (AssertionError, httpx.HTTPError) as error:
        return False, False, _place(journey) + describe(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also what ends processes and tests: sys.exit, pytest.skip
        return False, True, f"the canary itself is broken: {_place(journey)}{describe(error)}"
    if journey.failure is not None:
        return False, False, _place(journey) + describe(journey.failure)
    if not journey.requests_in_steps:
        return False, True, "the canary itself is broken: it made no request in a step, so it can never fail"
    return True, False, ""


def _place(journey: Journey) -> str:
    failed = next((step.name for step in journey.steps if not step.ok), None)
    return f"{failed}: " if failed else ""

"""What a file of canaries imports: a user's journey through the API, in named steps.

    def canary_orders(api: Journey) -> None:
        with api.step("create"):
            order = api.post("/orders", json={"sku": "1"}, as_="customer").json()
            api.cleanup(lambda: api.delete(f"/orders/{order['id']}", as_="customer"))
        with api.step("read"):
            assert api.get(f"/orders/{order['id']}", as_="customer").json()["state"] == "NEW"

A status of 400 and above fails the step unless it is expected; every answer is checked against the contract.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from types import ModuleType
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from tocsin.errors import InvalidInput
from tocsin.masking import mask
from tocsin.model.duration import parse_duration
from tocsin.model.events import CanaryRan, CanaryStep
from tocsin.openapi import OpenApiDocument

_PREFIX = "canary_"
_TIMEOUT = httpx.Timeout(10.0, connect=3.0)
_RETRY_AFTER_S = 0.2
"""Wall seconds before the second attempt: a blip is over, an outage is not."""

Canary = Callable[["Journey"], None]


class CanaryFailed(AssertionError):
    """The system did not do what the canary expects of it."""


class Logs(Protocol):
    """Reads the system's own logs, where a journey ends in a worker that no caller sees."""

    def find(self, log_group: str, fields: Mapping[str, str], within_s: float) -> bool:
        """Whether a JSON line with these fields appears within production seconds."""


@dataclass(frozen=True)
class Surroundings:
    """What all journeys of a system share."""

    base_url: str
    token: Callable[[str], str]
    """bearer token of an identity of the system file"""
    contract: OpenApiDocument | None = None
    logs: Logs | None = None
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
            expect: the one status that is right; by default any below 400.
            arguments: as for `httpx.Client.request` (json, params, headers, ...).

        Raises:
            CanaryFailed: another status, or an answer that breaks the contract.
            httpx.HTTPError: no answer.
        """
        headers = dict(arguments.pop("headers", None) or {})
        if as_ is not None:
            headers["Authorization"] = f"Bearer {self._around.token(as_)}"
        try:
            response = self._client.request(method, self._around.base_url + path, headers=headers, **arguments)
            if not self._cleaning:
                self._check(method, path, response, expect)
        except (CanaryFailed, httpx.HTTPError) as error:
            self.failure = self.failure if self._cleaning else error
            raise
        finally:
            self.requests_in_steps += self._in_step
        return response

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

    def clean_up(self) -> None:
        """Run the clean-ups, latest first."""
        self._cleaning = True
        for function in reversed(self._cleanups):
            # After a failed journey anything may be missing that a clean-up needs.
            with contextlib.suppress(Exception):
                function()

    def _check(self, method: str, path: str, response: httpx.Response, expect: int | None) -> None:
        status = response.status_code
        right = status == expect if expect is not None else status < 400
        if not right:
            wanted = expect if expect is not None else "a status below 400"
            raise CanaryFailed(f"{method} {path}: expected {wanted}, found {status} {response.text[:200]}")
        if self._around.contract is not None:
            problems = self._around.contract.problems(
                method, urlsplit(path).path, status, response.headers.get("content-type", ""), response.content
            )
            if problems:
                raise CanaryFailed(f"contract: {'; '.join(problems)}")


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
    module = _import(path)
    found = {
        name.removeprefix(_PREFIX): function
        for name, function in vars(module).items()
        if name.startswith(_PREFIX) and callable(function)
    }
    if not found:
        raise InvalidInput(f"expected functions named {_PREFIX}*, found none", file=path)
    return found


def _import(path: Path) -> ModuleType:
    name = f"tocsin_canaries_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidInput("expected a Python file", file=path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # importing runs somebody else's code
        raise InvalidInput(f"expected to import it: {type(error).__name__}: {error}", file=path) from error
    return module


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
    with httpx.Client(timeout=_TIMEOUT, verify=surroundings.ssl) as client:
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

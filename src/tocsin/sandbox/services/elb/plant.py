"""Application load balancers: a reverse proxy on a port of its own each, target groups with real health checks.

The AWS API says what there should be (`Configuration`); the plant balances, checks, drains, answers 502, 503 and 504
[as the real one](https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html)
and publishes `AWS/ApplicationELB`. Intervals and delays are production time; time-outs of a connection, of a request
and of a health check are real time, as everything that a caller waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import ipaddress
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from itertools import count
from typing import Any, Protocol

import httpx

from tocsin.alarms.cloudwatch import metric_key
from tocsin.sandbox.hosts import for_own_names
from tocsin.sandbox.http import MIB, Message, Receive, Send, listen, read_chunk, serve_lifespan, serve_on
from tocsin.sandbox.metrics import MetricStore, Scope

NAMESPACE = "AWS/ApplicationELB"
CONNECT_TIMEOUT_S = 10.0
"""to a target, real time: the load balancer's own"""

HELD_BODY = MIB
"""Bytes of a body that are read before a target is chosen; there is no limit on all of it, as targets are servers here.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html has 1 MB for functions, which
are no targets in a sandbox.
"""

_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer"}
    | {b"transfer-encoding", b"upgrade", b"proxy-connection"}
)
# The words of the real one's pages differ from those of the standard.
_TITLES = {503: "503 Service Temporarily Unavailable", 504: "504 Gateway Time-out"}
_SHORTEST_INTERVAL_S = 0.02

_logger = logging.getLogger("tocsin.sandbox")


class TargetState(StrEnum):
    """`TargetHealth.State`."""

    INITIAL = "initial"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    UNUSED = "unused"


@dataclass(frozen=True)
class TargetGroup:
    """What the AWS API knows about a target group; intervals and delays are production seconds."""

    arn: str
    scope: Scope
    path: str
    interval_s: float
    timeout_s: float
    """real seconds"""
    healthy_threshold: int
    unhealthy_threshold: int
    matcher: str
    """`Matcher.HttpCode`, such as "200" or "200-299,301" """
    deregistration_delay_s: float
    checked: bool
    """`HealthCheckEnabled`"""
    load_balancers: tuple[str, ...]
    """ARNs of the load balancers whose listeners forward to it"""


@dataclass(frozen=True)
class FixedResponse:
    """What a listener answers itself."""

    status: int
    content_type: str
    body: str


@dataclass(frozen=True)
class LoadBalancer:
    """What the AWS API knows about a load balancer; its first listener is served."""

    arn: str
    scope: Scope
    idle_timeout_s: float
    """real seconds"""
    action: str | FixedResponse | None
    """the default action: the ARN of a target group, or a fixed response"""


class Configuration(Protocol):
    """The AWS API as the plant reads it."""

    def load_balancer(self, arn: str) -> LoadBalancer | None:
        """None once it was deleted."""

    def target_group(self, arn: str) -> TargetGroup | None:
        """None once it was deleted."""


@dataclass(frozen=True)
class Check:
    """The outcome of one health check: the status code, or why there is none."""

    status: int | None = None
    timed_out: bool = False


@dataclass(frozen=True)
class Checked:
    """What health checks made of a target."""

    state: TargetState = TargetState.INITIAL
    reason: str = "Elb.RegistrationInProgress"
    description: str = "Target registration is in progress"
    run: int = 0
    """consecutive checks that speak against the present state"""


def after_check(before: Checked, found: Check, group: TargetGroup) -> Checked:
    """The state of a target after one more check.

    One success is enough for a new target; an unhealthy one needs `HealthyThresholdCount` in a row, and a target
    becomes unhealthy by `UnhealthyThresholdCount` failures in a row
    ([health checks](https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html)).
    """
    if found.status is not None and matches(found.status, group.matcher):
        needed = group.healthy_threshold if before.state is TargetState.UNHEALTHY else 1
        run = before.run + 1 if before.state is TargetState.UNHEALTHY else 1
        return Checked(TargetState.HEALTHY, "", "") if run >= needed else _still(before, run)
    reason, description = _why(found)
    if before.state is TargetState.UNHEALTHY:
        return Checked(before.state, reason, description)
    run = before.run + 1
    if run >= group.unhealthy_threshold:
        return Checked(TargetState.UNHEALTHY, reason, description)
    if before.state is TargetState.INITIAL:
        return Checked(before.state, "Elb.InitialHealthChecking", "Initial health checks in progress", run)
    return _still(before, run)


def _still(before: Checked, run: int) -> Checked:
    return Checked(before.state, before.reason, before.description, run)


def _why(found: Check) -> tuple[str, str]:
    if found.status is not None:
        return "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{found.status}]"
    if found.timed_out:
        return "Target.Timeout", "Request timed out"
    return "Target.FailedHealthChecks", "Health checks failed"


def matches(status: int, matcher: str) -> bool:
    """Whether a status code is one of `Matcher.HttpCode`: codes and ranges with commas between them."""
    for part in matcher.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit() and int(first) <= status <= int(last if last.isdigit() else first):
            return True
    return False


def is_loopback(host: str) -> bool:
    """Whether a target is on this machine: a sandbox talks to nobody else."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(eq=False)
class _Target:
    """One registered target."""

    address: Address
    checked: Checked = Checked()
    draining: bool = False
    requests: int = 0
    """in flight"""
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    work: asyncio.Task[None] | None = None
    """the health checks, then the draining"""


class AlbPlant:
    """All load balancers and target groups of one sandbox. Everything but `open` runs in the event loop."""

    def __init__(self, store: MetricStore, configuration: Configuration) -> None:
        self._store = store
        self._clock = store.system_time.clock
        self._configuration = configuration
        self._loop = asyncio.get_running_loop()
        self._groups: dict[str, dict[Address, _Target]] = {}
        self._balancers: dict[str, _Balancer] = {}

    def open(self, arn: str) -> str:
        """Open the port of a new load balancer, from any thread; returns "host:port"."""
        listener = listen()
        port: int = listener.getsockname()[1]
        balancer = _Balancer(arn, port, self)
        self._balancers[arn] = balancer
        self._loop.call_soon_threadsafe(balancer.start, listener)
        return f"127.0.0.1:{port}"

    def shut(self, arn: str) -> None:
        """Close the port of a deleted load balancer, from any thread."""
        balancer = self._balancers.pop(arn, None)
        if balancer is not None:
            self._loop.call_soon_threadsafe(balancer.stopped.set)

    def ports(self) -> Mapping[str, int]:
        """Name of each load balancer -> its port."""
        return {arn.split("/")[-2]: balancer.port for arn, balancer in self._balancers.items()}

    # ------------------------------------------------------------------------------------------ targets

    def register(self, group_arn: str, address: Address) -> None:
        """Register a target; one that was being drained starts anew."""
        targets = self._groups.setdefault(group_arn, {})
        known = targets.get(address)
        if known is not None and not known.draining:
            return
        if known is not None:
            self._remove(group_arn, known)
        target = targets[address] = _Target(address)
        target.work = asyncio.create_task(self._check_forever(group_arn, target))

    def deregister(self, group_arn: str, address: Address) -> None:
        """Stop sending requests to a target, and forget it when the last one is answered or the delay is over."""
        target = self._groups.get(group_arn, {}).get(address)
        if target is None or target.draining:
            return
        target.draining = True
        if target.work is not None:
            target.work.cancel()
        if target.requests:
            target.work = asyncio.create_task(self._drain(group_arn, target))
        else:
            self._remove(group_arn, target)

    async def drained(self, group_arn: str, address: Address) -> None:
        """Wait until a target that was deregistered is forgotten."""
        target = self._groups.get(group_arn, {}).get(address)
        if target is not None and target.draining:
            await target.gone.wait()

    def health(self, group_arn: str, address: Address) -> tuple[Health, str]:
        """What the scheduler of ECS wants to know of a target."""
        state, _, description = self.describe(group_arn, address)
        if state is TargetState.HEALTHY:
            return Health.HEALTHY, ""
        return (Health.UNHEALTHY if state is TargetState.UNHEALTHY else Health.UNKNOWN), description

    def targets(self, group_arn: str) -> Sequence[Address]:
        """Registered targets, those being drained among them."""
        return tuple(self._groups.get(group_arn, {}))

    def describe(self, group_arn: str, address: Address) -> tuple[TargetState, str, str]:
        """State, reason code and description as `DescribeTargetHealth` has them."""
        target = self._groups.get(group_arn, {}).get(address)
        group = self._configuration.target_group(group_arn)
        if target is None or group is None:
            description = "Target is not registered to the target group"
            return TargetState.UNUSED, "Target.NotRegistered", description
        if target.draining:
            description = "Target deregistration is in progress"
            return TargetState.DRAINING, "Target.DeregistrationInProgress", description
        if not group.load_balancers:
            description = "Target group is not configured to receive traffic from the load balancer"
            return TargetState.UNUSED, "Target.NotInUse", description
        return target.checked.state, target.checked.reason, target.checked.description

    def _remove(self, group_arn: str, target: _Target) -> None:
        self._groups[group_arn].pop(target.address, None)
        target.gone.set()
        if target.work is not None:
            target.work.cancel()

    async def _drain(self, group_arn: str, target: _Target) -> None:
        group = self._configuration.target_group(group_arn)
        delay_s = group.deregistration_delay_s if group is not None else 0.0
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(target.idle.wait(), self._clock.wall(delay_s))
        target.work = None
        self._remove(group_arn, target)

    async def _check_forever(self, group_arn: str, target: _Target) -> None:
        while (group := self._configuration.target_group(group_arn)) is not None:
            started = time.monotonic()
            if group.load_balancers:
                found = await check(target.address, group) if group.checked else Check(200)
                target.checked = after_check(target.checked, found, group)
            interval_s = max(_SHORTEST_INTERVAL_S, self._clock.wall(group.interval_s))
            await asyncio.sleep(max(0.0, interval_s - (time.monotonic() - started)))
        self._remove(group_arn, target)

    # ------------------------------------------------------------------------------------------ for a request

    def load_balancer(self, arn: str) -> LoadBalancer | None:
        """The present definition of a load balancer."""
        return self._configuration.load_balancer(arn)

    def choose(self, group_arn: str, turn: int) -> _Target | None:
        """The target whose turn it is: of the healthy ones, or of all when none is healthy; None when there is none.

        That a group without a healthy target gets requests for all of them is AWS's
        [fail-open](https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html).
        """
        registered = [target for target in self._groups.get(group_arn, {}).values() if not target.draining]
        healthy = [target for target in registered if target.checked.state is TargetState.HEALTHY]
        candidates = healthy or registered
        return candidates[turn % len(candidates)] if candidates else None

    def count(self, balancer: LoadBalancer, group_arn: str | None, values: Mapping[str, tuple[float, str]]) -> None:
        """Publish values (value and unit) of one request, for the load balancer and, if named, its target group."""
        of_balancer = {"LoadBalancer": load_balancer_name(balancer.arn)}
        of_group = {} if group_arn is None else {**of_balancer, "TargetGroup": target_group_name(group_arn)}
        for name, (value, unit) in values.items():
            for dimensions in (of_balancer, of_group):
                if dimensions:
                    self._store.put(balancer.scope, metric_key(NAMESPACE, name, dimensions), value, unit)

    # ------------------------------------------------------------------------------------------ for the daemon

    def publish(self, wall: float) -> None:
        """Put the host counts of every target group in use into the metric store, for the minute of `wall`."""
        for group_arn, targets in self._groups.items():
            group = self._configuration.target_group(group_arn)
            if group is None or not group.checked:
                continue
            states = [target.checked.state for target in targets.values() if not target.draining]
            for balancer in group.load_balancers:
                dimensions = {"TargetGroup": target_group_name(group_arn), "LoadBalancer": load_balancer_name(balancer)}
                for name, state in (
                    ("HealthyHostCount", TargetState.HEALTHY),
                    ("UnHealthyHostCount", TargetState.UNHEALTHY),
                ):
                    key = metric_key(NAMESPACE, name, dimensions)
                    self._store.put(group.scope, key, float(states.count(state)), "Count", wall=wall)

    async def close(self) -> None:
        """Close every port, and stop checking."""
        work = [target.work for targets in self._groups.values() for target in targets.values() if target.work]
        for one in work:
            one.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await asyncio.gather(*(balancer.close() for balancer in self._balancers.values()))


@dataclass(frozen=True)
class _Body:
    """The body of a request: whole, or its beginning and where the rest comes from."""

    chunks: Sequence[bytes]
    receive: Receive | None

    @classmethod
    async def begun(cls, receive: Receive) -> _Body:
        """What has come, up to a bound; the rest is passed on as it comes, as the real one does with all of it."""
        chunks, held, more = list[bytes](), 0, True
        while more and held < HELD_BODY:
            chunk, more = await read_chunk(receive)
            chunks.append(chunk)
            held += len(chunk)
        return cls(chunks, receive if more else None)

    @property
    def content(self) -> bytes | AsyncIterator[bytes]:
        """As a client sends it."""
        return b"".join(self.chunks) if self.receive is None else self._passed_on(self.receive)

    async def _passed_on(self, receive: Receive) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk
        more = True
        while more:
            chunk, more = await read_chunk(receive)
            yield chunk


class _Balancer:
    """The port of one load balancer."""

    def __init__(self, arn: str, port: int, plant: AlbPlant) -> None:
        self._arn = arn
        self._plant = plant
        self._turns = count()
        self._client: httpx.AsyncClient | None = None
        self._serving: asyncio.Task[None] | None = None
        self.port = port
        self.stopped = asyncio.Event()

    def start(self, listener: Any) -> None:
        """Serve until `stopped`."""
        # Without proxies of the environment: it talks to 127.0.0.1 only.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        self._client = httpx.AsyncClient(trust_env=False, limits=limits)
        app = for_own_names(self._app, self.port)
        self._serving = asyncio.create_task(serve_on(listener, app, self.stopped.wait, own_headers=False))
        self._serving.add_done_callback(lambda _: asyncio.ensure_future(self._release()))

    async def close(self) -> None:
        """Stop serving."""
        self.stopped.set()
        if self._serving is not None:
            await asyncio.gather(self._serving, return_exceptions=True)

    async def _release(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _app(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await serve_lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        balancer = self._plant.load_balancer(self._arn)
        if balancer is None or balancer.action is None:
            await _answer_page(send, 503)
        elif isinstance(balancer.action, FixedResponse):
            fixed = balancer.action
            await _answer(send, fixed.status, fixed.content_type, fixed.body.encode())
        else:
            await self._forward(balancer, balancer.action, scope, receive, send)

    async def _forward(
        self, balancer: LoadBalancer, group_arn: str, scope: Message, receive: Receive, send: Send
    ) -> None:
        body = await _Body.begun(receive)
        target = self._plant.choose(group_arn, next(self._turns))
        if target is None:
            await self._refuse(balancer, 503, send)
            return
        self._plant.count(balancer, group_arn, {"RequestCount": (1.0, "Count")})
        target.requests += 1
        target.idle.clear()
        try:
            await self._pass_on(
                balancer, group_arn, target.address, _request(scope, body.content, target, balancer, self.port), send
            )
        finally:
            target.requests -= 1
            if not target.requests:
                target.idle.set()

    async def _pass_on(
        self, balancer: LoadBalancer, group_arn: str, address: Address, request: httpx.Request, send: Send
    ) -> None:
        assert self._client is not None
        started = time.perf_counter()
        try:
            response = await self._client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            self._plant.count(balancer, group_arn, {"TargetConnectionErrorCount": (1.0, "Count")})
            await self._refuse(balancer, 504 if isinstance(error, httpx.ConnectTimeout) else 502, send)
            return
        except httpx.HTTPError as error:
            # Reset, closed or talking nonsense: 502. Silent until the idle time-out: 504.
            await self._refuse(balancer, 504 if isinstance(error, httpx.TimeoutException) else 502, send)
            return
        waited_s = time.perf_counter() - started
        self._plant.count(
            balancer,
            group_arn,
            {
                f"HTTPCode_Target_{response.status_code // 100}XX_Count": (1.0, "Count"),
                "TargetResponseTime": (waited_s, "Seconds"),
            },
        )
        await _relay(response, send)

    async def _refuse(self, balancer: LoadBalancer, status: int, send: Send) -> None:
        names = ("HTTPCode_ELB_5XX_Count", f"HTTPCode_ELB_{status}_Count")
        self._plant.count(balancer, None, dict.fromkeys(names, (1.0, "Count")))
        await _answer_page(send, status)


def load_balancer_name(arn: str) -> str:
    """Value of the dimension `LoadBalancer`: `app/<name>/<id>`."""
    return arn.split("loadbalancer/", 1)[-1]


def target_group_name(arn: str) -> str:
    """Value of the dimension `TargetGroup`: `targetgroup/<name>/<id>`."""
    return arn.rsplit(":", 1)[-1]


async def check(address: Address, group: TargetGroup) -> Check:
    """One health check on a connection of its own; the body does not matter."""
    try:
        async with asyncio.timeout(group.timeout_s):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            try:
                writer.write(
                    f"GET {group.path} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n"
                    "User-Agent: ELB-HealthChecker/2.0\r\nConnection: close\r\n\r\n".encode()
                )
                line = (await reader.readline()).split(b" ", 2)
            finally:
                writer.close()
    except TimeoutError:
        return Check(timed_out=True)
    except (OSError, ValueError):
        return Check()
    return Check(int(line[1])) if len(line) > 1 and line[1].isdigit() else Check()


def _request(
    scope: Message, body: bytes | AsyncIterator[bytes], target: _Target, balancer: LoadBalancer, port: int
) -> httpx.Request:
    """The request that a target gets: the caller's, with the headers that a load balancer adds."""
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in _HOP_BY_HOP]
    caller = (scope.get("client") or ("127.0.0.1",))[0]
    forwarded = [value.decode("latin-1") for name, value in headers if name.lower() == b"x-forwarded-for"]
    added = {
        b"x-forwarded-for": ", ".join([*forwarded, caller]).encode("latin-1"),
        b"x-forwarded-proto": b"http",
        b"x-forwarded-port": str(port).encode(),
    }
    if not any(name.lower() == b"x-amzn-trace-id" for name, _ in headers):
        added[b"x-amzn-trace-id"] = f"Root=1-{int(time.time()):08x}-{os.urandom(12).hex()}".encode()
    kept = [(name, value) for name, value in headers if name.lower() not in added]
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string", b"")
    address = target.address
    url = httpx.URL(
        scheme="http", host=address.host, port=address.port, raw_path=path + (b"?" + query if query else b"")
    )
    idle_s = balancer.idle_timeout_s
    timeouts = {"connect": CONNECT_TIMEOUT_S, "read": idle_s, "write": idle_s, "pool": None}
    return httpx.Request(
        scope["method"], url, headers=[*kept, *added.items()], content=body, extensions={"timeout": timeouts}
    )


async def _relay(response: httpx.Response, send: Send) -> None:
    headers = [(name.lower(), value) for name, value in response.headers.raw if name.lower() not in _HOP_BY_HOP]
    try:
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        async for part in response.aiter_raw():
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        await response.aclose()


async def _answer_page(send: Send, status: int) -> None:
    title = _TITLES.get(status, f"{status} {HTTPStatus(status).phrase}")
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "</body>\r\n</html>\r\n"
    )
    await _answer(send, status, "text/html", page.encode())


async def _answer(send: Send, status: int, content_type: str, body: bytes) -> None:
    headers = {
        "server": "awselb/2.0",
        "date": email.utils.formatdate(usegmt=True),
        "content-type": content_type,
        "content-length": str(len(body)),
    }
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True)
class Address:
    """Where a container listens."""

    host: str
    port: int


class Health(StrEnum):
    """What the load balancers of a service say of one of its tasks."""

    UNKNOWN = "UNKNOWN"
    """not checked yet, or no load balancer"""
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"

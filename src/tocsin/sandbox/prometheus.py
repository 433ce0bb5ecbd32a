"""A Prometheus server of the sandbox: scrapes in system time, evaluates the unmodified rules with the real engine.

Samples are stamped on a grid of `INTERVAL_S` system seconds, the real rule engine (`promtool.py`) says what is pending
or firing at each evaluation, and the HTTP API answers as a server does, with wall-clock times.
https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx

from tocsin.alarms.exposition import Labels, names_in, parse_exposition, series
from tocsin.alarms.prometheus import RuleFile, load_rules, parse_duration
from tocsin.errors import SandboxError
from tocsin.sandbox.metrics import SystemTime
from tocsin.sandbox.parts import Promtool
from tocsin.sandbox.promtool import STALE, ActiveAlert, RuleEngine, Value
from tocsin.sandbox.server import Message, Receive, Send, listen, serve_lifespan, serve_on

INTERVAL_S = 15
"""Scrape and evaluation interval in system seconds: what the figures of most runbooks assume."""
_SCRAPE_TIMEOUT_WALL_S = 2.0
"""A scrape is a request, and its latency is never scaled; Prometheus gives it 10 s."""
_EVALUATE_WALL_S = 1.0
"""How often the engine runs; each run evaluates every interval since the one before."""
_MARGIN_S = 60.0
_KEPT_TICKS = 24 * 3600 // INTERVAL_S
_SELECTOR = re.compile(r"ALERTS\s*(?:\{(?P<matchers>[^}]*)\})?\s*\[(?P<range>\w+)\]")
_MATCHER = re.compile(r'(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"')

_logger = logging.getLogger("tocsin.sandbox")

Discover = Callable[[], Mapping[str, Sequence[str]]]
"""Job name -> addresses (`host:port`) to scrape now."""


class Samples:
    """What was scraped: for each series its values on the grid, by tick."""

    def __init__(self) -> None:
        self._values: dict[Labels, dict[int, Value]] = {}
        self._of_target: dict[tuple[str, str], set[Labels]] = {}

    def scraped(self, job: str, address: str, tick: int, found: Mapping[Labels, float]) -> None:
        """A scrape that succeeded. A series that is not exported any more ends."""
        self._take(job, address, tick, {**found, _up(job, address): 1.0})

    def failed(self, job: str, address: str, tick: int) -> None:
        """A scrape that failed: every series of the target ends, and `up` is 0."""
        self._take(job, address, tick, {_up(job, address): 0.0})

    def gone(self, targets: set[tuple[str, str]], tick: int) -> None:
        """Targets that discovery does not name any more: everything of theirs ends, `up` too."""
        for target in targets & self._of_target.keys():
            for labels in self._of_target.pop(target):
                self._values[labels][tick] = STALE

    @property
    def targets(self) -> set[tuple[str, str]]:
        """Job and address of every target with series."""
        return set(self._of_target)

    def window(self, first: int, last: int) -> dict[Labels, list[Value]]:
        """Every series with a sample in these ticks, both included."""
        cut = {labels: [values.get(tick) for tick in range(first, last + 1)] for labels, values in self._values.items()}
        return {labels: values for labels, values in cut.items() if any(value is not None for value in values)}

    def forget_before(self, tick: int) -> None:
        """Drop what no evaluation needs any more."""
        for labels, values in list(self._values.items()):
            for old in [known for known in values if known < tick]:
                del values[old]
            if not values:
                del self._values[labels]

    def _take(self, job: str, address: str, tick: int, found: Mapping[Labels, float]) -> None:
        before = self._of_target.get((job, address), set())
        for labels in before - found.keys():
            self._values[labels][tick] = STALE
        for labels, value in found.items():
            self._values.setdefault(labels, {})[tick] = value
        self._of_target[job, address] = set(found)


@dataclass
class _Instance:
    """One alert instance: the ticks at which it was in each state."""

    pending: list[int] = field(default_factory=list)
    firing: list[int] = field(default_factory=list)
    active_since: int = 0
    last: int = -1

    def seen(self, state: str, tick: int) -> None:
        if self.last < tick - 1:
            self.active_since = tick
        self.last = tick
        ticks = self.firing if state == "firing" else self.pending
        ticks.append(tick)
        del ticks[: max(0, len(ticks) - _KEPT_TICKS)]


class Prometheus:
    """One server: its rules, what it scrapes, and its HTTP API on a free port of loopback."""

    def __init__(self, rules: Path, discover: Discover, system_time: SystemTime, promtool: Promtool) -> None:
        self._rules: RuleFile = load_rules(rules)
        self._engine = RuleEngine(promtool, rules, INTERVAL_S)
        self._discover = discover
        self._time = system_time
        self._samples = Samples()
        self._scraping: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._instances: dict[tuple[str, Labels], _Instance] = {}
        self._evaluated = self._tick_now()
        self._names = names_in(self._rules.expressions)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._client = httpx.AsyncClient(timeout=_SCRAPE_TIMEOUT_WALL_S, trust_env=False)
        self._port = 0

    @property
    def url(self) -> str:
        """Where the HTTP API answers, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Check the rules, then scrape, evaluate and answer until `close`.

        Raises:
            SandboxError: promtool refuses the rules.
        """
        await asyncio.to_thread(self._engine.check)
        listener = listen()
        self._port = listener.getsockname()[1]
        work = (serve_on(listener, self._app, self._stop.wait), self._scrape_for_ever(), self._evaluate_for_ever())
        self._tasks = [asyncio.create_task(task) for task in work]

    async def close(self) -> None:
        """Stop everything; safe to call twice."""
        self._stop.set()
        for task in (*self._tasks[1:], *self._scraping.values()):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._scraping.values(), return_exceptions=True)
        await self._client.aclose()

    # --- scraping -------------------------------------------------------------------------------------------

    def _tick_now(self) -> int:
        return math.floor(self._time.now() / INTERVAL_S)

    async def _scrape_for_ever(self) -> None:
        while True:
            tick = self._tick_now() + 1
            await asyncio.sleep(max(0.0, self._time.wall(tick * INTERVAL_S) - time.time()))
            try:
                self._scrape_all(tick)
            except Exception:  # what was not discovered leaves a gap; the next tick looks again
                _logger.exception("prometheus: discovery")

    def _scrape_all(self, tick: int) -> None:
        wanted = {(job, address) for job, addresses in self._discover().items() for address in addresses}
        self._samples.gone(self._samples.targets - wanted, tick)
        for target in wanted:
            running = self._scraping.get(target)
            # A scrape that takes longer than the interval leaves a gap, not a queue.
            if running is None or running.done():
                self._scraping[target] = asyncio.create_task(self._scrape(*target, tick))
        for target in self._scraping.keys() - wanted:
            self._scraping.pop(target).cancel()

    async def _scrape(self, job: str, address: str, tick: int) -> None:
        try:
            answer = await self._client.get(f"http://{address}/metrics")
            answer.raise_for_status()
            found = parse_exposition(answer.text, self._names, {"job": job, "instance": address})
        except (httpx.HTTPError, ValueError):
            self._samples.failed(job, address, tick)
        else:
            self._samples.scraped(job, address, tick, found)

    # --- evaluating -----------------------------------------------------------------------------------------

    async def _evaluate_for_ever(self) -> None:
        pause = max(_EVALUATE_WALL_S, self._time.clock.wall(INTERVAL_S))
        while True:
            await asyncio.sleep(pause)
            try:
                await self._evaluate()
            except SandboxError:
                _logger.exception("prometheus: evaluation")

    async def _evaluate(self) -> None:
        # The newest tick may still be being scraped.
        last = self._tick_now() - 1
        ticks = range(self._evaluated + 1, last + 1)
        if not ticks:
            return
        first = ticks[0] - math.ceil(self._look_back_s() / INTERVAL_S)
        window = self._samples.window(first, last)
        self._samples.forget_before(first)
        found = await asyncio.to_thread(self._engine.evaluate, window, [tick - first for tick in ticks])
        for tick, active in zip(ticks, found, strict=True):
            self._note(tick, active)
        self._evaluated = last

    def _look_back_s(self) -> float:
        """With this much of the past, every `for:` and every range comes out as if nothing had been cut off."""
        rules = self._rules.alerts.values()
        return max((rule.for_s + rule.range_s for rule in rules), default=0.0) + _MARGIN_S

    def _note(self, tick: int, active: Sequence[ActiveAlert]) -> None:
        for alert in active:
            self._instances.setdefault((alert.alert, alert.labels), _Instance()).seen(alert.state, tick)

    # --- the HTTP API ---------------------------------------------------------------------------------------

    async def _app(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await serve_lifespan(receive, send)
        elif scope["type"] == "http":
            status, document = self._answer(scope["path"], parse_qs(scope["query_string"].decode()))
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(document).encode()})

    def _answer(self, path: str, query: Mapping[str, Sequence[str]]) -> tuple[int, Any]:
        match path:
            case "/-/ready":
                return 200, "ready"
            case "/api/v1/alerts":
                return _success({"alerts": self._alerts()})
            case "/api/v1/rules":
                return _success({"groups": self._groups()})
            case "/api/v1/query":
                return self._query((query.get("query") or [""])[0])
        return 404, {"status": "error", "errorType": "not_found", "error": f"the sandbox has no {path}"}

    def _alerts(self) -> list[dict[str, Any]]:
        rules = self._rules.alerts
        return [
            {
                "labels": {"alertname": alert, **dict(labels)},
                "annotations": rules[alert].annotations,
                "state": "firing" if instance.firing[-1:] == [self._evaluated] else "pending",
                "activeAt": self._iso(instance.active_since),
                "value": "",
            }
            for (alert, labels), instance in self._instances.items()
            if instance.last == self._evaluated
        ]

    def _groups(self) -> list[dict[str, Any]]:
        alerts = defaultdict(list)
        for alert in self._alerts():
            alerts[alert["labels"]["alertname"]].append(alert)
        return [
            {
                "name": group.name,
                "interval": INTERVAL_S,
                "rules": [
                    {
                        "type": "alerting",
                        "name": rule.alert,
                        "query": rule.expr,
                        "duration": rule.for_s,
                        "labels": rule.labels,
                        "annotations": rule.annotations,
                        "alerts": alerts[rule.alert],
                        "state": _most_severe(alerts[rule.alert]),
                        "health": "ok",
                        "lastEvaluation": self._iso(self._evaluated),
                    }
                    for rule in self._rules.alerts.values()
                    if rule in group.rules
                ],
            }
            for group in self._rules.groups
        ]

    def _query(self, text: str) -> tuple[int, Any]:
        selector = _SELECTOR.fullmatch(text.strip())
        if selector is None:
            detail = f"the sandbox answers ALERTS{{...}}[range] only, found {text!r}"
            return 422, {"status": "error", "errorType": "execution", "error": detail}
        matchers = dict(_MATCHER.findall(selector["matchers"] or ""))
        oldest = self._evaluated - parse_duration(selector["range"]) / INTERVAL_S
        return _success({"resultType": "matrix", "result": list(self._matrix(matchers, oldest))})

    def _matrix(self, matchers: Mapping[str, str], oldest: float) -> list[dict[str, Any]]:
        found = []
        for (alert, labels), instance in self._instances.items():
            for state, ticks in (("pending", instance.pending), ("firing", instance.firing)):
                metric = {"__name__": "ALERTS", "alertname": alert, "alertstate": state, **dict(labels)}
                values = [[self._time.wall(tick * INTERVAL_S), "1"] for tick in ticks if tick > oldest]
                if values and all(metric.get(name) == value for name, value in matchers.items()):
                    found.append({"metric": metric, "values": values})
        return found

    def _iso(self, tick: int) -> str:
        moment = datetime.fromtimestamp(self._time.wall(tick * INTERVAL_S), UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _up(job: str, address: str) -> Labels:
    return series({"__name__": "up", "job": job, "instance": address})


def _most_severe(alerts: Sequence[Mapping[str, Any]]) -> str:
    states = {alert["state"] for alert in alerts}
    return next((state for state in ("firing", "pending") if state in states), "inactive")


def _success(data: Any) -> tuple[int, Any]:
    return 200, {"status": "success", "data": data}

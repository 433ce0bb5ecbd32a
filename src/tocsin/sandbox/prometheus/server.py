"""A Prometheus server of the sandbox: scrapes in system time, evaluates the unmodified rules with the real engine.

Samples are stamped on a grid of `INTERVAL_S` system seconds, the real rule engine (`evaluation.py`) says what is
pending or firing at each evaluation, and the HTTP API answers as a server does, with wall-clock times.
https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx

from tocsin.alarms.exposition import parse_exposition
from tocsin.alarms.prometheus import load_rules, parse_duration
from tocsin.alarms.promql import names_read
from tocsin.errors import SandboxError
from tocsin.sandbox.hosts import for_own_names
from tocsin.sandbox.http import Message, Receive, Send, listen, serve_lifespan, serve_on
from tocsin.sandbox.metrics import SystemTime
from tocsin.sandbox.parts.programs import Promtool
from tocsin.sandbox.prometheus.evaluation import Evaluator
from tocsin.sandbox.prometheus.samples import Samples
from tocsin.sandbox.prometheus.shown import Shown

INTERVAL_S = 15
"""Scrape and evaluation interval in system seconds: what the figures of most runbooks assume."""
_SCRAPE_TIMEOUT_WALL_S = 2.0
"""A scrape is a request, and its latency is never scaled; Prometheus gives it 10 s."""
_EVALUATE_WALL_S = 1.0
"""How often the engine runs; each run evaluates every interval since the one before."""
_SELECTOR = re.compile(r"ALERTS\s*(?:\{(?P<matchers>[^}]*)\})?\s*\[(?P<range>\w+)\]")
_MATCHER = re.compile(r'(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"')

_logger = logging.getLogger("tocsin.sandbox")

Discover = Callable[[], Mapping[str, Sequence[str]]]
"""Job name -> addresses (`host:port`) to scrape now."""


class Prometheus:
    """One server: its rules, what it scrapes, and its HTTP API on a free port of loopback."""

    def __init__(self, rules: Path, discover: Discover, system_time: SystemTime, promtool: Promtool) -> None:
        self._discover = discover
        self._time = system_time
        self._samples = Samples()
        self._scraping: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._rings = Evaluator(load_rules(rules), rules, promtool, (self._tick_now() + 1) * INTERVAL_S, INTERVAL_S)
        self._shown = Shown(self._rings, system_time)
        self._names = names_read(read for rule in self._rings.plan.rules for read in rule.reads)
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
        await asyncio.to_thread(self._rings.engine.check)
        listener = listen()
        self._port = listener.getsockname()[1]
        app = for_own_names(self._app, self._port)
        work = (serve_on(listener, app, self._stop.wait), self._scrape_for_ever(), self._evaluate_for_ever())
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
        self._samples.gone(self._samples.targets - wanted, tick * INTERVAL_S)
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
            self._samples.failed(job, address, tick * INTERVAL_S)
        else:
            self._samples.scraped(job, address, tick * INTERVAL_S, found)

    # --- evaluating -----------------------------------------------------------------------------------------

    async def _evaluate_for_ever(self) -> None:
        pause = max(_EVALUATE_WALL_S, self._time.clock.wall(INTERVAL_S))
        while True:
            await asyncio.sleep(pause)
            # The newest tick may still be being scraped.
            until = (self._tick_now() - 1) * INTERVAL_S
            try:
                await asyncio.to_thread(self._rings.advance, self._samples, until)
            except SandboxError as error:
                self._rings.broken(str(error))
                _logger.exception("prometheus: evaluation")
            self._shown = Shown(self._rings, self._time)

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
                return _success({"alerts": self._shown.alerts})
            case "/api/v1/rules":
                return _success({"groups": self._shown.groups})
            case "/api/v1/query":
                return self._query((query.get("query") or [""])[0])
        return 404, {"status": "error", "errorType": "not_found", "error": f"the sandbox has no {path}"}

    def _query(self, text: str) -> tuple[int, Any]:
        selector = _SELECTOR.fullmatch(text.strip())
        if selector is None:
            detail = f"the sandbox answers ALERTS{{...}}[range] only, found {text!r}"
            return 422, {"status": "error", "errorType": "execution", "error": detail}
        matchers = dict(_MATCHER.findall(selector["matchers"] or ""))
        found = self._shown.fired(matchers, parse_duration(selector["range"]))
        return _success({"resultType": "matrix", "result": found})


def _success(data: Any) -> tuple[int, Any]:
    return 200, {"status": "success", "data": data}

"""The sandbox's Prometheus: the real engine on system time, held to figures measured with that engine's rule tests."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from tests.sandbox.prometheus.steps import stepwise

from tocsin.alarms.exposition import Labels, parse_exposition
from tocsin.errors import SandboxError
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.http import listen, serve_on
from tocsin.sandbox.metrics import SystemTime
from tocsin.sandbox.parts.programs import Promtool
from tocsin.sandbox.prometheus.promtool import Grid, Question, RuleEngine
from tocsin.sandbox.prometheus.samples import STALE, Samples, Value
from tocsin.sandbox.prometheus.server import INTERVAL_S, Prometheus

RULES = Path(__file__).parents[3] / "systems" / "clocked.rules.yaml"
BEFORE = 40
"""Ticks of healthy samples before the fault: ten minutes."""
AFTER = 60
BUCKETS = ("0.1", "0.25", "0.5", "1", "2.5", "+Inf")


def series(name: str, **labels: str) -> Labels:
    return tuple(sorted({"__name__": name, "instance": "task-1", **labels}.items()))


def line(before: float, after: Callable[[float], Value]) -> list[Value]:
    """Constant before the fault, then a function of the seconds since the fault."""
    return [before] * BEFORE + [after(tick * INTERVAL_S) for tick in range(AFTER)]


def errors(per_s: float, status: str = "500") -> dict[Labels, list[Value]]:
    return {series("http_requests_total", route="/sessions", status=status): line(0, lambda s: per_s * s)}


def burst(count: int) -> dict[Labels, list[Value]]:
    return {series("http_requests_total", route="/sessions", status="500"): line(0, lambda _: float(count))}


def connections(share: float, **only_on_max: str) -> dict[Labels, list[Value]]:
    return {
        series("database_connections_active"): line(50, lambda s: 100 * share if s else 50.0),
        series("database_connections_max", **only_on_max): line(100, lambda _: 100.0),
    }


def slow(share: float, per_s: float = 10.0) -> dict[Labels, list[Value]]:
    """Requests of 50 ms, and from the fault on a share of them of 700 ms."""

    def count(bound: str) -> Callable[[float], Value]:
        part = 1.0 if bound in ("1", "2.5", "+Inf") else 1.0 - share
        before = BEFORE * INTERVAL_S * per_s
        return lambda s: before + per_s * s * part

    return {
        series("http_request_duration_seconds_bucket", route="/sessions", le=bound): [
            tick * INTERVAL_S * per_s for tick in range(BEFORE)
        ]
        + [count(bound)(tick * INTERVAL_S) for tick in range(AFTER)]
        for bound in BUCKETS
    }


def cpu(after: Callable[[float], Value]) -> dict[Labels, list[Value]]:
    return {series("cpu_usage_percent"): line(40, after)}


FIRES_AFTER_S: list[tuple[str, Mapping[Labels, list[Value]], str, int | None]] = [
    ("1 error/s", errors(1), "HighErrorRate", 135),
    ("0.05 errors/s", errors(0.05), "HighErrorRate", 195),
    ("0.02 errors/s", errors(0.02), "HighErrorRate", 285),
    ("a burst of four errors", burst(4), "HighErrorRate", 120),
    ("a burst of three errors", burst(3), "HighErrorRate", None),
    (
        "a counter born at 100",
        {series("http_requests_total", status="500"): [None] * BEFORE + [100.0] * AFTER},
        "HighErrorRate",
        None,
    ),
    (
        "three tasks with 0.008 errors/s each",
        {series("http_requests_total", status="500", task=str(n)): line(0, lambda s: 0.008 * s) for n in range(3)},
        "HighErrorRate",
        None,
    ),
    (
        "all tasks killed",
        {series("http_requests_total", status="200"): line(5, lambda s: STALE if s == 0 else None)},
        "HighErrorRate",
        None,
    ),
    ("connections from 50 % to 95 %", connections(0.95), "DatabaseConnectionIssues", 75),
    ("connections at exactly 90 %", connections(0.90), "DatabaseConnectionIssues", None),
    ("a label on one side only", connections(0.95, pool="main"), "DatabaseConnectionIssues", None),
    ("every request slow", slow(1.0), "HighResponseTime", 330),
    ("half of the requests slow", slow(0.5), "HighResponseTime", 345),
    ("10 % of the requests slow", slow(0.10), "HighResponseTime", 465),
    ("6 % of the requests slow", slow(0.06), "HighResponseTime", 555),
    ("5 % of the requests slow", slow(0.05), "HighResponseTime", None),
    ("CPU from 40 % to 95 %", cpu(lambda s: 95.0 if s else 40.0), "HighCPUUsage", 615),
    ("CPU high, one dip at 450 s", cpu(lambda s: 70.0 if s in (0, 450) else 95.0), "HighCPUUsage", None),
    (
        "CPU high, three scrapes missed",
        cpu(lambda s: 40.0 if s == 0 else None if 300 <= s < 345 else 95.0),
        "HighCPUUsage",
        615,
    ),
]


@pytest.mark.parametrize(
    ("samples", "alert", "after_s"), [row[1:] for row in FIRES_AFTER_S], ids=[row[0] for row in FIRES_AFTER_S]
)
def test_the_four_rules_fire_when_measured(
    promtool: Promtool, samples: Mapping[Labels, list[Value]], alert: str, after_s: int | None
) -> None:
    found = stepwise(promtool, RULES, {selector(labels): values for labels, values in samples.items()}, [BEFORE, AFTER])
    firing = [tick for tick, active in enumerate(found) if any(one[:2] == (alert, "firing") for one in active)]
    assert ((firing[0] - BEFORE) * INTERVAL_S if firing else None) == after_s


def selector(labels: Labels) -> str:
    pairs = dict(labels)
    name = pairs.pop("__name__")
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in pairs.items()) + "}"


def test_labels_survive_the_engine(promtool: Promtool) -> None:
    odd = 'a "quoted\\" {brace}, 1'
    engine, grid = RuleEngine(promtool, RULES, INTERVAL_S), Grid(0, INTERVAL_S)
    found = engine.ask([Question(7, "cpu > 1", 15)], {series("cpu", path=odd): {15: 95.5}}, grid)
    assert found == {(7, 15): ((series("cpu", path=odd), 95.5),)}


def test_rules_that_prometheus_refuses_are_refused(promtool: Promtool, tmp_path: Path) -> None:
    broken = tmp_path / "rules.yaml"
    broken.write_text("groups: [{name: a, rules: [{alert: A, expr: 'rate(x[5m]'}]}]")
    with pytest.raises(SandboxError, match="expected rules that Prometheus can load"):
        RuleEngine(promtool, broken, INTERVAL_S).check()


def test_a_series_that_is_not_exported_any_more_ends() -> None:
    samples, one, other = Samples(), series("a"), series("b")
    samples.scraped("app", "t:1", 15, {one: 1.0, other: 2.0})
    samples.scraped("app", "t:1", 30, {one: 3.0})
    samples.failed("app", "t:1", 45)
    samples.gone({("app", "t:1")}, 60)
    up = (("__name__", "up"), ("instance", "t:1"), ("job", "app"))
    assert samples.since(lambda _: 0, 75) == {
        one: {15: 1.0, 30: 3.0, 45: STALE},
        other: {15: 2.0, 30: STALE},
        up: {15: 1.0, 30: 1.0, 45: 0.0, 60: STALE},
    }
    samples.forget(lambda metric: 45 if metric == "up" else None)
    assert samples.since(lambda _: 0, 75) == {up: {45: 0.0, 60: STALE}}


def test_only_what_the_rules_name_is_kept_and_targets_win_over_exported_labels() -> None:
    page = "# TYPE cpu_usage_percent gauge\ncpu_usage_percent{instance='x'} 4\n".replace("'", '"') + "other 1\n"
    assert parse_exposition(page, frozenset({"cpu_usage_percent"}), {"job": "app", "instance": "t:1"}) == {
        (
            ("__name__", "cpu_usage_percent"),
            ("exported_instance", "x"),
            ("instance", "t:1"),
            ("job", "app"),
        ): 4.0
    }


class Page:
    """A target whose CPU can be set."""

    def __init__(self) -> None:
        self.cpu = 40.0

    async def app(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f"cpu_usage_percent {self.cpu}\n".encode()})


def _last_began(values: list[tuple[float, str]], clock: SystemTime) -> float:
    """System seconds since which samples come at every tick: a scrape that came late may have begun it anew before."""
    at = [clock.at(float(one)) for one, _ in values]
    return [now for before, now in pairwise([-math.inf, *at]) if now - before > 1.5 * INTERVAL_S][-1]


async def life_of_an_alert(rules: Path, promtool: Promtool) -> None:
    page, stop, listener = Page(), asyncio.Event(), listen()
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    serving = asyncio.create_task(serve_on(listener, page.app, stop.wait))
    clock = SystemTime(Clock(240), time.time())
    prometheus = Prometheus(rules, lambda: {"app": [address]}, clock, promtool)
    await prometheus.start()
    try:
        async with httpx.AsyncClient(base_url=prometheus.url) as client:

            async def states() -> list[str]:
                answer = await client.get("/api/v1/alerts")
                alerts = answer.json()["data"]["alerts"]
                return [alert["state"] for alert in alerts if alert["labels"]["alertname"] == "HighCPUUsage"]

            await asyncio.sleep(1.5)
            assert await states() == []
            page.cpu = 95.0
            while "firing" not in await states():
                await asyncio.sleep(0.1)
            query = {"query": 'ALERTS{alertname="HighCPUUsage"}[1h]'}
            result = (await client.get("/api/v1/query", params=query)).json()["data"]["result"]
            begun = {one["metric"]["alertstate"]: _last_began(one["values"], clock) for one in result}
            assert round(begun["firing"] - begun["pending"]) == 600
            page.cpu = 40.0
            while await states():
                await asyncio.sleep(0.1)
    finally:
        stop.set()
        await asyncio.gather(prometheus.close(), serving)


def test_it_answers_to_its_own_names_only(promtool: Promtool, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("groups: [{name: a, rules: [{alert: Gone, expr: up == 0}]}]")

    async def ask() -> list[int]:
        prometheus = Prometheus(rules, dict, SystemTime(Clock(240), time.time()), promtool)
        await prometheus.start()
        try:
            port = prometheus.url.rsplit(":", 1)[1]
            async with httpx.AsyncClient(base_url=prometheus.url) as client:
                hosts = (f"127.0.0.1:{port}", f"localhost:{port}", f"rebinding.test:{port}", "rebinding.test")
                answers = [await client.get("/api/v1/rules", headers={"host": host}) for host in hosts]
            return [answer.status_code for answer in answers]
        finally:
            await prometheus.close()

    assert asyncio.run(ask()) == [200, 200, 421, 421]


@pytest.mark.timeout(200)
def test_a_live_alert_is_pending_fires_and_clears(promtool: Promtool) -> None:
    asyncio.run(life_of_an_alert(RULES, promtool))

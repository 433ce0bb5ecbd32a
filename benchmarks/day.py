"""The history of a drill that went on for a day: a million lines, as a sandbox at time scale 60 writes them.

A second of a drill of Leave & Attendance writes eleven: four polls of the alarms, six runs of canaries, the load, and
whether this machine keeps up. A day is 86,400 of them: a third before the fault, a third with it, a third after it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tocsin.model.chain import FIRST, SEAL, hash_of, linked

SECONDS = 86_400
"""Wall seconds of a day."""
BEGAN = 1_790_000_000
SCALE = 60.0
ALARMS = tuple(f"alarm-{number:02d}" for number in range(12))
CANARIES = ("health", "leave", "clock_in", "balance", "requests", "admin")
OPERATIONS = ("GET /balance", "GET /requests", "POST /requests", "GET /healthz")
STEPS = ("sign in", "ask", "compare")
SINCE_ITS_LAST_FLAP_S = 600
"""Wall seconds after which an alarm that nobody has to hear rings for a minute."""

Line = dict[str, Any]


def write_day(path: Path, seconds: int = SECONDS) -> int:
    """Write such a history; returns how many lines it has.

    Args:
        path: of `history.jsonl`.
        seconds: wall seconds that the drill took, three or more.
    """
    count, head = 0, FIRST
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for event in _day(seconds):
            line = linked(json.dumps(event, separators=(",", ":")), head)
            head = hash_of(line)
            file.write(line + "\n")
            count += 1
        file.write(linked(SEAL, head) + "\n")
    return count


def _day(seconds: int) -> Iterator[Line]:
    rng = random.Random(1)
    fault, undo, end = BEGAN + seconds // 3, BEGAN + 2 * (seconds // 3), BEGAN + seconds
    yield _started()
    yield {"kind": "act_started", "at": BEGAN + 0.01, "act": "preflight"}
    for name in ALARMS:
        yield {"kind": "alarm_seen", "at": BEGAN + 0.02, "alarm": name, "state": "OK", "has_data": True}
    yield {"kind": "act_ended", "at": BEGAN + 0.03, "act": "preflight"}
    yield {"kind": "act_started", "at": BEGAN + 0.04, "act": "baseline"}
    states = dict.fromkeys(ALARMS, "OK")
    for at in range(BEGAN, end):
        if at == fault:
            yield from _begins(at)
        if at == undo:
            yield from _ends(at)
        for name, state in _changed(at, fault, undo).items():
            moved = {"before": states[name], "after": state, "evidence": "datapoints", "reason": "Threshold Crossed"}
            yield {"kind": "alarm_changed", "at": at + 0.2, "alarm": name, **moved}
            states[name] = state
        yield from _second(rng, at, states, fault <= at < undo)
    yield {"kind": "act_ended", "at": end + 0.1, "act": "recovery"}
    yield {"kind": "residue_checked", "at": end + 0.2}
    yield {"kind": "drill_ended", "at": end + 0.3}


def _started() -> Line:
    definition = {"Namespace": "N", "MetricName": "M", "Statistic": "Sum", "Period": 300, "EvaluationPeriods": 1}
    definition |= {"Threshold": 5, "ComparisonOperator": "GreaterThanThreshold"}
    alarms = {name: {"title": name, "cloudwatch": {"AlarmName": name, **definition}} for name in ALARMS}
    system = {"system": "day", "title": "Day", "endpoint": {"url": "http://127.0.0.1:9"}, "alarms": alarms}
    system |= {"canaries": {"file": "synthetics/day.py"}, "load": "loadtests/day.py"}
    expect = {"must": [{"alarm": ALARMS[0], "within": "10m"}], "quiet": [{"alarm": ALARMS[1]}]}
    expect |= {"recovery": {"within": "10m"}}
    block = {"name": "tocsin", "system": "day", "load": {"arrivals_per_s": 20}, "expect": expect}
    experiment = {"slug": "day", "path": "day.yaml", "title": "A day", "method": [], "rollbacks": []}
    line = {"kind": "drill_started", "at": BEGAN, "drill": "day-1", "experiment": {**experiment, "extension": block}}
    line |= {"system": system, "target": "sandbox", "scale": SCALE, "seed": 1, "version": "0", "command": "tocsin run"}
    return {**line, "linked": True, "measures_machine": True}


def _begins(at: int) -> Iterator[Line]:
    yield {"kind": "act_ended", "at": at, "act": "baseline"}
    yield {"kind": "act_started", "at": at, "act": "fault"}
    for offset, stage in ((0.01, "requested"), (0.02, "accepted"), (0.05, "effective")):
        yield {"kind": "fault_changed", "at": at + offset, "entry": "day-1", "fault": "f", "stage": stage}


def _ends(at: int) -> Iterator[Line]:
    yield {"kind": "act_ended", "at": at, "act": "fault"}
    yield {"kind": "act_started", "at": at, "act": "recovery"}
    for offset, stage in ((0.01, "undo_requested"), (0.02, "undone"), (0.05, "verified")):
        yield {"kind": "fault_changed", "at": at + offset, "entry": "day-1", "fault": "f", "stage": stage}


def _changed(at: int, fault: int, undo: int) -> dict[str, str]:
    """The first alarm rings with the fault; those that nobody judges ring for a second now and then."""
    found = {}
    if at in (fault + 5, undo + 5):
        found[ALARMS[0]] = "ALARM" if at == fault + 5 else "OK"
    number, rest = divmod(at - BEGAN, SINCE_ITS_LAST_FLAP_S)
    if rest in (300, 301):
        found[ALARMS[2 + number % (len(ALARMS) - 2)]] = "ALARM" if rest == 300 else "OK"
    return found


def _second(rng: random.Random, at: int, states: dict[str, str], broken: bool) -> Iterator[Line]:
    yield _load(rng, at, broken)
    for quarter in range(4):
        yield {"kind": "alarms_polled", "at": at + 0.25 * quarter + 0.24, "polls": 1, "states": states}
    for number, name in enumerate(CANARIES):
        yield _canary(rng, at + 0.1 * number + 0.3, name, failed=broken and name == "clock_in")
    watched = {"since": at - 0.05, "ticks": 20, "longest_s": 0.016, "target_longest_s": 0.0}
    yield {"kind": "machine_watched", "at": at + 0.95, **watched}


def _load(rng: random.Random, at: int, broken: bool) -> Line:
    offered = max(1, round(rng.gauss(20, 3)))
    failed = round(offered * 0.6) if broken else 0
    statuses = {"200": offered - failed, **({"503": failed} if failed else {})}
    p50 = rng.uniform(20, 40) * (10 if broken else 1)
    latency_ms = {"p50": p50, "p95": p50 * 2, "p99": p50 * 3, "max": p50 * 3, "sum": p50 * offered}
    shares = {name: {"200": offered // 4} for name in OPERATIONS}
    line = {"kind": "load_second", "at": at, "offered": offered, "sent": offered, "dropped": 0, "statuses": statuses}
    line |= {"latency_ms": latency_ms, "lag_ms": 4.2, "by_name": shares}
    first = 160 + (106 if broken else 0)
    good = {str(first + index): 1 for index in sorted(rng.sample(range(60), offered - failed))}
    return {**line, "histogram": {"good": good, "failed": {str(first): failed} if failed else {}}}


def _canary(rng: random.Random, at: float, name: str, *, failed: bool) -> Line:
    took = [round(rng.uniform(3, 30), 1) for _ in STEPS]
    steps = [{"name": step, "ok": True, "ms": ms, "detail": ""} for step, ms in zip(STEPS, took, strict=True)]
    detail = "compare: expected 200, found 503" if failed else ""
    line = {"kind": "canary_ran", "at": at, "canary": name, "ok": not failed, "ok_after_retry": not failed}
    line |= {"ms": round(sum(took), 1), "steps": steps, "detail": detail, "broken": False}
    return {**line, "ended_at": at + sum(took) / 1000}

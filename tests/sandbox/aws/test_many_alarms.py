"""A thousand alarms: evaluated, watched in parts, and written down as news."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.sandbox.aws.drill_context import drill_context
from tests.sandbox.aws.shop import Shop, eventually

from tocsin.actors.alarm_watcher import AlarmWatcher
from tocsin.aws.cloudwatch import alarm_states, put_alarms
from tocsin.checkers.polls import alarm_events
from tocsin.model.events import AlarmChanged, AlarmSeen, AlarmsPolled, Event
from tocsin.model.experiment import QuietAlarm
from tocsin.model.system import MetricAlarm
from tocsin.project.histories import read_history

NAMES = [f"crowd-{number:04d}" for number in range(1000)]
NAMED = NAMES[777]
"""The one that the experiment names."""
BURST = NAMES[400:460]
"""Those that ring at once."""
GONE = NAMES[250]
A_ROUND = 4
"""Polls after which every alarm was asked for, on the sandbox's clock."""


def alarm(name: str) -> MetricAlarm:
    return MetricAlarm(
        alarm_name=name,
        namespace="Shop",
        metric_name=name,
        statistic="Sum",
        period=60,
        evaluation_periods=1,
        threshold=1,
        comparison_operator="GreaterThanOrEqualToThreshold",
        treat_missing_data="notBreaching",
    )


@pytest.fixture
def crowd(shop: Shop, tmp_path: Path) -> Iterator[AlarmWatcher]:
    ctx = drill_context(shop, tmp_path, map(alarm, NAMES), quiet=(QuietAlarm(alarm=NAMED),))
    try:
        put_alarms(ctx.system, ctx.target)
        eventually(lambda: set(alarm_states(NAMES, ctx.target).values()) == {"OK"}, 120)
        yield AlarmWatcher(ctx)
    finally:
        ctx.history.close()
        for first in range(0, len(NAMES), 100):
            shop.client("cloudwatch").delete_alarms(AlarmNames=NAMES[first : first + 100])


def test_all_are_looked_at_in_each_round_and_only_news_is_written(
    crowd: AlarmWatcher, shop: Shop, tmp_path: Path
) -> None:
    crowd.look()
    for _ in range(2 * A_ROUND):
        crowd.poll()
    first = read_history(tmp_path / "history.jsonl")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: shop.publish(name, 1), BURST))
    eventually(lambda: all("ALARM" in shop.states(name) for name in BURST))
    shop.client("cloudwatch").delete_alarms(AlarmNames=[GONE])
    for _ in range(2 * A_ROUND):
        crowd.poll()
    events = read_history(tmp_path / "history.jsonl")

    assert {event.alarm for event in first if isinstance(event, AlarmSeen)} == set(NAMES)
    assert _looks(first)[NAMED] == 2 * A_ROUND
    assert {_looks(first)[name] for name in NAMES} <= {2, 3, 2 * A_ROUND}
    assert all(len(event.states) in (0, 100) for event in first if isinstance(event, AlarmsPolled))
    rang = [event for event in events if isinstance(event, AlarmChanged) and event.after == "ALARM"]
    assert sorted(event.alarm for event in rang) == sorted(BURST)
    assert _looks(events)[GONE] == _looks(first)[GONE]
    assert GONE in {name for event in events if isinstance(event, AlarmsPolled) for name in event.missing}


def test_the_last_look_is_at_all_of_them(crowd: AlarmWatcher, tmp_path: Path) -> None:
    crowd.start()
    crowd.stop()
    assert set(_looks(read_history(tmp_path / "history.jsonl"))) == set(NAMES)


def _looks(events: list[Event]) -> dict[str, int]:
    """How often each alarm was looked at by a poll."""
    looks: dict[str, int] = {}
    for event in alarm_events(events):
        if isinstance(event, AlarmsPolled):
            for name in event.states:
                looks[name] = looks.get(name, 0) + 1
    return looks

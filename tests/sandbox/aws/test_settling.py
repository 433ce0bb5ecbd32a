"""Preflight waits for alarms that were just defined, on real alarms of the sandbox."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.sandbox.aws.drill_context import drill_context
from tests.sandbox.aws.shop import Shop

from tocsin.actors.context import RunContext
from tocsin.drill.settling import alarms_ready
from tocsin.errors import Interrupted, Refused
from tocsin.model.events import AlarmsAwaited, Event
from tocsin.model.experiment import QuietAlarm
from tocsin.model.system import MetricAlarm


def heartbeat(name: str) -> MetricAlarm:
    return MetricAlarm(
        alarm_name=name,
        namespace="Shop",
        metric_name=name,
        statistic="Sum",
        period=60,
        evaluation_periods=1,
        threshold=1,
        comparison_operator="LessThanThreshold",
        treat_missing_data="breaching",
    )


def context(shop: Shop, tmp_path: Path, alarm: MetricAlarm, hear: Callable[[Event], None]) -> RunContext:
    ctx = drill_context(shop, tmp_path, [alarm], quiet=(QuietAlarm(alarm=alarm.alarm_name),))
    ctx.history.listen(hear, "test")
    return ctx


def put(shop: Shop, alarm: MetricAlarm) -> None:
    definition = alarm.model_dump(mode="json", by_alias=True, exclude_none=True)
    shop.client("cloudwatch").put_metric_alarm(**{k: v for k, v in definition.items() if v != []})


def test_a_heartbeat_that_has_not_begun_yet_is_waited_for(shop: Shop, tmp_path: Path) -> None:
    awaited: list[AlarmsAwaited] = []
    alarm = heartbeat("pulse")

    def hear(event: Event) -> None:
        assert isinstance(event, AlarmsAwaited)
        awaited.append(event)
        # The heart begins to beat when somebody waits for it, and beats on.
        threading.Thread(target=beat, daemon=True).start()

    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.1):
            shop.publish("pulse", 1)

    put(shop, alarm)
    try:
        told = alarms_ready(context(shop, tmp_path, alarm, hear))
    finally:
        stop.set()
    assert told.startswith("pulse OK after ")
    assert [list(event.states) for event in awaited] == [["pulse"]]
    assert awaited[0].until > awaited[0].at


def test_one_that_rings_on_is_refused_at_last_and_an_old_one_at_once(shop: Shop, tmp_path: Path) -> None:
    awaited: list[Event] = []
    alarm = heartbeat("no-pulse")
    put(shop, alarm)
    # At once: who waits here for the ring uses up the seconds for which it is a new alarm.
    ctx = context(shop, tmp_path, alarm, awaited.append)
    with pytest.raises(Refused, match=r"already ringing: no-pulse after .* of settling"):
        alarms_ready(ctx)
    assert len(awaited) == 1
    with pytest.raises(Refused, match=r"already ringing: no-pulse\."):
        alarms_ready(ctx)
    assert len(awaited) == 1


def test_the_wait_can_be_stopped(shop: Shop, tmp_path: Path) -> None:
    alarm = heartbeat("stopped-pulse")
    put(shop, alarm)
    ctx: RunContext | None = None

    def hear(event: Event) -> None:
        del event
        assert ctx is not None
        ctx.stop.ask(Interrupted("SIGINT"))

    ctx = context(shop, tmp_path, alarm, hear)
    with pytest.raises(Interrupted):
        alarms_ready(ctx)

"""The shelf of those who die, or never begin, before anything is broken: the drill must not break it any more."""

from __future__ import annotations

from tests.planted.bench import Bench
from tests.planted.shelf import begins, kill_load, planted

from tocsin.actors.alarm_watcher import AlarmWatcher
from tocsin.model.events import Act, Event, LoadSecond
from tocsin.model.verdict import Reason


def is_second_of_load(event: Event) -> bool:
    """Whether the load is there."""
    return isinstance(event, LoadSecond)


@planted(
    "load that dies before the fault",
    "outage under load",
    "guard:actors",
    Reason.ACTOR_DIED,
    "load: Locust ended with exit code -9",
)
def load_dies_early(bench: Bench) -> None:
    bench.when(is_second_of_load, kill_load)


@planted(
    "load that dies while the method waits",
    "outage under load",
    "guard:actors",
    Reason.ACTOR_DIED,
    "load: Locust ended with exit code -9",
)
def load_dies_in_the_method(bench: Bench) -> None:
    wait = {"type": "python", "module": "tocsin.procedures", "func": "wait", "arguments": {"duration": "12m"}}
    bench.document["method"].insert(0, {"type": "action", "name": "wait", "provider": wait})
    bench.when(begins(Act.FAULT), kill_load)


@planted(
    "load that never begins",
    "outage under load",
    "guard:traffic",
    Reason.NO_TRAFFIC,
    "found no arrival in ",
)
def load_never_begins(bench: Bench) -> None:
    waits = "class Customer(ArrivalUser):\n    def on_start(self):\n        __import__('time').sleep(600)\n"
    bench.edit("loadtests/bell.py", "class Customer(ArrivalUser):", waits)


@planted(
    "alarm watcher that dies before the fault", "poison", "guard:actors", Reason.ACTOR_DIED, "alarms: .*cannot see this"
)
def watcher_dies_early(bench: Bench) -> None:
    def stumble(self: AlarmWatcher) -> None:
        raise ValueError("cannot see this")

    bench.when(begins(Act.BASELINE), lambda: bench.patch.setattr(AlarmWatcher, "poll", stumble))

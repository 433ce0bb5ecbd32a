"""The guards that keep watching: alarms that are worse than what is tested, and the longest time of a fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tocsin.aws.cloudwatch import alarm_states
from tocsin.aws.target import Target
from tocsin.errors import Refused
from tocsin.model.duration import format_duration
from tocsin.model.events import Event, FaultChanged, FaultStage
from tocsin.model.experiment import Extension
from tocsin.model.system import System


@dataclass(frozen=True)
class StopConditions:
    """Alarms of the account that end a drill, by AlarmName; `under_test` are those that the drill is about."""

    target: Target
    alarm_names: tuple[str, ...]
    under_test: frozenset[str] = frozenset()

    @classmethod
    def of(cls, target: Target, system: System, extension: Extension) -> StopConditions:
        """Those of the target and those of the experiment; the system's placeholders are resolved."""
        alarms = {name: alarm.cloudwatch.alarm_name for name, alarm in system.cloudwatch_alarms.items()}
        own = (alarms[name] for name in extension.stop_conditions)
        names = tuple(dict.fromkeys((*target.rules.stop_conditions, *own)))
        return cls(target, names, frozenset(alarms[name] for name in extension.expect.under_test if name in alarms))

    def check(self) -> str:
        """Whether each exists and is OK.

        Raises:
            Refused: one rings, has no data or is not there, or is what the drill is about.
            TargetError: CloudWatch did not answer.
        """
        if not self.alarm_names:
            return "none is set"
        tested = [name for name in self.alarm_names if name in self.under_test]
        if tested:
            raise Refused(
                "stop-conditions",
                f"expected stop conditions other than what the drill is about, found {', '.join(tested)}. "
                "Choose an alarm on something worse, or take it out of `stop_conditions`.",
            )
        states = alarm_states(self.alarm_names, self.target)
        bad = {name: states.get(name, "not there") for name in self.alarm_names if states.get(name) != "OK"}
        if bad:
            found = ", ".join(f"{name} {state}" for name, state in bad.items())
            raise Refused(
                "stop-conditions",
                f"expected every stop condition to be OK, found {found}. Look at what it tells before anything else "
                "is broken; one without data cannot guard.",
            )
        return ", ".join(f"{name} OK" for name in self.alarm_names)


class HeldFaults:
    """How long faults of a drill are in place: listens to its history."""

    def __init__(self, target: Target, now: Callable[[], float] = time.time) -> None:
        self._target = target
        self._now = now
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()

    def see(self, event: Event) -> None:
        """Take note of a fault that was asked for or is over; called from any thread."""
        if not isinstance(event, FaultChanged):
            return
        with self._lock:
            if event.stage is FaultStage.VERIFIED:
                self._since.pop(event.entry, None)
            else:
                self._since.setdefault(event.entry, event.at)

    @property
    def in_place(self) -> bool:
        """Whether a fault is in place now."""
        with self._lock:
            return bool(self._since)

    def check(self) -> str:
        """Whether no fault is in place for longer than the target allows.

        Raises:
            Refused: one is.
        """
        limit = self._target.rules.max_duration
        with self._lock:
            held = (self._now() - min(self._since.values())) * self._target.scale if self._since else 0.0
        if limit is not None and held > limit:
            raise Refused(
                "max-duration",
                f"expected no fault in place for longer than {format_duration(limit)} (`max_duration`), found one for "
                f"{format_duration(held)}. Expect the alarms sooner, or allow more in tocsin.toml.",
            )
        return format_duration(held)


def check_planned_duration(target: Target, longest_s: float) -> str:
    """Whether the experiment's own deadlines, in production seconds, are within what the target allows.

    Raises:
        Refused: they are not.
    """
    limit = target.rules.max_duration
    if limit is not None and longest_s > limit:
        raise Refused(
            "max-duration",
            f"expected a fault of at most {format_duration(limit)} (`max_duration` of target '{target.name}'), found "
            f"that this experiment may hold it for {format_duration(longest_s)}. Shorten its deadlines, or allow more "
            "in tocsin.toml.",
        )
    return f"in place for at most {format_duration(longest_s)}"

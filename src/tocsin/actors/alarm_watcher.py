"""Watches the CloudWatch alarms of a system: every transition with the time CloudWatch gives it, every notification."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from tocsin.actors.alarm_evidence import has_datapoints, read_actions, read_datapoints, read_path, redefined
from tocsin.actors.alarm_history import Histories, Update
from tocsin.actors.alarm_parts import Parts
from tocsin.actors.base import PollingActor
from tocsin.actors.context import RunContext
from tocsin.actors.pager import Pager
from tocsin.alarms.state_reason import grounds
from tocsin.aws.again import asked_again
from tocsin.aws.cloudwatch import (
    DESCRIBE_GRANT,
    NAMES_A_CALL,
    definition_drift,
    definition_of,
    describe_alarms,
    is_listed,
    why_not_evaluated,
)
from tocsin.aws.iam import Arns, Grant
from tocsin.errors import TargetError
from tocsin.model.events import AlarmActed, AlarmChanged, AlarmSeen, AlarmsPolled
from tocsin.model.system import AlarmState, CompositeAlarm, System

_ROUND_PRODUCTION_S = 45.0
_ROUND_WALL_S = 1.0
"""The longer of both passes until every alarm is asked for again: less than the minute that a watcher may be silent,
and on a fast clock less than the two seconds that a busy machine is allowed on top."""
_LAST_LOOK_WALL_S = 5.0
"""What is asked once, when the fault or the drill is over, is asked again for so long."""


def grants(system: System, arns: Arns) -> Iterator[Grant]:
    """What watching the alarms of this system needs of IAM."""
    yield DESCRIBE_GRANT
    yield Grant(sid="Observe", actions=("cloudwatch:DescribeAlarmHistory", "cloudwatch:ListMetrics"))


class AlarmWatcher(PollingActor):
    """Polls DescribeAlarms; reads an alarm's history whenever its state has been updated, until that explains it.

    The time of a transition is the time of its StateUpdate in the alarm's history, never the time of the poll, and
    an alarm that rang and cleared between two polls is seen.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmHistory.html

    Alarms are asked for in parts, a call each: in every poll those that the experiment names, of many others some in
    turn, so that watching does not disturb what is watched and yet no alarm is left alone for a minute.
    """

    def __init__(self, ctx: RunContext) -> None:
        super().__init__("alarms", ctx)
        self._names = {alarm.cloudwatch.alarm_name: name for name, alarm in ctx.system.cloudwatch_alarms.items()}
        self._since = ctx.now()
        self._histories = Histories(ctx.target, self._since)
        self._known: dict[str, AlarmState] = {}
        self._parts = _parts(ctx, self._interval)
        self._last = False
        self._pager = Pager(ctx) if ctx.system.notifications else None
        self._acted: set[AlarmActed] = set()
        self._described: dict[str, dict[str, Any]] = {}

    def look(self) -> None:
        """Read and record every alarm once, before the watching starts.

        Raises:
            TargetError: CloudWatch did not answer.
        """
        described = self._described = self._describe()
        for alarm_name, name in self._names.items():
            if alarm_name in described:
                self._history.record(self._seen(name, described[alarm_name], has_data=None))
        self._histories.begin(described)
        self._record_paths(described)
        if self._pager is not None:
            self._pager.drain()

    def poll(self) -> None:
        """Record the transitions and the notifications since the last poll, and the states of the parts in turn.

        Raises:
            TargetError: something was not answered. What was is recorded all the same.
        """
        failed: TargetError | None = None
        for part in self._parts.all() if self._last else self._parts.next():
            failed = self._poll_part(part, self._parts.names[part]) or failed
        if self._pager is not None:
            self._pager.read(self._described)
        if failed is not None:
            raise failed

    def stop(self) -> None:
        """End, and look a last time, at every alarm."""
        self._last = True
        super().stop()

    def _poll_part(self, part: int, names: Sequence[str]) -> TargetError | None:
        """Record one part; returns why a history could not be read."""
        alarms = self._ctx.system.cloudwatch_alarms
        described = describe_alarms([alarms[name] for name in names], self._ctx.target)
        self._tell_redefined(described)
        failed = self._tell_transitions(described)
        found = {self._names[alarm_name]: alarm for alarm_name, alarm in described.items()}
        states: dict[str, AlarmState] = {name: alarm["StateValue"] for name, alarm in found.items()}
        news = {name: state for name, state in states.items() if self._known.get(name) != state}
        missing = tuple(name for name in names if name not in states)
        self._history.record(
            AlarmsPolled(
                at=self._ctx.now(),
                polls=1,
                states=news,
                part=part,
                same=Counter(state for name, state in states.items() if name not in news),
                missing=missing,
                not_evaluated={name: why for name, alarm in found.items() if (why := why_not_evaluated(alarm))},
            )
        )
        # What held its actions back may be over when the fault ends.
        self._record_paths({name: alarm for name, alarm in described.items() if self._rings(name, news)})
        self._known |= news
        for name in missing:
            self._known.pop(name, None)
        return failed

    def _tell_transitions(self, described: Mapping[str, Mapping[str, Any]]) -> TargetError | None:
        """What the histories hold that is new; returns why one could not be read."""
        try:
            for update in self._histories.news(described):
                self._tell(update)
        except TargetError as error:
            return error
        return None

    def _rings(self, alarm_name: str, news: Mapping[str, AlarmState]) -> bool:
        """Whether an alarm that must ring now does, in the state by which it tells people."""
        name = self._names[alarm_name]
        must = self._ctx.experiment.extension.expect.must_alarms
        return any(entry.alarm == name and entry.by == news.get(name) for entry in must)

    def _describe(self) -> dict[str, dict[str, Any]]:
        return describe_alarms(self._ctx.system.cloudwatch_alarms.values(), self._ctx.target)

    def _tell_redefined(self, described: Mapping[str, dict[str, Any]]) -> None:
        """Record which alarms were written anew since the last look; one that is gone is known as it was."""
        for alarm_name, now in described.items():
            before = self._described.get(alarm_name)
            change = before and redefined(self._ctx, self._names[alarm_name], before, now)
            if change:
                self._history.record(change)
        self._described |= described

    def record_paths(self) -> None:
        """Record whom the alarms that must ring would tell, as it is now, and whom CloudWatch says that it told."""
        with contextlib.suppress(TargetError):
            self._record_paths(asked_again(self._describe, _LAST_LOOK_WALL_S, self._ctx.stop.wait))
            self._record_actions()

    def _record_actions(self) -> None:
        for name, described in self._must(self._described).items():
            for acted in read_actions(self._ctx, name, described["AlarmName"], self._since):
                if acted not in self._acted:
                    self._acted.add(acted)
                    self._history.record(acted)

    def _record_paths(self, described: Mapping[str, Mapping[str, Any]]) -> None:
        must = {entry.alarm: entry for entry in self._ctx.experiment.extension.expect.must_alarms}
        for name, alarm in self._must(described).items():
            self._history.record(read_path(self._ctx, name, alarm, must[name].by))
            if must[name].all_clear:
                self._history.record(read_path(self._ctx, name, alarm, "OK"))

    def _must(self, described: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """Those that must ring, by their name in the system file, as CloudWatch describes them."""
        must = {entry.alarm for entry in self._ctx.experiment.extension.expect.must_alarms}
        return {
            name: described[alarm_name]
            for alarm_name, name in self._names.items()
            if name in must and alarm_name in described
        }

    def record_data(self, since: float | None, until: float | None) -> None:
        """Record what there was to see for the alarms, after traffic has been offered.

        Whether the metric of each has ever had a datapoint; and of those that must ring the datapoints from `since`
        to `until`, the fault's wall-clock times, if there was one. An alarm on an anomaly band or of PromQL has no
        threshold to compare them with, and one of logs has no metric.
        """
        with contextlib.suppress(TargetError):
            described = asked_again(self._describe, _LAST_LOOK_WALL_S, self._ctx.stop.wait)
            if since is not None and until is not None:
                for name, alarm in self._must(described).items():
                    if has_datapoints(alarm):
                        self._history.record(read_datapoints(self._ctx, name, alarm, since, until))
            for alarm_name, name in self._names.items():
                if alarm_name in described:
                    has_data = asked_again(partial(self._has_data, name), _LAST_LOOK_WALL_S, self._ctx.stop.wait)
                    self._history.record(self._seen(name, described[alarm_name], has_data=has_data))
            self._record_actions()

    def _tell(self, update: Update) -> None:
        if update.before == update.after:
            return
        state = update.data["newState"]
        found = grounds(self._described[update.alarm_name], update.after, state.get("stateReasonData"))
        self._history.record(
            AlarmChanged(
                at=update.at,
                alarm=self._names[update.alarm_name],
                before=update.before,
                after=update.after,
                breached_at=found.breached_at,
                evidence=found.evidence,
                triggered_by=found.triggered_by,
                reason=state.get("stateReason", ""),
            )
        )

    def _seen(self, name: str, described: Mapping[str, Any], *, has_data: bool | None) -> AlarmSeen:
        changed = described.get("StateTransitionedTimestamp") or described["StateUpdatedTimestamp"]
        drift = definition_drift(self._ctx.system.cloudwatch_alarms[name], described)
        return AlarmSeen(
            at=self._ctx.now(),
            alarm=name,
            state=described["StateValue"],
            since=changed.timestamp(),
            has_data=has_data,
            definition_drift=drift,
            definition=definition_of(described) if drift else None,
            not_evaluated=why_not_evaluated(described),
        )

    def _has_data(self, name: str) -> bool | None:
        """Whether CloudWatch knows every metric of the alarm; it lists those with data in the last two weeks.

        Of very many alarms only those are asked about that the experiment names.
        """
        alarm = self._ctx.system.cloudwatch_alarms[name].cloudwatch
        few = len(self._names) <= NAMES_A_CALL
        # Of a query nobody knows which metrics it will find.
        metrics = () if isinstance(alarm, CompositeAlarm) else alarm.metric_refs
        if not metrics or not (few or name in self._ctx.experiment.extension.expect.alarms):
            return None
        return all(is_listed(metric, self._ctx.target) for metric in metrics)


def _parts(ctx: RunContext, interval_wall_s: float) -> Parts:
    """Where the experiment says that there is a gap every alarm matters; else those that it names."""
    expect, alarms = ctx.experiment.extension.expect, ctx.system.cloudwatch_alarms
    matter = alarms if expect.gap is not None else [name for name in expect.alarms if name in alarms]
    round_s = max(ctx.wall(_ROUND_PRODUCTION_S), _ROUND_WALL_S)
    return Parts(alarms, matter, at_once=NAMES_A_CALL, polls=int(round_s / interval_wall_s))

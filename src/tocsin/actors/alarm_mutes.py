"""What will hold an alarm's actions back during a drill: mute rules, and the suppressor of a composite alarm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tocsin.alarms.mutes import Schedule
from tocsin.aws.cloudwatch import alarm_states
from tocsin.aws.mutes import MuteRule, mute_rules
from tocsin.aws.target import Target
from tocsin.errors import InvalidInput, TargetError
from tocsin.model.duration import format_duration
from tocsin.model.events import AlarmPath, Mute


@dataclass(frozen=True)
class Mutes:
    """The mute rules of one alarm that hold its actions back within a stretch of time, or why they are not known."""

    found: tuple[Mute, ...] = ()
    unknown: str = ""


def read_mutes(target: Target, alarm_name: str, until: float) -> Mutes:
    """What mutes an alarm from now until a wall-clock time. Never raises: what cannot be read is told as not known."""
    now = datetime.now(UTC)
    try:
        rules = mute_rules(alarm_name, target)
        mutes = [_mute(rule, now, datetime.fromtimestamp(until, UTC), target.scale) for rule in rules]
    except (TargetError, InvalidInput) as error:
        return Mutes(unknown=str(error))
    return Mutes(found=tuple(mute for mute in mutes if mute is not None))


def _mute(rule: MuteRule, now: datetime, until: datetime, scale: float) -> Mute | None:
    """A rule as it is from now on; None when it mutes nothing until then."""
    schedule = Schedule.of(rule.expression, rule.duration, rule.timezone)
    if scale != 1 and schedule.at is None:
        # Its calendar passes as fast as production time, and only the target knows it.
        return Mute(rule=rule.name, active=True) if rule.active else None
    windows = [
        window
        for window in schedule.windows(now, until)
        if (rule.starts is None or window.end > rule.starts) and (rule.expires is None or window.start < rule.expires)
    ]
    if not windows:
        return Mute(rule=rule.name, active=True) if rule.active else None
    start = max(windows[0].start, rule.starts or windows[0].start)
    # A duration is production time.
    end = windows[0].start + schedule.duration / scale
    ends = end if rule.expires is None else min(end, rule.expires)
    if ends <= now and not rule.active:
        return None
    return Mute(rule=rule.name, active=rule.active, starts=start.timestamp(), ends=ends.timestamp())


def suppressor_of(described: Mapping[str, Any]) -> str | None:
    """The name of the alarm that, in ALARM, holds the actions of an alarm back, as CloudWatch describes that one."""
    suppressor = described.get("ActionsSuppressor")
    return None if suppressor is None else str(suppressor).rpartition(":alarm:")[2]


def suppressors_in_alarm(described: Iterable[Mapping[str, Any]], target: Target) -> frozenset[str]:
    """Those suppressors of alarms that are in ALARM now.

    `ActionsSuppressedBy` of an alarm whose state did not change yet is not relied on: AWS does not say that it tells.

    Raises:
        TargetError: CloudWatch did not answer.
    """
    names = sorted({name for alarm in described if (name := suppressor_of(alarm)) is not None})
    states = alarm_states(names, target) if names else {}
    return frozenset(name for name, state in states.items() if state == "ALARM")


def held_notes(path: AlarmPath, in_alarm: frozenset[str] = frozenset()) -> Iterator[str]:
    """What makes it doubtful, before the fault, that an alarm tells anybody when it rings.

    `in_alarm`: suppressors that are in ALARM.
    """
    if path.suppressed_by == "Alarm" or path.suppressor in in_alarm:
        yield f"it would tell nobody: its actions are suppressed by {path.suppressor}, which is in ALARM"
    for mute in path.mutes:
        if mute.active:
            yield f"it would tell nobody: its actions are muted by the rule {mute.rule}{_until(mute, path.at)}"
        elif mute.starts is not None:
            yield f"the rule {mute.rule} mutes its actions in {format_duration(round(mute.starts - path.at))}"
    if path.mutes_unknown:
        yield f"whether a rule mutes its actions is not known ({path.mutes_unknown})"


def _until(mute: Mute, now: float) -> str:
    return "" if mute.ends is None else f", for another {format_duration(round(max(mute.ends - now, 0.0)))}"

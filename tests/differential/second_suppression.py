"""Suppressors of composite alarms, a second time: of every moment is asked which event was the last one before it.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-suppression.html
"""

from __future__ import annotations

from collections.abc import Sequence


def told(
    changes: Sequence[int], in_alarm: Sequence[bool], wait_s: int, extension_s: int
) -> list[tuple[str | None, bool]]:
    """Of each second: what suppresses the actions of the composite alarm, and whether it takes them.

    `changes` are the seconds at which the composite alarm changed its state; `in_alarm` tells of each second whether
    the suppressor is in ALARM.
    """
    found: list[tuple[str | None, bool]] = []
    for now in range(len(in_alarm)):
        by = _suppressed_by(now, changes, in_alarm, wait_s, extension_s)
        last_taken = max((at for at, (_, taken) in enumerate(found) if taken), default=-1)
        untold = any(last_taken < change <= now for change in changes)
        found.append((by, by is None and untold))
    return found


def _suppressed_by(
    now: int, changes: Sequence[int], in_alarm: Sequence[bool], wait_s: int, extension_s: int
) -> str | None:
    if in_alarm[now]:
        return "Alarm"
    # Whichever event was last discards the period that another one had begun.
    changed = max((at for at in changes if at <= now and not in_alarm[at]), default=-1)
    left = max((at for at in range(1, now + 1) if in_alarm[at - 1] and not in_alarm[at]), default=-1)
    if changed >= left:
        return "WaitPeriod" if changed >= 0 and now < changed + wait_s else None
    return "ExtensionPeriod" if now < left + extension_s else None

"""When a composite alarm's actions wait for its `ActionsSuppressor`: a pure function of states and time.

Source: *Suppressing composite alarm actions*,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-suppression.html
"""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.model.events import SuppressedBy


@dataclass(frozen=True)
class Suppression:
    """Whether actions are held back, by what, until when, and whether a change of state was held back."""

    by: SuppressedBy | None = None
    until_s: float | None = None
    """None: as long as the suppressor is in ALARM"""
    owed: bool = False


@dataclass(frozen=True)
class Suppressor:
    """What a composite alarm says of its suppressor, in production seconds, and whether that is in ALARM."""

    in_alarm: bool
    wait_s: float
    extension_s: float


def step(before: Suppression, suppressor: Suppressor, now_s: float, *, changed: bool) -> tuple[Suppression, bool]:
    """What holds at `now_s`, and whether the actions of the present state are to be taken now.

    `changed`: the composite alarm has just changed its state. A suppressor in ALARM holds actions back; so does the
    wait period that every change begins, and the extension period that begins when the suppressor leaves ALARM. When
    neither runs any more, actions "based on their current states" are taken, if any were held back.
    """
    owed = before.owed or changed
    if suppressor.in_alarm:
        return Suppression("Alarm", None, owed), False
    if changed:
        # A period that was running is discarded.
        after = Suppression("WaitPeriod", now_s + suppressor.wait_s, owed)
    elif before.by == "Alarm":
        after = Suppression("ExtensionPeriod", now_s + suppressor.extension_s, owed)
    else:
        after = before
    if after.until_s is None or now_s < after.until_s:
        return after, False
    return Suppression(), owed

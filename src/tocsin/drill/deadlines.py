"""Can the deadlines of an experiment be told at a time scale at all?

The watchers look every 15 s of production time, and no faster than four times in a wall second; alarms are evaluated
every 10 s at best. Whether something was in time is known only for deadlines longer than both together:

    resolution = max(15 s, 0.25 s * scale) + 10 s

That is 25 s on AWS and at the sandbox's 60, 70 s at 240, 160 s at 600.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tocsin.actors.base import POLL_PRODUCTION_S, POLL_WALL_S
from tocsin.model.duration import format_duration
from tocsin.model.experiment import Expect
from tocsin.model.toolkit import Location

EVALUATED_EVERY_S = 10.0
"""Production seconds between two looks of CloudWatch at an alarm with a period below a minute, and between two ticks of
the sandbox (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html)."""
_TIMES = ("within", "notified_within", "clears_within")


def resolution_s(scale: float) -> float:
    """Production seconds up to which nothing can be told apart at a time scale."""
    return max(POLL_PRODUCTION_S, POLL_WALL_S * scale) + EVALUATED_EVERY_S


def untold(expect: Expect, scale: float) -> Iterator[tuple[Location, str]]:
    """Deadlines that are too short for a time scale: the place below `expect`, and what is wrong."""
    resolution = resolution_s(scale)
    for place, what, deadline in _deadlines(expect):
        if deadline <= resolution:
            yield place, f"expected {what} to be longer than {format_duration(resolution)}, {_why(deadline, scale)}"


def _why(deadline: float, scale: float) -> str:
    found = f"found {format_duration(deadline)}"
    if deadline <= resolution_s(1):
        return (
            f"{found}: alarms are looked at every {POLL_PRODUCTION_S:g} s and evaluated every {EVALUATED_EVERY_S:g} s, "
            "so what is shorter cannot be told"
        )
    longest = math.ceil((deadline - EVALUATED_EVERY_S) / POLL_WALL_S) - 1
    return (
        f"{found}, which is {deadline / scale:.2g} s at time scale {scale:g}: alarms are looked at every "
        f"{POLL_WALL_S:g} s and evaluated every {EVALUATED_EVERY_S / scale:.2g} s. "
        f"Use a time scale of at most {longest}"
    )


def _deadlines(expect: Expect) -> Iterator[tuple[Location, str, float]]:
    for index, entry in enumerate(expect.must):
        subject = getattr(entry, "alarm", None) or getattr(entry, "canary", "")
        for name in _TIMES:
            found = getattr(entry, name, None)
            if found is not None:
                yield ("must", index, name), f"`{name}` of {subject}", found
    yield ("recovery", "within"), "`within` of the recovery", expect.recovery.within

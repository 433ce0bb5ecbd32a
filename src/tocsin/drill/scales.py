"""Which time scale a drill bears on the sandbox: `--time-scale auto`.

What is faster is over sooner, and what takes real time does not become shorter with it: requests, contract runs, and
the answers that an alarm or a judgement needs come at the pace of the wall clock. So the fastest of `SCALES` is chosen
at which each of them still fits, and what forbids the next one is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tocsin.drill.answers import too_few
from tocsin.drill.deadlines import untold
from tocsin.drill.options import DEFAULT_SCALE, RunOptions
from tocsin.drill.plan import Plan
from tocsin.model.duration import format_duration
from tocsin.model.system import MetricAlarm

SCALES = (120.0, 90.0, 60.0, 30.0, 20.0, 6.0, 1.0)
"""Fastest first."""
CONTRACT_WALL_S = 4.0
"""Wall seconds that a run of the contract takes: in the recorded drills of tests/record, 31 of 36 runs took less.
The fault act waits for it, so that a fault with less time is held for longer than its deadlines say."""
PERCENTILE_SAMPLES = 100
"""Answers in a period below which a p95 hangs on the slowest five of them."""
AVERAGE_SAMPLES = 30
_OF_REQUESTS = ("Latency", "Duration", "ResponseTime")
"""In the names of metrics of which each answer is one sample."""


@dataclass(frozen=True)
class Choice:
    """A time scale, and why it is no faster."""

    scale: float
    because: str


def choice_of(plan: Plan, options: RunOptions, settled: float) -> Choice:
    """The time scale of a drill: that of the run, unless each is to have its own."""
    return choose(plan) if options.auto_scale else Choice(settled, "")


def choose(plan: Plan) -> Choice:
    """The fastest time scale at which everything that takes real time has its time."""
    obstacle = "none is faster than that"
    for scale in SCALES:
        found = next(_obstacles(plan, scale), None)
        if found is None:
            return Choice(scale, obstacle)
        obstacle = f"not {scale:g}: {found}"
    return Choice(SCALES[-1], obstacle)


def _obstacles(plan: Plan, scale: float) -> Iterator[str]:
    """What forbids a time scale, the plainest first."""
    for look in _LOOKS:
        yield from look(plan, scale)


def _said(plan: Plan, scale: float) -> Iterator[str]:
    limit = plan.loaded.experiment.extension.scale
    if limit is not None and scale > limit.at_most:
        yield f"the experiment says at most {limit.at_most:g}, because {limit.because}"


def _deadlines(plan: Plan, scale: float) -> Iterator[str]:
    for _, what in untold(plan.loaded.experiment.extension.expect, scale):
        yield what


def _answers(plan: Plan, scale: float) -> Iterator[str]:
    missing = too_few(plan.loaded.experiment, plan.system, scale)
    if missing is not None:
        yield missing


def _contract(plan: Plan, scale: float) -> Iterator[str]:
    """Nothing is gained by a faster clock where the contract is waited for; nothing becomes truer by a slower one."""
    hold_s = plan.loaded.experiment.extension.longest_hold_s
    if plan.contract is not None and scale > DEFAULT_SCALE and hold_s / scale < CONTRACT_WALL_S:
        yield (
            f"the fault is held for {format_duration(hold_s)}, {hold_s / scale:.1f} s on the wall, and a run of the "
            f"contract takes about {CONTRACT_WALL_S:g} s"
        )


def _samples(plan: Plan, scale: float) -> Iterator[str]:
    """Alarms that must ring, by a percentile or an average over what requests took."""
    load = plan.loaded.experiment.extension.load
    alarms = plan.system.cloudwatch_alarms
    for entry in plan.loaded.experiment.extension.expect.must_alarms:
        definition = alarms[entry.alarm].cloudwatch if entry.alarm in alarms else None
        if load is None or not isinstance(definition, MetricAlarm) or definition.period is None:
            continue
        needed, found = _needed(definition), load.arrivals_per_s * definition.period / scale
        if found < needed:
            yield (
                f"{entry.alarm} looks at {definition.statistic or definition.extended_statistic} of "
                f"{format_duration(definition.period)}, and {found:.0f} answers come in that time, of {needed} it needs"
            )


def _needed(definition: MetricAlarm) -> int:
    if not any(word in str(definition.metric_name) for word in _OF_REQUESTS):
        return 0
    if definition.extended_statistic is not None:
        return PERCENTILE_SAMPLES
    return AVERAGE_SAMPLES if definition.statistic == "Average" else 0


_LOOKS: tuple[Callable[[Plan, float], Iterator[str]], ...] = (_said, _deadlines, _contract, _samples, _answers)

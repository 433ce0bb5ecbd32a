"""All measurements on resources of their own, one after the other, and the end of all that they made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from tocsin.aws.iam import Arns, Grant
from tocsin.aws.target import Aws, Target
from tocsin.errors import TargetError
from tocsin.faults.base import Change
from tocsin.faults.lifecycle import FaultLifecycle, check_nothing_left
from tocsin.guards.admission import check_freeze, check_production, check_window
from tocsin.guards.base import PARAMETERS, Guard, ask_all
from tocsin.guards.kill_switch import KillSwitch
from tocsin.parity.context import ParityContext
from tocsin.parity.model import Key, Measured
from tocsin.parity.throwaway import (
    alarm_lags,
    dead_man,
    empty_polls,
    function_conflicts,
    iam_propagation,
    schedule_fires,
)
from tocsin.parity.throwaway.kinds.base import new_run
from tocsin.parity.throwaway.registry import RECOVERABLE, THROWAWAY
from tocsin.parity.throwaway.telling import Telling
from tocsin.parity.throwaway.workshop import Budget, Workshop

OWNER = "tocsin parity --throwaway"
LONGEST_S = 2400.0
"""Production seconds after which no measurement looks any further."""
_LOOKS = 3000
"""Calls that may be made to look, in all."""
_MEASURED = {
    "parity_alarm": ("cloudwatch:DescribeAlarmHistory", "cloudwatch:PutMetricData", "cloudwatch:SetAlarmState"),
    "parity_function": (
        "lambda:GetFunctionConfiguration",
        "lambda:UpdateFunctionConfiguration",
    ),
    "parity_queue": ("sqs:ReceiveMessage", "sqs:SendMessage"),
    "parity_role": ("sts:AssumeRole",),
}
"""By kind of resource: IAM actions of what is measured on it, beside those that make and delete it."""
_ANYWHERE = ("cloudwatch:DescribeAlarms", "cloudwatch:PutMetricData")
"""Those that cannot be allowed for one alarm: the first is asked of all alarms, the second of a namespace.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatch.html
"""
Permit = Callable[[Change, Aws], None]


@dataclass(frozen=True)
class Measurement:
    """One that makes what it looks at. `rows` names all that it answers: what it could not is told as not seen."""

    title: str
    rows: tuple[tuple[Key, str], ...]
    measure: Callable[[Workshop], Iterator[Measured]]


MEASUREMENTS = (
    Measurement("what a poll of a queue brings", empty_polls.POLLS, empty_polls.empty_polls),
    Measurement("how finely times are told", alarm_lags.RESOLUTIONS, alarm_lags.resolutions),
    Measurement("how soon an alarm rings and is told", alarm_lags.LAGS, alarm_lags.lags),
    Measurement("how soon IAM is obeyed", iam_propagation.PROPAGATION, iam_propagation.propagation),
    Measurement("what a function in change refuses", function_conflicts.CONFLICTS, function_conflicts.conflicts),
    Measurement("whether a schedule fires", schedule_fires.SCHEDULES, schedule_fires.fires),
)


WITH_A_ROLE = Measurement("whether the dead man's role ends a fault", dead_man.DEAD_MAN, dead_man.ends)
"""Only where the target names such a role."""


def measurements_of(target: Target) -> tuple[Measurement, ...]:
    """All that can be measured on a target."""
    return MEASUREMENTS if target.dead_man_role is None else (*MEASUREMENTS, WITH_A_ROLE)


@dataclass(frozen=True)
class Thrown:
    """What was measured, and a line for each resource that could not be deleted, or not be seen to be gone."""

    rows: tuple[Measured, ...]
    left: tuple[str, ...]


def measure(ctx: ParityContext, permit: Permit, *, measurements: Iterable[Measurement] | None = None) -> Thrown:
    """Make, measure, delete, and see that nothing is left; all that can be measured there, where nothing is named.

    `permit` is asked before each resource is made, and raises Refused to forbid it. What cannot be made or seen is a
    row without an answer, and the others go on.

    Raises:
        Refused: a guard said no, another process uses the ledger of the target, or the end was asked for; all that was
            made is deleted.
        LedgerError: the ledger cannot be written; the same.
        ResidueLeft: after one of these, something could not be deleted.
    """
    measurements = measurements_of(ctx.target) if measurements is None else measurements
    run, telling = new_run(), Telling(ctx.progress)
    ctx = replace(ctx, progress=telling.say)
    with ctx.ledger.lock(OWNER):
        lifecycle = FaultLifecycle(
            target=ctx.target,
            ledger=ctx.ledger,
            drill=run,
            record=telling.hear,
            wait=ctx.clock.wait,
            permit=permit,
            registry=RECOVERABLE,
        )
        budget = Budget(ends_at=ctx.clock.now() + ctx.wall(LONGEST_S), looks=_LOOKS)
        shop = Workshop(ctx, lifecycle, run, budget, telling)
        try:
            rows = [row for one in measurements for row in _rows(one, shop)]
        except BaseException:
            check_nothing_left(ctx.target.name, _thrown_away(lifecycle))
            raise
        return Thrown(tuple(rows), tuple(_thrown_away(lifecycle)))


def _rows(measurement: Measurement, shop: Workshop) -> Iterator[Measured]:
    """Its rows in their order; those that it did not come to say why."""
    shop.ctx.progress(f"measuring {measurement.title}")
    why, told = "the measurement ended before", set[tuple[Key, str]]()
    try:
        for row in measurement.measure(shop):
            told.add((row.key, row.about))
            yield row
    except TargetError as error:
        why = str(error)
    for key, about in measurement.rows:
        if (key, about) not in told:
            yield Measured(key=key, about=about, here=None, holds=None, detail=why)


def _thrown_away(lifecycle: FaultLifecycle) -> list[str]:
    left = lifecycle.undo_all()
    return [f"{entry.id}  {entry.fault} on {entry.resource}: {lifecycle.reasons[entry.id]}" for entry in left]


def guarded(target: Target, kill_switch: KillSwitch, consent: str | None) -> Permit:
    """The guards that are asked before each resource is made: those of a drill that are not about what is there.

    `consent`: the account id given with `--yes-production`.
    """

    def permit(change: Change, aws: Aws) -> None:
        rules = target.rules
        guards: tuple[Guard, ...] = (
            ("production", lambda: check_production(target, consent)),
            ("kill-switch", kill_switch.check),
            ("freeze", lambda: check_freeze(rules, time.time())),
            ("window", lambda: check_window(rules, time.time())),
        )
        ask_all(guards, lambda event: None)

    return permit


def grants(arns: Arns, role: str | None = None) -> Iterator[Grant]:
    """What making, measuring and deleting needs of IAM: resources of these names, and what IAM cannot limit.

    `role`: the dead man's role of the target, which is passed on.
    """
    if role is not None:
        yield Grant(sid="Throwaway", actions=("iam:PassRole",), resources=(role,))
        yield Grant(sid="Throwaway", actions=dead_man.ACTIONS, resources=(THROWAWAY["parity_function"].pattern(arns),))
    for kind in THROWAWAY.values():
        asked = (*kind.permissions, *_MEASURED.get(kind.kind, ()))
        limited = tuple(action for action in asked if action not in _ANYWHERE)
        yield Grant(sid="Throwaway", actions=limited, resources=(kind.pattern(arns),))
    yield Grant(sid="Throwaway", actions=_ANYWHERE)
    yield Grant(sid="Guards", actions=("ssm:GetParameter",), resources=(arns("ssm", f"parameter{PARAMETERS}*"),))

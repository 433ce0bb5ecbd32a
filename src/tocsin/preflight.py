"""The guards of the preflight act. Nothing is touched; a guard that cannot be evaluated stops the drill."""

from __future__ import annotations

from dataclasses import asdict

from tocsin.actors.canary import CanaryActor, canary_period_s
from tocsin.actors.injector import Injector
from tocsin.alarms.feasibility import Forecast, Traffic, forecast_all, forecast_rule
from tocsin.alarms.prometheus import rules_of
from tocsin.alarms.queues import redrive_times
from tocsin.alarms.states import read_states
from tocsin.canary import load_canaries
from tocsin.context import RunContext
from tocsin.errors import Refused
from tocsin.guards.base import Guard, ask
from tocsin.guards.stopping import StopConditions, check_planned_duration
from tocsin.ledger import Ledger
from tocsin.model.duration import format_duration
from tocsin.model.events import Act, AlarmForecast
from tocsin.openapi import OpenApiDocument

_SETTLE_PRODUCTION_S = 180.0
"""A new alarm starts in INSUFFICIENT_DATA; this long it may take to its first evaluations."""


def run_preflight(ctx: RunContext, ledger: Ledger, injector: Injector, canaries: CanaryActor | None) -> None:
    """Ask every guard, in an order in which the cheap and the decisive come first.

    Raises:
        Refused: the first guard that says no, or that cannot be evaluated; or the end was asked for.
    """
    guards = [*reading_guards(ctx, ledger, injector), ("steady-state", lambda: _steady(injector))]
    if canaries is not None:
        guards.append(("canaries", lambda: _canaries_pass(canaries)))
    # Last, because it must hold at the very moment at which the drill begins.
    guards.append(stop_conditions(ctx))
    for guard in guards:
        ctx.stop.wait(0)
        ask(guard, ctx.history.record)


def reading_guards(ctx: RunContext, ledger: Ledger, injector: Injector) -> list[Guard]:
    """The guards that send the system no request: a dry run asks them too."""
    return [
        ("residue", lambda: _no_residue(ctx, ledger)),
        ("max-duration", lambda: _short_enough(ctx, injector)),
        ("alarms", lambda: _alarms_ready(ctx)),
        ("feasible", lambda: _alarms_can_ring(ctx)),
    ]


def stop_conditions(ctx: RunContext) -> Guard:
    """Whether the drill would be stopped as soon as it began; only reads, too."""
    return "stop-conditions", StopConditions.of(ctx.target, ctx.system, ctx.experiment.extension).check


def _no_residue(ctx: RunContext, ledger: Ledger) -> str:
    left = ledger.entries(only_open=True)
    if left:
        names = ", ".join(f"{entry.fault} on {entry.resource}" for entry in left)
        raise Refused("residue", f"expected no fault left from earlier runs, found {names}. Call `tocsin recover`.")
    return "no fault is left from earlier runs"


def _short_enough(ctx: RunContext, injector: Injector) -> str:
    longest_s = ctx.experiment.extension.longest_hold_s + injector.pauses_wall_s * ctx.scale
    return check_planned_duration(ctx.target, longest_s)


def _alarms_ready(ctx: RunContext) -> str:
    """Every alarm named exists and is quiet; those that must ring are evaluated already."""
    expect = ctx.experiment.extension.expect
    wanted = list(dict.fromkeys(expect.alarms))
    must = {entry.alarm for entry in expect.must_alarms}
    deadline = ctx.now() + ctx.wall(_SETTLE_PRODUCTION_S) + 1.0
    while True:
        states = read_states(ctx.system, wanted, ctx.target)
        missing = [name for name in wanted if name not in states]
        if missing:
            raise Refused(
                "alarms", f"expected these alarms in the target, found none of the name: {', '.join(missing)}."
            )
        ringing = [name for name, state in states.items() if state == "ALARM"]
        if ringing:
            raise Refused(
                "alarms", f"expected quiet alarms before the drill, found already ringing: {', '.join(ringing)}."
            )
        unknown = [name for name, state in states.items() if state == "INSUFFICIENT_DATA" and name in must]
        if not unknown:
            return ", ".join(f"{name} {state}" for name, state in states.items()) or "no alarm is named"
        if ctx.now() > deadline:
            # It may still ring when traffic comes: the drill will show it.
            return f"without data before traffic: {', '.join(unknown)}"
        ctx.stop.wait(0.2)


def _alarms_can_ring(ctx: RunContext) -> str:
    """Every alarm that must ring can do so at the offered traffic; the arithmetic of each is recorded."""
    wanted = {entry.alarm: entry.within for entry in ctx.experiment.extension.expect.must_alarms}
    alarms = {name: alarm.cloudwatch for name, alarm in ctx.system.cloudwatch_alarms.items()}
    on_cloudwatch = {name: within for name, within in wanted.items() if name in alarms}
    forecasts = forecast_all(on_cloudwatch, alarms, offered_traffic(ctx), redrive_times(alarms.values(), ctx.target))
    rules = rules_of(ctx.root, ctx.system)
    forecasts |= {
        name: forecast_rule(rules[alarm.prometheus.alert], wanted[name])
        for name, alarm in ctx.system.prometheus_alarms.items()
        if name in wanted
    }
    for name, found in forecasts.items():
        ctx.history.record(AlarmForecast(at=ctx.now(), alarm=name, **asdict(found)))
    stuck = [f"{name}: {found.detail}" for name, found in forecasts.items() if not found.feasible]
    if stuck:
        raise Refused("feasible", f"expected alarms that can ring, found some that cannot. {'; '.join(stuck)}.")
    return "; ".join(f"{name} {_when(found)}" for name, found in forecasts.items()) or "no alarm must ring"


def _when(found: Forecast) -> str:
    doubts = f" ({'; '.join(found.notes)})" if found.notes else ""
    if found.typical_s is None or found.worst_s is None:
        return f"can ring{doubts}"
    typical, worst = format_duration(found.typical_s), format_duration(found.worst_s)
    return f"can ring, typically after {typical}, at worst {worst}{doubts}"


def offered_traffic(ctx: RunContext) -> Traffic:
    """What load, canaries and contract will ask of the system, as planned.

    Raises:
        InvalidInput: the canaries or the contract cannot be read.
    """
    system, load = ctx.system, ctx.experiment.extension.load
    return Traffic(
        arrivals_per_s=load.arrivals_per_s if load is not None and system.load is not None else 0.0,
        scale=ctx.scale,
        canaries=len(load_canaries(ctx.root / system.canaries.file)) if system.canaries else 0,
        canary_every_s=canary_period_s(system.canaries.every, ctx.scale) if system.canaries else 60.0,
        operations=len(OpenApiDocument.load(ctx.root / system.contract).operations) if system.contract else 0,
    )


def _steady(injector: Injector) -> str:
    if not injector.check_hypothesis(Act.PREFLIGHT):
        raise Refused(
            "steady-state", "expected the steady-state hypothesis to hold before the drill, found it does not."
        )
    return "the steady-state hypothesis holds"


def _canaries_pass(canaries: CanaryActor) -> str:
    runs = canaries.run_once()
    failed = [f"{run.canary} ({run.detail})" for run in runs if not run.ok_after_retry]
    if failed or not runs:
        found = "; ".join(failed) or "no canary at all"
        raise Refused("canaries", f"expected every canary to pass before the drill, found: {found}.")
    return f"{len(runs)} canaries pass"

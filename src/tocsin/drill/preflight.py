"""The guards of the preflight act. Nothing is touched; a guard that cannot be evaluated stops the drill."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace

from tocsin.actors.alarm_evidence import read_path
from tocsin.actors.alarm_mutes import held_notes, suppressors_in_alarm
from tocsin.actors.canaries import CanaryActor, canaries_of, canary_period_s
from tocsin.actors.context import RunContext
from tocsin.actors.injector import Injector
from tocsin.actors.message_taps import check_taps
from tocsin.alarms.feasibility import Forecast, Traffic, forecast_all, forecast_rules
from tocsin.alarms.prometheus import rules_of
from tocsin.aws.cloudwatch import describe_alarms
from tocsin.aws.sqs import redrive_times
from tocsin.drill.answers import planned_answers, too_few
from tocsin.drill.settling import alarms_ready
from tocsin.drill.writing import may_write
from tocsin.errors import Refused
from tocsin.guards.base import Guard, ask
from tocsin.guards.credentials import check_credentials
from tocsin.guards.limits import StopConditions, check_planned_duration
from tocsin.guards.synthetic import check_test_data
from tocsin.model.duration import format_duration
from tocsin.model.events import Act, AlarmForecast
from tocsin.model.lags import Lags
from tocsin.parity.kept import kept_of
from tocsin.parity.model import Key
from tocsin.project.openapi import OpenApiDocument
from tocsin.record.ledger import Ledger


def run_preflight(ctx: RunContext, ledger: Ledger, injector: Injector, canaries: CanaryActor | None) -> None:
    """Ask every guard, in an order in which the cheap and the decisive come first.

    Raises:
        Refused: the first guard that says no, or that cannot be evaluated; or the end was asked for.
    """
    guards = reading_guards(ctx, ledger, injector)
    if injector.has_controls:
        guards.append(("controls", injector.open))
    guards.append(("steady-state", lambda: _steady(injector)))
    if canaries is not None:
        guards.append(("canaries", lambda: _canaries_pass(canaries)))
    # Last, because it must hold at the very moment at which the drill begins.
    guards.append(stop_conditions(ctx))
    for guard in guards:
        ctx.stop.wait(0)
        ask(guard, ctx.history.record)


def reading_guards(ctx: RunContext, ledger: Ledger, injector: Injector) -> list[Guard]:
    """The guards that send the system no request: a dry run asks them too."""
    guards: list[Guard] = [
        ("test-data", lambda: _test_data(ctx, injector)),
        ("credentials", lambda: _outlived(ctx, injector)),
        ("residue", lambda: _no_residue(ctx, ledger)),
        ("max-duration", lambda: _short_enough(ctx, injector)),
        ("bites", injector.check_faults_bite),
        ("alarms", lambda: alarms_ready(ctx)),
        ("feasible", lambda: _alarms_can_ring(ctx)),
        ("answers", lambda: _answers_told(ctx)),
    ]
    messages = ctx.system.messages
    if messages is not None:
        guards.append(("taps", lambda: check_taps(ctx.target, messages)))
    return guards


def _test_data(ctx: RunContext, injector: Injector) -> str:
    activities = may_write(injector.toolkit, ctx.experiment.path)
    load = ctx.experiment.extension.load is not None
    writers = ctx.system.writers(load=load, activities=bool(activities))
    return check_test_data(ctx.target, ctx.system, writers, activities)


def stop_conditions(ctx: RunContext) -> Guard:
    """Whether the drill would be stopped as soon as it began; only reads, too."""
    return "stop-conditions", StopConditions.of(ctx.target, ctx.system, ctx.experiment.extension).check


def _outlived(ctx: RunContext, injector: Injector) -> str:
    longest_s = ctx.experiment.extension.longest_drill_s + injector.pauses_wall_s * ctx.scale
    return check_credentials(ctx.target, longest_s)


def _no_residue(ctx: RunContext, ledger: Ledger) -> str:
    left = ledger.read(only_open=True)
    if left:
        raise Refused(
            "residue", f"expected no fault left from earlier runs, found {left.names}. Call `tocsin recover`."
        )
    owed = ledger.owed()
    if owed:
        raise Refused(
            "residue",
            f"expected no rollbacks that earlier runs owe, found {'; '.join(map(str, owed))}: what they would take "
            "back is there still. Call `tocsin recover --rollbacks`.",
        )
    return "no fault is left from earlier runs"


def _short_enough(ctx: RunContext, injector: Injector) -> str:
    longest_s = ctx.experiment.extension.longest_hold_s + injector.pauses_wall_s * ctx.scale
    return check_planned_duration(ctx.target, longest_s)


def _alarms_can_ring(ctx: RunContext) -> str:
    """Every alarm that must ring can do so at the offered traffic; the arithmetic of each is recorded."""
    must = ctx.experiment.extension.expect.must_alarms
    # How long data is missed before an alarm says so, AWS does not tell.
    wanted = {entry.alarm: entry.within for entry in must if entry.by == "ALARM"}
    alarms = {name: alarm.cloudwatch for name, alarm in ctx.system.cloudwatch_alarms.items()}
    on_cloudwatch = {name: within for name, within in wanted.items() if name in alarms}
    redrives, (lags, damage) = redrive_times(alarms.values(), ctx.target), _measured_lags(ctx)
    forecasts = forecast_all(on_cloudwatch, alarms, offered_traffic(ctx), redrives, lags)
    rules = rules_of(ctx.root, ctx.system)
    forecasts |= {name: forecast_rules(rules[name], wanted[name]) for name in wanted if name in rules}
    forecasts |= {
        name: replace(forecasts[name], notes=(*forecasts[name].notes, *notes))
        for name, notes in _held(ctx, on_cloudwatch).items()
    }
    for name, found in forecasts.items():
        used = lags if name in on_cloudwatch else None
        ctx.history.record(AlarmForecast(at=ctx.now(), alarm=name, lags=used, **asdict(found)))
    stuck = [f"{name}: {found.detail}" for name, found in forecasts.items() if not found.feasible]
    if stuck:
        raise Refused("feasible", f"expected alarms that can ring, found some that cannot. {'; '.join(stuck)}.")
    told = "; ".join(f"{name} {_when(found)}" for name, found in forecasts.items()) or "no alarm must ring"
    return f"{told}. {damage}" if damage else told


def _measured_lags(ctx: RunContext) -> tuple[Lags | None, str]:
    """What `tocsin parity` measured last on this target; None where it did not, or with why it cannot be read."""
    target = ctx.target
    report, damage = kept_of(ctx.root, target.name, target.account, target.region)
    if report is None or report.throwaway_at is None:
        return None, damage
    lags = Lags(
        measured_at=report.throwaway_at,
        metric_s=report.figure(Key.METRIC_LAG),
        notification_s=report.figure(Key.NOTIFICATION_LAG),
    )
    return lags, damage


def _answers_told(ctx: RunContext) -> str:
    """Whether the planned load can show what it has to. It is no reason to refuse: the fault may show all the same."""
    if ctx.experiment.extension.load is None or ctx.system.load is None:
        return "no load is offered"
    missing = too_few(ctx.experiment, ctx.system, ctx.scale)
    if missing is not None:
        return f"`baseline` will probably be unknown: {missing}"
    planned = planned_answers(ctx.experiment, ctx.system, ctx.scale)
    return f"about {planned:.0f} answers are planned before the fault, which is enough"


def _held(ctx: RunContext, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """What will keep alarms from telling anybody, though they ring: suppressors and mute rules."""
    alarms = {name: alarm for name, alarm in ctx.system.cloudwatch_alarms.items() if name in names}
    described = describe_alarms(alarms.values(), ctx.target)
    in_alarm = suppressors_in_alarm(described.values(), ctx.target)
    return {
        name: tuple(held_notes(read_path(ctx, name, described[alarm.cloudwatch.alarm_name], "ALARM"), in_alarm))
        for name, alarm in alarms.items()
        if ctx.system.can_tell(name) and alarm.cloudwatch.alarm_name in described
    }


def _when(found: Forecast) -> str:
    doubts = f" ({'; '.join(found.notes)})" if found.notes else ""
    if found.earliest_s is None:
        return f"{found.detail}{doubts}"
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
        canaries=len(canaries_of(ctx)),
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
    retried = [f"{run.canary} ({run.detail})" for run in runs if not run.ok]
    note = f", only at their second attempt: {'; '.join(retried)}" if retried else ""
    return f"{len(runs)} canaries pass{note}"

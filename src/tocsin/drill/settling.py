"""The guard `alarms`: every alarm named is there and quiet, once those that were just defined have settled."""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.actors.context import RunContext
from tocsin.alarms.evaluable import not_evaluated
from tocsin.alarms.settling import settles_within_s
from tocsin.alarms.states import Reading, read_alarms
from tocsin.errors import Refused
from tocsin.model.duration import format_duration
from tocsin.model.events import AlarmNotEvaluated, AlarmsAwaited
from tocsin.project.targets import SANDBOX

_LOOK_AGAIN_WALL_S = 0.2
_SLACK_WALL_S = 1.0
"""What is due at a production time may come this much later on any clock."""


def alarms_ready(ctx: RunContext) -> str:
    """Wait until the alarms that the experiment names are settled: OK, or as they will stay without traffic.

    Only an alarm whose definition is younger than its evaluation range is waited for. An older one that rings is
    refused at once, and one without data may still ring when traffic comes: the drill will show it.

    Raises:
        Refused: one is missing, or rings; or the end was asked for.
    """
    absent = _tell_what_nobody_evaluates(ctx)
    wanted = [name for name in dict.fromkeys(ctx.experiment.extension.expect.alarms) if name not in absent]
    began, told = ctx.now(), False
    while True:
        found = read_alarms(ctx.system, wanted, ctx.target)
        missing = ", ".join(name for name in wanted if name not in found)
        if missing:
            raise Refused("alarms", f"expected these alarms in the target, found none of the name: {missing}.")
        awaited = {name: until for name in wanted if (until := _may_settle_until(ctx, name, found[name])) > ctx.now()}
        waited = f" after {format_duration(round((ctx.now() - began) * ctx.scale))} of settling" if told else ""
        ringing = ", ".join(name for name, one in found.items() if one.state == "ALARM" and name not in awaited)
        if ringing:
            words = f"expected quiet alarms before the drill, found already ringing: {ringing}{waited}."
            raise Refused("alarms", words)
        if not awaited:
            return f"{_told(found)}{waited}"
        if not told:
            states = {name: found[name].state for name in awaited}
            ctx.history.record(AlarmsAwaited(at=ctx.now(), states=states, until=max(awaited.values())))
            told = True
        ctx.stop.wait(_LOOK_AGAIN_WALL_S)


def _tell_what_nobody_evaluates(ctx: RunContext) -> frozenset[str]:
    """Record which alarms the sandbox does not have, because it could not evaluate them; an account has them all."""
    if ctx.target.name != SANDBOX:
        return frozenset()
    found = not_evaluated(ctx.system.cloudwatch_alarms)
    for name, why in found.items():
        ctx.history.record(AlarmNotEvaluated(at=ctx.now(), alarm=name, detail=why))
    return frozenset(found)


def _may_settle_until(ctx: RunContext, name: str, found: Reading) -> float:
    """Wall-clock time until which the alarm's state may be one of its start; 0.0 when it is none."""
    alarms = ctx.system.cloudwatch_alarms
    if found.state == "OK" or found.defined_at is None or name not in alarms:
        return 0.0
    others = {alarm.cloudwatch.alarm_name: alarm.cloudwatch for alarm in alarms.values()}
    within_s = settles_within_s(alarms[name].cloudwatch, found.state, others)
    return found.defined_at + ctx.wall(within_s) + _SLACK_WALL_S


def _told(found: Mapping[str, Reading]) -> str:
    unknown = [name for name, one in found.items() if one.state == "INSUFFICIENT_DATA"]
    states = ", ".join(f"{name} {one.state}" for name, one in found.items()) or "no alarm is named"
    return f"{states}; without data before traffic: {', '.join(unknown)}" if unknown else states

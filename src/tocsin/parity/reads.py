"""A look at a target that only reads: everything that watchers, guards and faults will read there, by their own code.

Nothing is copied from a drill: what is asked here is what the drill's parts ask, its probes too. Of the pager only its
queue is looked for, because to receive is to take away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tocsin.actors.alarm_evidence import read_path
from tocsin.actors.alarm_history import Histories
from tocsin.actors.alarm_watcher import AlarmWatcher
from tocsin.actors.context import RunContext, StopRequest
from tocsin.actors.identities import Identities
from tocsin.actors.injector import Injector
from tocsin.actors.pager import Pager
from tocsin.actors.prometheus_watcher import PrometheusWatcher
from tocsin.actors.settings import SettingsComparison
from tocsin.actors.work import count_work
from tocsin.aws.cloudwatch import describe_alarms
from tocsin.aws.credentials import lasting_of
from tocsin.aws.identity import caller_of, clock_skew_s, principal_of
from tocsin.aws.lookups import resolve_base_url, resolve_system, user_pool_client_id, user_pool_id
from tocsin.aws.target import Aws
from tocsin.drill.opening import context_beside
from tocsin.drill.plan import Plan, faults
from tocsin.drill.preflight import reading_guards, stop_conditions
from tocsin.errors import InvalidInput, Refused, TargetError, Unavailable
from tocsin.faults.base import AnyFault
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.guards.admission import check_identity
from tocsin.guards.changes import resource_tags
from tocsin.guards.credentials import check_credentials, surely_outlast
from tocsin.guards.kill_switch import KillSwitch
from tocsin.guards.lock import check_free
from tocsin.model.system import CognitoIdentity, System
from tocsin.parity import activity_reads
from tocsin.parity.answers import Answers
from tocsin.parity.assumptions import ASSUMPTIONS, AT_ONCE
from tocsin.parity.context import ParityContext
from tocsin.parity.fault_reads import read_as
from tocsin.parity.model import Key, Measured
from tocsin.record.history import History

_DATAPOINTS_S = 3600.0
"""Production seconds of datapoints that are read: those of an alarm's longest usual window."""
_HEADER_S = 1.0
"""A Date header has whole seconds: so much of a difference is none."""
_SETTLES = "alarms"
"""The one guard that waits, for alarms that were just defined: what it reads, the watcher reads too."""


@dataclass(frozen=True)
class Surroundings:
    """Where a look is taken from: the checkout, a history that nobody keeps, and how to ask for the end."""

    context: ParityContext
    root: Path
    history: History
    stop: StopRequest


def look(around: Surroundings, system: System | None, plans: Sequence[Plan]) -> Iterator[Measured]:
    """Every row that reading can tell: of the target, and of the drills of a system where one is named.

    Raises:
        Refused: the credentials are of another account; or the end was asked for.
        TargetError: STS did not say whose they are, or there are none.
    """
    answers = Answers(around.context.target)
    yield from _look_at_target(around, answers, plans)
    if system is not None:
        yield from _look_at_system(around, answers, system, plans)
    yield from answers.rows()


# --- the target ---------------------------------------------------------------------------------------------


def _look_at_target(around: Surroundings, answers: Answers, plans: Sequence[Plan]) -> Iterator[Measured]:
    target = around.context.target
    with _step(around, answers, "account and credentials"):
        yield Measured(key=Key.ACCOUNT, about=target.name, here=check_identity(target), holds=True)
        yield _role(around)
        yield _clock(around)
        yield _session(around, plans)
    switch = KillSwitch(around.root, target)
    yield from _read(around, answers, "kill switch", switch.check)
    yield from _read(around, answers, "lock", lambda: check_free(target, around.context.ledger))


def _role(around: Surroundings) -> Measured:
    target = around.context.target
    caller = caller_of(target)
    try:
        return Measured(key=Key.ROLE, about=caller, here=principal_of(target, caller), holds=True)
    except TargetError as error:
        detail = f"{str(error).rstrip('.')}. Allow iam:GetRole on it, else a dry run cannot ask what it may do"
        return Measured(key=Key.ROLE, about=caller, here=None, holds=None, detail=detail)


def _clock(around: Surroundings) -> Measured:
    skew_s = clock_skew_s(around.context.target)
    if skew_s is None:
        detail = "the answer had no Date header. Compare the clocks by hand"
        return Measured(key=Key.CLOCK, about="this machine", here=None, holds=None, detail=detail)
    apart_s = max(AT_ONCE, abs(skew_s) - _HEADER_S)
    holds = ASSUMPTIONS[Key.CLOCK].holds(apart_s)
    detail = "" if holds else f"{'ahead of' if skew_s > 0 else 'behind'} AWS. Set the clock, and keep it with NTP"
    return Measured(key=Key.CLOCK, about="this machine", here=round(apart_s, 1), holds=holds, detail=detail)


def _session(around: Surroundings, plans: Sequence[Plan]) -> Measured:
    """Whether the credentials last for the longest of the drills."""
    target = around.context.target
    longest = max(plans, key=partial(_longest_s, target.scale), default=None)
    about = "the undo of a fault" if longest is None else longest.loaded.experiment.slug
    longest_s = 0.0 if longest is None else _longest_s(target.scale, longest)
    lasting = lasting_of(target)
    if not lasting.told and not surely_outlast(lasting, target, longest_s):
        detail = f"{lasting.words()}. {lasting.next_move()}"
        return Measured(key=Key.SESSION, about=about, here=None, holds=None, detail=detail)
    try:
        check_credentials(target, longest_s)
    except Refused as refusal:
        return Measured(key=Key.SESSION, about=about, here=lasting.words(), holds=False, detail=str(refusal))
    return Measured(key=Key.SESSION, about=about, here=lasting.words(), holds=True)


def _longest_s(scale: float, plan: Plan) -> float:
    """Production seconds that a drill may take, with the pauses of its activities, which are never scaled."""
    paused_s = plan.variables.paused_wall_s(plan.activities()) * scale
    return plan.loaded.experiment.extension.longest_drill_s + paused_s


# --- a system -----------------------------------------------------------------------------------------------


def _look_at_system(
    around: Surroundings, answers: Answers, system: System, plans: Sequence[Plan]
) -> Iterator[Measured]:
    named = _names(around, answers, system)
    yield named
    if not named.holds:
        return
    contexts = [_context(around, plan) for plan in plans]
    for ctx, plan in zip(contexts, plans, strict=True):
        yield from _look_as_guards(around, answers, ctx, plan)
    if contexts:
        yield from _look_as_watchers(around, answers, _of_all(contexts))
    yield from _look_as_activities(around, answers, contexts, plans)
    for fault in _distinct(plans):
        with _step(around, answers, f"{fault.kind} on {fault.resource}"):
            yield _undo(fault, around, answers)


def _names(around: Surroundings, answers: Answers, system: System) -> Measured:
    """Whether all that the system file names is there, once."""
    target, failures = around.context.target, answers.failures
    about = f"the names of {system.system}"
    with _step(around, answers, about):
        try:
            base_url = resolve_base_url(resolve_system(system, target).endpoint, target)
            for identity in system.identities.values():
                if isinstance(identity, CognitoIdentity):
                    user_pool_client_id(user_pool_id(identity.user_pool, target), identity.client, target)
        except TargetError as error:
            unseen = answers.failures > failures
            detail = f"{str(error).rstrip('.')}. Without its names nothing more was asked of the system"
            return Measured(
                key=Key.UNIQUE_NAMES,
                about=about,
                here=None if unseen else "not one of each",
                holds=None if unseen else False,
                detail=detail,
            )
    return Measured(key=Key.UNIQUE_NAMES, about=about, here=f"one of each, at {base_url}", holds=True)


def _context(around: Surroundings, plan: Plan) -> RunContext:
    return context_beside(plan, around.root, around.context.target, around.history, "parity", around.stop)


def _of_all(contexts: Sequence[RunContext]) -> RunContext:
    """One context with all that any of the drills expects of alarms: each alarm is then read once."""
    ctx = contexts[0]
    must = {entry.alarm: entry for one in contexts for entry in one.experiment.extension.expect.must_alarms}
    extension = ctx.experiment.extension
    expect = extension.expect.model_copy(update={"must": tuple(must.values()), "gap": "nothing is broken"})
    extension = extension.model_copy(update={"expect": expect})
    return replace(ctx, experiment=ctx.experiment.model_copy(update={"extension": extension}))


def _look_as_guards(around: Surroundings, answers: Answers, ctx: RunContext, plan: Plan) -> Iterator[Measured]:
    """What the guards of one drill ask. A no is an answer: preflight says it when it counts."""
    ledger, slug = around.context.ledger, plan.loaded.experiment.slug
    injector = _injector(around, ctx, plan)
    for name, question in (*reading_guards(ctx, ledger, injector), stop_conditions(ctx)):
        if name != _SETTLES:
            yield from _read(around, answers, f"guard {name} of {slug}", question)
    if ctx.target.rules.opt_in:
        yield from _read(around, answers, f"guard opt-in of {slug}", partial(_tags, ctx, plan))


def _tags(ctx: RunContext, plan: Plan) -> None:
    aws = Aws(ctx.target, entry="")
    arns = sorted({arn for fault in faults(plan) for arn in fault.arns(aws)})
    resource_tags(ctx.target, arns)


def _look_as_activities(
    around: Surroundings, answers: Answers, contexts: Sequence[RunContext], plans: Sequence[Plan]
) -> Iterator[Measured]:
    """What probes ask, and procedures."""
    asked = [
        (one, ctx, plan) for ctx, plan in zip(contexts, plans, strict=True) for one in activity_reads.questions(plan)
    ]
    once = activity_reads.distinct(one for one, _, _ in asked)
    for question, ctx, plan in asked:
        if any(question is one for one in once):
            yield from _probe(around, answers, question, _injector(around, ctx, plan))
    for ctx, plan in zip(contexts, plans, strict=True):
        for about, reads in activity_reads.procedures(plan, Aws(ctx.target, entry="")):
            yield from _read(around, answers, about, reads)


def _probe(
    around: Surroundings, answers: Answers, question: activity_reads.Question, injector: Injector
) -> Iterator[Measured]:
    failures = answers.failures
    with _step(around, answers, question.about):
        why = question.ask(injector)
    if why and answers.failures == failures:
        source = activity_reads.SOURCE
        yield Measured(key=Key.ANSWERED, about=question.about, here=None, holds=None, detail=why, source=source)


def _injector(around: Surroundings, ctx: RunContext, plan: Plan) -> Injector:
    lifecycle = FaultLifecycle(target=ctx.target, ledger=around.context.ledger, drill=ctx.drill)
    return Injector(ctx, plan.loaded.toolkit, lifecycle)


def _look_as_watchers(around: Surroundings, answers: Answers, ctx: RunContext) -> Iterator[Measured]:
    for doing, question in _watching(ctx).items():
        yield from _read(around, answers, doing, question)
    for rule in ctx.system.conservation:
        yield from _read(around, answers, f"counting {rule}", partial(count_work, ctx, rule, ctx.now(), 0.0))


def _watching(ctx: RunContext) -> Mapping[str, Callable[[], object]]:
    """What watchers do, by what they do it for; nothing that is not in the system."""
    now = ctx.now()
    asked: dict[str, Callable[[], object]] = {"settings before and after": SettingsComparison(ctx).look}
    if ctx.system.cloudwatch_alarms:
        watcher = AlarmWatcher(_without_pager(ctx))
        asked |= {
            "alarms": watcher.look,
            "states of alarms": watcher.poll,
            "histories of alarms": lambda: list(Histories(ctx.target, now).news(_described(ctx))),
            "ways of alarms": watcher.record_paths,
            "topics of alarms": lambda: _read_topics(ctx),
            "datapoints of alarms": lambda: watcher.record_data(now - ctx.wall(_DATAPOINTS_S), now),
        }
    if ctx.system.notifications is not None:
        asked["queue of the pager"] = lambda: Pager(ctx)
    identities = Identities(ctx.target, ctx.system)
    for name in identities.names:
        asked[f"secret of the identity {name}"] = partial(identities.users, name)
    if ctx.system.prometheus is not None:
        asked["alerts of Prometheus"] = PrometheusWatcher(ctx).look
    return asked


def _without_pager(ctx: RunContext) -> RunContext:
    """For a watcher that only reads: with a pager it takes messages away before it begins."""
    return replace(ctx, system=ctx.system.model_copy(update={"notifications": None}))


def _described(ctx: RunContext) -> dict[str, dict[str, object]]:
    return describe_alarms(ctx.system.cloudwatch_alarms.values(), ctx.target)


def _read_topics(ctx: RunContext) -> None:
    described = _described(ctx)
    for name, alarm in ctx.system.cloudwatch_alarms.items():
        if alarm.cloudwatch.alarm_name in described:
            read_path(ctx, name, described[alarm.cloudwatch.alarm_name], "ALARM")


# --- faults -------------------------------------------------------------------------------------------------


def _distinct(plans: Iterable[Plan]) -> list[AnyFault]:
    """The faults of all drills; one that several inject in the same way is looked at once."""
    found: list[AnyFault] = []
    for fault in (one for plan in plans for one in faults(plan)):
        if fault not in found:
            found.append(fault)
    return found


def _undo(fault: AnyFault, around: Surroundings, answers: Answers) -> Measured:
    """Whether what a fault changes is in a state from which it would be broken, and which its undo can put back."""
    target, failures = around.context.target, answers.failures
    about = f"{fault.kind} on {fault.resource}"
    try:
        read_as(fault, target)
    except Refused as refusal:
        return Measured(key=Key.UNDO, about=about, here="it is not", holds=False, detail=str(refusal))
    except TargetError as error:
        unseen = answers.failures > failures or isinstance(error, Unavailable)
        here = None if unseen else "it is not"
        return Measured(key=Key.UNDO, about=about, here=here, holds=None if unseen else False, detail=str(error))
    return Measured(key=Key.UNDO, about=about, here="it is", holds=True)


# --- asking -------------------------------------------------------------------------------------------------


def _step(around: Surroundings, answers: Answers, doing: str) -> AbstractContextManager[None]:
    """One thing after the other, so that whoever waits sees where it is, and may end it between two."""
    around.stop.wait(0)
    around.context.progress(doing)
    return answers.during(doing)


def _read(around: Surroundings, answers: Answers, doing: str, question: Callable[[], object]) -> Iterator[Measured]:
    """Ask; a row only where something else than a call of AWS was not answered: those have rows of their own."""
    failures = answers.failures
    with _step(around, answers, doing):
        try:
            question()
        except Refused as refusal:
            if refusal is around.stop.reason:
                raise
        except (InvalidInput, TargetError) as error:
            if answers.failures == failures:
                later = isinstance(error, Unavailable)
                yield Measured(
                    key=Key.ANSWERED,
                    about=doing,
                    here=None if later else "refused",
                    holds=None if later else False,
                    detail=str(error),
                    source="",
                )

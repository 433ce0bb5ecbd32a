"""`tocsin run --dry-run`: what a run would do, and whether it could, without doing any of it.

Only AWS is asked, and only to read. The system itself gets no request: canaries write, and whether the steady state
holds is asked when it counts, in the preflight of the drill.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from tocsin.actors.foreign import is_foreign, name_of
from tocsin.actors.injector import Injector
from tocsin.aws.iam import Grant
from tocsin.aws.identity import caller_of, principal_of
from tocsin.aws.pages import listed
from tocsin.aws.target import Aws, Target, aws_errors
from tocsin.commands.permissions import plan_grants, policy_of
from tocsin.commands.run import plan_all
from tocsin.commands.session import running_target, settled
from tocsin.drill.opening import admission, context_beside
from tocsin.drill.options import RunOptions
from tocsin.drill.plan import Plan, fault_of
from tocsin.drill.preflight import reading_guards, stop_conditions
from tocsin.drill.scales import choice_of
from tocsin.errors import Refused, TargetError, TocsinError
from tocsin.faults.base import AnyFault, Change
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.guards.base import Guard
from tocsin.guards.changes import ChangeGuards
from tocsin.guards.kill_switch import KillSwitch
from tocsin.guards.lock import check_free
from tocsin.model.events import GuardChecked
from tocsin.model.toolkit import Activity
from tocsin.procedures import change_of
from tocsin.project.places import ledger_path
from tocsin.project.targets import in_region
from tocsin.record.history import History
from tocsin.record.ledger import Ledger

Tell = Callable[[str, bool], None]
"""Shows one line; False for one that speaks against the run."""
_ENDS_AFTER_S = 3600.0
_OWN_STATEMENT = "DryRun"


def dry_run(paths: Sequence[Path], options: RunOptions, tell: Tell) -> int:
    """Show the plan of every experiment.

    Returns:
        0 if all of them could run now, 4 if a guard says no, an action is denied, or one cannot be evaluated.

    Raises:
        InvalidInput: something is wrong with the input; nothing was asked.
        TocsinError: the target cannot be reached at all.
    """
    options = settled(options)
    plans = plan_all(paths, options)
    options = replace(options, parallel=None)  # nothing is begun, so one sandbox is enough
    with running_target({plan.system.system for plan in plans}, options) as target:
        results = [_show(plan, in_region(target, plan.system), options, tell) for plan in plans]
    return 0 if all(results) else 4


def _show(plan: Plan, target: Target, options: RunOptions, tell: Tell) -> bool:
    """One plan, line by line; whether nothing speaks against it."""
    page = _Page(tell)
    tell(f"{plan.loaded.experiment.path}: {plan.loaded.experiment.title}", True)
    chosen = choice_of(plan, options, target.scale)
    page.say("tags", ", ".join(plan.loaded.experiment.tags_at(chosen.scale)) or "none")
    if chosen.because:
        page.say("scale", f"{chosen.scale:g}, {chosen.because}")
    try:
        _show_plan(plan, target, options, page)
    except TocsinError as error:
        page.say("unknown", str(error), ok=False)
    page.say("result", f"{'could run' if page.good else 'could not run as it is'}; nothing was changed", ok=page.good)
    return page.good


class _Page:
    """The lines of one plan, and whether one of them speaks against the run."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.good = True

    def say(self, kind: str, text: str, *, ok: bool = True) -> None:
        self.good = self.good and ok
        self._tell(f"  {kind:<10} {text}", ok)

    def ask(self, guards: Iterable[Guard]) -> None:
        """Ask all of them, also after one that says no."""
        for name, question in guards:
            try:
                self.say("guard", f"{name}: {question()}")
            except TocsinError as error:
                self.say("guard", f"{name}: {error}", ok=False)


def _show_plan(plan: Plan, target: Target, options: RunOptions, page: _Page) -> None:
    page.ask(admission(plan, target, options).guards())
    if not page.good:
        return  # As in a run: whoever may not break this target is not told what is in it.
    caller = caller_of(target)
    page.say("target", f"{target.name}, account {target.account} in {target.region}, as {caller}")
    _show_preflight(plan, target, options, page)
    asked: list[GuardChecked] = []
    changes = ChangeGuards(target, KillSwitch(options.root, target), asked.append)
    for activity in plan.activities("method"):
        permit = _show_activity(activity, plan, target, page, changes)
        for one in _said(permit, asked):
            page.say("guard", f"{one.guard}: {one.detail}", ok=one.ok)
    for activity in plan.activities("rollbacks"):
        _show_rollback(activity, plan, target, page)
    for ok, text in _permissions(plan_grants(plan, options.root, target), target, caller):
        page.say("allowed" if ok else "DENIED", text, ok=ok)


def _show_preflight(plan: Plan, target: Target, options: RunOptions, page: _Page) -> None:
    """The guards of the preflight act that send the system no request."""
    path = ledger_path(options.root, target.name)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as opened:
        # A ledger that is not there is not made: it would be a change too.
        ledger = Ledger(path if path.exists() else Path(directory) / "ledger.sqlite", target.name)
        opened.callback(ledger.close)
        history = History(Path(directory) / "history.jsonl")
        opened.callback(history.close)
        ctx = context_beside(plan, options.root, target, history, "dry-run", options.stop)
        injector = Injector(ctx, plan.loaded.toolkit, FaultLifecycle(target=target, ledger=ledger, drill=ctx.drill))
        lock = ("lock", partial(check_free, target, ledger))
        page.ask([lock, *reading_guards(ctx, ledger, injector), stop_conditions(ctx)])


def _show_activity(
    activity: Activity, plan: Plan, target: Target, page: _Page, changes: ChangeGuards
) -> Callable[[], None]:
    """What one activity of the method would change; returns the question that its guards are asked."""
    fault, procedure = fault_of(activity, plan), change_of(plan.variables.filled(activity))
    if fault is not None:
        _show_fault(fault, target, page)
        return partial(_permit, fault, target, changes)
    if procedure is not None:
        _show_procedure("change", activity, procedure, target, page)
        page.say("undo", _becomes(activity, plan))
        return partial(_permit, procedure, target, changes)
    if is_foreign(activity):
        name = name_of(activity)
        page.say("foreign", f"{name}: not a fault of Tocsin, cannot be resolved; what it breaks is in no ledger")
        return partial(changes.permit_foreign, name)
    return _ask_nothing


def _becomes(activity: Activity, plan: Plan) -> str:
    """What becomes of what a procedure changes, as the experiment says: `tocsin validate` asks for it."""
    said = (one for one in plan.loaded.experiment.extension.changes if one.activity == activity.name)
    return next(f"none: {one.leaves}" if one.undone_by is None else f"the rollback '{one.undone_by}'" for one in said)


def _show_rollback(activity: Activity, plan: Plan, target: Target, page: _Page) -> None:
    """What a rollback would do beside undoing faults; no guard forbids the way back."""
    procedure = change_of(plan.variables.filled(activity))
    if procedure is not None:
        _show_procedure("rollback", activity, procedure, target, page)
    elif is_foreign(activity):
        page.say("rollback", f"{name_of(activity)}: not Tocsin's, cannot be resolved")


def _show_procedure(kind: str, activity: Activity, procedure: Change, target: Target, page: _Page) -> None:
    """What a documented procedure would be asked to do, and on what."""
    name, called = name_of(activity), activity.python
    assert called is not None
    try:
        arns = procedure.arns(Aws(target, entry=""))
    except TargetError as error:
        page.say(kind, f"{name}: {error}", ok=False)
        return
    page.say(kind, name)
    for arn in arns:
        page.say("", arn)
    for argument, value in called.arguments.items():
        first, *others = str(value).strip().splitlines() or [""]
        page.say("", f"{argument}: {first}")
        for line in others:
            page.say("", f"  {line}")


def _ask_nothing() -> None:
    """The guards of what changes nothing."""


def _permit(change: Change, target: Target, changes: ChangeGuards) -> None:
    changes.permit(change.resource, lambda: change.arns(Aws(target, entry="")))


def _said(permit: Callable[[], None], asked: list[GuardChecked]) -> Iterator[GuardChecked]:
    """What the guards right before a change say: opt-in tags and blast radius, and any no."""
    asked.clear()
    with suppress(Refused):
        permit()
    yield from (one for one in asked if not one.ok or one.guard in ("opt-in", "blast-radius"))


def _show_fault(fault: AnyFault, target: Target, page: _Page) -> None:
    """What would be changed, field by field, and how it would come back."""
    aws = Aws(target, entry="", expires_at=time.time() + _ENDS_AFTER_S / target.scale)
    try:
        prior = fault.observe(aws, None)
        arns = fault.arns(aws)
        call = fault.dead_man(aws, prior) if target.dead_man_role and not fault.expires else None
    except (TargetError, Refused) as error:
        page.say("change", f"{fault.kind} on {fault.resource}: {error}", ok=False)
        return
    page.say("change", f"{fault.kind} on {fault.resource}")
    for arn in arns:
        page.say("", arn)
    before, after = prior.model_dump(), fault.broken(prior).model_dump()
    changed = [name for name in before if before[name] != after[name]]
    for name in changed:
        page.say("", f"{name}: {before[name]!r} -> {after[name]!r}")
    if not changed:
        page.say("", "nothing would change: it is so already", ok=False)
    if fault.heals:
        page.say("undo", "AWS mends it by itself at once: the undo waits until it is so")
        return
    page.say("undo", f"{', '.join(changed) or 'nothing'} back to what is there now, read back to be sure")
    if fault.expires:
        page.say("", "AWS ends it by itself, also when nobody is left to undo it")
    elif call is not None:
        page.say("", f"EventBridge Scheduler calls {call.service}:{call.operation} when nobody is left to undo it")
    else:
        page.say("", "if this machine dies, it stays until `tocsin recover`")


# --- permissions --------------------------------------------------------------------------------------------


def _permissions(grants: Iterable[Grant], target: Target, caller: str) -> Iterator[tuple[bool, str]]:
    """What IAM says of each action that is declared: of those denied, and of all others together."""
    if caller.endswith(":root"):
        yield True, "everything: these are the credentials of the account's root"
        return
    principal = principal_of(target, caller)
    statements = [
        statement
        for statement in policy_of(grants).document()["Statement"]
        if not statement["Sid"].startswith(_OWN_STATEMENT)
    ]
    allowed: set[str] = set()
    for statement in statements:
        for resource in statement["Resource"]:
            decisions = _simulate(target, principal, statement["Action"], resource)
            allowed |= {action for action, decision in decisions.items() if decision == "allowed"}
            for action, decision in decisions.items():
                if decision != "allowed":
                    yield False, f"{action} on {resource}: {decision}"
    yield True, f"{len(allowed)} actions on the resources of {len(statements)} statements"


def _simulate(target: Target, principal: str, actions: Sequence[str], resource: str) -> Mapping[str, str]:
    """Action -> `allowed`, `implicitDeny` or `explicitDeny`.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html

    Raises:
        TargetError: IAM did not say.
    """
    with aws_errors(f"asking IAM what {principal} may do"):
        asked = {"PolicySourceArn": principal, "ActionNames": list(actions), "ResourceArns": [resource]}
        found = listed(target.client("iam"), "simulate_principal_policy", "EvaluationResults", **asked)
        return {one["EvalActionName"]: one["EvalDecision"] for one in found}

"""`tocsin run --dry-run`: what a run would do, and whether it could, without doing any of it.

Only AWS is asked, and only to read. The system itself gets no request: canaries write, and whether the steady state
holds is asked when it counts, in the preflight of the drill.
"""

from __future__ import annotations

import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from tocsin.actors.foreign import is_foreign, name_of
from tocsin.actors.injector import Injector
from tocsin.context import RunContext
from tocsin.errors import Refused, TargetError, TocsinError
from tocsin.faults.base import AnyFault, Aws, Change
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.guards.base import Guard
from tocsin.guards.changes import ChangeGuards
from tocsin.guards.kill_switch import KillSwitch
from tocsin.guards.lock import check_free
from tocsin.history import History
from tocsin.iam import Grant
from tocsin.ledger import Ledger
from tocsin.model.events import GuardChecked
from tocsin.permissions import activities, fault_of, plan_grants, policy_of
from tocsin.preflight import reading_guards, stop_conditions
from tocsin.procedures import change_of
from tocsin.project import ledger_path
from tocsin.resolve import resolve_base_url, resolve_system
from tocsin.run import RunOptions, admission, plan_all, running_target
from tocsin.target import Target, aws_errors
from tocsin.targets import in_region
from tocsin.validation import Plan

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
    plans = plan_all(paths, options)
    with running_target({plan.system.system for plan in plans}, options) as target:
        results = [_show(plan, in_region(target, plan.system), options, tell) for plan in plans]
    return 0 if all(results) else 4


def _show(plan: Plan, target: Target, options: RunOptions, tell: Tell) -> bool:
    """One plan, line by line; whether nothing speaks against it."""
    page = _Page(tell)
    tell(f"{plan.loaded.experiment.path}: {plan.loaded.experiment.title}", True)
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
    caller = _caller(target)
    page.say("target", f"{target.name}, account {target.account} in {target.region}, as {caller}")
    _show_preflight(plan, target, options, page)
    asked: list[GuardChecked] = []
    changes = ChangeGuards(target, KillSwitch(options.root, target), asked.append)
    for activity in activities(plan, "method"):
        permit = _show_activity(activity, plan, target, page, changes)
        for one in _said(permit, asked):
            page.say("guard", f"{one.guard}: {one.detail}", ok=one.ok)
    for activity in activities(plan, "rollbacks"):
        _show_rollback(activity, target, page)
    for ok, text in _permissions(plan_grants(plan, options.root, target), target, caller):
        page.say("allowed" if ok else "DENIED", text, ok=ok)


def _caller(target: Target) -> str:
    with aws_errors("asking who we are"):
        return str(target.client("sts").get_caller_identity()["Arn"])


def _show_preflight(plan: Plan, target: Target, options: RunOptions, page: _Page) -> None:
    """The guards of the preflight act that send the system no request."""
    path = ledger_path(options.root, target.name)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as opened:
        # A ledger that is not there is not made: it would be a change too.
        ledger = Ledger(path if path.exists() else Path(directory) / "ledger.sqlite", target.name)
        opened.callback(ledger.close)
        history = History(Path(directory) / "history.jsonl")
        opened.callback(history.close)
        system = resolve_system(plan.system, target)
        ctx = RunContext(
            drill=f"dry-run-{uuid.uuid4().hex[:8]}",
            root=options.root,
            directory=Path(directory),
            experiment=plan.loaded.experiment,
            system=system,
            target=target,
            history=history,
            base_url=resolve_base_url(system.endpoint, target),
            seed=0,
            stop=options.stop,
        )
        injector = Injector(ctx, plan.loaded.raw, FaultLifecycle(target=target, ledger=ledger, drill=ctx.drill))
        lock = ("lock", partial(check_free, target, ledger))
        page.ask([lock, *reading_guards(ctx, ledger, injector), stop_conditions(ctx)])


def _show_activity(
    activity: Mapping[str, Any], plan: Plan, target: Target, page: _Page, changes: ChangeGuards
) -> Callable[[], None]:
    """What one activity of the method would change; returns the question that its guards are asked."""
    fault, procedure = fault_of(activity, plan), change_of(activity)
    if fault is not None:
        _show_fault(fault, target, page)
        return partial(_permit, fault, target, changes)
    if procedure is not None:
        _show_procedure("change", activity, procedure, target, page)
        page.say("undo", "none: a procedure is what people do, and what it did stays")
        return partial(_permit, procedure, target, changes)
    if is_foreign(activity):
        name = name_of(activity)
        page.say("foreign", f"{name}: not a fault of Tocsin, cannot be resolved; what it breaks is in no ledger")
        return partial(changes.permit_foreign, name)
    return _ask_nothing


def _show_rollback(activity: Mapping[str, Any], target: Target, page: _Page) -> None:
    """What a rollback would do beside undoing faults; no guard forbids the way back."""
    procedure = change_of(activity)
    if procedure is not None:
        _show_procedure("rollback", activity, procedure, target, page)
    elif is_foreign(activity):
        page.say("rollback", f"{name_of(activity)}: not Tocsin's, cannot be resolved")


def _show_procedure(kind: str, activity: Mapping[str, Any], procedure: Change, target: Target, page: _Page) -> None:
    """What a documented procedure would be asked to do, and on what."""
    name, provider = name_of(activity), activity["provider"]
    try:
        arns = procedure.arns(Aws(target, entry=""))
    except TargetError as error:
        page.say(kind, f"{name}: {error}", ok=False)
        return
    page.say(kind, name)
    for arn in arns:
        page.say("", arn)
    for argument, value in provider["arguments"].items():
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
    except TargetError as error:
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
    statements = [
        statement
        for statement in policy_of(grants).document()["Statement"]
        if not statement["Sid"].startswith(_OWN_STATEMENT)
    ]
    allowed: set[str] = set()
    for statement in statements:
        for resource in statement["Resource"]:
            decisions = _simulate(target, _principal(caller), statement["Action"], resource)
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
        pages = target.client("iam").get_paginator("simulate_principal_policy")
        asked: dict[str, Any] = {"PolicySourceArn": principal, "ActionNames": list(actions)}
        found = pages.paginate(**asked, ResourceArns=[resource])
        return {one["EvalActionName"]: one["EvalDecision"] for page in found for one in page["EvaluationResults"]}


def _principal(caller: str) -> str:
    """The user or role whose policies decide: of a session it is the role, whose path no session tells."""
    session = re.fullmatch(r"(arn:[^:]+):sts::(\d+):assumed-role/([^/]+)/.+", caller)
    return f"{session[1]}:iam::{session[2]}:role/{session[3]}" if session else caller

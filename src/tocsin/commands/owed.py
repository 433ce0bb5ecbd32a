"""Rollbacks that drills owed when they died, run at last."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tocsin.actors.context import StopRequest
from tocsin.actors.injector import Injector, quiet_chaos_toolkit
from tocsin.aws.target import Target
from tocsin.drill.opening import context_beside
from tocsin.drill.owed import digest_of
from tocsin.drill.plan import Planner
from tocsin.errors import TocsinError
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.masking import mask
from tocsin.model.events import ActivityRan, Event
from tocsin.record.history import History
from tocsin.record.ledger import Debt, Ledger

_BY_HAND = "Where all that is owed was rolled back by hand: `tocsin recover --checked-by-hand`, which forgets it"
"""What is left where nobody can run them any more: the experiment is gone for good, for one."""


def pay_all(debts: list[Debt], root: Path, target: Target, ledger: Ledger) -> tuple[list[str], list[str]]:
    """Run the rollbacks of each debt. Returns lines of what was done, and of what is still owed."""
    quiet_chaos_toolkit()
    told: list[str] = []
    left: list[str] = []
    paid: list[Debt] = []
    for debt in debts:
        same = next((other for other in paid if debt.paid_by(other)), None)
        if same is not None:
            told.append(f"rolled back with the same ones of {same.drill}: what {debt.drill} owed")
            continue
        try:
            ran = list(_run(debt, root, target, ledger))
        except TocsinError as error:
            left.append(f"{debt}: {str(error).rstrip('.')}. {_BY_HAND}")
            continue
        told += [f"rolled back: {event.name}, of {debt.drill}" for event in ran if event.ok]
        failed = [f"{event.name}: {mask(event.detail)}" for event in ran if not event.ok]
        if failed:
            left.append(f"{debt}: {'; '.join(failed)}")
        else:
            ledger.pay(debt)
            paid.append(debt)
    return told, left


def _check_account(debt: Debt, target: Target) -> None:
    if None not in (debt.account, target.account) and debt.account != target.account:
        raise TocsinError(
            f"they are owed in account {debt.account}, and target '{target.name}' is account {target.account} now. "
            "Call `tocsin recover --rollbacks` with a target of that account and this ledger"
        )


def _run(debt: Debt, root: Path, target: Target, ledger: Ledger) -> Iterator[ActivityRan]:
    """Run what one drill owes, in the region where it ran; what came of each activity."""
    _check_account(debt, target)
    plan = Planner(root).plan(root / debt.experiment)
    if digest_of(plan.loaded.toolkit) != debt.digest:
        raise TocsinError(
            f"expected {debt.experiment} with the rollbacks that were owed, found others: it was edited since, and "
            "what stands there now is not what that drill owes. Put the file back as it was then and call `tocsin "
            "recover --rollbacks` again; or roll back by hand"
        )
    seen: list[ActivityRan] = []

    def see(event: Event) -> None:
        if isinstance(event, ActivityRan):
            seen.append(event)

    with tempfile.TemporaryDirectory() as name, ExitStack() as opened:
        history = History(Path(name) / "history.jsonl")
        opened.callback(history.close)
        history.listen(see, "recover")
        ctx = context_beside(plan, root, target.in_region(debt.region), history, "recover", StopRequest())
        faults = FaultLifecycle(target=ctx.target, ledger=ledger, drill=ctx.drill)
        Injector(ctx, plan.loaded.toolkit, faults).run_rollbacks_of_the_dead()
    yield from seen

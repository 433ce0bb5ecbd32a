"""What became of a fault that a run left: its history cannot tell, the ledger of the target can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tocsin.errors import LedgerError, worst_exit
from tocsin.model.verdict import OWED, Judgement, Outcome, Reason, RunVerdict, Verdict, is_entry, merge
from tocsin.project.places import as_worker, find_root, ledger_path, places_of
from tocsin.project.targets import is_possible_name
from tocsin.project.text import is_file
from tocsin.record.ledger import Ledger
from tocsin.report.words import what_now

STILL = "A fault is still in place: call `tocsin recover`."


class Left(Enum):
    """What the ledgers at hand say of the faults that a drill left."""

    OPEN = "open"
    UNDONE = "undone"
    UNSAID = "unsaid"


@dataclass(frozen=True)
class Since:
    """The verdict on a run, with what the ledgers say now."""

    run: RunVerdict
    lines: tuple[str, ...]
    """what to tell of faults that were left"""


def as_it_ended(run: RunVerdict) -> Since:
    """A run that has just ended: what it left is there."""
    return Since(run, tuple(_now([one for drill in run.drills for one in drill.residue])))


def _now(there: Sequence[str]) -> Iterator[str]:
    """What to do about what is there, the most urgent first."""
    if any(is_entry(one) for one in there):
        yield STILL
    yield from what_now(one for one in there if not is_entry(one))


def told_by_ledger(run: RunVerdict, directory: Path, root: Path) -> Since:
    """A run that left faults, as the ledgers of two checkouts say now; any other run as it is.

    Args:
        run: as its histories say.
        directory: where it is kept; the checkout around it is the first one.
        root: of the checkout from which this is asked.

    Where all faults of a drill were undone and verified since, its exit code is the one that it has without them. That
    nobody saw the undo of a drill that was killed is then `unknown`; an undo that the drill tried in vain stays `fail`.
    Where no ledger knows of them, the history alone speaks.
    """
    roots = (find_root(directory), root)
    found = {index: _left(drill, roots) for index, drill in enumerate(run.drills) if drill.residue}
    if not found:
        return Since(run, ())
    gone = {index for index, left in found.items() if set(left.values()) == {Left.UNDONE}}
    drills = [_undone_since(drill) if index in gone else drill for index, drill in enumerate(run.drills)]
    lines = [line for index, left in found.items() for line in _lines(run.drills[index], left)]
    there = [one for left in found.values() for one, said in left.items() if said is Left.OPEN]
    changed = {
        "drills": tuple(drills),
        "outcome": merge(drill.outcome for drill in drills),
        "exit_code": worst_exit(drill.exit_code for drill in drills),
    }
    return Since(run.model_copy(update=changed), (*lines, *_now(there)))


def _lines(drill: Verdict, left: Mapping[str, Left]) -> Iterator[str]:
    """What to tell of a drill of which no ledger says that something is there still."""
    if Left.OPEN in left.values():
        return
    if Left.UNSAID not in left.values():
        yield f"{drill.experiment} left a fault in place; it was undone and verified since, as the ledger says."
        return
    unsaid = [one for one, said in left.items() if said is Left.UNSAID]
    if any(is_entry(one) for one in unsaid):
        yield (
            f"{drill.experiment} left a fault in place, and no ledger here knows of it: whether it is there still, "
            f"`tocsin recover --target {drill.target}` tells where the drill ran."
        )
    yield from (f"{drill.experiment}: {move}" for move in what_now(one for one in unsaid if not is_entry(one)))


def _left(drill: Verdict, roots: Sequence[Path]) -> dict[str, Left]:
    """What the ledgers of some checkouts say of each thing that a drill left."""
    said: dict[str, bool] = {}
    owed: set[str] = set()
    for root in roots:
        entries, rollbacks = _known(root, drill)
        said |= entries
        owed |= rollbacks
    there = any(said.values())
    left = {one: _of_entry(one, said, there) if is_entry(one) else Left.UNSAID for one in drill.residue}
    # A debt that a ledger does not hold was paid, where it is the ledger of the drill.
    left |= {one: Left.UNDONE for one in left if one.startswith(OWED) and said}
    return left | {f"{OWED}{name}": Left.OPEN for name in sorted(owed)}


def _of_entry(one: str, said: Mapping[str, bool], there: bool) -> Left:
    # A drill names what it left by the ids of its entries, with or without more words.
    if there:
        return Left.OPEN
    return Left.UNDONE if one.split(" ", 1)[0] in said else Left.UNSAID


def _known(root: Path, drill: Verdict) -> tuple[dict[str, bool], set[str]]:
    """Id of each entry of the drill in the ledger of a checkout, and whether it is open; and the rollbacks it owes."""
    # The name comes from a history, which is input, and becomes that of a file.
    entries: dict[str, bool] = {}
    owed: set[str] = set()
    for worker in places_of(root) if is_possible_name(drill.target) else ():
        with as_worker(worker):
            path = ledger_path(root, drill.target)
        known, debts = _of_ledger(path, drill)
        entries |= known
        owed |= debts
    return entries, owed


def _of_ledger(path: Path, drill: Verdict) -> tuple[dict[str, bool], set[str]]:
    if not is_file(path):
        return {}, set()
    try:
        ledger = Ledger(path, drill.target)
    except LedgerError:
        return {}, set()  # one that cannot be read says nothing, and is told as that
    try:
        found = ledger.read()
        entries = {entry.id: entry.open for entry in found.entries if entry.drill == drill.drill}
        # A debt that somebody deleted was not paid by that.
        debts = [(debt.drill, debt.rollbacks) for debt in ledger.owed()]
        debts += [(one.drill, one.rollbacks) for one in found.gone]
        return entries, {name for of, rollbacks in debts if of == drill.drill for name in rollbacks}
    except LedgerError:
        return {}, set()  # the same
    finally:
        ledger.close()


def _undone_since(drill: Verdict) -> Verdict:
    judgements = tuple(_unseen(judgement) if drill.killed else judgement for judgement in drill.judgements)
    outcome = merge(judgement.outcome for judgement in judgements)
    return drill.model_copy(update={"residue": (), "judgements": judgements, "outcome": outcome})


def _unseen(judgement: Judgement) -> Judgement:
    if judgement.id != "undo" or judgement.outcome is not Outcome.FAIL:
        return judgement
    message = "the drill was killed before its undo; the ledger says that it was undone and verified since"
    return judgement.model_copy(update={"outcome": Outcome.UNKNOWN, "reason": Reason.WINDOW_CUT, "message": message})

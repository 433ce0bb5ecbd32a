"""`tocsin validate`: everything that is wrong with experiments and the files that they name, without a target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tocsin.actors.foreign import unproven
from tocsin.actors.injector import quiet_chaos_toolkit
from tocsin.alarms.evaluable import not_evaluated
from tocsin.commands.selection import counted
from tocsin.coverage.table import complaints
from tocsin.drill.answers import too_few
from tocsin.drill.options import DEFAULT_SCALE
from tocsin.drill.plan import Plan, Planner
from tocsin.drill.scales import choose
from tocsin.drill.writing import may_write
from tocsin.errors import Complaints, InvalidInput
from tocsin.guards.synthetic import untold_writers
from tocsin.model.system import System
from tocsin.project.documents import find_experiments
from tocsin.project.targets import read_project


@dataclass(frozen=True)
class Validation:
    """What is wrong, each problem once, and how many of the experiments are valid."""

    problems: tuple[InvalidInput, ...]
    valid: int
    looked_at: int
    notes: tuple[str, ...] = ()
    """What is right and should be known."""
    tags: tuple[tuple[str, int], ...] = ()
    """Each tag, by name, and how many of the valid experiments have it on the sandbox."""


def validate(root: Path, paths: Sequence[Path]) -> Validation:
    """Look at every experiment of `paths`; where all are valid, also at what their systems leave unsaid."""
    quiet_chaos_toolkit()
    planner, told = Planner(root), Complaints()
    files = [file for found in told.each(find_experiments, ([path] for path in paths)) for file in found]
    planner.look_ahead(files)
    plans = told.each(planner.plan, files)
    systems = {plan.system.system: plan.system for plan in plans}
    contracts = {plan.system.system: plan.contract for plan in plans if plan.contract is not None}
    notes = [note for system in systems.values() for note in _not_evaluated(root, system)]
    notes += [note for system in systems.values() for note in _untold(root, system, plans)]
    notes += [note for contract in contracts.values() for note in contract.notes()]
    messages = {plan.system.system: plan.messages for plan in plans if plan.messages is not None}
    notes += [note for document in messages.values() for note in document.notes]
    notes += [note for plan in plans for note in _too_few_answers(plan)]
    notes += [note for plan in plans for note in _unproven(plan)]
    if not told.problems:

        def unsaid(system: System) -> list[InvalidInput]:
            return list(complaints(root, system))

        for found in told.each(unsaid, systems.values()):
            told.extend(found)
    return Validation(told.problems, len(plans), len(files), tuple(notes), counted(plans))


def _not_evaluated(root: Path, system: System) -> Iterator[str]:
    file = root / "systems" / f"{system.system}.yaml"
    for name, why in not_evaluated(system.cloudwatch_alarms).items():
        yield f"{file}: alarms.{name}: in the sandbox nobody evaluates it, so a drill there says unknown of it: {why}"


def _untold(root: Path, system: System, plans: Sequence[Plan]) -> Iterator[str]:
    """What keeps drills from accounts of tocsin.toml, of which the sandbox does not care."""
    loaded = [plan.loaded for plan in plans if plan.system.system == system.system]
    activities = [what for one in loaded for what in may_write(one.toolkit, one.experiment.path)]
    untold = untold_writers(system, system.writers(load=True, activities=bool(activities)), activities)
    if not untold:
        return
    for name, spec in read_project(root).targets.accounts.items():
        if spec.endpoint_url is None and (spec.systems is None or system.system in spec.systems):
            yield (
                f"{root / 'systems' / f'{system.system}.yaml'}: on target '{name}', an account, a drill is refused: "
                f"`test_data` does not say what becomes of what {untold} would write there"
            )


def _too_few_answers(plan: Plan) -> Iterator[str]:
    experiment, chosen = plan.loaded.experiment, choose(plan)
    missing = too_few(experiment, plan.system, chosen.scale)
    if missing is not None:
        yield f"{experiment.path}: in the sandbox, {chosen.scale:g} times as fast, the baseline is too thin: {missing}"
    elif chosen.scale < DEFAULT_SCALE and experiment.extension.scale is None:
        yield f"{experiment.path}: in the sandbox it takes a clock only {chosen.scale:g} times AWS's: {chosen.because}"


def _unproven(plan: Plan) -> Iterator[str]:
    """What no drill of an experiment can show of actions of other extensions."""
    toolkit = plan.loaded.toolkit
    for missing in unproven(toolkit.activities("method"), toolkit.activities("rollbacks")):
        yield f"{plan.loaded.experiment.path}: {missing}. Of such an action nothing but the file's own probes knows"

"""The plan of a run, and what is said of a drill that is in it and did not run."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from pathlib import Path

from tocsin import __version__
from tocsin.checkers.answers import Question
from tocsin.drill.options import RunOptions
from tocsin.drill.plan import Plan
from tocsin.drill.scales import Choice, choice_of
from tocsin.model.run_plan import PlannedDrill, RunPlan
from tocsin.model.verdict import Judgement, Outcome, Reason, Verdict
from tocsin.project.documents import parse_model, read_document
from tocsin.project.nodes import GENERATED
from tocsin.project.text import is_file

PLAN = "plan.json"
_QUESTION = Question("drill", "the drill runs through all four acts to its own end")


def plan_of(plans: Iterable[Plan], options: RunOptions, scale: float) -> RunPlan:
    """The plan of a run that begins now; `scale`: of the target."""
    drills = tuple(_planned(plan, choice_of(plan, options, scale)) for plan in plans)
    return RunPlan(version=__version__, at=time.time(), target=options.target, scale=scale, drills=drills)


def _planned(plan: Plan, chosen: Choice) -> PlannedDrill:
    experiment = plan.loaded.experiment
    return PlannedDrill(
        experiment=experiment.slug,
        title=experiment.title,
        path=experiment.path,
        system=plan.system.system,
        tags=experiment.tags_at(chosen.scale),
        scale=chosen.scale if chosen.because else None,
        scale_because=chosen.because or None,
    )


def read_plan(directory: Path) -> RunPlan | None:
    """The plan of the run in a directory; None where there is none, as of a run of an older version.

    Raises:
        InvalidInput: `plan.json` is none.
    """
    file = directory / PLAN
    if not is_file(file):
        return None
    document = read_document(file, GENERATED)
    return parse_model(RunPlan, document.data, document)


def not_run(plan: RunPlan, drill: PlannedDrill, why: str) -> Verdict:
    """The verdict on a drill that did not begin: nothing is known, and somebody ended the run before it."""
    verdict = _unknown(plan, drill, _QUESTION.unknown(Reason.INTERRUPTED, f"not run: {why}"))
    return verdict.model_copy(
        update={"stopped": "interrupted", "not_observed": ("Everything: the drill did not run.",)}
    )


def history_gone(plan: RunPlan, drill: PlannedDrill, left: str) -> Verdict:
    """The verdict on a drill that ran, as what is `left` in its directory shows, and whose history is not there."""
    message = f"the drill ran, because there is its {left}, and its history is gone: nothing else is evidence"
    return _unknown(plan, drill, _QUESTION.unknown(Reason.HISTORY_BROKEN, message))


def _unknown(plan: RunPlan, drill: PlannedDrill, judgement: Judgement) -> Verdict:
    return Verdict(
        drill="",
        experiment=drill.experiment,
        title=drill.title,
        path=drill.path,
        system=drill.system,
        target=plan.target,
        scale=drill.scale or plan.scale,
        tags=drill.tags,
        started_at=plan.at,
        ended_at=plan.at,
        outcome=Outcome.UNKNOWN,
        judgements=(judgement,),
        command=shlex.join(["tocsin", "run", drill.path, "--target", plan.target]),
    )

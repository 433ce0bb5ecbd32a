"""The reads of an experiment's own probes, and of its procedures before they change anything; each made once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from tocsin.actors.injector import Injector
from tocsin.actors.performing import outcome
from tocsin.aws.target import Aws
from tocsin.drill.plan import Plan
from tocsin.drill.writing import why_it_may_write
from tocsin.model.toolkit import Activity, HttpProvider
from tocsin.probes import PROBES
from tocsin.procedures import PROCEDURES

SOURCE = "https://chaostoolkit.org/reference/api/experiment/"
"""What probes are, and how they are answered."""
_READING = ("GET", "HEAD")
_OTHERS = (
    "it is no probe of Tocsin, so nobody knows whether it only reads. Ask it by hand, or see in the first preflight"
)


@dataclass(frozen=True)
class Question:
    """One activity that reads, of all that ask the same."""

    about: str
    activity: Activity
    of_hypothesis: bool
    """whether it has to be answered before anything is broken; another may ask of what is not there yet"""
    known_to_read: bool
    asked: str = field(repr=False)
    """what is asked, with the values of its variables: the same of two drills is asked once"""

    def ask(self, injector: Injector) -> str:
        """Ask it; why it is not answered, in words, else empty. That its tolerance is not met is an answer."""
        if not self.known_to_read:
            return _OTHERS
        run = injector.look(self.activity)
        return outcome(run) if run["status"] != "succeeded" and self.of_hypothesis else ""


def questions(plan: Plan) -> Iterator[Question]:
    """Every probe of the hypothesis, and those of Tocsin that stand elsewhere."""
    for activity in plan.activities("steady-state-hypothesis"):
        yield _question(plan, activity, of_hypothesis=True)
    for activity in plan.activities("method", "rollbacks"):
        if _is_ours(activity):
            yield _question(plan, activity, of_hypothesis=False)


def _question(plan: Plan, activity: Activity, *, of_hypothesis: bool) -> Question:
    about = f"probe {activity.name} of {plan.loaded.experiment.slug}"
    asked = json.dumps(plan.variables.filled(activity).document()["provider"], sort_keys=True, default=str)
    # A tolerance may ask a probe of its own, which is asked with it.
    reads = (_is_ours(activity) or _gets(activity)) and not why_it_may_write(activity)
    return Question(about, activity, of_hypothesis, reads, asked)


def _is_ours(activity: Activity) -> bool:
    called = activity.calls("tocsin.probes")
    return called is not None and called.func in PROBES


def _gets(activity: Activity) -> bool:
    provider = activity.provider
    return isinstance(provider, HttpProvider) and provider.method.upper() in _READING


def distinct(found: Iterable[Question]) -> list[Question]:
    """Each question once; where several drills ask it, as the strictest does."""
    asked: dict[str, Question] = {}
    for one in sorted(found, key=lambda one: not one.of_hypothesis):
        asked.setdefault(one.asked, one)
    return list(asked.values())


def procedures(plan: Plan, aws: Aws) -> Iterator[tuple[str, Callable[[], object]]]:
    """The procedures of an experiment that read, by name, and how their reads are made without any change."""
    for activity in plan.activities():
        called = plan.variables.filled(activity).calls("tocsin.procedures")
        declared = None if called is None else PROCEDURES.get(called.func)
        if called is not None and declared is not None and declared.reads is not None:
            yield f"{called.func} of {plan.loaded.experiment.slug}", partial(declared.reads, called.arguments, aws)

"""How guards are asked: one after the other, each answer recorded, and an error is a no."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from tocsin.aws.iam import Arns, Grant
from tocsin.errors import Refused, TocsinError
from tocsin.model.events import GuardChecked

Guard = tuple[str, Callable[[], str]]
"""Its name, and the question: returns what was found, or raises Refused (or any other TocsinError: a no as well)."""

Record = Callable[[GuardChecked], None]

PARAMETERS = "/tocsin/"
"""Where the kill switch and the lock are in the Parameter Store of the account."""


def ask(guard: Guard, record: Record) -> None:
    """Ask one guard and record its answer.

    Raises:
        Refused: it says no, or could not be evaluated.
    """
    name, question = guard
    try:
        detail = question()
    except TocsinError as error:
        no = error if isinstance(error, Refused) else cannot_be_evaluated(name, error)
        record(GuardChecked(at=time.time(), guard=name, ok=False, detail=str(no)))
        raise no from error
    record(GuardChecked(at=time.time(), guard=name, ok=True, detail=detail))


def ask_all(guards: Iterable[Guard], record: Record) -> None:
    """Ask guards in order, until the first that says no.

    Raises:
        Refused: one says no, or could not be evaluated.
    """
    for guard in guards:
        ask(guard, record)


def cannot_be_evaluated(guard: str, error: TocsinError) -> Refused:
    """The no of a guard that does not know."""
    return Refused(guard, f"expected an answer to the guard '{guard}', found none: {error}. Mend that, and run again.")


def grants(system: Any, arns: Arns) -> Iterable[Grant]:
    """What the guards of every drill need of IAM; stop conditions are read with the other alarms."""
    parameter = arns("ssm", f"parameter{PARAMETERS}*")
    yield Grant(
        sid="Guards", actions=("ssm:GetParameter", "ssm:PutParameter", "ssm:DeleteParameter"), resources=(parameter,)
    )
    yield Grant(sid="GuardTags", actions=("tag:GetResources",))


def role_tags_grant(arns: Arns) -> Grant:
    """What the guard `opt-in` needs for a fault that changes a role."""
    return Grant(sid="GuardTags", actions=("iam:ListRoleTags",), resources=(arns.global_("iam", "role/*"),))

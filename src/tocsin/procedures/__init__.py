"""Documented procedures as Chaos Toolkit actions: what people do when something is wrong, and after it is mended.

provider: {type: python, module: tocsin.procedures, func: sqs_redrive, arguments: {...}}
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tocsin.aws.declared import Arguments, by_name
from tocsin.aws.target import Aws
from tocsin.faults.base import Change
from tocsin.model.toolkit import Activity
from tocsin.procedures.postgres import POSTGRES_QUERY
from tocsin.procedures.sqs import SQS_REDRIVE
from tocsin.procedures.waiting import WAIT

PROCEDURES = by_name(POSTGRES_QUERY, SQS_REDRIVE, WAIT)
"""Every procedure there is. Each is a function of this package: Chaos Toolkit looks for it here."""


@dataclass(frozen=True)
class _Call:
    """A procedure that is about to change something."""

    name: str
    arguments: Arguments
    changed: Callable[[Arguments, Aws], tuple[str, ...]]

    @property
    def resource(self) -> str:
        return f"what {self.name} works on"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return self.changed(self.arguments, aws)


def change_of(activity: Activity) -> Change | None:
    """What an activity of an experiment changes, where it is one of these procedures; else None."""
    called = activity.calls(__name__)
    declared = None if called is None else PROCEDURES.get(called.func)
    if called is None or declared is None or declared.changes is None:
        return None
    return _Call(declared.name, called.arguments, declared.changes)


globals().update({name: procedure.function for name, procedure in PROCEDURES.items()})
__all__ = [*PROCEDURES]

if TYPE_CHECKING:

    def __getattr__(name: str) -> Callable[..., Any]: ...

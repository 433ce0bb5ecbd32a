"""Faults as Chaos Toolkit actions.

    provider: {type: python, module: tocsin.faults, func: rds_proxy_throttle, arguments: {...}}

Each fault of `FAULTS` in `registry.py` is a function here. It is made from the fault's class and has its fields as
parameters, so that `chaos validate` checks names and presence. Inside a drill they write the drill's history; under
plain `chaos run` they use the target named by TOCSIN_TARGET (default `sandbox`) and the same ledger.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticUndefined

from tocsin.errors import ResidueLeft
from tocsin.faults.base import AnyFault
from tocsin.faults.registry import FAULTS
from tocsin.faults.session import faults_of

Configuration = dict[str, Any]


def action_of(fault: type[AnyFault]) -> Callable[..., str]:
    """The Chaos Toolkit action of a fault: a plain function, because `chaos validate` accepts nothing else."""

    def run(configuration: Configuration | None = None, **arguments: Any) -> str:
        return faults_of(configuration).inject(fault.model_validate(arguments)).value

    fields = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.is_required() else _default(field.get_default()),
            annotation=field.annotation,
        )
        for name, field in fault.model_fields.items()
    ]
    configuration = inspect.Parameter("configuration", inspect.Parameter.KEYWORD_ONLY, default=None)
    run.__name__ = run.__qualname__ = fault.kind
    run.__doc__ = fault.__doc__
    run.__signature__ = inspect.Signature([*fields, configuration])  # type: ignore[attr-defined]
    return run


def _default(value: Any) -> Any:
    return None if value is PydanticUndefined else value


def undo(configuration: Configuration | None = None) -> str:
    """Undo every fault of this run, latest first, and verify each by reading it back.

    Raises:
        ResidueLeft: at least one could not be undone, or not be seen undone.
    """
    lifecycle = faults_of(configuration)
    left = lifecycle.undo_all()
    if left:
        names = ", ".join(f"{entry.fault} on {entry.resource}" for entry in left)
        raise ResidueLeft(f"expected every fault to be undone, found still in place: {names}. Call `tocsin recover`.")
    return "every fault of this run is undone and verified"


globals().update({kind: action_of(fault) for kind, fault in FAULTS.items()})
__all__ = [*FAULTS, "undo"]

if TYPE_CHECKING:

    def __getattr__(name: str) -> Callable[..., str]: ...

"""`tocsin faults`: every fault in words."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from tocsin.faults.base import AnyFault, Fault
from tocsin.faults.registry import FAULTS, fault_class
from tocsin.model.duration import format_duration


def fault_lines(name: str | None) -> Iterator[str]:
    """The list of faults, or all about one.

    Raises:
        InvalidInput: there is no fault of that name.
    """
    if name is not None:
        yield from _explain(fault_class(name))
        return
    width = max(len(kind) for kind in FAULTS)
    for kind, fault in sorted(FAULTS.items()):
        yield f"{kind:<{width}}  {fault.summary}"
    yield ""
    yield "tocsin faults NAME explains one: its arguments, permissions and undo."


def _explain(fault: type[AnyFault]) -> Iterator[str]:
    yield f"{fault.kind}: {fault.summary}"
    yield ""
    yield inspect.cleandoc(fault.__doc__ or "")
    yield ""
    yield "arguments:"
    for name, field in fault.model_fields.items():
        default = "required" if field.is_required() else f"default {field.get_default()!r}"
        yield f"  {name:<30} {default}{'; ' + field.description if field.description else ''}"
    yield ""
    yield f"effect seen within {format_duration(fault.effect_within_s)} (production time), else `no effect`"
    yield f"if nobody is left to undo it: {_end(fault)}"
    yield "IAM actions:"
    yield from (f"  {action}" for action in fault.permissions)
    yield ""
    yield "in an experiment:"
    arguments = ", ".join(f"{name}: ..." for name, field in fault.model_fields.items() if field.is_required())
    yield f"  provider: {{type: python, module: tocsin.faults, func: {fault.kind}, arguments: {{{arguments}}}}}"


def _end(fault: type[AnyFault]) -> str:
    if fault.heals:
        return "AWS mends it by itself at once"
    if fault.expires:
        return "AWS ends it by itself"
    if fault.dead_man is not Fault.dead_man:
        return "a schedule ends it, on targets with a `dead_man_role`"
    return "it stays until `tocsin recover`"

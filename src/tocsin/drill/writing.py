"""Which activities of an experiment may write into a system: all of which it is not known that they only read.

Faults do not count: what they break they put back, and the ledger says so. Everything else that somebody else wrote, a
program, a function of another extension, a control, may do anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.model.synthetic import READING
from tocsin.model.toolkit import (
    Activity,
    ControlProvider,
    ExperimentFile,
    HttpProvider,
    Part,
    ProbeTolerance,
    ProcessProvider,
    Provider,
)
from tocsin.probes import PROBES
from tocsin.procedures import PROCEDURES

_PLACES: dict[Part, str] = {
    "steady-state-hypothesis": "the hypothesis",
    "method": "the method",
    "rollbacks": "rollbacks",
}


def may_write(toolkit: ExperimentFile, file: str) -> tuple[str, ...]:
    """What of an experiment may write, each with its place, in words; `file` is where it stands."""
    return tuple(f"{what} of {file}" for what in dict.fromkeys(_writing(toolkit)))


def _writing(toolkit: ExperimentFile) -> Iterator[str]:
    for part, _, activity in toolkit.everything():
        why = why_it_may_write(activity)
        if why:
            yield f"{activity.type} '{activity.name}' ({why}) in {_PLACES[part]}"
    for _, control in toolkit.every_control():
        yield f"control '{control.name}' ({_of_provider(control.provider)})"


def why_it_may_write(activity: Activity) -> str:
    """In words, of the activity or of what its tolerance asks; empty where neither may."""
    why = _of_provider(activity.provider)
    tolerance = activity.tolerance
    return why or (_of_provider(tolerance.provider) if isinstance(tolerance, ProbeTolerance) else "")


def _of_provider(provider: Provider | ControlProvider) -> str:
    """Why it may write, in words, without URL and arguments: these may be secret. Empty: it is known to only read."""
    if isinstance(provider, HttpProvider):
        # A method that is a variable is none of those that read.
        return "" if provider.method.upper() in READING else f"sends {provider.method.upper()}"
    if isinstance(provider, ProcessProvider):
        return "runs a program"
    if isinstance(provider, ControlProvider):
        return f"calls {provider.module}"
    called = f"calls {provider.module}.{provider.func}"
    if provider.module == "tocsin.procedures":
        declared = PROCEDURES.get(provider.func)
        return called if declared is None or declared.writes else ""
    ours = provider.module == "tocsin.faults" or (provider.module == "tocsin.probes" and provider.func in PROBES)
    return "" if ours else called

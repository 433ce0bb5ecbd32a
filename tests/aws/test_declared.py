"""What is declared once is found by everybody who looks for it."""

from __future__ import annotations

import inspect

import pytest
from chaoslib.activity import ensure_activity_is_valid
from chaoslib.exceptions import InvalidActivity

import tocsin.faults
import tocsin.probes
import tocsin.procedures
from tocsin.aws.declared import Declared, by_name
from tocsin.aws.iam import Arns
from tocsin.faults.registry import FAULTS
from tocsin.probes import PROBES
from tocsin.procedures import PROCEDURES

PUBLIC = {tocsin.faults: {*FAULTS, "undo"}, tocsin.probes: set(PROBES), tocsin.procedures: set(PROCEDURES)}


@pytest.mark.parametrize("package", PUBLIC, ids=lambda package: package.__name__)
def test_every_name_is_a_function_of_its_package(package: object) -> None:
    functions = dict(inspect.getmembers(package, inspect.isfunction))
    assert PUBLIC[package] <= set(functions)
    assert set(package.__all__) == PUBLIC[package]
    assert all(functions[name].__name__ == name and functions[name].__doc__ for name in PUBLIC[package])


@pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package, names in PUBLIC.items() for name in sorted(names)]
)
def test_chaos_toolkit_finds_it_and_its_arguments(package: object, name: str) -> None:
    parameters = inspect.signature(getattr(package, name)).parameters.values()
    required = [one.name for one in parameters if one.default is inspect.Parameter.empty]
    provider = {"type": "python", "module": package.__name__, "func": name}
    ensure_activity_is_valid(activity({**provider, "arguments": dict.fromkeys(required, "x")}))
    for wrong in ({**provider, "arguments": {"no_such_argument": 1}}, {**provider, "func": f"{name}s"}):
        with pytest.raises(InvalidActivity):
            ensure_activity_is_valid(activity(wrong))


def activity(provider: dict[str, object]) -> dict[str, object]:
    return {"type": "action", "name": "one", "provider": provider}


def needed(declared: Declared) -> dict[str, str]:
    """Arguments of the right names, all text."""
    parameters = inspect.signature(declared.function).parameters
    return {name: "x" for name in parameters if name != "configuration"}


@pytest.mark.parametrize("declared", [*PROBES.values(), *PROCEDURES.values()], ids=lambda one: one.name)
def test_what_it_needs_is_told_from_its_own_arguments(declared: Declared) -> None:
    if declared.grant is not None:
        assert declared.grant(needed(declared), Arns()).actions


@pytest.mark.parametrize("probe", PROBES.values(), ids=lambda probe: probe.name)
def test_a_probe_changes_nothing(probe: Declared) -> None:
    assert probe.changes is None


def test_a_new_one_is_one_line() -> None:
    def look(queue: str) -> int:
        """Look at a queue."""
        return len(queue)

    assert by_name(Declared(look))["look"].function("four") == 4

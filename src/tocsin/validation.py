"""Everything that can be known about an experiment without touching a target."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tocsin.alarms.prometheus import rules_of
from tocsin.errors import InvalidInput, near_match
from tocsin.loader import Document, LoadedExperiment, Location, load_experiment, load_system
from tocsin.model.system import System
from tocsin.openapi import OpenApiDocument
from tocsin.resolve import check_placeholders

_CANARY_PREFIX = "canary_"


@dataclass(frozen=True)
class Plan:
    """An experiment that can be run: valid by itself, and consistent with its system."""

    loaded: LoadedExperiment
    system: System


class Planner:
    """Checks experiments against their systems; reads each system, contract and canary file once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._systems: dict[str, _Described] = {}

    def plan(self, path: Path) -> Plan:
        """Load one experiment with its system and check them against each other.

        Raises:
            InvalidInput: the first thing that is wrong, with file, line and the near match.
        """
        loaded = load_experiment(path)
        document, at = loaded.document, _block_location(loaded.document)
        try:
            described = self._describe(loaded.experiment.extension.system)
        except InvalidInput as error:
            if error.file and error.file.endswith(".yaml"):
                raise
            raise document.invalid(str(error).split(": ", 1)[-1], (*at, "system")) from None
        _check_names(loaded, described, at)
        _check_stop_conditions(loaded, described.system, at)
        _check_degraded(loaded, described, at)
        for part in ("steady-state-hypothesis", "method", "rollbacks"):
            for location, activity in _activities(document.data, part):
                _check_activity(document, location, activity)
        _check_chaos_toolkit(loaded)
        return Plan(loaded=loaded, system=described.system)

    def _describe(self, name: str) -> _Described:
        if name not in self._systems:
            system = load_system(self._root, name)
            check_placeholders(system)
            _check_alerts(self._root, system)
            contract = OpenApiDocument.load(self._root / system.contract) if system.contract else None
            canaries = tuple(canary_names(self._root, system))
            _check_promises(self._root, system, canaries)
            self._systems[name] = _Described(system, canaries, contract)
        return self._systems[name]


def _check_alerts(root: Path, system: System) -> None:
    """Every alert that the system file names is in the rules file."""
    rules = rules_of(root, system)
    for name, alarm in system.prometheus_alarms.items():
        if alarm.prometheus.alert not in rules:
            assert system.prometheus is not None
            raise InvalidInput(
                f"alarms.{name}: expected an alert of {system.prometheus.rules}, found '{alarm.prometheus.alert}'. "
                f"{near_match(alarm.prometheus.alert, rules)}",
                file=root / "systems" / f"{system.system}.yaml",
            )


def _check_promises(root: Path, system: System, canaries: Sequence[str]) -> None:
    """Every canary that a promise names is in the file of canaries."""
    for name, promise in system.promises.items():
        for canary in promise.canaries:
            if canary not in canaries:
                raise InvalidInput(
                    f"promises.{name}: expected a known canary, found '{canary}'. {near_match(canary, canaries)}",
                    file=root / "systems" / f"{system.system}.yaml",
                )


@dataclass(frozen=True)
class _Described:
    """A system with what its files offer to be named."""

    system: System
    canaries: tuple[str, ...]
    contract: OpenApiDocument | None


def _block_location(document: Document) -> Location:
    blocks = document.data["extensions"]
    index = next(i for i, block in enumerate(blocks) if block.get("name") == "tocsin")
    return ("extensions", index)


def _check_names(loaded: LoadedExperiment, described: _Described, at: Location) -> None:
    expect, document, system = loaded.experiment.extension.expect, loaded.document, described.system
    for part, entries in (("must", expect.must), ("quiet", expect.quiet), ("blind", expect.blind)):
        for index, entry in enumerate(entries):
            alarm = getattr(entry, "alarm", None)
            if alarm is not None and alarm not in system.alarms:
                _unknown(document, "alarm", alarm, system.alarms, (*at, "expect", part, index))
    for index, entry in enumerate(expect.must):
        canary = getattr(entry, "canary", None)
        if canary is not None and canary not in described.canaries:
            _unknown(document, "canary", canary, described.canaries, (*at, "expect", "must", index))
    for index, promise in enumerate(loaded.experiment.extension.covers):
        if promise not in system.promises:
            _unknown(document, "promise", promise, system.promises, (*at, "covers", index))
    for index, rule in enumerate(expect.conserved):
        if rule not in system.conservation:
            _unknown(document, "conservation rule", rule, system.conservation, (*at, "expect", "conserved", index))


def _check_stop_conditions(loaded: LoadedExperiment, system: System, at: Location) -> None:
    extension, document = loaded.experiment.extension, loaded.document
    for index, name in enumerate(extension.stop_conditions):
        if name not in system.cloudwatch_alarms:
            _unknown(document, "CloudWatch alarm", name, system.cloudwatch_alarms, (*at, "stop_conditions", index))
        if name in extension.expect.under_test:
            complaint = f"expected a stop condition other than what the drill is about, found '{name}' in `expect` too"
            raise document.invalid(complaint, (*at, "stop_conditions", index))


def _check_degraded(loaded: LoadedExperiment, described: _Described, at: Location) -> None:
    """A degraded answer is part of the contract: its status and its schema are documented there."""
    degraded, contract = loaded.experiment.extension.expect.degraded, described.contract
    if degraded is None or contract is None:
        return
    document, file, where = loaded.document, described.system.contract, (*at, "expect", "degraded")
    name = degraded.schema_name
    if name is not None and name not in contract.schema_names:
        _unknown(document, f"schema of {file}", name, contract.schema_names, (*where, "schema"))
    for status in degraded.status:
        if not contract.documents(status):
            complaint = f"expected {file} to document the status {status}, found no answer with it"
            raise document.invalid(complaint, (*where, "status"))


def canary_names(root: Path, system: System) -> list[str]:
    """Names of the canaries of a system, read without importing its file."""
    functions = (node.name for node in _canary_file(root, system).body if isinstance(node, ast.FunctionDef))
    return [name.removeprefix(_CANARY_PREFIX) for name in functions if name.startswith(_CANARY_PREFIX)]


def canary_log_groups(root: Path, system: System) -> set[str]:
    """Log groups that the canaries of a system look into with `logged`, read without importing their file.

    One that is neither a text nor a constant of the file is `*`: any.
    """
    tree = _canary_file(root, system)
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
    return {_text(call.args, constants) for call in calls if getattr(call.func, "attr", "") == "logged"}


def _text(arguments: list[ast.expr], constants: Mapping[str, Any]) -> str:
    first = arguments[0] if arguments else None
    if isinstance(first, ast.Constant):
        return str(first.value)
    return str(constants.get(first.id, "*")) if isinstance(first, ast.Name) else "*"


def _canary_file(root: Path, system: System) -> ast.Module:
    if system.canaries is None:
        return ast.Module(body=[], type_ignores=[])
    path = root / system.canaries.file
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except SyntaxError as error:
        raise InvalidInput(f"expected Python: {error.msg}", file=path, line=error.lineno) from None


def _unknown(document: Document, what: str, name: str, known: Iterable[str], at: Location) -> None:
    raise document.invalid(f"expected a known {what}, found '{name}'. {near_match(name, known)}", at)


def _activities(data: Mapping[str, Any], part: str) -> list[tuple[Location, Mapping[str, Any]]]:
    if part == "steady-state-hypothesis":
        probes = (data.get(part) or {}).get("probes") or []
        return [((part, "probes", index), probe) for index, probe in enumerate(probes)]
    return [((part, index), activity) for index, activity in enumerate(data.get(part) or [])]


def _check_activity(document: Document, at: Location, activity: Mapping[str, Any]) -> None:
    provider = activity.get("provider") or {}
    module = provider.get("module", "")
    if not module.startswith("tocsin."):
        return
    functions = _functions(module)
    func = provider.get("func", "")
    if func not in functions:
        what = "fault" if module == "tocsin.faults" else f"function of {module}"
        _unknown(document, what, func, functions, (*at, "provider", "func"))
    arguments = provider.get("arguments") or {}
    where = (*at, "provider", "arguments")
    _check_arguments(document, func, functions[func], arguments, where)
    if module == "tocsin.faults" and func != "undo":
        _check_fault(document, func, arguments, where)


@cache
def _functions(module: str) -> dict[str, Any]:
    import importlib

    try:
        loaded = importlib.import_module(module)
    except ImportError:
        return {}
    return {name: getattr(loaded, name) for name in getattr(loaded, "__all__", ())}


def _check_arguments(document: Document, func: str, function: Any, arguments: Mapping[str, Any], at: Location) -> None:
    parameters = {name: p for name, p in inspect.signature(function).parameters.items() if name != "configuration"}
    for name in arguments:
        if name not in parameters:
            _unknown(document, f"argument of {func}", name, parameters, (*at, name))
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in arguments:
            raise document.invalid(f"expected the argument '{name}' of {func}, found none", at)


def _check_fault(document: Document, func: str, arguments: Mapping[str, Any], at: Location) -> None:
    from tocsin.faults.registry import fault_class

    if any("${" in value for value in arguments.values() if isinstance(value, str)):
        return  # Chaos Toolkit substitutes these at run time
    try:
        fault_class(func).model_validate(arguments)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"]) or "arguments"
        message = problem["msg"].removeprefix("Value error, ")
        raise document.invalid(
            f"{func}.{name}: {message}, found {problem['input']!r}", (*at, *problem["loc"])
        ) from None


def _check_chaos_toolkit(loaded: LoadedExperiment) -> None:
    from chaoslib.exceptions import ChaosException
    from chaoslib.experiment import ensure_experiment_is_valid

    try:
        ensure_experiment_is_valid(dict(loaded.document.data))
    except ChaosException as error:
        raise loaded.document.invalid(f"Chaos Toolkit: {error}", ()) from None

"""Everything that can be known about an experiment without touching a target."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tocsin.actors.controls import problem_of
from tocsin.actors.foreign import is_of_another_extension, name_of, shown_after
from tocsin.actors.locust import try_load_file
from tocsin.actors.variables import Variables
from tocsin.alarms.askable import cannot_be
from tocsin.alarms.engine import load_problems
from tocsin.alarms.prometheus import RuleFile, load_rules, read_rules
from tocsin.aws.lookups import placeholder_problems
from tocsin.drill.alarm_definitions import definition_problems, rule_problems
from tocsin.drill.deadlines import untold
from tocsin.errors import Complaints, InvalidInput, InvalidInputs, near_match, shortened
from tocsin.faults.base import AnyFault
from tocsin.faults.registry import FAULTS, fault_class
from tocsin.model.definitions import Definitions
from tocsin.model.experiment import Expect, MustAlarm
from tocsin.model.system import PrometheusAlarm, PrometheusAlert, System
from tocsin.model.toolkit import PARTS, Activity, Location, Part, ProbeTolerance, Provider, PythonProvider, location
from tocsin.procedures import change_of
from tocsin.project.asyncapi import AsyncApiDocument
from tocsin.project.canary_files import CANARY_PREFIX, try_canaries
from tocsin.project.definitions import definitions_of
from tocsin.project.documents import (
    Document,
    LoadedExperiment,
    files_named,
    load_experiment,
    parse_model,
    read_document,
    read_system,
    system_names,
)
from tocsin.project.openapi import OpenApiDocument
from tocsin.project.python_files import parse_python, try_modules
from tocsin.project.synthetic import cleanup_problems
from tocsin.project.text import is_file

_UNFILLED = re.compile(r"\$\{[a-z_][a-z0-9_]*\}", re.IGNORECASE | re.ASCII)
"""What Chaos Toolkit would have put a value in place of; it leaves alone what looks otherwise, as `${aws:username}`."""


@dataclass(frozen=True)
class Plan:
    """An experiment that can be run: valid by itself, and consistent with its system."""

    loaded: LoadedExperiment
    system: System
    variables: Variables
    definitions: Definitions
    """hashes of what is written, which the proof of the drill is bound to"""
    contract: OpenApiDocument | None = None
    messages: AsyncApiDocument | None = None

    def activities(self, *parts: Part) -> tuple[Activity, ...]:
        """The activities of these parts of the experiment; without any, of all."""
        toolkit = self.loaded.toolkit
        return tuple(activity for part in parts or PARTS for activity in toolkit.activities(part))


class Planner:
    """Checks experiments against their systems; reads each system, contract and canary file once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._systems: dict[str, _Described | InvalidInput] = {}
        self._loaded: dict[Path, LoadedExperiment] = {}
        self._modules: dict[str, str | None] = {}

    def look_ahead(self, paths: Iterable[Path]) -> None:
        """Try the modules of all these experiments together, which `plan` would do for each; it tells what is wrong."""
        loaded = Complaints().each(self._load, paths)
        self._wrong_modules(tuple(name for one in loaded for name, _ in _modules(one)))

    def plan_all(self, paths: Iterable[Path]) -> list[Plan]:
        """Plan every one of these experiments.

        Raises:
            InvalidInput: everything that is wrong in any of their files, each once.
        """
        complaints, files = Complaints(), tuple(paths)
        self.look_ahead(files)
        plans = complaints.each(self.plan, files)
        complaints.tell()
        return plans

    def plan(self, path: Path) -> Plan:
        """Load one experiment with its system and check them against each other.

        Raises:
            InvalidInput: everything that is wrong, with file, line and the near match.
        """
        loaded = self._load(path)
        described = self._describe(loaded)
        wrong = self._wrong_modules(tuple(name for name, _ in _modules(loaded)))
        complaints = Complaints()
        complaints.extend(_problems(loaded, described))
        complaints.extend(_module_problems(loaded, wrong))
        variables = complaints.attempt(Variables.of, loaded.toolkit, loaded.document.invalid)
        if variables is not None:
            complaints.extend(_toolkit_problems(loaded, described.system, variables, wrong))
            complaints.extend(_change_problems(loaded, variables))
            # What is wrong with an activity was told with its line; Chaos Toolkit would tell it again without.
            if not complaints.problems:
                complaints.attempt(_check_chaos_toolkit, loaded)
        complaints.tell()
        assert variables is not None
        system = _narrowed(described.system, loaded.experiment.extension.expect)
        return Plan(
            loaded=loaded,
            system=system,
            variables=variables,
            contract=described.contract,
            messages=described.messages,
            definitions=definitions_of(self._root, described.system, loaded),
        )

    def _load(self, path: Path) -> LoadedExperiment:
        if path not in self._loaded:
            self._loaded[path] = load_experiment(path)
        return self._loaded[path]

    def _wrong_modules(self, names: Sequence[str]) -> dict[str, str]:
        """Those of these modules that cannot be imported, and why; each is tried once."""
        untried = [name for name in names if name not in self._modules and name not in sys.modules]
        self._modules |= try_modules(untried)
        told = {name: self._modules.get(name) for name in names}
        return {name: why for name, why in told.items() if why is not None}

    def _describe(self, loaded: LoadedExperiment) -> _Described:
        name = loaded.experiment.extension.system
        if name not in self._systems:
            known = system_names(self._root)
            if name not in known:
                raise _unknown(loaded.document, "system", name, known, (*_block_location(loaded.document), "system"))
            self._systems[name] = _described_or_wrong(self._root, name)
        found = self._systems[name]
        if isinstance(found, InvalidInput):
            raise found
        return found


def _described_or_wrong(root: Path, name: str) -> _Described | InvalidInput:
    """A system that is wrong is told of with every experiment, and looked at once."""
    try:
        return _describe(root, name)
    except InvalidInput as error:
        return error


def _describe(root: Path, name: str) -> _Described:
    """A system with what its files offer.

    Raises:
        InvalidInput: everything that is wrong in any of them.
    """
    try:
        system, document = read_system(root, name)
    except InvalidInput as error:
        raise InvalidInputs([error, *_file_problems(root, name)]) from None
    complaints = Complaints()
    for at, message in placeholder_problems(system):
        complaints.add(document.invalid(message, at))
    complaints.extend(definition_problems(system, document))
    complaints.extend(rule_problems(system, document))
    if system.prometheus is not None:
        complaints.extend(complaints.attempt(_rules_problems, root / system.prometheus.rules, system, document) or ())
    contract = complaints.attempt(_usable_contract, root / system.contract) if system.contract else None
    messages = complaints.attempt(_usable_messages, root, system, document) if system.messages else None
    canaries = complaints.attempt(_importable_canaries, root, system)
    if canaries is not None:
        complaints.extend(_promise_problems(system, document, canaries))
    complaints.extend(cleanup_problems(root, system, document))
    if system.load is not None:
        complaints.attempt(try_load_file, root / system.load, root)
    complaints.tell()
    rules = RuleFile() if system.prometheus is None else load_rules(root / system.prometheus.rules)
    return _Described(system, tuple(canaries or ()), contract, rules, messages)


def _file_problems(root: Path, name: str) -> tuple[InvalidInput, ...]:
    """What is wrong in the files that a system names whose own file is wrong."""
    readers: dict[Location, Callable[[Path], object]] = {
        ("contract",): _usable_contract,
        ("messages", "document"): AsyncApiDocument.load,
        ("prometheus", "rules"): read_rules,
    }
    complaints = Complaints()
    document = complaints.attempt(read_document, root / "systems" / f"{name}.yaml")
    for at, path in (files_named(document, root) if document is not None else {}).items():
        if is_file(path):
            complaints.attempt(readers.get(at, parse_python), path)
    return complaints.problems


def _usable_contract(path: Path) -> OpenApiDocument:
    """A contract by which every documented answer can be judged.

    Raises:
        InvalidInput: what is wrong with it, in any of its files.
    """
    contract = OpenApiDocument.load(path)
    contract.check()
    return contract


def _usable_messages(root: Path, system: System, document: Document) -> AsyncApiDocument:
    """The contract of messages, with a channel for each tap.

    Raises:
        InvalidInput: what is wrong with it, in any of its files, or with the taps.
    """
    assert system.messages is not None
    found, complaints = AsyncApiDocument.load(root / system.messages.document), Complaints()
    complaints.extend(found.tap_problems(system.messages, document))
    complaints.tell()
    return found


def _importable_canaries(root: Path, system: System) -> list[str]:
    names = canary_names(root, system)
    if system.canaries is not None:
        try_canaries(root / system.canaries.file)
    return names


def _rules_problems(path: Path, system: System, document: Document) -> list[InvalidInput]:
    """Prometheus loads the rules file, and it has every alert that the system file names."""
    rules, written = read_rules(path)
    return [*load_problems(path, rules, written), *_alert_problems(rules, system, document)]


def _alert_problems(rules: RuleFile, system: System, document: Document) -> Iterator[InvalidInput]:
    file = system.prometheus.rules if system.prometheus is not None else ""
    for name, alarm in system.prometheus_alarms.items():
        alert = alarm.prometheus.alert
        if alert not in rules.alerts:
            yield document.invalid(
                f"alarms.{name}: expected an alert of {file}, found '{shortened(alert)}'. "
                f"{near_match(alert, rules.alerts)}",
                ("alarms", name, "prometheus", "alert"),
            )
        elif not rules.rules_of(alarm.prometheus):
            told = _labels_nobody_has(rules, alarm.prometheus)
            yield document.invalid(f"alarms.{name}: {told}", ("alarms", name, "prometheus", "labels"))


def _labels_nobody_has(rules: RuleFile, alert: PrometheusAlert) -> str:
    """What is wrong with labels that no rule of an alert can have."""
    known = rules.alerts[alert.alert]
    for name, value in alert.labels.items():
        values = [rule.labels[name] for rule in known if name in rule.labels]
        if not any(rule.may_have({name: value}) for rule in known):
            return (
                f"expected labels of the alert {alert.alert}, found {name}: '{shortened(value)}'. "
                f"{near_match(value, values)}"
            )
    told = "; ".join(str(rule.labels) for rule in known)
    return f"expected labels that one rule of the alert {alert.alert} has, found {alert.labels}. They have {told}."


def _promise_problems(system: System, document: Document, canaries: Sequence[str]) -> Iterator[InvalidInput]:
    """Every canary that a promise names is in the file of canaries."""
    for name, promise in system.promises.items():
        for index, canary in enumerate(promise.canaries):
            if canary not in canaries:
                yield document.invalid(
                    f"promises.{name}: expected a known canary, found '{shortened(canary)}'. "
                    f"{near_match(canary, canaries)}",
                    ("promises", name, "canaries", index),
                )


@dataclass(frozen=True)
class _Described:
    """A system with what its files offer to be named."""

    system: System
    canaries: tuple[str, ...]
    contract: OpenApiDocument | None
    rules: RuleFile
    messages: AsyncApiDocument | None


def _block_location(document: Document) -> Location:
    blocks = document.data["extensions"]
    index = next(i for i, block in enumerate(blocks) if block.get("name") == "tocsin")
    return ("extensions", index)


def _problems(loaded: LoadedExperiment, described: _Described) -> Iterator[InvalidInput]:
    """What an experiment and its system do not agree about."""
    at = _block_location(loaded.document)
    yield from _name_problems(loaded, described, at)
    yield from _label_problems(loaded, described, at)
    yield from _alarm_problems(loaded, described.system, at)
    yield from _stop_condition_problems(loaded, described.system, at)
    yield from _degraded_problems(loaded, described, at)
    yield from _deadline_problems(loaded, 1.0)


def check_deadlines(plans: Iterable[tuple[Plan, float]]) -> None:
    """Whether the deadlines of experiments can be told, each at the time scale beside it, and may run at it at all.

    Raises:
        InvalidInput: every one that cannot.
    """
    complaints = Complaints()
    for plan, scale in plans:
        complaints.extend(_deadline_problems(plan.loaded, scale))
    complaints.tell()


def _deadline_problems(loaded: LoadedExperiment, scale: float) -> Iterator[InvalidInput]:
    at = _block_location(loaded.document)
    limit = loaded.experiment.extension.scale
    if limit is not None and scale > limit.at_most:
        yield loaded.document.invalid(
            f"expected a time scale of at most {limit.at_most:g}, because {limit.because}; found {scale:g}. Use "
            f"--time-scale {limit.at_most:g}, or auto",
            (*at, "scale", "at_most"),
        )
    for place, message in untold(loaded.experiment.extension.expect, scale):
        yield loaded.document.invalid(message, (*at, "expect", *place))


def _name_problems(loaded: LoadedExperiment, described: _Described, at: Location) -> Iterator[InvalidInput]:
    expect, document, system = loaded.experiment.extension.expect, loaded.document, described.system
    for part, entries in (("must", expect.must), ("quiet", expect.quiet), ("blind", expect.blind)):
        for index, entry in enumerate(entries):
            alarm = getattr(entry, "alarm", None)
            if alarm is not None and alarm not in system.alarms:
                yield _unknown(document, "alarm", alarm, system.alarms, (*at, "expect", part, index))
    for index, entry in enumerate(expect.must):
        canary = getattr(entry, "canary", None)
        if canary is not None and canary not in described.canaries:
            yield _unknown(document, "canary", canary, described.canaries, (*at, "expect", "must", index))
    for index, promise in enumerate(loaded.experiment.extension.covers):
        if promise not in system.promises:
            yield _unknown(document, "promise", promise, system.promises, (*at, "covers", index))
    for index, rule in enumerate(expect.conserved):
        if rule not in system.conservation:
            yield _unknown(
                document, "conservation rule", rule, system.conservation, (*at, "expect", "conserved", index)
            )


def _label_problems(loaded: LoadedExperiment, described: _Described, at: Location) -> Iterator[InvalidInput]:
    """Labels of a `must` are those of a rule of Prometheus."""
    expect, system = loaded.experiment.extension.expect, described.system
    for index, entry in enumerate(expect.must):
        if not isinstance(entry, MustAlarm) or not entry.labels or entry.alarm not in system.alarms:
            continue
        alarm, where = system.alarms[entry.alarm], (*at, "expect", "must", index, "labels")
        if not isinstance(alarm, PrometheusAlarm):
            yield loaded.document.invalid(
                f"expected no labels for {entry.alarm}: it is an alarm of CloudWatch, which has none", where
            )
            continue
        of_system = alarm.prometheus.labels
        for name, value in entry.labels.items():
            if of_system.get(name, value) != value:
                complaint = f"expected {name}: '{of_system[name]}' as in the system file, found '{shortened(value)}'"
                yield loaded.document.invalid(complaint, (*where, name))
        narrowed = _with_labels(alarm, entry.labels).prometheus
        if described.rules.rules_of(alarm.prometheus) and not described.rules.rules_of(narrowed):
            yield loaded.document.invalid(_labels_nobody_has(described.rules, narrowed), where)


def _narrowed(system: System, expect: Expect) -> System:
    """The system as this drill asks about it: its alarms have the labels, too, that `must` asks for."""
    wanted = {entry.alarm: entry.labels for entry in expect.must_alarms if entry.labels}
    narrowed = {
        name: _with_labels(alarm, wanted[name]) for name, alarm in system.prometheus_alarms.items() if name in wanted
    }
    return system.model_copy(update={"alarms": system.alarms | narrowed}) if narrowed else system


def _with_labels(alarm: PrometheusAlarm, labels: Mapping[str, str]) -> PrometheusAlarm:
    alert = alarm.prometheus.model_copy(update={"labels": {**alarm.prometheus.labels, **labels}})
    return alarm.model_copy(update={"prometheus": alert})


def _alarm_problems(loaded: LoadedExperiment, system: System, at: Location) -> Iterator[InvalidInput]:
    """What is asked of an alarm that its documented definition rules out."""
    for index, entry in enumerate(loaded.experiment.extension.expect.must):
        if isinstance(entry, MustAlarm) and entry.alarm in system.alarms:
            for field, complaint in cannot_be(entry, system):
                yield loaded.document.invalid(complaint, (*at, "expect", "must", index, field))


def _stop_condition_problems(loaded: LoadedExperiment, system: System, at: Location) -> Iterator[InvalidInput]:
    extension, document = loaded.experiment.extension, loaded.document
    for index, name in enumerate(extension.stop_conditions):
        if name not in system.cloudwatch_alarms:
            known = system.cloudwatch_alarms
            yield _unknown(document, "CloudWatch alarm", name, known, (*at, "stop_conditions", index))
        if name in extension.expect.under_test:
            complaint = f"expected a stop condition other than what the drill is about, found '{name}' in `expect` too"
            yield document.invalid(complaint, (*at, "stop_conditions", index))


def _degraded_problems(loaded: LoadedExperiment, described: _Described, at: Location) -> Iterator[InvalidInput]:
    """A degraded answer is part of the contract: its status and its schema are documented there."""
    degraded, contract = loaded.experiment.extension.expect.degraded, described.contract
    if degraded is None or contract is None:
        return
    document, file, where = loaded.document, described.system.contract, (*at, "expect", "degraded")
    name = degraded.schema_name
    if name is not None and name not in contract.schema_names:
        yield _unknown(document, f"schema of {file}", name, contract.schema_names, (*where, "schema"))
    for index, status in enumerate(degraded.status):
        if not contract.documents(status):
            complaint = f"expected {file} to document the status {status}, found no answer with it"
            yield document.invalid(complaint, (*where, "status", index))


def canary_names(root: Path, system: System) -> list[str]:
    """Names of the canaries of a system, read without importing its file."""
    functions = (node.name for node in _canary_file(root, system).body if isinstance(node, ast.FunctionDef))
    return [name.removeprefix(CANARY_PREFIX) for name in functions if name.startswith(CANARY_PREFIX)]


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
    return parse_python(root / system.canaries.file)


def _unknown(document: Document, what: str, name: str, known: Iterable[str], at: Location) -> InvalidInput:
    return document.invalid(f"expected a known {what}, found '{shortened(name)}'. {near_match(name, known)}", at)


def _activity_problems(document: Document, at: Location, activity: Activity, system: System) -> Iterator[InvalidInput]:
    called = activity.python
    if called is None or not called.module.startswith("tocsin."):
        return
    functions = _functions(called.module)
    if called.func not in functions:
        what = "fault" if called.module == "tocsin.faults" else f"function of {called.module}"
        yield _unknown(document, what, called.func, functions, (*at, "provider", "func"))
        return
    where = (*at, "provider", "arguments")
    wrong = list(_argument_problems(document, called.func, functions[called.func], called.arguments, where))
    yield from wrong
    if called.module == "tocsin.faults" and called.func != "undo" and not wrong:
        yield from _fault_problems(document, called.func, called.arguments, where, system)


def _modules(loaded: LoadedExperiment) -> Iterator[tuple[str, Location]]:
    """Modules that the experiment names and that are not ours, with the place of each name."""
    named: list[tuple[str, Location]] = []
    for at, activity in _written(loaded):
        for where, provider in ((at, activity.provider), ((*at, "tolerance"), _asked(activity))):
            if isinstance(provider, PythonProvider):
                named.append((provider.module, (*where, "provider", "module")))
    named += [(one.provider.module, (*at, "provider", "module")) for at, one in loaded.toolkit.every_control()]
    return ((name, where) for name, where in named if not name.startswith("tocsin."))


def _written(loaded: LoadedExperiment) -> Iterator[tuple[Location, Activity]]:
    """Every activity at the place where it is written: a reference is none."""
    for part in PARTS:
        for index, step in enumerate(loaded.toolkit.steps(part)):
            if isinstance(step, Activity):
                yield location(part, index), step


def _asked(activity: Activity) -> Provider | None:
    """What a tolerance calls, where it is a probe."""
    return activity.tolerance.provider if isinstance(activity.tolerance, ProbeTolerance) else None


def _module_problems(loaded: LoadedExperiment, wrong: Mapping[str, str]) -> Iterator[InvalidInput]:
    for name, where in _modules(loaded):
        if name in wrong:
            yield loaded.document.invalid(f"module {shortened(name)}: {wrong[name]}", where)


def _toolkit_problems(
    loaded: LoadedExperiment, system: System, variables: Variables, wrong: Mapping[str, str]
) -> Iterator[InvalidInput]:
    """What is said in Chaos Toolkit's own names, and cannot be obeyed."""
    document, complaints = loaded.document, Complaints()
    for _, at, activity in loaded.toolkit.everything():
        complaints.extend(_activity_problems(document, at, variables.filled(activity), system))
        for when in ("before", "after"):
            complaints.attempt(variables.pause, activity, when, document.invalid, at)
        if activity.background and activity.is_action and not is_of_another_extension(activity):
            complaint = f"expected '{activity.name}', which is Tocsin's own, to be waited for. Take `background` out"
            complaints.add(document.invalid(complaint, (*at, "background")))
        asked = _asked(activity)
        if _has_no_value(activity.tolerance, variables):
            complaint = f"expected a value for {activity.tolerance} in `configuration` or `secrets`, found none"
            complaints.add(document.invalid(complaint, (*at, "tolerance")))
        elif activity.tolerance is not None and getattr(asked, "module", None) not in wrong:
            complaints.attempt(_check_tolerance, document, at, activity)
    for at, control in loaded.toolkit.every_control():
        problem = None if control.provider.module in wrong else problem_of(control)
        if problem is not None:
            complaints.add(document.invalid(problem, at))
    yield from complaints.problems
    yield from _unusable_activities(loaded, wrong)


def _unusable_activities(loaded: LoadedExperiment, wrong: Mapping[str, str]) -> Iterator[InvalidInput]:
    """What Chaos Toolkit finds wrong with each activity that is not ours; of ours it was told already."""
    from chaoslib.activity import ensure_activity_is_valid

    complaints = Complaints()
    for at, activity in _written(loaded):
        if is_of_another_extension(activity) and getattr(activity.provider, "module", None) not in wrong:
            complaints.attempt(_check_with, ensure_activity_is_valid, activity.document(), loaded.document, at)
    yield from complaints.problems


def _has_no_value(tolerance: object, variables: Variables) -> bool:
    """Whether it is only `${name}`, and nothing says what that is."""
    is_variable = isinstance(tolerance, str) and _UNFILLED.fullmatch(tolerance) is not None
    return is_variable and variables.fill(tolerance) == tolerance


def _check_tolerance(document: Document, at: Location, activity: Activity) -> None:
    from chaoslib.hypothesis import ensure_hypothesis_tolerance_is_valid

    _check_with(ensure_hypothesis_tolerance_is_valid, activity.document()["tolerance"], document, (*at, "tolerance"))


def _check_with(check: Callable[[Any], None], part: Any, document: Document, at: Location) -> None:
    """Have Chaos Toolkit check a part of an experiment; it imports the modules that the part names."""
    from chaoslib.exceptions import ChaosException

    try:
        check(part)
    except ChaosException as error:
        raise document.invalid(f"Chaos Toolkit: {error}", at) from None
    except (Exception, SystemExit) as error:  # importing a module is running it
        raise document.invalid(f"Chaos Toolkit: {type(error).__name__}: {error}", at) from None


def _change_problems(loaded: LoadedExperiment, variables: Variables) -> Iterator[InvalidInput]:
    """What statements and procedures of the method change is undone by a rollback with a look, or said to be left."""
    document, toolkit = loaded.document, loaded.toolkit
    said = loaded.experiment.extension.changes
    changing = {
        activity.name: at
        for part, at, activity in toolkit.everything()
        if part == "method" and change_of(variables.filled(activity)) is not None
    }
    where = (*_block_location(document), "changes")
    for name in changing.keys() - {change.activity for change in said}:
        yield document.invalid(
            f"expected `changes` of the `tocsin` block to say what becomes of what '{name}' changes, found nothing of "
            "it. Name in `undone_by` a rollback that a probe with a tolerance follows, or say in `leaves` what stays "
            "and why",
            changing[name],
        )
    for index, change in enumerate(said):
        if change.activity not in changing:
            what = "statement or procedure of the method that changes something"
            yield _unknown(document, what, change.activity, changing, (*where, index, "activity"))
        if change.undone_by is not None:
            yield from _rollback_problems(loaded, change.undone_by, (*where, index, "undone_by"))


def _rollback_problems(loaded: LoadedExperiment, name: str, where: Location) -> Iterator[InvalidInput]:
    rollbacks = loaded.toolkit.activities("rollbacks")
    actions = {activity.name: at for at, activity in enumerate(rollbacks) if activity.is_action}
    if name not in actions:
        yield _unknown(loaded.document, "action of the rollbacks", name, actions, where)
    elif not any(shown_after(rollbacks, actions[name])):
        yield loaded.document.invalid(
            f"expected a probe with a tolerance after the rollback '{name}', to look whether all is as before, "
            "found none",
            where,
        )


def _functions(module: str) -> dict[str, Any]:
    import importlib

    try:
        loaded = importlib.import_module(module)
    except ImportError:
        return {}
    return {name: getattr(loaded, name) for name in getattr(loaded, "__all__", ())}


def _argument_problems(
    document: Document, func: str, function: Any, arguments: Mapping[str, Any], at: Location
) -> Iterator[InvalidInput]:
    parameters = {name: p for name, p in inspect.signature(function).parameters.items() if name != "configuration"}
    for name in arguments:
        if name not in parameters:
            yield _unknown(document, f"argument of {func}", name, parameters, (*at, name))
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in arguments:
            yield document.invalid(f"expected the argument '{name}' of {func}, found none", at)


def _fault_problems(
    document: Document, func: str, arguments: Mapping[str, Any], at: Location, system: System
) -> Iterator[InvalidInput]:
    unfilled = [(name, found[0]) for name, value in arguments.items() if (found := _UNFILLED.search(str(value)))]
    for name, variable in unfilled:
        complaint = f"expected a value for {variable} in `configuration` or `secrets`, found none"
        yield document.invalid(complaint, (*at, name))
    if unfilled:
        return
    try:
        unknown = parse_model(fault_class(func), dict(arguments), document, at).unknown_in(system)
        if unknown is not None:
            yield document.invalid(f"{func}: {unknown}", at)
    except InvalidInput as error:
        for problem in error.problems:
            yield InvalidInput(f"{func}: {problem.message}", file=problem.file, line=problem.line)


def _check_chaos_toolkit(loaded: LoadedExperiment) -> None:
    from chaoslib.experiment import ensure_experiment_is_valid

    _check_with(ensure_experiment_is_valid, loaded.toolkit.document(), loaded.document, ())


def faults(plan: Plan) -> Iterator[AnyFault]:
    """The faults that an experiment injects."""
    found = (fault_of(activity, plan) for activity in plan.activities())
    return (fault for fault in found if fault is not None)


def fault_of(activity: Activity, plan: Plan) -> AnyFault | None:
    """The fault that an activity injects, where it is one; else None."""
    called = plan.variables.filled(activity).calls("tocsin.faults")
    return None if called is None or called.func not in FAULTS else FAULTS[called.func].model_validate(called.arguments)


def foreign(plan: Plan) -> list[str]:
    """Actions and probes of other extensions, each once: nobody knows here what they need."""
    found = plan.activities()
    return list(dict.fromkeys(name_of(activity) for activity in found if is_of_another_extension(activity)))

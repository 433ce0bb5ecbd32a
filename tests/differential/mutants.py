"""Mutants of the evaluator: one small change of its source each, imported under a name of its own.

Which ones there are is found in the syntax tree; which ones a seed chooses hangs on what a mutant says about itself, so
that a change elsewhere in the source leaves the choice as it is.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib
import itertools
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from tests.differential.compare import Asked, Disagreement, First, differs

import tocsin.alarms

FILES = ("suppression", "metric_functions", "statistics", "metric_math", "composite", "cloudwatch")
"""Modules of `tocsin.alarms` that are mutated; each only imports those before it."""
_NAME = "tocsin.alarms"
_DIRECTORY = Path(tocsin.alarms.__file__).parent
_SOURCES = {file: (_DIRECTORY / f"{file}.py").read_text(encoding="utf-8") for file in FILES}
"""As they are when this is imported, like the modules themselves: a long run outlives many a change."""
_LONGEST_S = 5.0
"""Processor seconds for one case; a mutant that loops is caught by it."""

NOT_EVALUATING = frozenset(
    {
        "reason_text",  # words for people
        "_counted",
        "_unreadable",
        "functions",  # a table for the documents
        "_parser",  # options of lark
        "breaches",  # of the checkers: the evaluator has the table itself
        "_OPERATOR_WORDS",  # words, too
        "_REFUSED",
        "in_cycles",  # which rules are not evaluated at all: tests/sandbox
        "_below",
        "in_order",  # the order in which alarms are put
    }
)
"""Functions that say or prepare something; no state hangs on them."""
_COMPARED: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_CALCULATED: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.Mod: ast.Mult,
}
_NAMED = {"min": "max", "max": "min", "any": "all", "all": "any", "first": "last", "low": "high", "high": "low"}


@dataclass(frozen=True)
class Mutant:
    """One change: what it is, and where it is made."""

    file: str
    where: str
    """The function that it is in, and what becomes of what."""
    site: int
    change: int

    def __str__(self) -> str:
        return f"{self.file}.py, {self.where}"


# ------------------------------------------------------------------------------------------------ making them


def all_mutants() -> list[Mutant]:
    """Every mutant of every file."""
    return [mutant for file in FILES for mutant in _mutants(file, _SOURCES[file])]


def chosen(seed: int, count: int, left_out: Mapping[str, str]) -> list[Mutant]:
    """As many as wanted, by a seed; without those that are `left_out`."""

    def place(mutant: Mutant) -> str:
        return hashlib.sha256(f"{seed}: {mutant}".encode()).hexdigest()

    return sorted((mutant for mutant in all_mutants() if str(mutant) not in left_out), key=place)[:count]


def _mutants(file: str, source: str) -> Iterator[Mutant]:
    said: dict[str, int] = {}
    for site, (function, node) in enumerate(_sites(ast.parse(source), "the module")):
        for number, change in enumerate(_changes(node)):
            changed = copy.deepcopy(node)
            change(changed)
            where = f"{function}: {_shown(node)} -> {_shown(changed)}"
            said[where] = said.get(where, 0) + 1
            yield Mutant(file, f"{where} (number {said[where]})" if said[where] > 1 else where, site, number)


def _changed(mutant: Mutant) -> ast.Module:
    """The whole file with the change in it."""
    tree = ast.parse(_SOURCES[mutant.file])
    _, node = next(itertools.islice(_sites(tree, ""), mutant.site, None))
    next(itertools.islice(_changes(node), mutant.change, None))(node)
    return ast.fix_missing_locations(tree)


def _sites(node: ast.AST, function: str) -> Iterator[tuple[str, ast.AST]]:
    """Every node that evaluates something, with the name of its function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            if child.name not in NOT_EVALUATING:
                yield from _sites_of_body(child)
        elif not _says_something(child):
            yield function, child
            yield from _sites(child, function)


def _sites_of_body(definition: ast.FunctionDef | ast.ClassDef) -> Iterator[tuple[str, ast.AST]]:
    for statement in definition.body:
        # A wrapper, so that the statement itself is looked at like any other child.
        yield from _sites(ast.Module([statement], []), definition.name)


def _says_something(node: ast.AST) -> bool:
    """Messages, annotations and imports, and options that only guard."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert | ast.arguments):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Assign | ast.AnnAssign):
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        return isinstance(target, ast.Name) and target.id in NOT_EVALUATING
    return isinstance(node, ast.keyword) and node.arg in ("strict", "default_factory")


def _shown(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else f"{text[:60]} ... {text[-25:]}"


_Change = Callable[[Any], None]


def _changes(node: ast.AST) -> Iterator[_Change]:
    """Every change of a node; each is made on the node, or on a copy of it."""
    make = _CHANGES.get(type(node))
    if make is not None:
        yield from make(node)


def _compare(node: ast.Compare) -> Iterator[_Change]:
    for at in range(len(node.ops)):
        yield lambda one, at=at: one.ops.__setitem__(at, _COMPARED[type(one.ops[at])]())


def _calculate(node: ast.BinOp) -> Iterator[_Change]:
    if type(node.op) in _CALCULATED:
        yield lambda one: setattr(one, "op", _CALCULATED[type(one.op)]())


def _join(node: ast.BoolOp) -> Iterator[_Change]:
    yield lambda one: setattr(one, "op", ast.Or() if isinstance(one.op, ast.And) else ast.And())


def _negate(node: ast.If | ast.IfExp) -> Iterator[_Change]:
    yield lambda one: setattr(one, "test", ast.UnaryOp(ast.Not(), one.test))


def _drop_sign(node: ast.UnaryOp) -> Iterator[_Change]:
    if isinstance(node.op, ast.USub):
        yield lambda one: setattr(one, "op", ast.UAdd())


def _swap_entries(node: ast.Dict) -> Iterator[_Change]:
    for at in range(len(node.values) - 1 if None not in node.keys else 0):
        yield lambda one, at=at: one.values.__setitem__(slice(at, at + 2), one.values[at : at + 2][::-1])


def _other_constant(node: ast.Constant) -> Iterator[_Change]:
    if isinstance(node.value, bool):
        yield lambda one: setattr(one, "value", not one.value)
    elif isinstance(node.value, int | float):
        yield lambda one: setattr(one, "value", one.value + 1)


def _other_name(node: ast.Name) -> Iterator[_Change]:
    if node.id in _NAMED and isinstance(node.ctx, ast.Load):
        yield lambda one: setattr(one, "id", _NAMED[one.id])


_CHANGES: Mapping[type[ast.AST], Callable[[Any], Iterator[_Change]]] = {
    ast.Compare: _compare,
    ast.BinOp: _calculate,
    ast.BoolOp: _join,
    ast.If: _negate,
    ast.IfExp: _negate,
    ast.UnaryOp: _drop_sign,
    ast.Dict: _swap_entries,
    ast.Constant: _other_constant,
    ast.Name: _other_name,
}


# ------------------------------------------------------------------------------------------------ running them


class _TooLong(Exception):
    """A case took longer than any should."""


def without_change() -> First:
    """The healthy twin: imported as a mutant is, with nothing changed. What shows it, shows nothing of a mutant."""
    return _imported(None)


def caught_by(mutant: Mutant, asked: Sequence[Asked]) -> tuple[int, Disagreement] | None:
    """How many cases it took and the case that shows the mutant; None where none does."""
    with _time_limit() as restart:
        try:
            first = _imported(mutant)
        except Exception as error:  # a mutant that cannot even be imported
            return 0, Disagreement(asked[0].case, f"raised {error!r}", "imported")
        for number, one in enumerate(asked, 1):
            restart()
            found = differs(one, first)
            if found is not None:
                return number, found
    return None


def _imported(mutant: Mutant | None) -> First:
    """The evaluator with the mutant in it, in modules of another name; those before it are the real ones."""
    package = "tocsin_mutant"
    changed = FILES if mutant is None else FILES[FILES.index(mutant.file) :]
    sys.modules[package] = ModuleType(package)
    try:
        for file in changed:
            tree = _changed(mutant) if mutant is not None and file == mutant.file else ast.parse(_SOURCES[file])
            module = sys.modules[f"{package}.{file}"] = ModuleType(f"{package}.{file}")
            exec(compile(_renamed(tree, changed, package), f"<{file}, mutated>", "exec"), module.__dict__)
            if hasattr(module, "_parser"):  # its grammar is not mutated, and takes long to be read
                vars(module)["_parser"] = vars(importlib.import_module(f"{_NAME}.{file}"))["_parser"]
        cloudwatch, composite, suppression = (
            sys.modules[f"{package if file in changed else _NAME}.{file}"]
            for file in ("cloudwatch", "composite", "suppression")
        )
        return First(cloudwatch.AlarmEvaluator, composite.CompositeRule, suppression)
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == package]:
            del sys.modules[name]


def _renamed(tree: ast.Module, changed: Sequence[str], package: str) -> ast.Module:
    for node in ast.walk(tree):
        file = (getattr(node, "module", None) or "").removeprefix(f"{_NAME}.")
        if isinstance(node, ast.ImportFrom) and file in changed:
            node.module = f"{package}.{file}"
    return tree


@contextmanager
def _time_limit() -> Iterator[Callable[[], None]]:
    """Raises _TooLong in a case that takes too much of the processor; the clock on the wall has no say."""

    def too_long(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGVTALRM, too_long)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_VIRTUAL, _LONGEST_S) and None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)

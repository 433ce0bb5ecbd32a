"""What the house counts: patches of our own modules in tests, long files, long functions, swallowed exceptions.

`python -m tests.house --counts` prints it; `tests/test_house.py` holds the limits.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
SOURCE = ROOT / "src" / "tocsin"
PATCHES_IN_100_TESTS = 3.0
LINES_OF_A_SANDBOX_FILE = 600
LINES_OF_A_FUNCTION = 60
_PATCHING = {"setattr", "setitem", "delattr", "delitem"}
_MOCKS = {"Mock", "MagicMock", "AsyncMock", "create_autospec", "patch"}
_BROAD = {"Exception", "BaseException"}


@dataclass(frozen=True)
class Found:
    """A place that counts, and what is there."""

    path: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path}:{self.line} {self.what}"


def sources(root: Path) -> list[Path]:
    """Python files below a directory."""
    return sorted(path for path in root.rglob("*.py") if "__pycache__" not in path.parts)


def nodes_of(path: Path) -> list[ast.AST]:
    """All that is in a file, parsed."""
    return _nodes(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _nodes(text: str) -> list[ast.AST]:
    """Of one file at a time: what is counted in it is counted one after the other."""
    return list(ast.walk(ast.parse(text)))


# ------------------------------------------------------------------------------------------------ patches


def tests_in(path: Path) -> int:
    """Test functions of a file; a parametrised one is one."""
    functions = (node for node in nodes_of(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return sum(node.name.startswith("test_") for node in functions)


def patches_in(path: Path) -> Iterator[Found]:
    """Where a file replaces something of ours: by pytest's monkeypatch, by unittest.mock, by assignment.

    What is patched is ours unless it is seen to come from elsewhere: a name that is imported from another package, a
    text that names one, or a class of the tests themselves.
    """
    nodes = nodes_of(path)
    theirs, ours = set(_imported(nodes, ours=False)), set(_imported(nodes, ours=True))
    theirs |= {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _PATCHING:
            target = node.args[0] if node.args else None
            if target is not None and _is_ours(target, theirs) and _root(node.func) not in {"object", "self"}:
                yield Found(path, node.lineno, f"{node.func.attr} on {ast.unparse(target)}")
        elif isinstance(node, ast.Call) and _last(node.func) in _MOCKS and _from_mock(nodes):
            yield Found(path, node.lineno, ast.unparse(node.func))
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and _root(target) in ours:
                    yield Found(path, node.lineno, f"assignment to {ast.unparse(target)}")


def _imported(nodes: list[ast.AST], *, ours: bool) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("tocsin") is ours:
                    yield (alias.asname or alias.name).split(".")[0]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tocsin") is ours:
            yield from (alias.asname or alias.name for alias in node.names)


def _from_mock(nodes: list[ast.AST]) -> bool:
    return any(isinstance(node, ast.ImportFrom | ast.Import) and "mock" in ast.unparse(node) for node in nodes)


def _is_ours(target: ast.expr, theirs: set[str]) -> bool:
    if isinstance(target, ast.Constant) and isinstance(target.value, str):
        return target.value.startswith("tocsin")
    return _root(target) not in theirs


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


# ------------------------------------------------------------------------------------------------ sizes


def long_files(root: Path, most: int = LINES_OF_A_SANDBOX_FILE) -> Iterator[Found]:
    """Files of more lines than that."""
    for path in sources(root):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > most:
            yield Found(path, 1, f"{lines} lines")


def long_functions(path: Path, most: int = LINES_OF_A_FUNCTION) -> Iterator[Found]:
    """Functions of more lines than that, their docstring and decorators among them."""
    for node in nodes_of(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > most:
                yield Found(path, node.lineno, f"{node.name}: {lines} lines")


# ------------------------------------------------------------------------------------------------ exceptions


def swallowed(path: Path) -> Iterator[Found]:
    """Exceptions that vanish: no reason beside a handler that does nothing, or that takes any exception.

    A reason is a comment in the handler, on its line or above it. A handler of any exception that raises, logs it or
    looks at it hides nothing.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    for node in nodes_of(path):
        if isinstance(node, ast.ExceptHandler):
            last = node.end_lineno or node.lineno
            if (_does_nothing(node) or _takes_all(node)) and not _reason(lines, node.lineno, last):
                yield Found(path, node.lineno, f"except {ast.unparse(node.type) if node.type else ''}")
        elif isinstance(node, ast.With | ast.AsyncWith):
            calls = (item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call))
            broad = [call for call in calls if _last(call.func) == "suppress" and _names(call) & _BROAD]
            if broad and not _reason(lines, node.lineno, node.lineno):
                yield Found(path, node.lineno, ast.unparse(broad[0]))


def _does_nothing(handler: ast.ExceptHandler) -> bool:
    return all(
        isinstance(one, ast.Pass | ast.Continue) or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        for one in handler.body
    )


def _takes_all(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    if not any(kind is None or _last(kind) in _BROAD for kind in kinds):
        return False
    inside = [node for one in handler.body for node in ast.walk(one)]
    looks = any(isinstance(node, ast.Name) and node.id == handler.name for node in inside)
    logged = any(isinstance(node, ast.Attribute) and node.attr == "exception" for node in inside)
    return not looks and not logged and not any(isinstance(node, ast.Raise) for node in inside)


def _names(call: ast.Call) -> set[str]:
    return {_last(argument) for argument in call.args}


def _reason(lines: list[str], first: int, last: int) -> bool:
    return any("#" in line for line in lines[first - 1 : last]) or lines[first - 2].lstrip().startswith("#")


# ------------------------------------------------------------------------------------------------ all of it


@dataclass(frozen=True)
class Counts:
    """What was found, and how many tests there are."""

    tests: int
    patches: tuple[Found, ...]
    files: tuple[Found, ...]
    functions: tuple[Found, ...]
    exceptions: tuple[Found, ...]

    @property
    def patches_in_100_tests(self) -> float:
        return 100 * len(self.patches) / self.tests

    @property
    def kept(self) -> bool:
        """Whether every limit is."""
        return self.patches_in_100_tests <= PATCHES_IN_100_TESTS and not (
            self.files or self.functions or self.exceptions
        )

    def text(self) -> str:
        """All counts, each with its limit and its places."""
        told = (
            (f"patches of our own: {self.patches_in_100_tests:.1f} in 100 tests", PATCHES_IN_100_TESTS, self.patches),
            (f"files of sandbox/ above {LINES_OF_A_SANDBOX_FILE} lines: {len(self.files)}", 0, self.files),
            (f"functions above {LINES_OF_A_FUNCTION} lines: {len(self.functions)}", 0, self.functions),
            (f"exceptions swallowed without a reason: {len(self.exceptions)}", 0, self.exceptions),
        )
        lines = [f"{self.tests} test functions"]
        for words, most, places in told:
            lines += [f"{words}, at most {most:g}", *(f"  {place}" for place in places)]
        return "\n".join(lines)


def count() -> Counts:
    """Count what this repository has."""
    in_tests = [(tests_in(path), list(patches_in(path))) for path in sources(TESTS)]
    in_code = [(list(long_functions(path)), list(swallowed(path))) for path in sources(SOURCE)]
    return Counts(
        tests=sum(number for number, _ in in_tests),
        patches=tuple(found for _, patches in in_tests for found in patches),
        files=tuple(long_files(SOURCE / "sandbox")),
        functions=tuple(found for functions, _ in in_code for found in functions),
        exceptions=tuple(found for _, exceptions in in_code for found in exceptions),
    )

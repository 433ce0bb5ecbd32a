"""The house as data: its rooms, and who may import whom. Test, table of docs/DESIGN.md and this command are made of it.

`python -m tests.house` writes the table into docs/DESIGN.md; with `--check` it only compares, and ends with exit code 1
where they differ. `--counts` prints what tests/counts.py counts, and ends with exit code 1 where a limit is passed.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.counts import Counts, count

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tocsin"
DESIGN = ROOT / "docs" / "DESIGN.md"
BEGIN = "<!-- import table: written by `python -m tests.house` -->"
END = "<!-- end of the import table -->"


@dataclass(frozen=True)
class Room:
    """A part of the house. `modules` are dotted names below `tocsin` of what is in it, with everything beneath them.

    `may_import` names rooms, or single modules of a room of which not everything may be known. `never` says why not
    more, where that is not plain.
    """

    modules: tuple[str, ...]
    may_import: tuple[str, ...]
    never: str = ""


_PURE_ALARMS = (
    "alarms.cloudwatch",
    "alarms.composite",
    "alarms.exposition",
    "alarms.kept",
    "alarms.metric_functions",
    "alarms.metric_math",
    "alarms.mutes",
    "alarms.statistics",
    "alarms.suppression",
    "alarms.prometheus",
    "alarms.promql",
)
_ACTING = (
    *("errors", "masking", "model", "aws", "record", "project", "alarms", "asking alarms", "guards"),
    *("faults", "probes", "procedures", "canary", "load"),
)
_FIGURES = (
    "sandbox.metrics",
    *("sandbox.services.awslambda.figures", "sandbox.services.ecs.figures", "sandbox.services.rds.figures"),
    "sandbox.services.elasticache.figures",
)

HOUSE: Mapping[str, Room] = {
    "version": Room(("",), ()),
    "model": Room(("model",), ()),
    "masking": Room(("masking",), ()),
    "shown": Room(("shown",), (), "text of others as it may be shown"),
    "errors": Room(("errors",), ("masking", "shown")),
    "aws": Room(("aws",), ("errors", "masking", "model")),
    "record": Room(("record",), ("errors", "masking", "model")),
    "record of a load": Room(("record.load_seconds",), (), "in Locust's own processes, and without Locust"),
    "project": Room(("project",), ("aws", "errors", "model")),
    "alarms": Room(("alarms",), ("aws", "project", "errors", "model"), "pure: opens no socket"),
    "asking alarms": Room(
        ("alarms.states", "alarms.prometheus_api", "alarms.engine"), ("alarms", "aws", "project", "errors", "model")
    ),
    "guards": Room(("guards",), ("aws", "project", "record", "alarms", "asking alarms", "errors", "model")),
    "faults": Room(("faults",), ("guards", "aws", "project", "record", "alarms", "asking alarms", "errors", "model")),
    "probes": Room(
        ("probes",),
        ("faults", "alarms", "asking alarms", "aws", "project", "errors", "model"),
        "of faults only how an activity finds its target",
    ),
    "procedures": Room(("procedures",), ("faults", "alarms", "asking alarms", "aws", "project", "errors", "model")),
    "canary": Room(("canary",), ("project", "errors", "masking", "model")),
    "load": Room(("load",), ("record of a load", "model"), "runs in Locust's own processes"),
    "actors": Room(
        ("actors",),
        _ACTING,
        "whoever acts does not judge, and does not know which target it talks to",
    ),
    "checkers": Room(("checkers",), ("alarms", "errors", "model"), "whoever judges does not act"),
    "report": Room(
        ("report",), ("checkers", "errors", "model", "shown"), "made from history and verdict, never from live state"
    ),
    "coverage": Room(("coverage",), ("project", "report", "errors", "model", "shown"), "touches no target"),
    "parity kept": Room(("parity.model", "parity.kept"), ("project", "errors", "model"), "what is written of a target"),
    "drill": Room(
        ("drill",), (*_ACTING, "actors", "parity kept", "version"), "does not judge, and does not start a sandbox"
    ),
    "parity": Room(
        ("parity",),
        (*_ACTING, "actors", "drill", "parity kept", "version", *_FIGURES),
        "of the sandbox only figures: it compares them with a target",
    ),
    "sandbox host": Room(
        ("sandbox.account", "sandbox.control", "sandbox.drill_user", "sandbox.planted"),
        (
            *("alarms", "aws", "project", "errors", "model"),
            *("sandbox.clock", "sandbox.keys", "sandbox.parts", "sandbox.services.rds.plant"),
        ),
        "of the daemon's side only what clears away after a daemon that was killed",
    ),
    "sandbox parts": Room(
        ("sandbox.parts",), ("errors", "model.parts", "project.promtool"), "programs; they know no service"
    ),
    "sandbox core": Room(
        (
            *("sandbox", "sandbox.clock", "sandbox.doors", "sandbox.gate", "sandbox.gateway", "sandbox.hosts"),
            *("sandbox.http", "sandbox.keys", "sandbox.lag", "sandbox.loop", "sandbox.metrics"),
            *("sandbox.ministack", "sandbox.service", "sandbox.signatures", "sandbox.world"),
        ),
        ("sandbox parts", "errors", "model.doors", "model.system", "model.parts", *_PURE_ALARMS),
        "world, gateway and adapter name no service",
    ),
    "sandbox stubs": Room(
        ("sandbox.stubs",),
        ("sandbox core", "errors", "model.doors", "model.third_party", "model.third_party_cases"),
        "third parties, no AWS",
    ),
    "sandbox prometheus": Room(("sandbox.prometheus",), ("sandbox core", "sandbox parts", "errors", *_PURE_ALARMS)),
    "sandbox services": Room(
        ("sandbox.services",),
        ("sandbox core", "sandbox parts", "errors", "model.alarm_limits", "model.system", *_PURE_ALARMS),
        "not `aws`: a wrong belief would then pass on both sides; tests hold the two against each other",
    ),
    "sandbox daemon": Room(
        ("sandbox.daemon",),
        (
            *("sandbox core", "sandbox parts", "sandbox stubs", "sandbox prometheus", "sandbox.services.catalogue"),
            *("errors", "model.system", "model.parts"),
        ),
        "of the services only their list",
    ),
    "commands": Room(
        ("commands",),
        (
            *(*_ACTING, "actors", "checkers", "report", "coverage", "drill", "shown", "version"),
            *("sandbox host", "sandbox parts", "sandbox services", "parity", "parity kept"),
        ),
        "of the sandbox beyond its host side only what `doctor` tries out",
    ),
    "pytest_plugin": Room(("pytest_plugin",), ("commands", "errors"), "a face"),
    "cli": Room(
        ("cli", "cli_options", "cli_run", "cli_sandbox"),
        (
            *(*_ACTING, "actors", "checkers", "report", "coverage", "drill", "version"),
            *("sandbox host", "commands"),
        ),
        "a face",
    ),
}
"""From the ground up, faces last. What is not in a row is forbidden."""
_ONLY_ITSELF = ("", "sandbox")
"""Packages in which everything has a row of its own: theirs does not count for what is added beside it."""


@cache
def room_of(module: str) -> str | None:
    """The room of a module, named below `tocsin` (`sandbox.account`; `` for the package itself); None for none.

    The longest name counts: `alarms.states` is in another room than `alarms`.
    """
    matching = [(len(prefix), name) for name, room in HOUSE.items() for prefix in room.modules if is_in(module, prefix)]
    return max(matching)[1] if matching else None


def is_in(module: str, prefix: str) -> bool:
    """Whether `module` is `prefix` or something in it; nothing is in a package of which everything has its own row."""
    return module == prefix or (prefix not in _ONLY_ITSELF and module.startswith(f"{prefix}."))


def allowed(room: str, module: str) -> bool:
    """Whether a room may import a module, or a name in it."""
    home = room_of(module)
    return home == room or home in HOUSE[room].may_import or any(is_in(module, m) for m in HOUSE[room].may_import)


@cache
def modules() -> Mapping[str, Path]:
    """Every module of ours, named below `tocsin`, and its file."""
    named = ((path.relative_to(SOURCE).with_suffix("").parts, path) for path in sorted(SOURCE.rglob("*.py")))
    return {".".join(parts).removesuffix("__init__").rstrip("."): path for parts, path in named}


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """What a file imports of ours, at its top or inside a function: line, and the name below `tocsin`.

    `from tocsin.model import system` is `model.system`, and `from tocsin import __version__` the package itself.
    `import_module` and `__import__` with a name that is written there are imports too.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call):
            names = list(_imported_by_call(node))
        for name in names:
            if name.startswith("."):
                yield node.lineno, name
            elif is_in(name, "tocsin"):
                below = name.removeprefix("tocsin").removeprefix(".")
                yield node.lineno, "" if below.startswith("__") else below


def _imported_by_call(call: ast.Call) -> Iterator[str]:
    """The name that a call such as `importlib.import_module("tocsin.aws")` imports, where it is written there."""
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if called in ("import_module", "__import__"):
        given = [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg == "name")]
        yield from (one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str))


def wrong_imports(room: str, path: Path) -> list[str]:
    """What a file in that room imports and must not, in words with its line. A relative import is wrong everywhere."""
    return [
        f"{path.name}:{line}: {room} must not import {'a relative name ' if name.startswith('.') else ''}tocsin.{name}"
        for line, name in imports_of(path)
        if name.startswith(".") or not allowed(room, name)
    ]


# ------------------------------------------------------------------------------------------------ the table


def table() -> str:
    """The import table in Markdown."""
    rows = [f"| {_held(name, room)} | {_listed(room)} | {room.never} |" for name, room in HOUSE.items()]
    return "\n".join(("| part | may import | |", "|---|---|---|", *rows))


def _held(name: str, room: Room) -> str:
    if name == "version":
        return "`__init__` (the version)"
    inside = [module.split(".", 1)[1] for module in room.modules if "." in module]
    return f"{name}: {', '.join(f'`{module}`' for module in inside)}" if inside else f"`{name}`"


def _listed(room: Room) -> str:
    return ", ".join(f"`{one}`" if one in modules() else one for one in room.may_import) or "nothing of ours"


def design(text: str) -> str:
    """`text` of docs/DESIGN.md with the table in its place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or END not in rest:
        raise SystemExit(f"expected the lines '{BEGIN}' and '{END}' in {DESIGN}, found not both")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.house", description="The table of who may import whom.")
    parser.add_argument("--check", action="store_true", help="compare the file with the table, write nothing")
    parser.add_argument("--counts", action="store_true", help="count patches in tests, sizes, swallowed exceptions")
    parser.add_argument("--file", type=Path, default=DESIGN, help="default: %(default)s")
    options = parser.parse_args(arguments)
    if options.counts:
        return _tell(count())
    found = options.file.read_text(encoding="utf-8")
    wanted = design(found)
    if not options.check:
        options.file.write_text(wanted, encoding="utf-8")
    elif found != wanted:
        sys.stderr.write(f"expected the table of tests/house.py in {options.file}, found another: {parser.prog}\n")
        return 1
    return 0


def _tell(counts: Counts) -> int:
    sys.stdout.write(f"{counts.text()}\n")
    return int(not counts.kept)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`tocsin doctor`: is this machine, is this target ready for a drill, and what mends what is not?

One small function a check, in tables: `machine.MACHINE`, `parts.DRILL`, `parts.SANDBOX`, `readiness.TARGET` and
`readiness.SYSTEM`. Each answers with a `Result`; one that cannot answer is a gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tocsin.aws.target import Target
from tocsin.commands.doctor.machine import MACHINE, Machine
from tocsin.commands.doctor.parts import DRILL
from tocsin.commands.doctor.parts import SANDBOX as SANDBOX_PARTS
from tocsin.commands.doctor.readiness import SYSTEM, TARGET, Deployed, Place
from tocsin.commands.doctor.result import Level, Result, ask, gap, well
from tocsin.errors import SandboxError
from tocsin.model.system import System
from tocsin.project.documents import load_system
from tocsin.project.targets import SANDBOX, check_target_name, in_region, load_target

__all__ = ["Level", "Result", "examine"]


def examine(root: Path, target_name: str, system_name: str | None) -> Iterator[tuple[str, Result]]:
    """Every check, as (its name, its result), as soon as it is known.

    Raises:
        InvalidInput: no such target, no such system.
    """
    check_target_name(root, target_name)
    system = load_system(root, system_name) if system_name else None
    machine = Machine.read(root)
    for name, check in MACHINE.items():
        yield name, ask(check, machine)
    parts = {**DRILL, **SANDBOX_PARTS} if target_name == SANDBOX else DRILL
    for name, start in parts.items():
        yield name, start()
    yield from _target(root, target_name, system)


def _target(root: Path, name: str, system: System | None) -> Iterator[tuple[str, Result]]:
    try:
        target = load_target(root, name)
    except SandboxError:
        yield "sandbox", _startable(root, system)
        return
    yield from _ready(root, target, system)


def _startable(root: Path, system: System | None) -> Result:
    if system is not None and not (root / "replicas" / system.system / "deploy.py").is_file():
        return gap(f"there is no replica of {system.system}", "Write replicas/SYSTEM/deploy.py, or name a target.")
    return well("none is running; `tocsin run` starts one")


def _ready(root: Path, target: Target, system: System | None) -> Iterator[tuple[str, Result]]:
    place = Place(root, target if system is None else in_region(target, system))
    for name, check in TARGET.items():
        result = ask(check, place)
        yield name, result
        if name == "identity" and result.level is Level.GAP:
            return
    if system is not None:
        deployed = Deployed(root, in_region(target, system), system)
        for question, ready in SYSTEM.items():
            yield question, ask(ready, deployed)

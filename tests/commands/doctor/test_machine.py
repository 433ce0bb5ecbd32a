"""Every gap of a machine and of the parts, planted and seen; a healthy machine is quiet."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tocsin.aws.identity import told_at
from tocsin.commands.doctor import examine
from tocsin.commands.doctor.machine import MACHINE, MIB, Machine
from tocsin.commands.doctor.parts import child_starts, postgres_starts
from tocsin.commands.doctor.readiness import judge_skew
from tocsin.commands.doctor.result import Level, Result, ask
from tocsin.errors import InvalidInput, SandboxError

HEALTHY = Machine(
    python=(3, 12, 1),
    git="2.47",
    work=Path(".tocsin"),
    writing_problem="",
    free_disk=20_000 * MIB,
    free_memory=8_000 * MIB,
    cores=2,
    open_files=1024,
    loopback_problem="",
    now=1_800_000_000,
    browser=None,
)

PLANTED = [
    ("python", {"python": (3, 10, 4)}, Level.GAP, "newer Python"),
    ("git", {"git": None}, Level.WARN, "Install git"),
    ("writing", {"writing_problem": "Read-only file system"}, Level.GAP, "permissions"),
    ("disk", {"free_disk": 100 * MIB}, Level.GAP, "Make room"),
    ("disk", {"free_disk": 500 * MIB}, Level.WARN, "Make room"),
    ("memory", {"free_memory": 300 * MIB}, Level.GAP, "End other programs"),
    ("memory", {"free_memory": 700 * MIB}, Level.WARN, "End other programs"),
    ("cores", {"cores": 1}, Level.WARN, "two"),
    ("open files", {"open_files": 128}, Level.GAP, "ulimit -n 1024"),
    ("open files", {"open_files": 512}, Level.WARN, "ulimit -n 1024"),
    ("loopback", {"loopback_problem": "Cannot assign requested address"}, Level.GAP, "loopback"),
    ("clock", {"now": 86_400.0}, Level.GAP, "Set the clock"),
]


def levels(machine: Machine) -> dict[str, Level]:
    return {name: ask(check, machine).level for name, check in MACHINE.items()}


@pytest.mark.parametrize(
    ("name", "change", "level", "mend"), PLANTED, ids=[f"{row[0]}-{row[2].value}" for row in PLANTED]
)
def test_a_planted_gap_is_seen_alone_and_can_be_mended(
    name: str, change: dict[str, object], level: Level, mend: str
) -> None:
    ill = HEALTHY.model_copy(update=change)
    assert {check: found for check, found in levels(ill).items() if found is not Level.OK} == {name: level}
    assert mend in ask(MACHINE[name], ill).mend


def test_a_healthy_machine_is_quiet() -> None:
    assert set(levels(HEALTHY).values()) == {Level.OK}
    assert levels(HEALTHY.model_copy(update={"open_files": sys.maxsize}))["open files"] is Level.OK


def test_every_check_of_the_machine_has_a_planted_gap() -> None:
    assert {row[0] for row in PLANTED} == MACHINE.keys() - {"browser"}, "a browser is never needed"


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    machine = Machine.read(tmp_path)
    assert machine.python == sys.version_info[:3]
    assert (machine.writing_problem, machine.loopback_problem) == ("", "")
    assert list(tmp_path.iterdir()) == [], "looking leaves nothing"


@pytest.mark.parametrize("dangling", [False, True], ids=["a file", "a dangling link"])
def test_what_is_in_the_way_of_the_ledgers_is_a_gap(tmp_path: Path, dangling: bool) -> None:
    if dangling:
        (tmp_path / ".tocsin").symlink_to(tmp_path / "nowhere")
    else:
        (tmp_path / ".tocsin").touch()
    assert levels(Machine.read(tmp_path))["writing"] is Level.GAP


def test_a_check_that_cannot_answer_is_a_gap() -> None:
    def stumble(machine: Machine) -> Result:
        raise SandboxError("expected an answer, found none")

    assert ask(stumble, HEALTHY).level is Level.GAP


def test_a_part_that_does_not_start_says_its_last_word() -> None:
    result = child_starts("-c", "import a_part_that_is_not_installed")
    assert result.level is Level.GAP
    assert "No module named 'a_part_that_is_not_installed'" in result.found
    assert "Install it again" in result.mend


def test_postgresql_that_does_not_start_says_why() -> None:
    result = postgres_starts(max_connections=0)
    assert (result.level, "max_connections" in result.found) == (Level.GAP, True)


def test_all_parts_of_this_machine_start(tmp_path: Path) -> None:
    found = dict(examine(tmp_path, "sandbox", None))
    parts = ("locust", "schemathesis", "packages", "ministack", "postgresql", "valkey", "sandbox")
    assert {name: found[name].level for name in parts} == dict.fromkeys(parts, Level.OK)


@pytest.mark.parametrize(("target", "system"), [("nowhere", None), ("sandbox", "nowhere")])
def test_bad_input_is_refused_before_anything_is_looked_at(tmp_path: Path, target: str, system: str | None) -> None:
    with pytest.raises(InvalidInput, match="nowhere"):
        next(examine(tmp_path, target, system))


@pytest.mark.parametrize(
    ("skew_s", "level"),
    [(0.4, Level.OK), (-4, Level.OK), (20, Level.WARN), (-20, Level.WARN), (301, Level.GAP), (-301, Level.GAP)],
)
def test_a_clock_that_differs_from_that_of_aws(skew_s: float, level: Level) -> None:
    assert judge_skew(skew_s).level is level


@pytest.mark.parametrize(
    "header", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:38 GMT"]
)
def test_the_time_of_aws_is_gmt_whatever_zone_this_machine_is_in(header: str) -> None:
    assert told_at(header) == 784111777

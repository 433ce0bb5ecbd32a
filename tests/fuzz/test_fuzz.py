"""Spoilt files get an answer, whatever is in them: a few hundred here, thousands by `make fuzz`."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from tests.fuzz.cases import KINDS, Case, case
from tests.fuzz.harness import fuzz
from tests.fuzz.worker import complaint, look, make_project

# The suite asks the same files each time; `make fuzz` asks others by chance.
SEED = 20261129
COUNT = 200


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_spoilt_files_get_an_answer() -> None:
    seed = SEED
    print(f"make fuzz N={COUNT} SEED={seed}")
    looked = list(fuzz(seed, COUNT))
    assert [one.number for one in looked] == list(range(COUNT))
    assert [one for one in looked if one.problem] == []
    assert sum(one.well_formed for one in looked) >= COUNT / 2


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_files_that_are_well_are_valid(kind: object, project: Path) -> None:
    for one in (k for k in KINDS if k is kind):
        for command in one.commands:
            assert look(Case(0, one, (project / one.file).read_bytes(), True, command), project) == ""


def test_a_case_is_the_same_wherever_it_is_asked_for(project: Path) -> None:
    assert case(7, 11, project) == case(7, 11, project)


@pytest.mark.parametrize(
    ("code", "said", "found"),
    [
        (0, "", ""),
        (1, "", ""),
        (2, "tocsin: shop.yaml:3: expected a text, found 3\n", ""),
        (2, "shop.yaml:3: expected a text, found 3\n", ""),
        (2, "", "exit code 2 without a word"),
        (2, "tocsin: shop.yaml: expected a text, found 3\n", "a message without file and line"),
        (2, "Usage: tocsin validate\n", "a message without file and line"),
        (2, f"shop.yaml:3: {'x' * 2000}\n", "a message of"),
        (4, "tocsin: stopped\n", "exit code 4"),
    ],
)
def test_what_is_no_answer_is_found(code: int, said: str, found: str) -> None:
    assert complaint(code, said).startswith(found)
    assert bool(complaint(code, said)) == bool(found)


def test_a_program_that_raises_is_found(project: Path) -> None:
    @click.command()
    def broken() -> None:
        raise ValueError("a bug")

    one = Case(0, KINDS[0], b"title: [", False, ())
    assert look(one, project, broken) == "raised ValueError: a bug"

"""The evaluator of alarms against a second one: a few hundred cases here, 20,000 by `make differential`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.differential import second_alarm, second_rules
from tests.differential.__main__ import FIRST
from tests.differential.cases import FEATURES, Maker
from tests.differential.compare import Asked, ask_all, differs, shrunk
from tests.differential.equivalent import EQUIVALENT
from tests.differential.mutants import all_mutants, caught_by, chosen, without_change
from tests.differential.second_math import Request, Row, read, row_of
from tests.differential.second_statistics import Published, value_of
from tests.differential.windows import differing, history

from tocsin.errors import SandboxError
from tocsin.sandbox.parts.programs import Promtool
from tocsin.sandbox.parts.promtool import InstalledPromtool, find_promtool

# The suite asks the same cases each time; `make differential` asks others by chance.
SEED = 20261129
CASES = 600
MUTANTS = 30
HERE = Path(__file__).parent
_ = None


@pytest.fixture(scope="module")
def asked() -> list[Asked]:
    return list(ask_all(Maker(SEED).cases(CASES)))


@pytest.fixture(scope="module")
def promtool() -> Promtool:
    try:
        return InstalledPromtool(find_promtool())
    except SandboxError as error:
        pytest.skip(str(error))


def test_both_say_the_same(asked: list[Asked]) -> None:
    print(f"make differential CASES={CASES} SEED={SEED}")
    found = next((found for one in asked if (found := differs(one, FIRST)) is not None), None)
    assert found is None, str(shrunk(found, FIRST))


def test_every_feature_has_its_turn(asked: list[Asked]) -> None:
    assert {one.case.made_for for one in asked} == set(FEATURES)


def test_mutants_of_the_evaluator_are_seen(asked: list[Asked]) -> None:
    twin = without_change()
    assert [one.case for one in asked if differs(one, twin) is not None] == []
    unseen = [mutant for mutant in chosen(SEED, MUTANTS, EQUIVALENT) if caught_by(mutant, asked) is None]
    # A change of the source changes the choice: a mutant that is hard to see gets as many cases as `make` gives it.
    more = ask_all(Maker(SEED).case(number) for number in range(CASES, 6000)) if unseen else ()
    assert [str(mutant) for mutant in unseen if caught_by(mutant, more) is None] == []


@pytest.mark.parametrize("number", [1, 2])
def test_steps_of_prometheus_are_the_whole_history(promtool: Promtool, tmp_path: Path, number: int) -> None:
    one = history(SEED, number)
    assert differing(promtool, one, tmp_path) is None, one.text


def test_what_is_left_out_of_the_mutants_is_one() -> None:
    assert EQUIVALENT.keys() <= {str(mutant) for mutant in all_mutants()}


def test_a_case_is_the_same_wherever_it_is_asked_for() -> None:
    assert Maker(7).case(11) == Maker(7).case(11)


@pytest.mark.parametrize("path", sorted(HERE.glob("second_*.py")), ids=lambda path: path.stem)
def test_the_second_implementation_knows_nothing_of_the_first(path: Path) -> None:
    imported = [
        alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    ours = [name for name in imported if name.split(".")[0] in ("tocsin", "tests", "lark")]
    assert all(name.startswith("tests.differential.second_") for name in ours)


# ------------------------------------------------------------------------------------------------ the second one itself

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html, both tables:
# missing, ignore, breaching, notBreaching; R keeps the state, I is INSUFFICIENT_DATA.
_THREE_OF_THREE = {"0-X-X": "OOOO", "0----": "OOOO", "-----": "IRAO", "0XX-X": "AAAA", "--X--": "ARAO"}
_TWO_OF_THREE = {"0-X-X": "AAAA", "00X0X": "AAAA", "0-X--": "OOAO", "----0": "OOAO", "---X-": "ARAO"}


@pytest.mark.parametrize(("needed", "table"), [(3, _THREE_OF_THREE), (2, _TWO_OF_THREE)])
def test_the_second_one_says_what_the_tables_of_aws_say(needed: int, table: dict[str, str]) -> None:
    said = {
        letters: "".join(
            {"OK": "O", "ALARM": "A", "INSUFFICIENT_DATA": "I", "present": "R"}[
                second_alarm.decide(letters, 3, needed, treatment, "present")
            ]
            for treatment in ("missing", "ignore", "breaching", "notBreaching")
        )
        for letters in table
    }
    assert said == table


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
        ("(metric1 < metric2)", [0, 0, 1, 0]),
        ("(metric1 >= 30)", [1, 0, 0, 0]),
        ("(metric1 > 15 AND metric2 > 15)", [1, 0, 0, 0]),
    ],
)
def test_the_second_one_says_what_the_table_of_comparisons_says(expression: str, expected: Row) -> None:
    rows: dict[str, Row] = {"metric1": [30, 20, 0, 0], "metric2": [20, _, 20, _]}
    assert row_of(read(expression), Request(range(4), rows, dict.fromkeys(rows, 60), 60)) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("IF(metric1, metric2, metric3)", [30, 0, 20, _, _]),
        ("IF(metric1, 5, metric3)", [5, 5, 20, _, _]),
        ("IF(metric1, metric2, 5)", [30, 0, 5, 5, _]),
    ],
)
def test_the_second_one_says_what_the_tables_of_if_say(expression: str, expected: Row) -> None:
    rows: dict[str, Row] = {"metric1": [1, 1, 0, 0, _], "metric2": [30, _, 0, 0, 30], "metric3": [0, 0, 20, _, 20]}
    assert row_of(read(expression), Request(range(5), rows, dict.fromkeys(rows, 60), 60)) == expected


@pytest.mark.parametrize(("statistic", "expected"), [("tm90", 5), ("TM(3:7)", 5.5), ("IQM", 5.5), ("PR(:3)", 30)])
def test_the_second_one_knows_the_statistics(statistic: str, expected: float) -> None:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html
    published = [Published("m1", 0, tuple(map(float, range(1, 11))))]
    assert value_of(statistic, published) == (expected, 10)


def test_the_second_one_reads_rules() -> None:
    states = {"a": "ALARM", "b": "OK"}
    assert second_rules.holds("ALARM(a) OR ALARM(b) AND ALARM(b)", states)
    assert not second_rules.holds("(ALARM(a) OR ALARM(b)) AND ALARM(b)", states)
    assert second_rules.holds("AT_LEAST(50%, NOT OK, (a, b))", states)

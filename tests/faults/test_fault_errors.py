"""docs/FAULT_ERRORS.md counts every error of every call, and says what becomes of those that are tried here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pytest
from tests.faults import table
from tests.faults.stub.bench import QuickLedger
from tests.faults.stub.faults import ARGUMENTS, LEFT_OUT
from tests.faults.table import Case

from tocsin.aws.target import Aws
from tocsin.faults.awslambda import EnvironmentState, LambdaEnvironmentVariable
from tocsin.faults.registry import FAULTS

HERE = 4
"""Parts of the sample: each is a test of its own, so that several processes share them."""


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuickLedger]:
    made = QuickLedger(tmp_path_factory.mktemp("ledger"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def everything(ledger: QuickLedger) -> list[Case]:
    return list(table.cases(ledger))


def test_every_fault_is_tried_or_left_out_for_a_reason() -> None:
    assert ARGUMENTS.keys() | LEFT_OUT.keys() == FAULTS.keys()
    assert not ARGUMENTS.keys() & LEFT_OUT.keys()


def test_the_page_counts_every_error_of_every_call(everything: list[Case]) -> None:
    expected: dict[tuple[str, str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(table.TIMES, 0))
    for case in everything:
        expected[case.fault, case.act, case.call][case.times] += 1
    counted = {
        row: dict(zip(table.TIMES, map(table.count, cells), strict=True))
        for row, cells in table.rows(table.PAGE.read_text()).items()
    }
    assert counted == expected


@pytest.mark.parametrize("part", range(HERE))
def test_what_the_page_says_of_a_sample_is_so(everything: list[Case], ledger: QuickLedger, part: int) -> None:
    text = table.PAGE.read_text()
    sample = table.some(everything)[part::HERE]
    assert len(sample) > 50
    wrong = {
        str(case): (told, found)
        for case in sample
        if (told := table.told(text, case)) != (found := table.outcome(case, ledger))
    }
    assert wrong == {}


def test_an_undo_that_takes_what_is_left_out_for_nothing_is_found(
    ledger: QuickLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted bug: an environment that is not in the answer is taken for an empty one."""
    call, code = "lambda:GetFunctionConfiguration", f"{table.WITHOUT}Environment"
    case = Case("lambda_environment_credential", table.UNDO, call, code, "for ever")
    assert table.outcome(case, ledger) == "left"

    def believing(fault: LambdaEnvironmentVariable, aws: Aws, version: str, prior: EnvironmentState) -> dict[str, str]:
        return fault._environment(aws, version)

    monkeypatch.setattr(LambdaEnvironmentVariable, "_before", believing)
    with pytest.raises(table.Broken, match="called verified, and it is not as before: function"):
        table.outcome(case, ledger)


def test_an_undo_that_says_it_is_done_and_is_not_is_found(ledger: QuickLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug: what cannot be read is taken for what it was before."""

    def believing(fault: LambdaEnvironmentVariable, aws: Aws, prior: EnvironmentState | None) -> EnvironmentState:
        return fault._look_first(aws) if prior is None else prior

    case = Case(
        "lambda_environment_credential", table.UNDO, "lambda:UpdateFunctionConfiguration", table.TIMEOUT, "once"
    )
    assert table.outcome(case, ledger) == "undone"
    monkeypatch.setattr(LambdaEnvironmentVariable, "observe", believing)
    monkeypatch.setattr(LambdaEnvironmentVariable, "undo", lambda fault, aws, prior: None)
    with pytest.raises(table.Broken, match="called verified, and it is not as before: function"):
        table.outcome(case, ledger)

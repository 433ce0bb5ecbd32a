"""The table of evidence in docs/VERDICTS.md is what the checkers do, and no judgement passes for free."""

from __future__ import annotations

import pytest
from tests.planted.evidence import bugs_of, needed, table, told

KINDS = sorted(needed())


def test_the_document_holds_the_table_of_this_code() -> None:
    assert told() == table(), "write it anew: python -m tests.planted.evidence"


@pytest.mark.parametrize("kind", KINDS)
def test_a_judgement_needs_evidence_to_pass(kind: str) -> None:
    assert needed()[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_judgement_has_a_bug_that_it_does_not_pass_with(kind: str) -> None:
    assert bugs_of(kind), f"plant a bug that {kind} names: tests/planted/shelf.py"

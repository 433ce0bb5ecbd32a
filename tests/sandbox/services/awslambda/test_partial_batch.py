"""What answers say of a batch, case by case of AWS's page."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.sandbox.services.awslambda.partial_batch import failed_messages

BATCH = ("a", "b", "c")


def failures(*identifiers: Any) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}


@pytest.mark.parametrize(
    "answer",
    [None, {}, {"batchItemFailures": None}, failures(), {"statusCode": 200}],
    ids=["null", "empty", "null-list", "empty-list", "another-key"],
)
def test_a_complete_success(answer: Any) -> None:
    assert failed_messages(answer, BATCH) == set()


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (failures("b"), {"b"}),
        (failures("c", "a"), {"a", "c"}),
        (failures("b", "b"), {"b"}),
        (failures("a", "b", "c"), {"a", "b", "c"}),
        (failures("b") | {"statusCode": 200}, {"b"}),
    ],
    ids=["one", "two", "twice", "all", "beside-another-key"],
)
def test_a_partial_failure(answer: Any, failed: set[str]) -> None:
    assert failed_messages(answer, BATCH) == failed


@pytest.mark.parametrize(
    "answer",
    [
        failures(""),
        failures(None),
        failures("d"),
        failures("a", ""),
        failures("a", "d"),
        failures(7),
        failures(["a"]),
        {"batchItemFailures": [{"messageId": "a"}]},
        {"batchItemFailures": [{}]},
        {"batchItemFailures": ["a"]},
        {"batchItemFailures": "a"},
        {"batchItemFailures": {"itemIdentifier": "a"}},
        '{"batchItemFailures": []}',
        "done",
        [],
        0,
    ],
    ids=str,
)
def test_a_complete_failure(answer: Any) -> None:
    assert failed_messages(answer, BATCH) == set(BATCH)

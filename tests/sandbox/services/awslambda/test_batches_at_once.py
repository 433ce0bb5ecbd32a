"""How many batches are read at a time, and what throttles change."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.sandbox.services.awslambda.batches_at_once import BatchesAtOnce, most_batches


@pytest.mark.parametrize(
    ("mapping", "queue", "most"),
    [
        ({}, {}, 5),
        ({"ScalingConfig": {}}, {"is_fifo": False}, 5),
        ({"ScalingConfig": {"MaximumConcurrency": 2}}, {}, 2),
        ({"ScalingConfig": {"MaximumConcurrency": 12}}, {}, 12),
        ({"ScalingConfig": {"MaximumConcurrency": 12}}, {"is_fifo": True}, 1),
    ],
)
def test_the_most_at_once(mapping: dict[str, Any], queue: dict[str, Any], most: int) -> None:
    assert most_batches(mapping, queue) == most


def test_throttles_take_one_away_down_to_two_and_runs_give_it_back() -> None:
    batches = BatchesAtOnce()
    seen = []
    for change in (batches.throttled,) * 5 + (batches.ran,) * 4:
        change("m", 5)
        seen.append(batches.of("m", 5))
    assert seen == [4, 3, 2, 2, 2, 3, 4, 5, 5]


def test_each_mapping_has_its_own() -> None:
    batches = BatchesAtOnce()
    batches.throttled("m", 5)
    assert (batches.of("m", 5), batches.of("n", 5)) == (4, 5)


def test_a_lower_limit_holds_at_once_and_a_fifo_queue_keeps_its_one() -> None:
    batches = BatchesAtOnce()
    batches.throttled("m", 5)
    assert batches.of("m", 2) == 2
    batches.throttled("f", 1)
    assert batches.of("f", 1) == 1

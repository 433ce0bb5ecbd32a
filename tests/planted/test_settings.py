"""A rollback that sets something that no fault changed: the drill passes, and the finding names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.planted.bench import Bench
from tests.planted.setups import chaosaws

from tocsin.model.verdict import Outcome

pytestmark = pytest.mark.planted


def test_a_rollback_that_sets_a_second_thing_is_a_finding(bench: Bench) -> None:
    of = {"FunctionName": "bell-worker"}
    before = bench.client("lambda").get_function_configuration(**of)["MemorySize"]
    arguments = {"function_name": "bell-worker", "memory_size": before * 2}

    @contextmanager
    def laid_out() -> Iterator[None]:
        with bench.set_up("poison"):
            bench.document["rollbacks"].append(
                chaosaws("action", "more-room", "put_function_memory_size", arguments=arguments)
            )
            bench.after(lambda: bench.client("lambda").update_function_configuration(**of, MemorySize=before))
            yield

    drilled = bench.run_until_the_machine_kept_up(laid_out)
    told = [finding for finding in drilled.verdict.findings if finding.kind == "changed"]
    assert [finding.subject for finding in told] == ["function bell-worker"]
    assert f"Configuration/MemorySize was {before}, is {before * 2}" in told[0].message
    assert all(judgement.outcome is Outcome.PASS for judgement in drilled.verdict.judgements if judgement.id == "undo")

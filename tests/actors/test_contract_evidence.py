"""What a contract run may claim: whose failure it is, how far it came, and which answers were as documented."""

from __future__ import annotations

import time

from tocsin.actors.contract import ContractActor
from tocsin.model.events import Act, ContractRan
from tocsin.model.experiment import Degraded, Expect, RecoveryTarget

from .conftest import Shop, Stage, problem

PATIENCE_S = 120.0
DEGRADED = Expect(gap="planted", degraded=Degraded(status=(503,)), recovery=RecoveryTarget(within=60.0))


def run(stage: Stage, act: Act, expect: Expect | None = None) -> ContractRan:
    actor = ContractActor(stage.context(expect=expect))
    actor.start_act(act)
    actor.wait(act, PATIENCE_S)
    actor.stop()
    return next(event for event in reversed(stage.events()) if isinstance(event, ContractRan))


def test_an_operation_that_cannot_be_tested_is_neither_a_failure_nor_a_pass(stage: Stage) -> None:
    contract = stage.root / "contract.yaml"
    contract.write_text(contract.read_text().replace('schemas/NewItem"}}}', 'schemas/Nothing"}}}', 1))
    ran = run(stage, Act.BASELINE)
    assert ran.failures == ()
    assert not ran.complete
    assert ran.detail == "1 of 2 operations were tried"


def test_a_slow_degraded_api_is_tried_in_every_operation(stage: Stage, shop: Shop) -> None:
    def slow(method: str, path: str) -> tuple[int, object] | None:
        if not path.startswith("/items"):
            return None
        time.sleep(1)
        return 503, problem("database is away")

    shop.broken = slow
    ran = run(stage, Act.FAULT, DEGRADED)
    assert ran.complete, ran.detail
    assert ran.operations == 2
    assert ran.degraded == ran.cases > 0


def test_a_degraded_answer_with_the_wrong_body_is_not_counted_as_documented(stage: Stage, shop: Shop) -> None:
    shop.broken = lambda method, path: (503, {"oops": True} if method == "POST" else problem("away"))
    ran = run(stage, Act.FAULT, DEGRADED)
    wrong = sum(failure.count for failure in ran.failures)
    assert {failure.operation for failure in ran.failures} == {"POST /items"}
    assert wrong > 0
    assert ran.degraded == ran.statuses["503"] - wrong > 0


def test_an_unanswered_request_names_its_operation(stage: Stage, shop: Shop) -> None:
    def hang_up(method: str, path: str) -> None:
        if method == "GET" and path.startswith("/items/"):
            raise ConnectionAbortedError("planted")

    shop.broken = hang_up
    ran = run(stage, Act.BASELINE)
    assert {(failure.operation, failure.check) for failure in ran.failures} == {("GET /items/{id}", "no_answer")}
    assert ran.statuses["error"] == sum(failure.count for failure in ran.failures)

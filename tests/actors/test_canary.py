"""Canaries: what a journey tells when the API, the contract or the canary itself is at fault."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from tocsin.actors.canary import CanaryActor
from tocsin.canary import Journey, Surroundings, load_canaries, run_canary
from tocsin.errors import InvalidInput
from tocsin.model.events import ActorDied, CanaryRan
from tocsin.openapi import OpenApiDocument

from .conftest import Shop, Stage, problem, wait_for


@pytest.fixture
def around(stage: Stage) -> Surroundings:
    contract = OpenApiDocument.load(stage.root / "contract.yaml")
    return Surroundings(stage.shop.url, token=lambda name: f"token-of-{name}", contract=contract)


@pytest.fixture
def run(around: Surroundings) -> Callable[[Callable[[Journey], None]], CanaryRan]:
    return lambda canary: run_canary("planted", canary, around)


Run = Callable[[Callable[[Journey], None]], CanaryRan]


def read(api: Journey) -> None:
    with api.step("create"):
        item = api.post("/items", json={"name": "tea"}, expect=201).json()
    with api.step("read"):
        assert api.get(f"/items/{item['id']}", as_="buyer").json()["name"] == "tea", "another name"


def test_a_healthy_journey(run: Run, shop: Shop) -> None:
    ran = run(read)
    assert ran.ok
    assert ran.ok_after_retry
    assert not ran.broken
    assert [(step.name, step.ok) for step in ran.steps] == [("create", True), ("read", True)]
    assert shop.authorizations == {None, "Bearer token-of-buyer"}


def test_the_first_failing_step_is_told(run: Run, shop: Shop) -> None:
    shop.broken = lambda method, path: (503, problem("away")) if method == "GET" else None
    ran = run(read)
    assert not ran.ok
    assert not ran.ok_after_retry
    assert not ran.broken
    assert ran.detail.startswith("read: GET /items/")
    assert "503" in ran.detail
    assert [(step.name, step.ok) for step in ran.steps] == [("create", True), ("read", False)]


@pytest.mark.parametrize("token", ["opaque-token-4711", "opaque-token-4711\n"], ids=["repeated", "not a header"])
def test_a_token_that_is_repeated_is_not_told(around: Surroundings, shop: Shop, token: str) -> None:
    """By an API that puts the header into its error, or by the client that cannot send it."""
    shop.broken = lambda method, path: (401, problem(f"cannot read Bearer {token}"))

    def read_it(api: Journey) -> None:
        with api.step("read"):
            api.get("/items/1", as_="buyer")

    ran = run_canary("planted", read_it, replace(around, token=lambda name: token))
    assert not ran.ok
    assert "Bearer" in ran.detail
    assert "4711" not in ran.model_dump_json()


def test_a_retry_never_erases_the_evidence(run: Run, shop: Shop) -> None:
    answers = [(503, problem("blip"))]
    shop.broken = lambda method, path: answers.pop() if answers else None
    ran = run(read)
    assert not ran.ok
    assert ran.ok_after_retry
    assert not ran.broken
    assert ran.steps[0].ok is False


def test_a_wrong_value_fails_in_the_words_of_the_canary(run: Run, shop: Shop) -> None:
    shop.broken = lambda method, path: (200, {"id": "1", "name": "coffee"}) if method == "GET" else None
    ran = run(read)
    assert not ran.ok
    assert "another name" in ran.detail


def planted_answers() -> list[object]:
    return [
        pytest.param((200, {"id": 1, "name": "tea"}), "id", id="a body that breaks its schema"),
        pytest.param((202, {"id": "1", "name": "tea"}), "202, which is not documented", id="an undocumented status"),
        pytest.param((200, b"<html>"), "not JSON", id="no JSON"),
    ]


@pytest.mark.parametrize(("answer", "told"), planted_answers())
def test_the_contract_is_checked_for_free(run: Run, shop: Shop, answer: tuple[int, object], told: str) -> None:
    def canary(api: Journey) -> None:
        with api.step("read"):
            api.get("/items/1")

    shop.items["1"] = {"id": "1", "name": "tea"}
    assert run(canary).ok
    shop.broken = lambda method, path: answer
    ran = run(canary)
    assert not ran.ok
    assert not ran.broken
    assert told in ran.detail


def test_a_target_that_is_down_is_a_failure_of_the_system(stage: Stage) -> None:
    around = Surroundings("http://127.0.0.1:1", token=lambda name: name)
    ran = run_canary("planted", read, around)
    assert not ran.ok
    assert not ran.broken
    assert "no answer" in ran.detail


def nothing(api: Journey) -> None:
    """Does nothing."""


def only_a_step(api: Journey) -> None:
    with api.step("looks busy"):
        assert api is not None


def outside_of_steps(api: Journey) -> None:
    api.get("/items/1", expect=404)
    with api.step("looks busy"):
        assert api is not None


def bug(api: Journey) -> None:
    with api.step("create"):
        api.post("/items", json={"name": "tea"}).json()["no such field"]


def gives_up(api: Journey) -> None:
    with api.step("read"):
        api.get("/items/1", expect=404)
        sys.exit()


def skips(api: Journey) -> None:
    with api.step("read"):
        api.get("/items/1", expect=404)
        pytest.skip("not today")


@pytest.mark.parametrize("canary", [nothing, only_a_step, outside_of_steps, bug, gives_up, skips])
def test_a_canary_that_proves_nothing_is_broken_and_never_well(run: Run, canary: Callable[[Journey], None]) -> None:
    ran = run(canary)
    assert ran.broken
    assert not ran.ok
    assert not ran.ok_after_retry


def test_a_failure_that_the_canary_swallows_is_still_a_failure(run: Run) -> None:
    def canary(api: Journey) -> None:
        with api.step("read"):
            try:
                api.get("/items/none")
            except AssertionError:
                return

    ran = run(canary)
    assert not ran.ok
    assert not ran.broken
    assert "404" in ran.detail
    assert [step.ok for step in ran.steps] == [False]


def test_cleanup_always_runs_latest_first_and_decides_nothing(run: Run, shop: Shop) -> None:
    order: list[str] = []

    def canary(api: Journey) -> None:
        api.cleanup(lambda: order.append("first"))
        api.cleanup(lambda: order.append(str(api.get("/items/none").status_code)))
        api.cleanup(lambda: {}["nothing there"])
        with api.step("read"):
            api.post("/items", json={"name": "tea"})

    assert run(canary).ok
    assert order == ["404", "first"]
    shop.broken = lambda method, path: (503, problem("away"))
    assert not run(canary).ok
    assert order[2:] == ["503", "first"] * 2


def test_the_actor_runs_every_canary_again_and_again(stage: Stage) -> None:
    actor = CanaryActor(stage.context())
    assert [(ran.canary, ran.ok) for ran in actor.run_once()] == [("item", True)]
    actor.start()
    wait_for("three runs", lambda: len(stage.events()) >= 3)
    started = time.monotonic()
    actor.stop()
    actor.stop()
    assert time.monotonic() - started < 10
    seen = stage.events()
    assert all(isinstance(event, CanaryRan) and event.ok for event in seen)


def test_the_actor_never_dies_of_a_canary(stage: Stage, shop: Shop) -> None:
    shop.broken = lambda method, path: (500, b"\xff")
    actor = CanaryActor(stage.context())
    actor.start()
    wait_for("two runs", lambda: len(stage.events()) >= 2)
    actor.stop()
    assert not any(isinstance(event, ActorDied) for event in stage.events())
    assert not any(isinstance(event, CanaryRan) and event.ok for event in stage.events())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\n", "canary_"),
        ("def canary_x(api:\n", "SyntaxError"),
        ("import no_such_module\n", "ModuleNotFoundError"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_message(stage: Stage, text: str, told: str) -> None:
    path = stage.write("canaries.py", text)
    with pytest.raises(InvalidInput, match=told) as caught:
        load_canaries(path)
    assert "canaries.py" in str(caught.value)

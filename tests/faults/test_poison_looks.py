"""Looks into a queue are counted for the queue: whoever makes them, each is a receive of every message of others."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.stub.account import StubAws
from tests.faults.stub.bench import FaultBench
from tests.faults.stub.sqs import Message
from tests.faults.test_poison import OTHERS, consumer, fault_is_in, hold_everything, others_in, ours_in, send_others

from tocsin.errors import LedgerError
from tocsin.record.ledger import Ledger

DAY_S = 86400.0


@pytest.fixture
def shop(stub: StubAws) -> StubAws:
    stub.services["sqs"].make("orders-dlq")
    stub.services["sqs"].make("orders", dead="orders-dlq", receives="5")
    return stub


def backlog(stub: StubAws) -> list[Message]:
    """Messages of others that wait in the source queue."""
    return [one for one in stub.services["sqs"].queues["orders"].messages if "poison" not in one.body]


def it_arrives(stub: StubAws) -> bool:
    """Whether a consumer that comes at last, and fails once at each, gets every message of the backlog."""
    before = len(backlog(stub))
    hold_everything(stub)
    consumer(stub, tolerant=True)
    for _ in range(3):
        stub.clock.sleep(30.0)
    return before == OTHERS and others_in(stub, "orders") == others_in(stub, "orders-dlq") == []


def test_the_looks_of_two_entries_on_one_queue_add_up(shop: StubAws, life: FaultBench) -> None:
    """A consumer held the poison once and went away; orders wait. Both entries are undone, again and again."""
    fault_is_in(life)
    fault_is_in(FaultBench(shop, life.ledger))
    hold_everything(shop)
    send_others(shop)
    for one in shop.services["sqs"].queues["orders"].messages:
        if "poison" in one.body:
            one.visible_at = shop.clock.now + 90 * DAY_S  # so that every look is in vain
    for _ in range(6):
        life.process().undo_all(life.open)
    assert len(life.open) == 2
    assert max(one.receives for one in backlog(shop)) == 3
    assert it_arrives(shop)


def test_the_looks_of_a_drill_that_is_over_count_as_long_as_its_queue_keeps_messages(
    shop: StubAws, life: FaultBench
) -> None:
    shop.services["sqs"].make("orders", dead="orders-dlq", receives="4")
    send_others(shop)
    for _ in range(4):
        fault_is_in(life)
        life.process().undo_all(life.open)
    assert len(life.open) == 2  # the first two were found by a look
    assert {one.receives for one in backlog(shop)} == {2}
    shop.clock.now += 4 * DAY_S + 1
    shop.services["sqs"].queues["orders"].messages = [
        one for one in shop.services["sqs"].queues["orders"].messages if "poison" in one.body
    ]  # the queue keeps messages for four days, and these were sent again
    send_others(shop)
    assert life.process().undo_all(life.open) == []
    assert it_arrives(shop)


def test_a_queue_that_was_empty_since_may_be_looked_into_again(shop: StubAws, life: FaultBench) -> None:
    shop.services["sqs"].make("orders", dead="orders-dlq", receives="3")
    for _ in range(3):
        fault_is_in(life)
        send_others(shop)
        assert life.process().undo_all(life.open) == []
        shop.services["sqs"].queues["orders"].messages.clear()  # a consumer has worked through it
        shop.clock.now += 120.0


def test_there_is_one_look_in_a_visibility_timeout_whoever_makes_it(shop: StubAws, life: FaultBench) -> None:
    fault_is_in(life)
    fault_is_in(FaultBench(shop, life.ledger))
    send_others(shop)
    looks: list[float] = []
    life.ledger.set_note = lambda name, value, write=life.ledger.set_note: (  # type: ignore[method-assign, misc]
        looks.append(shop.clock.now),
        write(name, value),
    )[1]
    assert life.process().undo_all(life.open) == []
    assert len(looks) == 2
    assert looks[1] - looks[0] >= 30.0


def test_without_what_the_ledger_remembers_nobody_looks(
    shop: StubAws, life: FaultBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault_is_in(life)
    send_others(shop)

    def damaged(*_: object) -> str:
        raise LedgerError("the disk is gone")

    monkeypatch.setattr(life.ledger, "note", damaged)
    life.process().undo_all(life.open)
    assert {one.receives for one in backlog(shop)} == {0}


def test_looks_that_somebody_deleted_are_not_made_again(shop: StubAws, life: FaultBench, tmp_path: Path) -> None:
    shop.services["sqs"].make("orders", dead="orders-dlq", receives="3")
    send_others(shop)
    fault_is_in(life)
    assert life.process().undo_all(life.open) == []
    fault_is_in(life)
    life.ledger._db.execute("DELETE FROM notes")
    again = FaultBench(shop, Ledger(tmp_path / "ledger.sqlite", life.target.name))
    assert len(again.process().undo_all(list(again.ledger.read(only_open=True).entries))) == 1
    assert {one.receives for one in backlog(shop)} == {1}


def test_looks_are_remembered_by_the_file_and_not_by_the_process(
    shop: StubAws, life: FaultBench, tmp_path: Path
) -> None:
    shop.services["sqs"].make("orders", dead="orders-dlq", receives="3")
    send_others(shop)
    fault_is_in(life)
    assert life.process().undo_all(life.open) == []
    again = FaultBench(shop, Ledger(tmp_path / "ledger.sqlite", life.target.name))
    fault_is_in(again)
    assert len(again.process().undo_all(again.open)) == 1
    assert {one.receives for one in backlog(shop)} == {1}


# --- seen clear once ----------------------------------------------------------------------------------------


def held_by_a_consumer_and_given_back(shop: StubAws, held_s: float, then: str) -> None:
    """A consumer holds the poison for a while and is gone for good; orders come when it is given back.

    A year later (`then` is `gone`), or after so long that every message was given up (`again`), one more consumer
    holds all of it for a moment.
    """
    sqs = shop.services["sqs"]
    queue = sqs.queues["orders"]
    began = shop.clock.now
    sqs.take(queue, 10, held_s)
    done: set[str] = set()

    def come() -> None:
        passed = shop.clock.now - began
        if passed >= held_s and "orders" not in done:
            done.add("orders")
            send_others(shop, count=1200)  # more than a look goes through
        if then == "again" and passed >= 5 * 30 + 91 and "again" not in done:
            done.add("again")
            sqs.take(queue, 2000, 30.0)

    shop.clock.ticks.append(come)


@pytest.mark.parametrize("then", ["gone", "again"])
def test_a_queue_that_looked_clear_once_is_not_clear_for_ever(shop: StubAws, life: FaultBench, then: str) -> None:
    """Nothing was visible at first, and again after the time in which each message is given up; in between it was."""
    fault_is_in(life)
    held_by_a_consumer_and_given_back(shop, 20.0, then)
    left = life.process().undo_all(life.open)
    assert ours_in(shop, "orders") == 1
    assert [entry.fault for entry in left] == ["sqs_poison_message"]


def test_a_look_while_a_consumer_holds_ours_does_not_call_it_gone(shop: StubAws, life: FaultBench) -> None:
    """SQS counts late: it says that nothing is held, and a consumer has our message."""
    fault_is_in(life)
    sqs = shop.services["sqs"]
    send_others(shop)
    (ours,) = [one for one in sqs.queues["orders"].messages if "poison" in one.body]
    ours.visible_at = shop.clock.now + 55.0
    counted_from, told = shop.clock.now + 40.0, sqs.get_queue_attributes

    def late(asked: dict[str, object]) -> dict[str, object]:
        answer: dict[str, dict[str, str]] = told(asked)
        name = "ApproximateNumberOfMessagesNotVisible"
        if shop.clock.now < counted_from and name in answer["Attributes"]:
            answer["Attributes"][name] = "0"
        return dict(answer)

    sqs.get_queue_attributes = late
    left = life.process().undo_all(life.open)
    assert bool(left) == bool(ours_in(shop, "orders"))

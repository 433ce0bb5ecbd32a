"""Poison on a stubbed account: our messages go, and nobody else's are changed by our looking for them."""

from __future__ import annotations

import pytest
from tests.faults.stub.account import TIMEOUT, StubAws
from tests.faults.stub.bench import FaultBench

from tocsin.aws.target import Aws
from tocsin.errors import LedgerError, Refused, TargetError
from tocsin.faults.registry import fault_class
from tocsin.model.events import FaultStage
from tocsin.model.spent import Spent

OTHERS = 8


@pytest.fixture
def shop(stub: StubAws) -> StubAws:
    stub.services["sqs"].make("orders-dlq")
    stub.services["sqs"].make("orders", dead="orders-dlq", receives="5")
    return stub


def hold_everything(stub: StubAws, times: int = 1) -> None:
    """A consumer receives what is visible, and fails."""
    sqs = stub.services["sqs"]
    for _ in range(times):
        sqs.take(sqs.queues["orders"], 100, 30.0)
        stub.clock.now += 30.0


def consumer(stub: StubAws, *, tolerant: bool = False) -> None:
    """A consumer that works as long as the test lasts: it chokes on poison, or deletes that, too."""
    sqs = stub.services["sqs"]
    queue = sqs.queues["orders"]

    def work() -> None:
        for message in sqs.take(queue, 10, 30.0):
            if tolerant or "poison" not in message.body:
                queue.messages.remove(message)

    stub.clock.ticks.append(work)


def send_others(stub: StubAws, queue: str = "orders", count: int = OTHERS) -> None:
    for number in range(count):
        stub.services["sqs"].put(queue, f"order {number}")


def others_in(stub: StubAws, queue: str) -> list[str]:
    return [one.body for one in stub.services["sqs"].queues[queue].messages if "poison" not in one.body]


def ours_in(stub: StubAws, queue: str) -> int:
    return sum("poison" in one.body for one in stub.services["sqs"].queues[queue].messages)


def test_what_a_consumer_chokes_on_is_seen_in_the_dead_letters_and_removed(shop: StubAws, life: FaultBench) -> None:
    consumer(shop)
    assert life.inject("sqs_poison_message", queue="orders", count=3) is FaultStage.EFFECTIVE
    assert ours_in(shop, "orders-dlq") == 3
    send_others(shop, "orders-dlq", 2)
    assert life.lifecycle.undo_all() == []
    assert (ours_in(shop, "orders-dlq"), others_in(shop, "orders-dlq")) == (0, ["order 0", "order 1"])
    assert life.open == []


@pytest.mark.parametrize("receives", [1, 2, 3, 5, 10])
def test_the_undo_leaves_every_message_of_others_two_receives(shop: StubAws, life: FaultBench, receives: int) -> None:
    """A consumer held the poison once and went away; eight orders wait. Many processes try to undo."""
    shop.services["sqs"].make("orders", dead="orders-dlq", receives=str(receives))
    entry = life.ledger
    fault_is_in(life)
    sqs = shop.services["sqs"]
    sqs.take(sqs.queues["orders"], 1, 30.0)
    send_others(shop)
    for _ in range(10):
        life.process().undo_all(entry.entries(only_open=True))
    counts = [one.receives for one in sqs.queues["orders"].messages if "poison" not in one.body]
    assert len(counts) == OTHERS
    assert max(counts) <= max(0, receives - 2)
    consumer(shop, tolerant=True)
    shop.clock.sleep(30.0)
    shop.clock.sleep(30.0)
    assert others_in(shop, "orders-dlq") == []  # each of them was processed


def fault_is_in(life: FaultBench, count: int = 1) -> None:
    """Injected, and the drill ended before anything arrived."""

    def over(seconds: float) -> None:
        if life.stages[-1] is FaultStage.ACCEPTED:
            raise Refused("interrupted", "the end was asked for")

    life.lifecycle.wait = over
    with pytest.raises(Refused):
        life.inject("sqs_poison_message", queue="orders", count=count)


def test_poison_that_waits_among_others_is_found_by_one_look(shop: StubAws, life: FaultBench) -> None:
    send_others(shop)
    fault_is_in(life)
    assert life.process().undo_all(life.open) == []
    assert ours_in(shop, "orders") == 0
    assert {one.receives for one in shop.services["sqs"].queues["orders"].messages} == {1}


def test_what_may_still_be_in_a_long_queue_stays_in_the_ledger(shop: StubAws, life: FaultBench) -> None:
    shop.services["sqs"].make("orders", dead="orders-dlq", receives="1")
    send_others(shop)
    fault_is_in(life)
    (entry,) = life.lifecycle.undo_all()
    assert "9 messages in queue orders: ours may be among them" in life.why(entry)
    assert [one.receives for one in shop.services["sqs"].queues["orders"].messages] == [0] * 9
    consumer(shop)
    assert life.process().undo_all(life.open) == []
    assert ours_in(shop, "orders-dlq") == 0


def test_poison_that_a_consumer_took_for_good_is_gone(shop: StubAws, life: FaultBench) -> None:
    consumer(shop, tolerant=True)
    fault_is_in(life)
    send_others(shop)
    assert life.lifecycle.undo_all() == []
    assert (others_in(shop, "orders"), others_in(shop, "orders-dlq")) == ([], [])


def test_poison_that_is_held_by_a_consumer_is_waited_for(shop: StubAws, life: FaultBench) -> None:
    consumer(shop)
    fault_is_in(life)
    assert life.lifecycle.undo_all() == []
    assert (ours_in(shop, "orders"), ours_in(shop, "orders-dlq")) == (0, 0)


def test_the_time_to_the_effect_follows_from_the_queue(shop: StubAws, life: FaultBench) -> None:
    shop.services["sqs"].make("orders", dead="orders-dlq", receives="3", VisibilityTimeout="600")
    sqs = shop.services["sqs"]
    shop.clock.ticks.append(lambda: sqs.take(sqs.queues["orders"], 10, 600.0) and None)
    before = shop.clock.now
    assert life.inject("sqs_poison_message", queue="orders") is FaultStage.EFFECTIVE
    assert 3 * 600 <= shop.clock.now - before <= 3 * 600 + 60


def test_some_that_have_arrived_are_no_drift(shop: StubAws, life: FaultBench) -> None:
    consumer(shop)
    life.inject("sqs_poison_message", queue="orders", count=2)
    shop.services["sqs"].queues["orders-dlq"].messages.pop()  # somebody took one away
    assert life.lifecycle.undo_all() == []
    assert life.stages[-1] is FaultStage.VERIFIED


def test_poison_is_seen_behind_many_dead_letters_which_stay_visible(shop: StubAws, life: FaultBench) -> None:
    send_others(shop, "orders-dlq", 45)
    consumer(shop)
    assert life.inject("sqs_poison_message", queue="orders") is FaultStage.EFFECTIVE
    assert all(one.visible_at <= shop.clock.now for one in shop.services["sqs"].queues["orders-dlq"].messages)
    assert life.lifecycle.undo_all() == []
    assert len(others_in(shop, "orders-dlq")) == 45


def test_short_polls_that_answer_nothing_delay_nothing(shop: StubAws, life: FaultBench) -> None:
    shop.services["sqs"].poor = 3
    consumer(shop)
    before = shop.clock.now
    life.inject("sqs_poison_message", queue="orders")
    assert shop.clock.now - before <= 5 * 30 + 15


@pytest.mark.parametrize("queue", ["orders.fifo", "nested"])
def test_where_looking_would_hurt_others_nothing_is_sent(shop: StubAws, life: FaultBench, queue: str) -> None:
    sqs = shop.services["sqs"]
    sqs.make("orders.fifo", dead="orders-dlq", receives="5", FifoQueue="true")
    sqs.make("second", dead="orders-dlq", receives="5")
    sqs.make("nested", dead="second", receives="5")
    with pytest.raises(Refused, match=r"expected (a standard queue|the dead-letter queue second to keep)"):
        life.inject("sqs_poison_message", queue=queue)
    assert life.ledger.entries() == []
    assert "sqs:SendMessage" not in shop.asked


def test_poison_that_a_look_still_hides_is_not_taken_for_gone(shop: StubAws, life: FaultBench) -> None:
    """A process died in the middle of its look through the dead letters."""
    consumer(shop)
    life.inject("sqs_poison_message", queue="orders")
    sqs = shop.services["sqs"]
    assert len(sqs.take(sqs.queues["orders-dlq"], 10, 30.0)) == 1
    assert life.process().undo_all(life.open) == []
    assert ours_in(shop, "orders-dlq") == 0


@pytest.mark.parametrize("call", ["sqs:DeleteMessage", "sqs:ReceiveMessage"])
def test_a_look_that_fails_half_way_hides_nothing(shop: StubAws, life: FaultBench, call: str) -> None:
    consumer(shop)
    life.inject("sqs_poison_message", queue="orders")
    send_others(shop, "orders-dlq", 15)
    shop.fails(call, "AccessDeniedException", after=3 if call == "sqs:ReceiveMessage" else 0)
    assert len(life.lifecycle.undo_all()) == 1
    assert all(one.visible_at <= shop.clock.now for one in shop.services["sqs"].queues["orders-dlq"].messages)


LOST = ("InternalFailure", TIMEOUT)
"""Answers after which nobody knows whether SQS took the message."""


@pytest.mark.parametrize("answer", LOST)
def test_a_message_whose_answer_was_lost_is_there_twice_and_goes_twice(
    shop: StubAws, life: FaultBench, answer: str
) -> None:
    shop.fails("sqs:SendMessage", answer, times=1, done=True)
    consumer(shop)
    assert life.inject("sqs_poison_message", queue="orders", count=2) is FaultStage.EFFECTIVE
    assert ours_in(shop, "orders-dlq") == 3
    send_others(shop, "orders-dlq", 2)
    send_others(shop)
    assert life.lifecycle.undo_all() == []
    assert (ours_in(shop, "orders"), ours_in(shop, "orders-dlq")) == (0, 0)
    assert others_in(shop, "orders-dlq") == ["order 0", "order 1"]
    assert life.open == []


@pytest.mark.parametrize("answer", LOST)
def test_the_second_of_two_is_waited_for_by_whoever_undoes(shop: StubAws, life: FaultBench, answer: str) -> None:
    """The consumer had the second message for longer, and the process that sent both is dead."""
    shop.fails("sqs:SendMessage", answer, times=1, done=True)
    fault_is_in(life)
    first, _ = shop.services["sqs"].queues["orders"].messages
    first.receives = 3
    consumer(shop)
    assert life.process().undo_all(life.open) == []
    assert (ours_in(shop, "orders"), ours_in(shop, "orders-dlq")) == (0, 0)


def test_two_of_one_message_are_not_two_messages(shop: StubAws, life: FaultBench) -> None:
    """The effect is seen when each has arrived, not when as many have."""
    shop.fails("sqs:SendMessage", TIMEOUT, times=1, done=True)
    fault_is_in(life, count=2)
    sqs = shop.services["sqs"]
    dead, held = sqs.queues["orders-dlq"], sqs.queues["orders"].messages
    dead.messages += [held.pop(0), held.pop(0)]
    (entry,) = life.open
    fault = fault_class("sqs_poison_message").model_validate(entry.arguments)
    seen = fault.observe(Aws(life.target, entry.id), fault.state.model_validate(entry.prior))
    assert seen.in_dead_letter_queue == 1
    dead.messages.append(held.pop())
    seen = fault.observe(Aws(life.target, entry.id), fault.state.model_validate(entry.prior))
    assert seen == fault.broken(fault.state.model_validate(entry.prior))


def test_what_was_refused_is_sent_again_and_is_there_once(shop: StubAws, life: FaultBench) -> None:
    shop.fails("sqs:SendMessage", "RequestThrottled", times=2)
    consumer(shop)
    assert life.inject("sqs_poison_message", queue="orders") is FaultStage.EFFECTIVE
    send_others(shop)
    before = shop.clock.now
    assert life.lifecycle.undo_all() == []
    assert shop.clock.now - before < 5  # nobody waits for a second one
    assert life.ledger.spent(life.ledger.entries()[0].id, Spent.REPEATS) == 0


def test_what_cannot_be_written_down_is_not_sent_again(
    shop: StubAws, life: FaultBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise LedgerError("the disk is full")

    monkeypatch.setattr(life.ledger, "spend", full)
    shop.fails("sqs:SendMessage", TIMEOUT, times=1, done=True)
    with pytest.raises(TargetError):
        life.inject("sqs_poison_message", queue="orders")
    assert shop.asked.count("sqs:SendMessage") == 1

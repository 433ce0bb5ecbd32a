"""For how long Lambda hides messages, and which of them are no longer its own."""

from __future__ import annotations

import threading
import time

from tocsin.sandbox.services.awslambda.held_batch import HeldBatch, Message


def received(*names: str) -> list[Message]:
    return [{"id": name, "receipt_handle": f"{name}-1", "visible_at": time.time() + 0.2} for name in names]


def held(messages: list[Message]) -> HeldBatch:
    return HeldBatch(messages, {one["id"]: f"{one['id']}-1" for one in messages}, 60.0, threading.RLock())


def test_messages_are_hidden_from_now_on() -> None:
    messages = received("a", "b")
    batch = held(messages)
    for wall_s in (60.0, 1.0):
        before = time.time()
        batch.hide(wall_s)
        assert all(before + wall_s <= one["visible_at"] <= time.time() + wall_s for one in messages)


def test_a_message_that_somebody_else_received_is_left_alone() -> None:
    messages = received("mine", "theirs")
    messages[1] |= {"receipt_handle": "theirs-2", "visible_at": 7.0}
    held(messages).hide(60.0)
    assert messages[0]["visible_at"] > time.time() + 30
    assert messages[1]["visible_at"] == 7.0


def test_what_the_function_said_of_a_message_holds() -> None:
    messages = received("plain", "later")
    batch = held(messages)
    batch.hide(60.0)
    messages[1]["visible_at"] = later = time.time() + 900
    batch.hide(1.0)
    batch.hide(2.0)
    assert messages[1]["visible_at"] == later
    assert messages[0]["visible_at"] <= time.time() + 2

"""The end can be asked for at every step of a wait, also by a signal handler in the very thread that waits."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from tocsin.actors.context import StopRequest
from tocsin.errors import Interrupted, Refused

PATIENCE_S = 60.0


def interrupted(work: Callable[[], object], at_step: int, handler: Callable[[], object]) -> bool:
    """Do it in this thread, and before step `at_step` of it call the handler there, as a signal would; if it came."""
    steps = 0

    def step(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal steps
        frame.f_trace_opcodes = True
        steps += 1
        if steps == at_step:
            sys.settrace(None)  # so that it is interrupted once
            handler()
        return step

    sys.settrace(step)
    try:
        work()
    finally:
        sys.settrace(None)
    return steps >= at_step


def each_step(work: Callable[[StopRequest], object], again: Callable[[StopRequest], object]) -> int:
    """Interrupt it at every step in turn; at how many it was. Each time the end is asked for in the end."""
    done: list[int] = []

    def all_steps() -> None:
        reached = True
        while reached:
            stop = StopRequest()
            reached = interrupted(lambda: work(stop), len(done) + 1, lambda: again(stop))  # noqa: B023
            if reached:
                with pytest.raises(Refused, match=r"SIGTERM|SIGINT"):
                    stop.wait(PATIENCE_S)
                done.append(1)

    thread = threading.Thread(target=all_steps, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), f"interrupted before step {len(done) + 1}, it never came back"
    return len(done)


def ask(stop: StopRequest, name: str = "SIGTERM") -> None:
    stop.ask(Interrupted(name))


def wait_a_moment(stop: StopRequest) -> None:
    try:
        stop.wait(0.001)
    except Refused:
        assert stop.is_set()


def test_a_signal_before_any_step_of_a_wait_is_heard() -> None:
    assert each_step(wait_a_moment, ask) > 10


def test_a_second_signal_before_any_step_of_the_first_changes_nothing() -> None:
    assert each_step(ask, lambda stop: ask(stop, "SIGINT")) > 10


def test_everybody_who_waits_is_woken() -> None:
    stop, woken = StopRequest(), threading.Semaphore(0)

    def wait() -> None:
        with pytest.raises(Refused, match="SIGTERM"):
            stop.wait(PATIENCE_S)
        woken.release()

    for _ in range(5):
        threading.Thread(target=wait, daemon=True).start()
    ask(stop)
    assert all(woken.acquire(timeout=PATIENCE_S / 2) for _ in range(5))


def test_the_first_reason_is_kept_and_its_moment() -> None:
    stop = StopRequest()
    assert (stop.is_set(), stop.reason, stop.asked_at) == (False, None, None)
    stop.wait(0.0)
    ask(stop)
    at = stop.asked_at
    ask(stop, "SIGINT")
    assert "SIGTERM" in str(stop.reason)
    assert stop.asked_at == at

"""Displays beside what is done: they show in order, and neither their failures nor their silence reach anybody."""

from __future__ import annotations

import io
import threading

import pytest

from tocsin.commands.console import PlainConsole
from tocsin.commands.streams import Aside


def test_all_is_shown_in_order_before_it_is_closed() -> None:
    shown: list[int] = []
    aside = Aside(shown.append)
    for number in range(100):
        aside.see(number)
    aside.close(60)
    assert shown == list(range(100))


def test_a_display_that_hangs_delays_nobody() -> None:
    read, begun = threading.Event(), threading.Event()

    def show(number: int) -> None:
        begun.set()
        read.wait(60)

    aside = Aside(show)
    for number in range(3):
        aside.see(number)
    assert begun.wait(60)
    aside.close(0.1)
    assert not read.is_set()
    read.set()


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), SystemExit(1), UnicodeError("é")])
def test_the_first_failure_switches_it_off(error: BaseException) -> None:
    seen: list[int] = []

    def show(number: int) -> None:
        seen.append(number)
        raise error

    aside = Aside(show)
    for number in range(3):
        aside.see(number)
    aside.close(60)
    assert seen == [0]


class _Gone(io.StringIO):
    """What `| head` leaves behind."""

    def flush(self) -> None:
        raise BrokenPipeError


def test_who_stops_to_read_a_table_is_no_code_that_ends_the_process() -> None:
    with pytest.raises(BrokenPipeError):
        PlainConsole(file=_Gone()).print("a row")

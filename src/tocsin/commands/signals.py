"""What a signal does to a command, from its first moment to its last.

Before anything was begun it ends the command. While a drill runs it asks for the end. Once the exit code is known it
does nothing: what a script reads afterwards is the verdict, whoever was impatient.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from tocsin.commands.heard import Heard, heard_at_once
from tocsin.errors import Interrupted

if TYPE_CHECKING:
    from tocsin.actors.context import StopRequest

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Answer = Callable[[int, FrameType | None], object]


@contextmanager
def process_of_a_command() -> Iterator[None]:
    """For a process that is one command: a signal ends it with the exit code 4, or with the one that it has by then.

    To be left when nothing is left to be done: from then on signals are ignored, also by an interpreter that ends.

    Raises:
        KeyboardInterrupt: one came. Those that follow change nothing: what was begun is put in order meanwhile.
    """
    for number in _heard():
        signal.signal(number, _end)
    hook, sys.unraisablehook = sys.unraisablehook, _told_later
    try:
        yield
    finally:
        settle()
        sys.unraisablehook = hook


def settle() -> None:
    """The exit code is known: where the process is that of a command, signals are ignored from now on."""
    for number in SIGNALS:
        if signal.getsignal(number) in (_end, _already):
            signal.signal(number, signal.SIG_IGN)


def _told_later(lost: sys.UnraisableHookArgs) -> None:
    """Python has nobody to raise it to, as in a callback of the garbage collector. One of a signal is raised again."""
    if not isinstance(lost.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(lost)


def _end(number: int, frame: FrameType | None) -> None:
    for other in SIGNALS:
        if signal.getsignal(other) is _end:
            signal.signal(other, _already)
    raise KeyboardInterrupt


def _already(number: int, frame: FrameType | None) -> None:
    """The end is on its way."""


@contextmanager
def signals_to(stop: StopRequest) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP ask for the end; the drill undoes what it did and reports.

    They are heard at once, also while the main thread is busy in C. A second signal changes nothing: the undo is
    already on its way and must not be cut short. Afterwards the exit code is known: see `settle`.
    """
    heard: Heard | None = None

    def came(number: int, at: float) -> None:
        if number in SIGNALS:
            stop.ask(Interrupted(signal.Signals(number).name), at)

    def ask(number: int, frame: FrameType | None) -> None:
        at = heard.first(number) if heard is not None else None
        stop.ask(Interrupted(signal.Signals(number).name), at)

    with _answered_by(ask, at_last=True), heard_at_once(came) as found:
        heard = found
        yield


@contextmanager
def signals_that_end() -> Iterator[None]:
    """As long as nothing was started there is nothing to undo: each of the signals ends the command at once.

    Raises:
        KeyboardInterrupt: one came; at the latest now, where Python lost the one that was raised (`_told_later`).
    """
    came = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    with _answered_by(end):
        yield
    if came:
        raise KeyboardInterrupt


@contextmanager
def no_hangup() -> Iterator[None]:
    """A terminal that is closed ends neither an undo nor a stop: `recover` and `stop` go on without it.

    Afterwards, too, where the process is that of a command: what was done is done, and its exit code is that of it.
    """
    before = signal.signal(signal.SIGHUP, _already)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if before in (_end, _already) else before)


@contextmanager
def _answered_by(answer: Answer, *, at_last: bool = False) -> Iterator[None]:
    """`at_last`: where the process is that of a command, signals are ignored afterwards, without a gap.

    Raises:
        KeyboardInterrupt: one came before, and Python lost it.
    """
    before = {number: signal.signal(number, answer) for number in _heard()}
    try:
        if before[signal.SIGINT] is _already:
            raise KeyboardInterrupt
        yield
    finally:
        for number, earlier in before.items():
            ends = at_last and earlier in (_end, _already)
            signal.signal(number, signal.SIG_IGN if ends else earlier)


def _heard() -> tuple[signal.Signals, ...]:
    """All of them; whoever began us with `nohup` wants a drill to outlive the terminal."""
    deaf = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(number for number in SIGNALS if not (deaf and number is signal.SIGHUP))

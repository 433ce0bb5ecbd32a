"""Asking again: a read that was not answered is no answer, and whoever waits for one has time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tocsin.errors import Unavailable

Answer = TypeVar("Answer")

_PAUSE_WALL_S = 0.25
"""botocore has waited for longer between its own three attempts."""


def asked_again(
    question: Callable[[], Answer], within_wall_s: float, wait: Callable[[float], None] = time.sleep
) -> Answer:
    """The answer to a question that only reads, asked until it is answered or `within_wall_s` seconds are over.

    Raises:
        Unavailable: it was not answered to the end.
        TargetError: it was, with a no.
    """
    deadline = time.monotonic() + within_wall_s
    while True:
        try:
            return question()
        except Unavailable:
            if time.monotonic() >= deadline:
                raise
        wait(_PAUSE_WALL_S)

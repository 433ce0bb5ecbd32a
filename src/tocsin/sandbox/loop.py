"""From a thread of a request into the event loop: ministack answers some services in threads, the plant has none."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_ANSWER_WITHIN_S = 20.0


class InLoop:
    """Runs functions in the event loop in which it was made, and waits for them, from whatever thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def __call__(self, act: Callable[[], T]) -> T:
        """What `act` returns or raises."""
        if threading.get_ident() == self._thread:
            return act()
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                done.set_result(act())
            except Exception as error:  # raised again where the answer is waited for
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(_ANSWER_WITHIN_S)

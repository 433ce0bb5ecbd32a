"""Seconds of a processor that processes take, also those that end meanwhile and those that nobody waits for."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence

import psutil

LOOK_EVERY_S = 0.2
"""What lives shorter is not seen, and what a process does after the last look at it is not counted."""
NAMES = {
    "tocsin.sandbox.daemon": "daemon",
    "awslambda.zygote": "Lambda",
    "tocsin.actors.contract": "contract",
    "locust": "load",
    "postgres": "PostgreSQL",
    "/tocsin": "command",
}
"""A part of the command line, and what it is called."""


class Processors:
    """Counts, from `with` to its end, what this process's children and the processes of `beside` take, with theirs."""

    def __init__(self, beside: Sequence[int] = ()) -> None:
        self._roots = (os.getpid(), *beside)
        self._first: dict[tuple[int, float], float] = {}
        self._last: dict[tuple[int, float], tuple[str, float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Processors:
        """Begin: what is there by now has taken what it took before."""
        for key, _, taken in self._look():
            self._first[key] = taken
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    @property
    def taken(self) -> dict[str, float]:
        """Seconds by what the processes are called, the most first."""
        found: dict[str, float] = {}
        for key, (name, taken) in list(self._last.items()):
            found[name] = found.get(name, 0.0) + taken - self._first.get(key, 0.0)
        return dict(sorted(found.items(), key=lambda one: -one[1]))

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            for key, name, taken in self._look():
                self._last[key] = name, taken

    def _look(self) -> Iterator[tuple[tuple[int, float], str, float]]:
        for process in self._below():
            try:
                with process.oneshot():
                    used = process.cpu_times()
                    name = _called(" ".join(process.cmdline()))
                    yield (process.pid, process.create_time()), name, used.user + used.system
            except psutil.Error:
                continue  # it ended while we looked

    def _below(self) -> Iterator[psutil.Process]:
        for pid in self._roots:
            try:
                root = psutil.Process(pid)
                yield from root.children(recursive=True)
                if pid != os.getpid():
                    yield root
            except psutil.Error:
                continue


def _called(line: str) -> str:
    return next((name for part, name in NAMES.items() if part in line), "other")

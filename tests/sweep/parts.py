"""A long sweep in several processes, each with a sandbox of its own.

A module beside `__main__`: a process that is spawned imports what it runs by name.
"""

from __future__ import annotations

import multiprocessing
import queue
import random
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.sweep.harness import Shot, aims, ends, shooting_range, sweep, with_ends

from tocsin.faults.registry import FAULTS

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

    Told = Queue[Shot | None]


def in_parts(kills: int, seed: int, jobs: int, tell: Callable[[int, Shot], object]) -> list[Shot]:
    """The shots of all parts, each told by its number when it is there; fewer when they were stopped.

    Args:
        kills: how many in all.
        seed: of the first part; the next one has the next.
        jobs: so many parts at once.
        tell: hears the number of a shot and the shot.
    """
    context = multiprocessing.get_context("spawn")
    told: Told = context.Queue()
    shares = [kills // jobs + (part < kills % jobs) for part in range(jobs)]
    parts = [context.Process(target=_part, args=(share, seed + part, told)) for part, share in enumerate(shares)]

    def stop(number: int, frame: object) -> None:
        print("stopped: the parts end", flush=True)
        for part in filter(BaseProcess.is_alive, parts):
            part.terminate()

    for part in parts:
        part.start()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    shots: list[Shot] = []
    for shot in _told(parts, told):
        shots.append(shot)
        tell(len(shots), shot)
    for part in parts:
        part.join()
    return shots


def _told(parts: Sequence[BaseProcess], told: Told) -> Iterator[Shot]:
    """Shot by shot, until every part has said that it ended, or is dead."""
    ended = 0
    while ended < len(parts):
        try:
            shot = told.get(timeout=1)
        except queue.Empty:
            if not any(part.is_alive() for part in parts):
                return
            continue
        if shot is None:
            ended += 1
        else:
            yield shot


def _part(kills: int, seed: int, told: Told) -> None:
    """In a process of its own: a sandbox, and some of the shots; None when it has ended."""
    # Ctrl-C goes to every process of a terminal: the first one asks the parts for their end, as SIGTERM does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory(prefix="tocsin-sweep-") as root,
        shooting_range(Path(root)) as shooting,
    ):
        rng = random.Random(seed)
        chosen = with_ends(aims(shooting, FAULTS, rng), ends(FAULTS, rng))
        for shot in sweep(shooting, islice(chosen, kills)):
            told.put(shot)
    told.put(None)

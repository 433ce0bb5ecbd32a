"""The append-only record of a drill: one typed event a line, the only source of verdicts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from tocsin.errors import HistoryError
from tocsin.masking import mask_all
from tocsin.model.chain import FIRST, SEAL, hash_of, linked
from tocsin.model.events import EVENT, ActorDied, Event


class Recorder(Protocol):
    """Whoever does or watches something writes what happened here, and nowhere else."""

    def record(self, event: Event) -> None:
        """Append one event."""


Listener = Callable[[Event], object]


class History:
    """Writes `history.jsonl`: every event is flushed at once, so a killed drill keeps what it saw.

    What a system repeats of a token in its answers is not kept: see `masking`. Each line carries the hash of the one
    before, and the last one closes the file: see `tocsin.model.chain`.

    Safe to use from several threads. Whoever listens is told after the line is written. Telling never raises into
    doing: the first failure of a listener, whatever it raises, switches it off.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.Lock()
        self._file = path.open("a", encoding="utf-8")
        self._head = _last_hash(path)
        self._listeners: dict[Listener, str | None] = {}
        self._failure: HistoryError | None = None
        self._doing_without = False

    def listen(self, listener: Listener, name: str) -> None:
        """Call `listener` with every event from now on, in the thread that records it.

        The drill works with what it hears: should it fail, the history tells that the actor `name` died.
        """
        self._listeners[listener] = name

    def show(self, display: Listener) -> None:
        """Call `display` with every event, too; whether it can show it is nobody's concern but the reader's."""
        self._listeners[display] = None

    def record(self, event: Event) -> None:
        """Append one event and flush it.

        Raises:
            HistoryError: the disk is full, or the file cannot be written; not after `do_without`.
        """
        event, line = _masked(event)
        self._write(line)
        for listener, name in list(self._listeners.items()):
            try:
                listener(event)
            except BaseException as error:  # also SystemExit, by which a library answers a terminal that is gone
                self._listeners.pop(listener, None)
                if name is not None:
                    detail = f"{type(error).__name__}: {error}"
                    self.record(ActorDied(at=time.time(), actor=name, detail=detail))

    def _write(self, line: str) -> None:
        with self._lock:
            if self._file.closed or (self._doing_without and self._failure):
                return
            try:
                self._append(line)
            except OSError as error:
                self._failure = HistoryError(
                    f"expected to write the history {self.path}, found: {error}. Mend the disk, then drill again."
                )
                if not self._doing_without:
                    raise self._failure from error

    def _append(self, event: str) -> None:
        line = linked(event, self._head)
        # Before it is written: what cannot be written now stays in the buffer, and is tried again with the next one.
        self._head = hash_of(line)
        self._file.write(line + "\n")
        self._file.flush()

    def do_without(self) -> None:
        """From now on something is being put back, and goes on also where it cannot be written down."""
        self._doing_without = True

    def check(self) -> None:
        """Ask whether everything was written.

        Raises:
            HistoryError: it was not; a verdict would rest on half of what happened.
        """
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Close the file; later events are ignored (an actor that outlives the drill has nothing to add)."""
        # What could not be written has been said by `record`; closing tries it again.
        with self._lock, suppress(OSError):
            if not self._file.closed:
                with suppress(OSError):
                    self._append(SEAL)
                self._file.close()


def _last_hash(path: Path) -> str:
    """Of the last whole line of a history that is written on; that of no line for a new one."""
    if not path.is_file():
        return FIRST
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return hash_of(lines[-1]) if lines else FIRST


def _masked(event: Event) -> tuple[Event, str]:
    """The event as it may be kept and shown, and its line.

    Texts are looked at one by one and before they are written as JSON: what is replaced in a line could end a text.
    """
    told = EVENT.dump_python(event, mode="json", by_alias=True)
    hidden = mask_all(told)
    if hidden == told:
        return event, EVENT.dump_json(event, by_alias=True, exclude_defaults=False).decode()
    event = _valid(hidden, told)
    return event, EVENT.dump_json(event, by_alias=True, exclude_defaults=False).decode()


def _valid(hidden: Any, told: Any) -> Event:
    """The event of masked values. Where a value must be one of our own words, it is shown: a secret that is the same
    word is none."""
    for whole in (False, True):
        try:
            return EVENT.validate_python(hidden)
        except ValidationError as error:
            for problem in error.errors():
                # The first part is the kind of the event.
                place = problem["loc"][1:2] if whole else problem["loc"][1:]
                _put_back(hidden, told, place)
    return EVENT.validate_python(hidden)


def _put_back(hidden: Any, told: Any, place: Sequence[int | str]) -> None:
    """Let `hidden` be at a place what `told` is; parts of the place that only models know are passed over."""
    for part in place:
        below = told.get(part) if isinstance(told, dict) else told[part] if isinstance(part, int) else None
        if isinstance(below, dict | list):
            hidden, told = hidden[part], below
        elif below is not None:
            hidden[part] = below

"""The append-only record of a drill: one typed event a line, the only source of verdicts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from tocsin.errors import HistoryError, InvalidInput
from tocsin.masking import mask, mask_all
from tocsin.model.events import EVENT, Event


class Recorder(Protocol):
    """Whoever does or watches something writes what happened here, and nowhere else."""

    def record(self, event: Event) -> None:
        """Append one event."""


class History:
    """Writes `history.jsonl`: every event is flushed at once, so a killed drill keeps what it saw.

    What a system repeats of a token in its answers is not kept: see `masking`.

    Safe to use from several threads. Listeners (progress on the terminal) are told after the line is written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.Lock()
        self._file = path.open("a", encoding="utf-8")
        self._listeners: list[Callable[[Event], None]] = []

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every event from now on, in the thread that records it."""
        self._listeners.append(listener)

    def record(self, event: Event) -> None:
        """Append one event and flush it.

        Raises:
            HistoryError: the disk is full, or the file cannot be written.
        """
        event, line = _masked(event)
        with self._lock:
            if self._file.closed:
                return
            try:
                self._file.write(line + "\n")
                self._file.flush()
            except OSError as error:
                raise HistoryError(
                    f"expected to write the history {self.path}, found: {error}. Mend the disk, then drill again."
                ) from error
        for listener in self._listeners:
            listener(event)

    def close(self) -> None:
        """Close the file; later events are ignored (an actor that outlives the drill has nothing to add)."""
        # What could not be written has been said by `record`; closing tries it again.
        with self._lock, suppress(OSError):
            self._file.close()


def _masked(event: Event) -> tuple[Event, str]:
    """The event as it may be kept and shown, and its line."""
    line = EVENT.dump_json(event, by_alias=True, exclude_defaults=False).decode()
    if mask(line) == line:
        return event, line
    hidden = EVENT.validate_python(mask_all(EVENT.dump_python(event, mode="json", by_alias=True)))
    return hidden, EVENT.dump_json(hidden, by_alias=True, exclude_defaults=False).decode()


def read_history(path: Path) -> list[Event]:
    """All events of a history, in the order of their time.

    A last line without its end (the writer was killed in the middle) is left out.

    Raises:
        InvalidInput: the file is missing, or a whole line is not an event.
    """
    if not path.is_file():
        raise InvalidInput("expected a history file, found none. Give the directory of a run.", file=path)
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    complete = lines[:-1]
    events = [_read_line(line, path, number) for number, line in enumerate(complete, start=1) if line.strip()]
    return sorted(events, key=lambda event: event.at)


def _read_line(line: str, path: Path, number: int) -> Event:
    try:
        return EVENT.validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInput(
            f"expected an event of a drill, found a line that is none ({first['msg']}). "
            "The file was changed, or written by a newer Tocsin.",
            file=path,
            line=number,
        ) from None


def write_history(path: Path, events: Sequence[Event]) -> None:
    """Write a whole history at once: for tests and for tools that cut one."""
    history = History(path)
    for event in events:
        history.record(event)
    history.close()

"""What a drill wrote about itself, read again: it comes in as any file does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from tocsin.errors import InvalidInput
from tocsin.model.chain import Chain
from tocsin.model.events import EVENT, DrillEnded, DrillStarted, Event, HistoryBroken
from tocsin.project.text import is_file, read_lines

_READ: Callable[[str], Event] = EVENT.validator.validate_json
"""What `EVENT.validate_json` calls: of a million lines the way there is a second."""


def read_history(path: Path) -> list[Event]:
    """All events of a history, in the order of their time, `HistoryBroken` last; otherwise as `stream_history`."""
    return sorted(stream_history(path), key=lambda event: event.at)


def stream_history(path: Path) -> Iterator[Event]:
    """All events of a history, one by one in the order of its lines: a day of them is more than a memory should hold.

    A last line without its end (the writer was killed in the middle) is left out. Lines that a tool made end as on
    Windows are read without that: they say the same. Where the lines are not those that the drill wrote
    (`tocsin.model.chain`), `HistoryBroken` comes last and says so.

    Raises:
        InvalidInput: the file is missing or cannot be read, or a whole line is not an event.
    """
    if not is_file(path):
        raise InvalidInput("expected a history file, found none. Give the directory of a run.", file=path)
    chain, last, promised, ended = Chain(), float("-inf"), False, False
    for number, line in read_lines(path):
        text = line.removesuffix("\r")
        written = chain.follow(number, text) if text.strip() else None
        if written is None:
            continue
        event = _event(written, path, number)
        if event.at > last:
            last = event.at
        promised = promised or (isinstance(event, DrillStarted) and bool(event.linked))
        ended = ended or isinstance(event, DrillEnded)
        yield event
    broken = chain.broken(promised=promised, ended=ended)
    if broken is not None and last > float("-inf"):
        yield HistoryBroken(at=last, detail=broken)


def _event(line: str, path: Path, number: int) -> Event:
    try:
        event = _READ(line)
        if not isinstance(event, HistoryBroken):
            return event
        found = "a line that only a reader makes"
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        found = f"a line that is none ({where and f'{where}: '}{first['msg']})"
    raise InvalidInput(
        f"expected an event of a drill, found {found}. The file was changed, or written by a newer Tocsin.",
        file=path,
        line=number,
    )

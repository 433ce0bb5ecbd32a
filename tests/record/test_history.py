"""Telling never raises into doing: who listens to a history may fail, and the history itself may not be writable."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin.errors import HistoryError
from tocsin.model.events import ActorDied, Event, Stopped
from tocsin.project.histories import read_history
from tocsin.record.history import History

LINE = Stopped(at=1.0, guard="test", detail="one")


class Failing:
    """A listener that fails at its first event."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.calls = 0

    def see(self, event: Event) -> None:
        self.calls += 1
        raise self.error


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), SystemExit(1), KeyboardInterrupt(), UnicodeError("é"), ValueError("x")]
)
def test_the_first_failure_of_a_display_switches_it_off(tmp_path: Path, error: BaseException) -> None:
    history, display, heard = History(tmp_path / "history.jsonl"), Failing(error), list[Event]()
    history.show(display.see)
    history.show(heard.append)
    for _ in range(3):
        history.record(LINE)
    history.close()
    assert display.calls == 1
    assert heard == [LINE] * 3
    assert (tmp_path / "history.jsonl").read_text().count('"stopped"') == 3


def test_a_listener_that_the_drill_works_with_is_told_when_it_fails(tmp_path: Path) -> None:
    history, view, heard = History(tmp_path / "history.jsonl"), Failing(ValueError("lost")), list[Event]()
    history.show(heard.append)
    history.listen(view.see, "view")
    history.record(LINE)
    history.record(LINE)
    history.close()
    (died,) = (event for event in heard if isinstance(event, ActorDied))
    assert (died.actor, died.detail) == ("view", "ValueError: lost")
    assert view.calls == 1


def full(tmp_path: Path) -> History:
    """A history on a device that has no room."""
    path = tmp_path / "history.jsonl"
    path.symlink_to("/dev/full")
    return History(path)


needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


@needs_full
def test_a_history_that_cannot_be_written_ends_what_is_being_judged(tmp_path: Path) -> None:
    history = full(tmp_path)
    with pytest.raises(HistoryError, match="No space left"):
        history.record(LINE)


@needs_full
def test_a_history_that_cannot_be_written_does_not_end_the_way_back(tmp_path: Path) -> None:
    history, heard = full(tmp_path), list[Event]()
    history.show(heard.append)
    history.do_without()
    history.record(LINE)
    history.record(LINE)
    assert heard == [LINE, LINE]
    with pytest.raises(HistoryError, match="No space left"):
        history.check()


def test_a_whole_history_is_checked_well(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.record(LINE)
    history.do_without()
    history.check()
    history.close()
    assert read_history(tmp_path / "history.jsonl") == [LINE]

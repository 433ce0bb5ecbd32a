"""No actor dies silently, however it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin.actors.base import ThreadActor
from tocsin.history import History, read_history
from tocsin.model.events import ActorDied

from .conftest import wait_for


class Stumbling(ThreadActor):
    """Raises what it was given."""

    def __init__(self, history: History, error: BaseException) -> None:
        super().__init__("stumbling", history)
        self._error = error

    def run(self) -> None:
        raise self._error


@pytest.mark.parametrize("error", [ValueError("cannot read this"), SystemExit(0)], ids=["an error", "sys.exit"])
def test_whatever_ends_an_actor_is_recorded(tmp_path: Path, error: BaseException) -> None:
    history = History(tmp_path / "history.jsonl")
    actor = Stumbling(history, error)
    actor.start()
    wait_for("the last word", lambda: bool(read_history(history.path)))
    actor.stop()
    history.close()
    (died,) = [event for event in read_history(history.path) if isinstance(event, ActorDied)]
    assert (died.actor, died.detail) == ("stumbling", f"{type(error).__name__}: {error}")

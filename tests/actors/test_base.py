"""No actor dies silently, however it ends."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pytest

from tocsin.actors.base import Child, ThreadActor
from tocsin.masking import HIDDEN, KNOWN
from tocsin.model.events import ActorDied
from tocsin.project.histories import read_history
from tocsin.record.history import History

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


def test_a_secret_that_a_child_prints_in_several_lines_is_in_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.actors.base._LOGGED_WITHIN_S", 60.0)
    value = " ".join(f"plum-velvet-{number}" for number in range(20))
    KNOWN.learn(value)
    coded = base64.encodebytes(value.encode()).decode()
    script = f"for line in {coded.splitlines()!r}: print(line, flush=True)\nprint('and more')"
    child = Child([sys.executable, "-c", script], cwd=tmp_path, log=tmp_path / "child.log", env={})
    assert child.wait(60) == 0
    child.stop()
    assert child.log.read_text() == f"{HIDDEN}\nand more\n"

"""A history that is not as the drill wrote it says so; one that a killed writer left, or an older version, is read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.checkers.histories import add, passing, rechained, tweak, write_history

from tocsin.checkers import judge
from tocsin.errors import InvalidInput
from tocsin.model.chain import unlinked
from tocsin.model.events import DrillStarted, Event, HistoryBroken, Stopped
from tocsin.model.verdict import Outcome, Reason, Verdict
from tocsin.project.histories import read_history
from tocsin.record.history import History
from tocsin.report.page import drill_page

Spoil = Callable[[list[str]], list[str]]


def recorded(path: Path) -> Path:
    """A drill that passed, as a drill writes it today."""
    write_history(path, tweak(passing(), lambda event: isinstance(event, DrillStarted), linked=True))
    return path


def broken(path: Path) -> str | None:
    found = [event for event in read_history(path) if isinstance(event, HistoryBroken)]
    return found[0].detail if found else None


def verdict_on(path: Path) -> Verdict:
    return judge(read_history(path))


@pytest.fixture
def history(tmp_path: Path) -> Path:
    return recorded(tmp_path / "history.jsonl")


def middle(lines: list[str]) -> int:
    return len(lines) // 2


def edited(lines: list[str]) -> list[str]:
    at = next(index for index, line in enumerate(lines) if '"alarm_changed"' in line)
    return [*lines[:at], lines[at].replace("Threshold Crossed", "Threshold crossed"), *lines[at + 1 :]]


SPOILT: dict[str, Spoil] = {
    "a line was changed": edited,
    "a line was taken out": lambda lines: [*lines[: middle(lines)], *lines[middle(lines) + 1 :]],
    "two lines changed places": lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]],
    "a line was put in": lambda lines: [*lines[: middle(lines)], lines[middle(lines) - 1], *lines[middle(lines) :]],
    "a line without a hash was put in": lambda lines: [*lines[:4], unlinked(lines[2])[1], *lines[4:]],
    "a line was put at the end": lambda lines: [*lines, lines[-2]],
    "the last event was changed": lambda lines: [*lines[:-2], lines[-2].replace("179", "180"), lines[-1]],
    "the end was changed and cut": lambda lines: lines[:-1],
    "all hashes were taken away": lambda lines: [unlinked(line)[1] for line in lines[:-1]],
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_history_that_was_spoilt_is_never_a_pass_and_says_so(history: Path, spoil: Spoil, tmp_path: Path) -> None:
    assert verdict_on(history).outcome is Outcome.PASS
    spoilt = tmp_path / "spoilt.jsonl"
    spoilt.write_text("".join(f"{line}\n" for line in spoil(history.read_text().splitlines())))
    assert spoilt.read_text() != history.read_text()
    verdict = verdict_on(spoilt)
    (found,) = [judgement for judgement in verdict.judgements if judgement.id == "history"]
    assert (verdict.outcome, found.reason) == (Outcome.UNKNOWN, Reason.HISTORY_BROKEN)
    assert found.message == broken(spoilt)
    assert found.message in drill_page(read_history(spoilt), verdict)


def test_where_a_history_was_changed_is_told(history: Path) -> None:
    lines = history.read_text().splitlines()
    at = lines.index(next(line for line in edited(lines) if line not in lines).replace("crossed", "Crossed")) + 1
    history.write_text("".join(f"{line}\n" for line in edited(lines)))
    assert (broken(history) or "").startswith(f"line {at + 1} does not follow the one before it")


def test_a_history_that_is_chained_anew_is_whole(history: Path) -> None:
    lines = history.read_text().splitlines()
    history.write_text("".join(f"{line}\n" for line in edited(lines)))
    rechained(history)
    assert broken(history) is None


def test_a_history_whose_lines_end_as_on_windows_says_the_same(history: Path, tmp_path: Path) -> None:
    events = read_history(history)
    windows = tmp_path / "windows.jsonl"
    windows.write_bytes(history.read_bytes().replace(b"\n", b"\r\n"))
    assert read_history(windows) == events
    lines = edited(history.read_text().splitlines())
    windows.write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    assert broken(windows) is not None


@pytest.mark.parametrize("share", [0.2, 0.5, 0.97])
def test_what_a_killed_writer_left_is_cut_and_not_broken(history: Path, share: float) -> None:
    whole = history.read_text()
    history.write_text(whole[: round(len(whole) * share)])
    assert broken(history) is None
    judgements = {one.id: one.reason for one in verdict_on(history).judgements}
    assert judgements["drill"] is Reason.WINDOW_CUT
    assert "history" not in judgements


def test_a_history_of_an_older_version_is_read_and_labelled(tmp_path: Path) -> None:
    old = tmp_path / "history.jsonl"
    write_history(old, passing())
    old.write_text("".join(f"{unlinked(line)[1]}\n" for line in old.read_text().splitlines()[:-1]))
    events = read_history(old)
    assert events == passing()
    assert judge(events).outcome is Outcome.PASS
    assert "by an older version, whose lines carry no hashes" in drill_page(events, judge(events))


def test_lines_of_many_threads_hang_together(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")

    def write(who: int) -> None:
        for count in range(50):
            history.record(Stopped(at=1.0, guard=str(who), detail=str(count)))

    threads = [threading.Thread(target=write, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history.close()
    history.close()
    assert len(read_history(history.path)) == 400, "all of them, and nothing is broken"


def test_a_history_that_is_written_on_hangs_together(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    first = History(path)
    first.record(Stopped(at=1.0, guard="a", detail="é"))
    second = History(path)
    second.record(Stopped(at=2.0, guard="b", detail=""))
    second.close()
    assert len(read_history(path)) == 2
    first.close()


def test_what_only_a_reader_makes_is_no_line(history: Path) -> None:
    lie = HistoryBroken(at=1.0, detail="not at all").model_dump_json()
    history.write_text(f"{lie}\n{history.read_text()}")
    with pytest.raises(InvalidInput, match="a line that only a reader makes"):
        read_history(history)


def test_a_drill_that_was_refused_says_so_too() -> None:
    refused: list[Event] = [event for event in passing() if isinstance(event, DrillStarted)]
    refused = add(refused, Stopped(at=refused[0].at + 1, guard="identity", detail="somebody else's account"))
    verdict = judge([*refused, HistoryBroken(at=refused[-1].at, detail="line 2 ...")])
    assert {one.id for one in verdict.judgements} == {"guard:identity", "history"}

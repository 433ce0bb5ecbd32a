"""A run knows its plan: what did not run is told in every output, however the run ended.

Real processes and real signals. The drills are histories made by hand where a whole drill is not what is asked about.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.checkers.histories import Scene, write_history
from tests.commands.conftest import EXPERIMENT, Folder

from tocsin.commands import run
from tocsin.commands.planned import PLAN
from tocsin.drill.options import RunOptions
from tocsin.errors import HistoryError, Interrupted
from tocsin.model.verdict import RunVerdict
from tocsin.project.places import kept_runs

ROOT = Path(__file__).parents[2]
PATIENCE_S = 100
CHILD = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.checkers.histories import Scene, write_history
from tocsin.cli import main
from tocsin.commands import run
from tocsin.project.histories import read_history

def drill(plan, target, options, out, first=None):
    slug = plan.loaded.experiment.slug
    write_history(out / slug / run.HISTORY, Scene(slug=slug).history())
    os.kill(os.getpid(), signal.Signals[sys.argv[1]])
    return read_history(out / slug / run.HISTORY), out / slug

run._run_one = drill
main(sys.argv[2:])
"""
"""`tocsin` whose drills pass, and get a signal at their end."""


@pytest.fixture
def two(folder: Folder) -> Folder:
    """Two experiments that can be run, in their order."""
    (folder.root / "experiments" / "shop" / "lost.yaml").unlink()
    for name in ("first", "second"):
        (folder.root / "experiments" / "shop" / f"{name}.yaml").write_text(
            EXPERIMENT.replace("SYSTEM", "shop").replace("Nothing", name.capitalize())
        )
    (folder.root / "experiments" / "shop" / "nothing.yaml").unlink()
    return folder


def signalled(two: Folder, name: str) -> subprocess.CompletedProcess[str]:
    return two.warm("-c", CHILD, name, "run", "experiments", "--target", "staging", "--out", "out")


def verdict_of(directory: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((directory / "verdict.json").read_text())
    return told


def is_told(directory: Path, answer: subprocess.CompletedProcess[str], why: str) -> None:
    """The second drill did not run, and every output says so."""
    first, second = verdict_of(directory)["drills"]
    assert (first["outcome"], second["outcome"], second["stopped"]) == ("pass", "unknown", "interrupted")
    (judgement,) = second["judgements"]
    assert (judgement["outcome"], judgement["reason"]) == ("unknown", "interrupted")
    assert judgement["message"].startswith("not run: ")
    assert why in judgement["message"]
    assert answer.returncode == verdict_of(directory)["exit_code"] == 4
    suite = ElementTree.parse(directory / "junit.xml").getroot().findall("testsuite")[1]
    error = suite.find("testcase/error")
    assert error is not None
    assert (suite.get("name"), error.get("type")) == ("shop.second", "interrupted")
    summary = (directory / "summary.md").read_text()
    assert "2 drills: 1 pass, 1 not run." in summary
    assert "second/report.html" not in summary
    page = (directory / "index.html").read_text()
    assert "Not run" in page
    assert "first/report.html" in page
    assert "second/report.html" not in page
    assert "UNKNOWN  Second" in answer.stdout
    assert "verdict   unknown  (exit code 4)" in answer.stdout
    assert f"{directory / 'first' / 'report.html'}" in answer.stdout
    assert "second/report.html" not in answer.stdout


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_between_two_drills_leaves_the_second_unknown(two: Folder, name: str) -> None:
    answer = signalled(two, name)
    is_told(two.root / "out", answer, f"stopped by {name}")
    planned = json.loads((two.root / "out" / PLAN).read_text())
    assert [drill["experiment"] for drill in planned["drills"]] == ["first", "second"]
    assert kept_runs(two.root) == [two.root / "out"]
    is_told(two.root / "out", two.tocsin("report", "out"), "there is no history of it")


def test_without_a_signal_both_are_run(two: Folder) -> None:
    answer = signalled(two, "SIGCONT")
    assert answer.returncode == 0
    assert [drill["outcome"] for drill in verdict_of(two.root / "out")["drills"]] == ["pass", "pass"]


def test_a_run_that_was_killed_is_told_by_its_plan(two: Folder) -> None:
    assert signalled(two, "SIGKILL").returncode == -signal.SIGKILL
    assert not (two.root / "out" / "verdict.json").exists()
    is_told(two.root / "out", two.tocsin("report", "out"), "there is no history of it")


def asked_to_end(folder: Folder, *arguments: str) -> subprocess.Popen[str]:
    """Python on something, which gets SIGTERM as soon as it asks AWS for the first time, before AWS answers that it
    knows nobody."""
    folder.somebody = False
    begun = threading.Event()

    def end() -> None:
        assert begun.wait(PATIENCE_S)
        process.send_signal(signal.SIGTERM)
        folder.asked = lambda: None

    folder.asked = end  # before it begins, so that it cannot ask before that
    process = folder.begin(*arguments)
    begun.set()
    return process


def test_a_signal_in_a_drill_ends_the_run(two: Folder) -> None:
    process = asked_to_end(two, "-m", "tocsin.cli", "run", "experiments", "--target", "staging", "--out", "out")
    told, complaints = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, complaints) == (4, "")
    first, second = verdict_of(two.root / "out")["drills"]
    assert first["stopped"] is not None
    assert second["judgements"][0]["message"] == "not run: stopped by SIGTERM"
    assert "UNKNOWN  Second" in told


def test_a_signal_in_a_drill_of_pytest_ends_the_session(two: Folder) -> None:
    (two.root / "test_other.py").write_text("def test_other(): ...\n")
    arguments = ("experiments", "test_other.py", "--target", "staging", "--junitxml", "junit.xml")
    process = asked_to_end(two, "-m", "pytest", "-p", "no:cacheprovider", *arguments)
    told, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, told
    assert "second: unknown (interrupted): not run: stopped by SIGTERM" in told
    cases = ElementTree.parse(two.root / "junit.xml").getroot().findall(".//testcase")
    found = [(case.get("name"), [one.tag for one in case if one.tag != "properties"]) for case in cases]
    assert found == [("first", ["failure"]), ("second", ["error"]), ("test_other", ["skipped"])]


def test_an_end_before_the_sandbox_is_up_is_no_failure_of_it(two: Folder) -> None:
    options = RunOptions(root=two.root, out=two.root / "out")
    options.stop.ask(Interrupted("SIGTERM"))
    told, _ = run.run_experiments([two.root / "experiments"], options)
    assert told.exit_code == 4
    assert [drill.judgements[0].message for drill in told.drills] == ["not run: stopped by SIGTERM"] * 2


def test_a_run_that_ends_in_an_error_tells_every_drill(two: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise HistoryError("no space left")

    monkeypatch.setattr(run, "_run_one", full)
    with pytest.raises(HistoryError, match="no space left"):
        run.run_experiments([two.root / "experiments"], RunOptions(two.root, "staging", out=two.root / "out"))
    drills = verdict_of(two.root / "out")["drills"]
    assert [drill["judgements"][0]["reason"] for drill in drills] == ["interrupted"] * 2
    assert "no space left" in drills[0]["judgements"][0]["message"]


# --- `tocsin report` of a run with a plan --------------------------------------------------------------------


@pytest.fixture
def ran(two: Folder) -> Folder:
    """Both drills ran and passed."""
    assert signalled(two, "SIGCONT").returncode == 0
    return two


def test_a_directory_that_is_gone_is_noticed(ran: Folder) -> None:
    shutil.rmtree(ran.root / "out" / "second")
    is_told(ran.root / "out", ran.tocsin("report", "out"), "the plan of the run names it")


@pytest.mark.parametrize("text", ["", '{"before":"'], ids=["empty", "killed in its first line"])
def test_a_drill_that_was_killed_before_its_first_line_did_not_run(ran: Folder, text: str) -> None:
    shutil.rmtree(ran.root / "out" / "second")
    (ran.root / "out" / "second").mkdir()
    (ran.root / "out" / "second" / run.HISTORY).write_text(text)
    is_told(ran.root / "out", ran.tocsin("report", "out"), "there is no history of it")


def test_a_history_that_is_gone_is_noticed_and_its_old_verdict_goes_with_it(ran: Folder) -> None:
    (ran.root / "out" / "second" / run.HISTORY).unlink()
    answer = ran.tocsin("report", "out")
    assert answer.returncode == 3
    assert "the drill ran, because there is its report.html, and its history is gone" in answer.stdout
    assert verdict_of(ran.root / "out" / "second")["outcome"] == "unknown"
    assert not (ran.root / "out" / "second" / "report.html").exists()
    assert ran.tocsin("report", "out").returncode == 3, "asked again it says the same"


def test_of_one_drill_only_its_own_reports_are_written_and_named(ran: Folder) -> None:
    place = ran.root / "out" / "second"
    before = {path.name for path in place.iterdir()}
    overview = (ran.root / "out" / "verdict.json").read_bytes()
    (place / "report.html").unlink()
    answer = ran.tocsin("report", "out/second")
    assert answer.returncode == 0
    assert {path.name for path in place.iterdir()} == before
    assert verdict_of(place)["experiment"] == "second"
    named = [line.split()[-1] for line in answer.stdout.splitlines() if line.startswith(("  report ", "  summary "))]
    assert named == [str(place / "report.html")]
    assert (place / "report.html").exists()
    assert (ran.root / "out" / "verdict.json").read_bytes() == overview


def test_a_run_without_a_plan_is_judged_by_what_is_there(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_history(tmp_path / name / run.HISTORY, Scene(slug=name).history())

    told = run.report_again(tmp_path)
    assert isinstance(told.run, RunVerdict)
    assert [drill.experiment for drill in told.run.drills] == ["first", "second"]
    assert told.overview == tmp_path

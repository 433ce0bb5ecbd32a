"""The benchmark still runs, and reads a history as it says. Figures are for people: none is asserted here."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.checkers.histories import Scene, passing

from tocsin.checkers import judge
from tocsin.commands.run import summarise
from tocsin.drill.answers import enough_before
from tocsin.model.experiment import LoadPlan
from tocsin.model.verdict import Outcome

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "run.py"


@pytest.fixture(scope="module")
def benchmark() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT), run_name="benchmark")


def test_what_needs_no_sandbox_is_measured() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--no-sandbox", "--repeat", "1", "--day", "60", "--year", "3000"],
        cwd=SCRIPT.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert [row for row in rows if "--help" in row]
    assert [row for row in rows if "validate" in row]
    assert [row for row in rows if re.search(r"report of a day .*7\d\d events", row)]
    assert len([row for row in rows if re.search(r"a year of minutes, 100 alarms .*3,000 evaluations", row)]) == 2
    assert len([row for row in rows if re.search(r"alarm evaluations.*1/s .*times the .* of anew", row)]) == 4


def test_a_revision_is_measured_beside_this_one() -> None:
    """The present one: what can be measured of it is no question of its age."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--against", "HEAD", "--repeat", "1", "--day", "60"],
        cwd=SCRIPT.parents[1],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if "not a git repository" in done.stderr:
        pytest.skip("not a git checkout")
    assert done.returncode == 0, done.stderr
    rows = [
        line for line in done.stdout.splitlines() if re.search(r"\| [\d,.]+ (s|1/s) \| [\d,.]+ (s|1/s) \| \d", line)
    ]
    assert len(rows) == 3 + 4, done.stdout


def test_a_revision_that_is_not_there_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--against", "no-such-revision"],
        cwd=SCRIPT.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    if "not a git repository" in done.stderr:
        pytest.skip("not a git checkout")
    assert "expected a revision of this checkout, found 'no-such-revision'" in done.stderr


def test_overhead_is_what_remains_beyond_the_waits(benchmark: dict[str, Any]) -> None:
    scene = Scene()
    events = list(scene.history())
    window, slowest_to_clear, stay_clear = 660, max(clear for _, clear in scene.rings.values()), 60
    answers = enough_before(scene.experiment(), scene.system, scene.scale) / LoadPlan().arrivals_per_s
    assert answers > scene.experiment().extension.baseline / scene.scale
    waits = answers + (window + slowest_to_clear + stay_clear) / scene.scale
    assert benchmark["configured_waits"](events, judge(events)) == pytest.approx(waits, abs=0.1)
    assert benchmark["duration"](events) == pytest.approx(events[-1].at - events[0].at)


def test_unanswered_arrivals_lower_the_share(benchmark: dict[str, Any]) -> None:
    assert benchmark["load"](list(Scene().history())).figure == pytest.approx(1.0)
    silent = [
        event.model_copy(update={"statuses": {"error": event.offered}}) if event.kind == "load_second" else event
        for event in Scene().history()
    ]
    assert benchmark["load"](silent).figure == 0.0


@pytest.mark.parametrize(
    ("wall_s", "outcome", "again", "met"),
    [
        (16, Outcome.PASS, 0, True),
        (17, Outcome.PASS, 0, False),
        (9, Outcome.FAIL, 0, False),
        (9, Outcome.PASS, 1, False),
    ],
)
def test_all_drills_count_only_where_each_passes_at_once(
    benchmark: dict[str, Any], wall_s: float, outcome: Outcome, again: int, met: bool
) -> None:
    good = judge(passing())
    told = summarise([good, good.model_copy(update={"experiment": "other", "outcome": outcome})], 0, wall_s)
    row = benchmark["of_all_drills"](wall_s, told, again)
    assert (row.figure, row.met) == (wall_s / 2, met)
    assert ("other fail" in row.note) is (outcome is Outcome.FAIL)


def test_a_missed_target_is_told(benchmark: dict[str, Any]) -> None:
    assert "(MISSED)" in benchmark["line"](benchmark["at_most"]("start", 9.0, "s", 8.0))
    assert "(met)" in benchmark["line"](benchmark["at_most"]("memory", 300.0, "MiB", 700))


COUNTING = """
import subprocess, sys, time
from benchmarks.processors import Processors

BURN = "import sys, time\\nwhile time.process_time() < float(sys.argv[1]): pass\\nprint(flush=True)\\nsys.stdin.read()"

def burnt(wanted_s):
    argv = [sys.executable, "-c", BURN, str(wanted_s)]
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    return child

before = burnt(1.0)
with Processors() as count:
    child = burnt(0.5)
    while sum(count.taken.values()) < 0.4:  # looks every now and then
        time.sleep(0.05)
    child.communicate()
before.communicate()
print(sum(count.taken.values()))
"""


def test_of_a_child_counts_what_it_takes_meanwhile_also_when_it_has_ended() -> None:
    """What a child took before is not counted, neither is what this process takes: it is of no other's children."""
    done = subprocess.run(
        [sys.executable, "-c", COUNTING], cwd=SCRIPT.parents[1], capture_output=True, text=True, timeout=100, check=True
    )
    assert 0.4 <= float(done.stdout) < 1.0

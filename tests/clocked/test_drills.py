"""Every drill of Clocked, as `make drill SYSTEM=clocked` runs them: a sandbox of its own, one drill after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.drill.conftest import ROOT, Checkout, checked_out

from tocsin.errors import SandboxError
from tocsin.model.verdict import RunVerdict
from tocsin.sandbox.parts.promtool import find_promtool

pytestmark = [pytest.mark.all_drills, pytest.mark.xdist_group("clocked"), pytest.mark.timeout(1800)]

NAMES = sorted(path.stem for path in (ROOT / "experiments" / "clocked").glob("*.yaml"))


@pytest.fixture(scope="module")
def clocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    try:
        find_promtool()
    except SandboxError as error:
        pytest.skip(str(error))
    with checked_out(tmp_path_factory.mktemp("clocked"), "clocked") as checkout:
        yield checkout


@pytest.fixture(scope="module")
def run(clocked: Checkout) -> tuple[RunVerdict, Path]:
    out = clocked.root / "out"
    answer = clocked.tocsin("run", "experiments/clocked", "--out", str(out), "--try-again", timeout=1600)
    assert "Traceback" not in answer.stderr, answer.stderr
    return RunVerdict.model_validate_json((out / "verdict.json").read_text()), out


@pytest.mark.parametrize("name", NAMES)
def test_the_drill_ends_as_the_experiment_says(run: tuple[RunVerdict, Path], name: str) -> None:
    drill = next(drill for drill in run[0].drills if drill.experiment == name)
    assert {one.id: (one.reason, one.message) for one in drill.judgements if one.outcome != "pass"} == {}


def measured(run: tuple[RunVerdict, Path], name: str, judgement: str) -> dict[str, float]:
    drill = next(drill for drill in run[0].drills if drill.experiment == name)
    return next(one.measured for one in drill.judgements if one.id == judgement)


def test_one_drill_shows_cloudwatch_and_prometheus_side_by_side(run: tuple[RunVerdict, Path]) -> None:
    report = (run[1] / "connection-exhaustion" / "report.html").read_text()
    for alarm in ("database-connections", "rds-connections"):
        assert measured(run, "connection-exhaustion", f"must:{alarm}")["alarm_s"] > 0
        assert alarm in report


def test_nothing_of_the_runbook_rings_when_every_task_is_gone(run: tuple[RunVerdict, Path]) -> None:
    drill = next(drill for drill in run[0].drills if drill.experiment == "kill-all-tasks")
    # A second try, where the machine did not keep up with the first, is a finding too.
    assert [finding.kind for finding in drill.findings if finding.kind != "tried_again"] == ["gap"]
    assert measured(run, "kill-all-tasks", "must:service-vanished")["alarm_s"] <= 240


def test_the_runbooks_kill_query_ends_the_victims_and_leaves_the_holder(run: tuple[RunVerdict, Path]) -> None:
    journal = json.loads((run[1] / "lock-holder" / "journal.json").read_text())
    told = {one["activity"]["name"]: one["output"] for one in (*journal["run"], *journal["rollbacks"])}
    victims, unit = told["kill-long-running-queries"].split()
    assert (int(victims) > 1, unit) == (True, "rows")
    assert told["the-holder-is-still-there"] == 1
    assert told["end-who-blocks-the-others"] == "1 rows"
    assert told["the-holder-is-gone"] == 0

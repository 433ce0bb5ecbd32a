"""With -x no other drill begins after one that failed, and those that did not are `unknown`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from tests.checkers.histories import passing
from tests.checkers.spoiled import silent

from tocsin.aws.target import Target
from tocsin.checkers import judge
from tocsin.checkers.timeline import Timeline
from tocsin.commands import run
from tocsin.drill.options import RunOptions
from tocsin.drill.plan import Plan
from tocsin.model.run_plan import PlannedDrill, RunPlan

PASSED, FAILED = judge(passing()), judge(silent("api-5xx"))
NOWHERE = Target(name="sandbox", region="eu-west-1")
LEFT = PASSED.model_copy(update={"residue": ("e1",)})


@pytest.mark.parametrize(
    ("exit_first", "second", "drilled"),
    [(True, FAILED, "ab"), (True, LEFT, "ab"), (True, PASSED, "abc"), (False, FAILED, "abc")],
    ids=["failed", "left a fault", "passed", "unasked"],
)
def test_nothing_begins_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, exit_first: bool, second: run.Verdict, drilled: str
) -> None:
    verdicts = {"a": PASSED, "b": second, "c": PASSED}
    monkeypatch.setattr(run, "running_target", lambda *arguments, **named: nullcontext(NOWHERE))
    monkeypatch.setattr(
        run, "_drill", lambda plan, *rest: (Timeline.of(passing()), verdicts[plan.loaded.experiment.slug])
    )
    waited: list[str] = []
    monkeypatch.setattr(run, "wait_until_quiet", lambda plan, *rest: waited.append(plan.loaded.experiment.slug))
    plans = [SimpleNamespace(loaded=SimpleNamespace(experiment=SimpleNamespace(slug=slug))) for slug in "abc"]
    for plan in plans:
        plan.system = SimpleNamespace(system="shop", region="us-east-1")
    done: dict[str, run.Drilled] = {}
    options = RunOptions(root=tmp_path, exit_first=exit_first)
    run._drill_all(cast("list[Plan]", plans), options, tmp_path, done)
    assert "".join(done) == drilled
    assert waited == (["c"] if second is not PASSED and not exit_first else []), (
        "what failed may have left bells ringing"
    )
    drills = tuple(PlannedDrill(experiment=slug, title=slug, path=slug, system="shop") for slug in "abc")
    planned = RunPlan(version="0", at=0.0, target="sandbox", scale=60.0, drills=drills)
    whole = run._write_run(tmp_path, planned, done, run._why_not(options, done))
    assert len(whole.drills) == 3
    assert ("b failed, and with -x no other begins after that" in (tmp_path / "summary.md").read_text()) is (
        len(drilled) == 2
    )

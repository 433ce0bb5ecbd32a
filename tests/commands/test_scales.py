"""The fastest time scale that a drill bears, and what forbids the next one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.commands.conftest import EXPERIMENT, Folder

from tocsin.commands.planned import plan_of
from tocsin.commands.run import _sandboxes, plan_all
from tocsin.commands.selection import in_order
from tocsin.commands.session import settled_scale
from tocsin.drill.options import RunOptions
from tocsin.drill.plan import Plan, Planner
from tocsin.drill.scales import SCALES, choose
from tocsin.errors import InvalidInput

GAP = "{gap: nothing breaks, recovery: {within: 5m}}"
ALARM = """
alarms:
  slow:
    title: Slow answers
    cloudwatch:
      AlarmName: slow
      Namespace: AWS/ApplicationELB
      MetricName: METRIC
      STATISTIC
      Period: 60
      EvaluationPeriods: 1
      Threshold: 1
      ComparisonOperator: GreaterThanThreshold
"""
MUST = "{must: [{alarm: slow, within: 10m}], recovery: {within: 10m}}"


def plan_for(folder: Folder, expect: str = GAP, block: str = "load: null", system: str = "") -> Plan:
    """The plan of an experiment of the shop, without its contract unless `system` names one."""
    file = folder.root / "systems" / "shop.yaml"
    text = file.read_text()
    file.write_text(text.replace("contract: contracts/shop.yaml\n", "") + system)
    path = folder.root / "experiments" / "shop" / "nothing.yaml"
    path.write_text(EXPERIMENT.replace("SYSTEM", f"shop, {block}").replace(f"expect: {GAP}", f"expect: {expect}"))
    return Planner(folder.root).plan(path)


def test_where_nothing_takes_real_time_it_is_the_fastest(folder: Folder) -> None:
    chosen = choose(plan_for(folder))
    assert (chosen.scale, chosen.because) == (SCALES[0], "none is faster than that")


@pytest.mark.parametrize(
    ("within", "scale"), [("40s", 90.0), ("41s", 120.0), ("32s", 60.0), ("26s", 60.0), ("33s", 90.0)]
)
def test_a_deadline_has_to_be_told(folder: Folder, within: str, scale: float) -> None:
    chosen = choose(plan_for(folder, f"{{gap: nothing breaks, recovery: {{within: {within}}}}}"))
    assert chosen.scale == scale
    assert scale == 120 or "`within` of the recovery" in chosen.because


def test_what_the_experiment_says_counts_and_its_reason_is_told(folder: Folder) -> None:
    plan = plan_for(folder, block="load: null, scale: {at_most: 6, because: its batch takes ten seconds}")
    chosen = choose(plan)
    assert chosen.scale == 6
    assert chosen.because == "not 20: the experiment says at most 6, because its batch takes ten seconds"
    assert plan.loaded.experiment.tags_at(60) == ("gate", "long")


def test_a_faster_one_than_the_experiment_says_is_refused(folder: Folder) -> None:
    plan_for(folder, block="load: null, scale: {at_most: 6, because: its batch takes ten seconds}")
    paths = [folder.root / "experiments" / "shop" / "nothing.yaml"]
    with pytest.raises(InvalidInput, match=r"at most 6, because its batch takes ten seconds; found 60.*or auto"):
        plan_all(paths, RunOptions(root=folder.root))
    assert plan_all(paths, RunOptions(root=folder.root, time_scale=6.0))
    plans = plan_all(paths, options := RunOptions(root=folder.root, auto_scale=True, parallel=1))
    (drill,) = plan_of(plans, options, settled_scale(options)).drills
    assert drill.scale == 6
    assert "ten seconds" in str(drill.scale_because)
    assert "long" in drill.tags


@pytest.mark.parametrize(
    ("statistic", "metric", "scale"),
    [
        ("ExtendedStatistic: p95", "TargetResponseTime", 6.0),  # 1,200 answers a minute, 100 of them in 5 s
        ("Statistic: Average", "TargetResponseTime", 30.0),  # 30 in 1.5 s
        ("Statistic: Sum", "TargetResponseTime", 120.0),
        ("Statistic: Average", "CPUUtilization", 120.0),  # published once a minute, however many answer
    ],
)
def test_an_alarm_on_what_requests_took_needs_enough_of_them(
    folder: Folder, statistic: str, metric: str, scale: float
) -> None:
    alarm = ALARM.replace("METRIC", metric).replace("STATISTIC", statistic)
    chosen = choose(plan_for(folder, MUST, "load: {users: 20, arrivals_per_s: 20}", alarm))
    assert chosen.scale == scale
    assert scale == 120 or "slow looks at" in chosen.because
    more = choose(plan_for(folder, MUST, "load: {users: 20, arrivals_per_s: 2000}"))
    assert more.scale == 120, "with more arrivals it is none"


@pytest.mark.parametrize(("name", "scale"), [("kill-one-task", 60.0), ("redis-down", 120.0)])
def test_a_run_of_the_contract_needs_its_time(name: str, scale: float) -> None:
    root = Path(__file__).parents[2]
    chosen = choose(Planner(root).plan(root / "experiments" / "clocked" / f"{name}.yaml"))
    assert chosen.scale == scale
    assert scale == 120 or "a run of the contract takes about" in chosen.because


def test_an_account_has_its_own_clock(folder: Folder) -> None:
    with pytest.raises(InvalidInput, match="expected no --time-scale for target 'staging', found auto"):
        settled_scale(RunOptions(root=folder.root, target="staging", auto_scale=True, parallel=1))


def test_drills_of_one_time_scale_run_together_on_one_sandbox() -> None:
    root = Path(__file__).parents[2]
    files = [
        root / "experiments" / "clocked" / f"{name}.yaml" for name in ("kill-one-task", "redis-down", "error-burst-3")
    ]
    options = RunOptions(root=root, auto_scale=True)
    plans = in_order(plan_all(files, options), options)
    shared = [
        (asked.time_scale, [plan.loaded.experiment.slug for plan in some]) for asked, some in _sandboxes(plans, options)
    ]
    assert shared == [(60.0, ["kill-one-task", "error-burst-3"]), (120.0, ["redis-down"])]
    given = RunOptions(root=root, time_scale=60.0)
    assert [(asked, len(some)) for asked, some in _sandboxes(plans, given)] == [(given, 3)]

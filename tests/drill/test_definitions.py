"""Alarms of a system file that nobody can evaluate are refused before anything is started."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.alarms.kinds import ONLY_CLOUDWATCH
from tests.drill.kiosk import THROTTLED

from tocsin.commands.validate import validate
from tocsin.drill.plan import Planner
from tocsin.errors import InvalidInput

ALARM = {
    "AlarmName": "kiosk-share",
    "EvaluationPeriods": 1,
    "Threshold": 10,
    "ComparisonOperator": "GreaterThanThreshold",
    "Metrics": [
        {"Id": "share", "Expression": "IF(all > 20, 100 * failed / all, 0)"},
        *(
            {
                "Id": name,
                "ReturnData": False,
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/Lambda",
                        "MetricName": metric,
                        "Dimensions": [{"Name": "FunctionName", "Value": "kiosk-${region}"}],
                    },
                    "Period": 60,
                    "Stat": "Sum",
                },
            }
            for name, metric in (("failed", "Errors"), ("all", "Invocations"))
        ),
    ],
}
EXPERIMENT = (
    THROTTLED
    + """\
  - {name: tocsin, system: kiosk, expect: {must: [{alarm: share, within: 11m}], recovery: {within: 5m}}}
"""
)


def plan(root: Path, text: str) -> None:
    """Validate an experiment of a system whose one alarm is this text."""
    (root / "systems").mkdir()
    system = {
        "system": "kiosk",
        "title": "Kiosk",
        "endpoint": {"url": "http://127.0.0.1:9"},
        "alarms": {"share": {"title": "Share", "cloudwatch": yaml.safe_load(text)}},
    }
    (root / "systems" / "kiosk.yaml").write_text(yaml.safe_dump(system))
    (root / "experiment.yaml").write_text(EXPERIMENT)
    Planner(root).plan(root / "experiment.yaml")


def test_an_alarm_of_a_template_is_valid(tmp_path: Path) -> None:
    plan(tmp_path, yaml.safe_dump(ALARM))


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("IF(all > 20,", "FIL(all > 20,", "Did you mean 'FILL'"),
        ("failed / all", "failed / al", "use an id that is not in Metrics"),
        ("IF(all > 20, 100 * failed / all, 0)", "SUM(failed)", "a number"),
        ("IF(all > 20, 100 * failed / all, 0)", "SEARCH('failed', 'Sum', 60)", "is not evaluated here"),
        ("Stat: Sum", "Stat: tm101", "expected a statistic"),
        ("${region}", "${AWS::Region}", "Did you mean 'region'"),
        ("${region}", "${AWS::AccountId}", "Did you mean 'account'"),
        ("Period: 60", "Period: 45", "multiple of 60"),
    ],
)
def test_an_alarm_that_nobody_can_evaluate_is_refused(tmp_path: Path, before: str, after: str, named: str) -> None:
    text = yaml.safe_dump(ALARM, width=1000)
    assert before in text
    with pytest.raises(InvalidInput) as refused:
        plan(tmp_path, text.replace(before, after))
    assert named in str(refused.value)
    assert "kiosk.yaml" in str(refused.value.file)


def test_an_alarm_that_only_cloudwatch_evaluates_is_valid_and_told(tmp_path: Path) -> None:
    text = yaml.safe_dump(ALARM, width=1000)
    plan(tmp_path, text.replace("IF(all > 20, 100 * failed / all, 0)", "INSIGHT_RULE_METRIC('failures', 'Sum')"))
    found = validate(tmp_path, [tmp_path / "experiment.yaml"])
    assert found.problems == ()
    (note,) = found.notes
    assert "kiosk.yaml: alarms.share: in the sandbox nobody evaluates it" in note
    assert "Contributor Insights" in note


@pytest.mark.parametrize(("definition", "kind"), ONLY_CLOUDWATCH, ids=lambda one: one if isinstance(one, str) else "")
def test_each_kind_that_only_cloudwatch_evaluates_is_valid_and_told(
    tmp_path: Path, definition: dict[str, Any], kind: str
) -> None:
    plan(tmp_path, yaml.safe_dump(copy.deepcopy(definition)))
    found = validate(tmp_path, [tmp_path / "experiment.yaml"])
    assert found.problems == ()
    (note,) = found.notes
    assert "alarms.share: in the sandbox nobody evaluates it, so a drill there says unknown of it" in note
    assert kind in note


def test_a_rule_of_a_composite_alarm_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="AlarmRule"):
        plan(tmp_path, "{AlarmName: both, AlarmRule: 'ALARM(a) ANDD ALARM(b)'}")

"""Doctor tells of an alarm that would ring for nobody: a mute rule or a suppressor holds its actions back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from tocsin.aws.target import Target
from tocsin.commands.doctor.readiness import SYSTEM, Deployed
from tocsin.commands.doctor.result import Level, ask
from tocsin.model.system import System

PAGE = {"AlarmName": "desk-page", "AlarmRule": "ALARM(desk-errors)", "ActionsSuppressor": "deploying"}
PERIODS = {"ActionsSuppressorWaitPeriod": 60, "ActionsSuppressorExtensionPeriod": 60}
RULE = "arn:aws:cloudwatch:eu-west-1:123456789012:alarm-mute-rule:nightly"
ANY_CALL = {"AlarmTypes": ANY, "MaxRecords": ANY}
NOTHING: dict[str, Any] = {"AlarmMuteRuleSummaries": []}
MUTED = {"AlarmMuteRuleSummaries": [{"AlarmMuteRuleArn": RULE, "Status": "ACTIVE"}]}
NIGHTLY = {
    "Name": "nightly",
    "Status": "ACTIVE",
    "Rule": {"Schedule": {"Expression": "cron(* * * * *)", "Duration": "PT1H"}},
}


def described(alarm: str, state: str, **fields: Any) -> dict[str, Any]:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return {"AlarmName": alarm, "StateValue": state, "StateUpdatedTimestamp": at, "ActionsEnabled": True, **fields}


@pytest.mark.parametrize(
    ("suppressor", "rules", "level", "words"),
    [
        ("OK", NOTHING, Level.OK, "nothing holds their actions back"),
        ("ALARM", NOTHING, Level.WARN, "page: it would tell nobody: its actions are suppressed by deploying"),
        ("OK", MUTED, Level.WARN, "page: it would tell nobody: its actions are muted by the rule nightly"),
    ],
    ids=["healthy", "a suppressor in ALARM", "an active mute rule"],
)
def test_what_holds_actions_back_is_told(
    tmp_path: Path, suppressor: str, rules: dict[str, Any], level: Level, words: str
) -> None:
    target = Target("none", "eu-west-1", account="123456789012", access_key_id="x", secret_access_key="x")
    page = {"title": "Page", "cloudwatch": {**PAGE, **PERIODS}}
    endpoint = {"url": "http://127.0.0.1:1"}
    system = System.model_validate(
        {"system": "desk", "title": "Desk", "endpoint": endpoint, "alarms": {"page": page}, "region": "eu-west-1"}
    )
    with Stubber(target.client("cloudwatch")) as cloudwatch:
        # `ActionsSuppressedBy` is not there: the alarm did not change its state yet.
        account = described("desk-page", "OK", **{**PAGE, **PERIODS})
        cloudwatch.add_response(
            "describe_alarms", {"CompositeAlarms": [account]}, {**ANY_CALL, "AlarmNames": ["desk-page"]}
        )
        other = {"MetricAlarms": [described("deploying", suppressor)]}
        cloudwatch.add_response("describe_alarms", other, {**ANY_CALL, "AlarmNames": ["deploying"]})
        cloudwatch.add_response("list_alarm_mute_rules", rules, {"AlarmName": "desk-page", "Statuses": ANY})
        if rules is MUTED:
            cloudwatch.add_response("get_alarm_mute_rule", NIGHTLY, {"AlarmMuteRuleName": "nightly"})
        found = ask(SYSTEM["held back"], Deployed(tmp_path, target, system))
        cloudwatch.assert_no_pending_responses()
    assert (found.level, words in found.found) == (level, True), found
    assert bool(found.mend) == (level is Level.WARN)

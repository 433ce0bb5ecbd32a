"""Alarm mute rules of an account, as CloudWatch tells them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tocsin.aws.iam import Grant
from tocsin.aws.pages import pages
from tocsin.aws.target import Target, aws_errors

GRANT = Grant(sid="Observe", actions=("cloudwatch:ListAlarmMuteRules", "cloudwatch:GetAlarmMuteRule"))
"""What `mute_rules` needs of IAM."""


@dataclass(frozen=True)
class MuteRule:
    """A rule that mutes an alarm, now or later."""

    name: str
    active: bool
    """whether it mutes now, as CloudWatch says"""
    expression: str
    duration: str
    timezone: str | None
    starts: datetime | None
    """the rule takes effect after this"""
    expires: datetime | None

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> MuteRule:
        """The rule in an answer of GetAlarmMuteRule."""
        schedule = described["Rule"]["Schedule"]
        return cls(
            name=described["Name"],
            active=described["Status"] == "ACTIVE",
            expression=schedule["Expression"],
            duration=schedule["Duration"],
            timezone=schedule.get("Timezone"),
            starts=described.get("StartDate"),
            expires=described.get("ExpireDate"),
        )


def mute_rules(alarm_name: str, target: Target) -> list[MuteRule]:
    """The rules that mute an alarm and are not expired.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_ListAlarmMuteRules.html

    Raises:
        TargetError: CloudWatch did not answer.
    """
    client = target.client("cloudwatch")
    with aws_errors(f"reading the mute rules of {alarm_name}"):
        names = list(_names(client, alarm_name))
        return [MuteRule.of(client.get_alarm_mute_rule(AlarmMuteRuleName=name)) for name in names]


def _names(client: Any, alarm_name: str) -> Iterator[str]:
    for page in pages(client, "list_alarm_mute_rules", AlarmName=alarm_name, Statuses=["ACTIVE", "SCHEDULED"]):
        for summary in page.get("AlarmMuteRuleSummaries", ()):
            # The summary tells no name, but the ARN ends in it.
            yield summary["AlarmMuteRuleArn"].partition(":alarm-mute-rule:")[2]

"""What is in an account, as far as anything of it could be made or deleted here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def everything(client: Callable[[str], Any]) -> Mapping[str, list[str]]:
    """Kind of resource -> what tells each apart, with its settings where they are listed; sorted."""
    sqs, sns, iam, functions = client("sqs"), client("sns"), client("iam"), client("lambda")
    roles = iam.list_roles()["Roles"]
    found = {
        "queues": sqs.list_queues(MaxResults=1000).get("QueueUrls", []),
        "topics": [one["TopicArn"] for one in sns.list_topics()["Topics"]],
        "subscriptions": [str(sorted(one.items())) for one in sns.list_subscriptions()["Subscriptions"]],
        "alarms": [one["AlarmName"] for one in client("cloudwatch").describe_alarms()["MetricAlarms"]],
        "roles": [one["RoleName"] for one in roles],
        "policies": [
            f"{role['RoleName']}: {name}"
            for role in roles
            for name in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]
        ],
        "functions": [one["FunctionName"] for one in functions.list_functions()["Functions"]],
        "schedules": [one["Name"] for one in client("scheduler").list_schedules()["Schedules"]],
        "logs": [one["logGroupName"] for one in client("logs").describe_log_groups()["logGroups"]],
        "parameters": [one["Name"] for one in client("ssm").describe_parameters()["Parameters"]],
    }
    return {kind: sorted(names) for kind, names in found.items()}

"""One alarm of each kind that only CloudWatch evaluates, as its API takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BAND: Mapping[str, Any] = {
    "AlarmName": "depot-orders-odd",
    "Metrics": [
        {
            "Id": "orders",
            "MetricStat": {
                "Metric": {
                    "Namespace": "Depot",
                    "MetricName": "orders",
                    "Dimensions": [{"Name": "site", "Value": "north"}],
                },
                "Period": 300,
                "Stat": "Sum",
            },
        },
        {"Id": "usual", "Expression": "ANOMALY_DETECTION_BAND(orders, 2)", "Label": "orders (usual)"},
    ],
    "ThresholdMetricId": "usual",
    "ComparisonOperator": "LessThanLowerOrGreaterThanUpperThreshold",
    "EvaluationPeriods": 2,
    "TreatMissingData": "breaching",
}
PROMQL: Mapping[str, Any] = {
    "AlarmName": "depot-down",
    "EvaluationCriteria": {"PromQLCriteria": {"Query": 'up{job="depot"} == 0', "PendingPeriod": 120}},
    "EvaluationInterval": 60,
}
LOGS: Mapping[str, Any] = {
    "AlarmName": "depot-refusals",
    "ScheduledQueryConfiguration": {
        "QueryString": "filter level = 'error' | stats count(*) as refusals by bin(5m)",
        "LogGroupIdentifiers": ["/depot/api"],
        "ScheduledQueryRoleARN": "arn:aws:iam::123456789012:role/depot-queries",
        "ScheduleConfiguration": {"ScheduleExpression": "rate(5 minutes)", "StartTimeOffset": 360},
        "AggregationExpression": "max(refusals)",
    },
    "QueryResultsToEvaluate": 3,
    "QueryResultsToAlarm": 2,
    "Threshold": 10,
    "ComparisonOperator": "GreaterThanThreshold",
}
INSIGHTS: Mapping[str, Any] = {
    "AlarmName": "depot-errors",
    "Metrics": [
        {"Id": "q", "Expression": 'SELECT SUM(Errors) FROM SCHEMA("AWS/Lambda", FunctionName)', "Period": 60},
    ],
    "EvaluationPeriods": 1,
    "Threshold": 1,
    "ComparisonOperator": "GreaterThanThreshold",
}
CONTRIBUTORS: Mapping[str, Any] = {
    **INSIGHTS,
    "AlarmName": "depot-loudest",
    "Metrics": [{"Id": "c", "Expression": "INSIGHT_RULE_METRIC('depot', 'MaxContributorValue')", "Period": 60}],
}
ONLY_CLOUDWATCH: tuple[tuple[Mapping[str, Any], str], ...] = (
    (BAND, "an alarm on anomaly detection"),
    (PROMQL, "a PromQL alarm"),
    (LOGS, "a log alarm"),
    (INSIGHTS, "Metrics Insights"),
    (CONTRIBUTORS, "Contributor"),
)
"""With what is said of each."""

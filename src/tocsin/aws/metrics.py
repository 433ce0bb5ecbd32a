"""What CloudWatch publishes: how soon, of which kind, and how values add up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tocsin.model.system import MetricAlarm


@dataclass(frozen=True)
class Stage:
    """One part of the time to detect, in production seconds."""

    typical_s: float
    worst_s: float


@dataclass(frozen=True)
class Kind:
    """What is known of a metric before anything is measured."""

    counts_requests: bool = False
    """its Sum grows by at most one a request"""
    sampled_by_request: bool = False
    """it has at most one sample a request"""
    at_most: float = math.inf
    """largest single value"""
    at_least: float = 0.0


PUBLISH_DEFAULT = Stage(60, 180)
PUBLISH: Mapping[str, Stage] = {
    "AWS/ApplicationELB": Stage(60, 240),
    "AWS/CloudFront": Stage(120, 420),
    "CloudWatchSynthetics": Stage(30, 120),
}
"""Until CloudWatch shows a datapoint. AWS publishes no figure: these come from field reports."""
_COUNTER = Kind(counts_requests=True, sampled_by_request=True, at_most=1.0)
_LATENCY = Kind(sampled_by_request=True)
_ELB_COUNTER = Kind(counts_requests=True)
_PERCENT = Kind(at_most=100.0)
KINDS: Mapping[tuple[str, str], Kind] = {
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html
    **{("AWS/ApiGateway", name): _COUNTER for name in ("Count", "4xx", "5xx", "4XXError", "5XXError")},
    **{("AWS/ApiGateway", name): _LATENCY for name in ("Latency", "IntegrationLatency")},
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
    **{
        ("AWS/ApplicationELB", name): _ELB_COUNTER
        for name in (
            "RequestCount",
            "HTTPCode_ELB_4XX_Count",
            "HTTPCode_ELB_5XX_Count",
            "HTTPCode_Target_4XX_Count",
            "HTTPCode_Target_5XX_Count",
        )
    },
    # https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/programming-cloudwatch-metrics.html
    **{("AWS/CloudFront", name): _PERCENT for name in ("4xxErrorRate", "5xxErrorRate", "TotalErrorRate")},
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Synthetics_Canaries_metrics.html
    ("CloudWatchSynthetics", "SuccessPercent"): _PERCENT,
}
SIGN: Mapping[str, str] = {
    "GreaterThanOrEqualToThreshold": ">=",
    "GreaterThanThreshold": ">",
    "LessThanThreshold": "<",
    "LessThanOrEqualToThreshold": "<=",
}
AGE = ("AWS/SQS", "ApproximateAgeOfOldestMessage")
DEPTH = ("AWS/SQS", "ApproximateNumberOfMessagesVisible")


def queue_of_depth(alarm: MetricAlarm) -> str | None:
    """The queue whose visible messages the alarm counts; None for any other alarm."""
    if (alarm.namespace, alarm.metric_name) != DEPTH:
        return None
    return next((dimension.value for dimension in alarm.dimensions if dimension.name == "QueueName"), None)

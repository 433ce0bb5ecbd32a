"""An alarm that is thrown away, on a metric that only its measurement publishes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from tocsin.aws.cloudwatch import describe_named
from tocsin.aws.iam import Arns
from tocsin.aws.target import Aws, aws_errors
from tocsin.errors import NotFound
from tocsin.parity.throwaway.kinds.base import PREFIX, TAG, Throwaway, as_list, tags_of

NAMESPACE = TAG
METRIC = "Tripped"
DIMENSION = "Run"
PERIOD_S = 60


class ParityAlarm(Throwaway):
    """One datapoint of a minute above 0 and it rings, as most alarms of the systems that are drilled."""

    kind: ClassVar[str] = "parity_alarm"
    noun: ClassVar[str] = "alarm"
    summary: ClassVar[str] = "an alarm of `tocsin parity --throwaway`"
    aws_service: ClassVar[str] = "cloudwatch"
    permissions: ClassVar[tuple[str, ...]] = (
        "cloudwatch:DeleteAlarms",
        "cloudwatch:DescribeAlarms",
        "cloudwatch:ListTagsForResource",
        "cloudwatch:PutMetricAlarm",
        "cloudwatch:TagResource",
    )

    topic: str | None = Field(default=None, description="ARN of the topic that it tells")

    @classmethod
    def pattern(cls, arns: Arns) -> str:
        return arns("cloudwatch", f"alarm:{PREFIX}*")

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("cloudwatch", f"alarm:{self.name}"),)

    def marks(self, aws: Aws) -> Mapping[str, str]:
        if not describe_named([self.name], aws.target):
            raise NotFound(f"expected {self.resource}, found none")
        with aws_errors(f"reading the tags of {self.resource}"):
            answer = aws.client("cloudwatch").list_tags_for_resource(ResourceARN=self.arns(aws)[0])
            return tags_of(answer["Tags"])

    def make(self, aws: Aws) -> None:
        aws.ask(
            f"creating {self.resource}",
            aws.client("cloudwatch").put_metric_alarm,
            AlarmName=self.name,
            AlarmDescription="Thrown away by `tocsin parity`.",
            Namespace=NAMESPACE,
            MetricName=METRIC,
            Dimensions=[{"Name": DIMENSION, "Value": self.name}],
            Statistic="Maximum",
            Period=PERIOD_S,
            EvaluationPeriods=1,
            Threshold=0.0,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="notBreaching",
            AlarmActions=[] if self.topic is None else [self.topic],
            Tags=as_list(self.tag),
        )

    def delete(self, aws: Aws) -> None:
        aws.ask(f"deleting {self.resource}", aws.client("cloudwatch").delete_alarms, AlarmNames=[self.name])

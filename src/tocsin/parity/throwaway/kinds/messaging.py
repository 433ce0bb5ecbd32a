"""A queue and a topic that are thrown away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from tocsin.aws.iam import Arns
from tocsin.aws.sqs import queue_url
from tocsin.aws.target import Aws, aws_errors
from tocsin.parity.throwaway.kinds.base import PREFIX, Throwaway, as_list, document, tags_of

_KEPT_S = 3600
"""What nobody receives is gone after an hour."""


class ParityQueue(Throwaway):
    """A queue, with a policy that lets one topic send to it where it is subscribed to one."""

    kind: ClassVar[str] = "parity_queue"
    noun: ClassVar[str] = "queue"
    summary: ClassVar[str] = "a queue of `tocsin parity --throwaway`"
    aws_service: ClassVar[str] = "sqs"
    permissions: ClassVar[tuple[str, ...]] = (
        "sqs:CreateQueue",
        "sqs:DeleteQueue",
        "sqs:GetQueueUrl",
        "sqs:ListQueueTags",
        "sqs:TagQueue",
    )

    topic: str | None = Field(default=None, description="ARN of the topic that may send to it")

    @classmethod
    def pattern(cls, arns: Arns) -> str:
        return arns("sqs", f"{PREFIX}*")

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("sqs", self.name),)

    def marks(self, aws: Aws) -> Mapping[str, str]:
        url = queue_url(aws.target, self.name)
        with aws_errors(f"reading the tags of {self.resource}"):
            tags: Mapping[str, str] = aws.client("sqs").list_queue_tags(QueueUrl=url).get("Tags", {})
        return tags

    def make(self, aws: Aws) -> None:
        attributes = {"MessageRetentionPeriod": str(_KEPT_S), **self._policy(aws)}
        aws.ask(
            f"creating {self.resource}",
            aws.client("sqs").create_queue,
            QueueName=self.name,
            Attributes=attributes,
            tags=self.tag,
        )

    def _policy(self, aws: Aws) -> dict[str, str]:
        """https://docs.aws.amazon.com/sns/latest/dg/subscribe-sqs-queue-to-sns-topic.html"""
        if self.topic is None:
            return {}
        sends: dict[str, Any] = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": aws.arn("sqs", self.name),
            "Condition": {"ArnEquals": {"aws:SourceArn": self.topic}},
        }
        return {"Policy": document(sends)}

    def delete(self, aws: Aws) -> None:
        url = queue_url(aws.target, self.name)
        aws.ask(f"deleting {self.resource}", aws.client("sqs").delete_queue, QueueUrl=url)


def received(aws: Aws, url: str, wait_s: int) -> list[Mapping[str, Any]]:
    """What one poll of a queue of our own brings, with when it was sent; it is visible again at once.

    Raises:
        TargetError: SQS did not answer.
    """
    with aws_errors("polling our queue"):
        answer = aws.client("sqs").receive_message(
            QueueUrl=url, AttributeNames=["SentTimestamp"], WaitTimeSeconds=wait_s, VisibilityTimeout=0
        )
    found: list[Mapping[str, Any]] = answer.get("Messages", [])
    return found


class ParityTopic(Throwaway):
    """A topic; its subscriptions go with it."""

    kind: ClassVar[str] = "parity_topic"
    noun: ClassVar[str] = "topic"
    summary: ClassVar[str] = "a topic of `tocsin parity --throwaway`"
    aws_service: ClassVar[str] = "sns"
    permissions: ClassVar[tuple[str, ...]] = (
        "sns:CreateTopic",
        "sns:DeleteTopic",
        "sns:ListTagsForResource",
        "sns:Subscribe",
        "sns:TagResource",
    )

    @classmethod
    def pattern(cls, arns: Arns) -> str:
        return arns("sns", f"{PREFIX}*")

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("sns", self.name),)

    def marks(self, aws: Aws) -> Mapping[str, str]:
        with aws_errors(f"reading the tags of {self.resource}"):
            answer = aws.client("sns").list_tags_for_resource(ResourceArn=aws.arn("sns", self.name))
            return tags_of(answer["Tags"])

    def make(self, aws: Aws) -> None:
        create = aws.client("sns").create_topic
        aws.ask(f"creating {self.resource}", create, Name=self.name, Tags=as_list(self.tag))

    def delete(self, aws: Aws) -> None:
        aws.ask(f"deleting {self.resource}", aws.client("sns").delete_topic, TopicArn=aws.arn("sns", self.name))

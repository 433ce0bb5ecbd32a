"""A fault that changes something, and breaks nothing: a tag on a queue.

A drill without any change could never pass, because silence after nothing proves nothing. This one is a change with all
that belongs to it (ledger, evidence, undo, verification), to which a healthy system has nothing to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import pytest
from tests.faults.registered import register
from tests.planted.setups import HEALTHY, LOAD, UNDO, Document, fault

import tocsin.faults
from tocsin.aws.sqs import queue_arns, queue_url
from tocsin.aws.target import Aws
from tocsin.faults.base import Fault, State

_TAG = "drilled"


class TagState(State):
    """Whether the tag is there."""

    tagged: bool


class Placebo(Fault[TagState]):
    """Tag a queue."""

    kind: ClassVar[str] = "placebo"
    state: ClassVar[type[State]] = TagState
    summary: ClassVar[str] = "tag a queue"
    aws_service: ClassVar[str] = "sqs"
    permissions: ClassVar[tuple[str, ...]] = ("sqs:GetQueueUrl", "sqs:ListQueueTags", "sqs:TagQueue", "sqs:UntagQueue")

    queue: str

    @property
    def resource(self) -> str:
        return f"tags of queue {self.queue}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return queue_arns(aws, self.queue)

    def observe(self, aws: Aws, prior: TagState | None) -> TagState:
        tags = aws.client("sqs").list_queue_tags(QueueUrl=self._url(aws)).get("Tags", {})
        return TagState(tagged=_TAG in tags)

    def broken(self, prior: TagState) -> TagState:
        return TagState(tagged=True)

    def inject(self, aws: Aws, prior: TagState) -> None:
        aws.client("sqs").tag_queue(QueueUrl=self._url(aws), Tags={_TAG: "yes"})

    def undo(self, aws: Aws, prior: TagState) -> None:
        aws.client("sqs").untag_queue(QueueUrl=self._url(aws), TagKeys=[_TAG])

    def _url(self, aws: Aws) -> str:
        return queue_url(aws.target, self.queue)


@contextmanager
def registered() -> Iterator[None]:
    """The placebo among the faults, as long as this lasts."""
    with pytest.MonkeyPatch.context() as patch:
        register(patch, Placebo)
        patch.setattr(tocsin.faults, "__all__", [*tocsin.faults.__all__, Placebo.kind])
        yield


ALARMS = ("api-5xx", "backlog", "dead-letters", "silence")


def experiment(*, load: bool) -> Document:
    """The null drill: nothing may ring, nothing may fail, and callers may not notice."""
    block = {
        "name": "tocsin",
        "system": "bell",
        "load": LOAD if load else None,
        "baseline": "8m" if load else "3m",
        "fault_for": "8m" if load else "3m",
        "expect": {
            "quiet": [{"alarm": alarm, "for": "8m" if load else "3m"} for alarm in ALARMS],
            "recovery": {"within": "24m" if load else "12m"},
            "conserved": ["orders"],
        },
    }
    return {
        "title": "A fault that breaks nothing",
        "description": "A tag is put on a queue.",
        "steady-state-hypothesis": {"title": "The desk is open", "probes": [HEALTHY]},
        "method": [fault(Placebo.kind, queue="bell-orders")],
        "rollbacks": [UNDO],
        "extensions": [block],
    }

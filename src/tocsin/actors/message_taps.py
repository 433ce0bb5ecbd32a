"""Reads the queues that get copies of a system's messages, and judges each message by its contract.

A tap takes nothing from anybody: its queue is the drills' own, filled by a topic or a rule. So before a drill it is
asked whether somebody else works on what is in it, and then there is no drill.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tocsin.actors.base import PollingActor
from tocsin.actors.context import RunContext
from tocsin.aws.iam import Arns, Grant
from tocsin.aws.inbox import LONG_POLL_S, Inbox, Message, sent_at
from tocsin.aws.pages import listed
from tocsin.aws.sns import read_topic
from tocsin.aws.sqs import queue_attributes, queue_url, source_queues
from tocsin.aws.target import Target, aws_errors
from tocsin.errors import Refused, TargetError
from tocsin.model.events import Act, ActStarted, Event
from tocsin.model.messages import Messages, Tap
from tocsin.model.system import System
from tocsin.model.tapped import MessageFailure, MessagesTapped, TapsOpened
from tocsin.project.asyncapi import AsyncApiDocument, Channel

_READING_WALL_S = 1.0
"""A poll that finds more and more ends here, so that the actor can be stopped."""
_EMPTYING_WALL_S = 20.0
"""How long a drill takes away what is older than itself."""
_KINDS_OF_FAILURE = 10


def grants(system: System, arns: Arns) -> Iterator[Grant]:
    """What tapping the messages of this system needs of IAM."""
    if system.messages is None:
        return
    taps = tuple(system.messages.taps.values())
    yield Grant(
        sid="TapMessages",
        actions=(
            *("sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:ListDeadLetterSourceQueues"),
            *("sqs:ReceiveMessage", "sqs:DeleteMessage"),
        ),
        resources=tuple(arns("sqs", tap.queue) for tap in taps),
    )
    # It names no resource type, and a subscription is none.
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html
    yield Grant(sid="Observe", actions=("lambda:ListEventSourceMappings",))
    topics = tuple(arns("sns", tap.topic) for tap in taps if tap.topic is not None)
    if topics:
        yield Grant(sid="ReadSubscriptions", actions=("sns:ListSubscriptionsByTopic",), resources=topics)
        yield Grant(sid="Observe", actions=("sns:GetSubscriptionAttributes",))


# --- whether it may be tapped ----------------------------------------------------------------------------------------


def check_taps(target: Target, messages: Messages) -> str:
    """Whether each tap has a queue of its own, which the topic that is named for it fills. Only reads.

    Raises:
        Refused: somebody else works on what is in a queue, or nothing comes into it.
        TargetError: there is no such queue, or the account did not say.
    """
    return "; ".join(_checked(target, channel, tap) for channel, tap in messages.taps.items())


def _checked(target: Target, channel: str, tap: Tap) -> str:
    url = queue_url(target, tap.queue)
    arn = queue_attributes(target, url, "QueueArn")["QueueArn"]
    _refuse_readers(target, channel, tap.queue, arn)
    sources = source_queues(target, url)
    if sources:
        names = ", ".join(source.rpartition("/")[2] for source in sources)
        raise _refused(channel, tap.queue, f"the dead-letter queue of {names}, whose messages somebody needs")
    if tap.topic is None:
        return f"{channel} is tapped by {tap.queue}"
    topic = arn.replace(":sqs:", ":sns:", 1).rpartition(":")[0] + f":{tap.topic}"
    way = read_topic(target, topic, tap.queue)
    if way.subscribed is False or way.confirmed is False:
        found = "not subscribed" if way.subscribed is False else "subscribed, and not confirmed"
        detail = f" ({way.detail})" if way.detail else ""
        raise Refused(
            "taps",
            f"expected the queue {tap.queue} to be subscribed to the topic {tap.topic}, found it {found}{detail}. "
            "Subscribe it, or no message could be judged.",
        )
    partly = f", of which a filter lets through what it likes: {way.filter_policy}" if way.filter_policy else ""
    unknown = f" (not known whether: {way.detail})" if way.subscribed is None else ""
    return f"{channel} is tapped by {tap.queue}, subscribed to {tap.topic}{unknown}{partly}"


def _refuse_readers(target: Target, channel: str, queue: str, arn: str) -> None:
    with aws_errors(f"looking for readers of the queue {queue}"):
        found = listed(target.client("lambda"), "list_event_source_mappings", "EventSourceMappings", EventSourceArn=arn)
        readers = sorted({str(one["FunctionArn"]).partition(":function:")[2] for one in found})
    if readers:
        raise _refused(channel, queue, f"the queue that {', '.join(readers)} works on")


def _refused(channel: str, queue: str, found: str) -> Refused:
    return Refused(
        "taps",
        f"expected a queue that nobody else reads for the messages of {channel}, found {queue}, {found}: a drill would "
        "take messages away. Let a topic, or a rule of EventBridge, fill a queue of the drills' own.",
    )


# --- what a message says ---------------------------------------------------------------------------------------------


def unwrapped(body: str, attributes: Mapping[str, Mapping[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Payload and headers of a message of SQS; one of SNS is taken out of its envelope first.

    https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
    Attributes are headers; with raw message delivery they are those of the message of SQS.
    """
    with contextlib.suppress(ValueError, RecursionError):
        outer = json.loads(body)
        if isinstance(outer, dict) and outer.get("Type") == "Notification" and isinstance(outer.get("TopicArn"), str):
            given = outer.get("MessageAttributes") or {}
            headers = {name: _header(one.get("Type", ""), one.get("Value", "")) for name, one in given.items()}
            return str(outer.get("Message", "")), headers
    return body, {
        name: _header(one.get("DataType", ""), one.get("StringValue", one.get("BinaryValue", "")))
        for name, one in attributes.items()
    }


def _header(kind: str, value: str | bytes) -> Any:
    """An attribute as JSON: numbers and lists are sent as texts with the name of their type."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    with contextlib.suppress(ValueError):
        if kind.partition(".")[0] == "Number" or kind == "String.Array":
            return json.loads(value)
    return value


# --- the taps --------------------------------------------------------------------------------------------------------


class Acts:
    """In which act something happened, as the history tells."""

    def __init__(self) -> None:
        self._begun: list[tuple[float, Act]] = []

    def see(self, event: Event) -> None:
        """Hear of each act that begins."""
        if isinstance(event, ActStarted):
            self._begun.append((event.at, event.act))

    def of(self, at: float) -> Act:
        """The act that ran then; before the first one, the preflight."""
        index = bisect_right([begun for begun, _ in self._begun], at)
        return self._begun[index - 1][1] if index else Act.PREFLIGHT


@dataclass
class _Tally:
    """What was read of one act."""

    kept: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    failures: dict[tuple[str, str, str, str], MessageFailure] = field(default_factory=dict)

    def add(self, message: str, failures: Iterable[MessageFailure]) -> None:
        different = tuple(failures)
        if not different:
            self.kept[message] += 1
            return
        self.broken += 1
        for one in different:
            key = (one.message, one.part, one.pointer, one.complaint)
            known = self.failures.get(key)
            if known is not None:
                self.failures[key] = known.model_copy(update={"count": known.count + 1})
            elif len(self.failures) < _KINDS_OF_FAILURE:
                self.failures[key] = one


class MessageTap(PollingActor):
    """Reads the queue of one channel, and records how many messages of each act are as documented."""

    def __init__(self, ctx: RunContext, channel: Channel, tap: Tap, acts: Acts) -> None:
        super().__init__(f"tap {channel.name}", ctx)
        self._channel = channel
        self._queue = tap.queue
        self._inbox = Inbox(ctx.target, tap.queue)
        self._acts = acts
        self._last = False

    def empty(self) -> None:
        """Take away what was sent before this drill.

        Raises:
            Refused: there is more than can be taken away in time, or the end of the drill was asked for.
            TargetError: SQS did not answer.
        """
        began, deadline = self._ctx.now(), time.monotonic() + _EMPTYING_WALL_S
        sent: list[float] = []
        while self._inbox.take(lambda message: sent.append(sent_at(message)), 0):
            if max(sent) >= began:
                return
            self._ctx.stop.wait(0)
            if time.monotonic() > deadline:
                raise Refused(
                    "taps",
                    f"expected an almost empty queue {self._queue}, found more than could be taken away in "
                    f"{_EMPTYING_WALL_S:g} s. Purge it, and give it a MessageRetentionPeriod of a few minutes.",
                )

    def poll(self) -> None:
        """Record what has come, an event for each act in which it was sent."""
        tallies: dict[Act, _Tally] = {}
        try:
            everything = self._read(tallies)
        except TargetError as error:
            if self._last:
                self.died(f"the last messages were not read: {error}")
            raise
        finally:
            for act, tally in tallies.items():
                self._history.record(
                    MessagesTapped(
                        at=self._ctx.now(),
                        act=act,
                        channel=self._channel.name,
                        kept=tally.kept,
                        broken=tally.broken,
                        failures=tuple(tally.failures.values()),
                    )
                )
        if self._last and not everything:
            self.died(f"messages were left in {self._queue}: more came than could be read")

    def stop(self) -> None:
        """End, and read a last time, until nothing comes."""
        self._last = True
        super().stop()

    def _read(self, tallies: dict[Act, _Tally]) -> bool:
        """Read until nothing comes, or for long enough; whether nothing came."""
        deadline = time.monotonic() + _READING_WALL_S
        while self._inbox.take(partial(self._judge, tallies), LONG_POLL_S if self._last else 0):
            if time.monotonic() > deadline:
                return False
        return True

    def _judge(self, tallies: dict[Act, _Tally], message: Message) -> None:
        act = self._acts.of(sent_at(message))
        # What was sent before the drill began to watch is nobody's question.
        if act is not Act.PREFLIGHT:
            payload, headers = unwrapped(message["Body"], message.get("MessageAttributes", {}))
            judged = self._channel.judge(payload, headers)
            tallies.setdefault(act, _Tally()).add(judged.message, judged.failures)


def open_taps(ctx: RunContext) -> list[MessageTap]:
    """The taps of a system, emptied, and ready to be started; none where it has no contract of messages.

    Raises:
        InvalidInput: the document cannot be read.
        Refused, TargetError: a queue cannot be emptied.
    """
    messages = ctx.system.messages
    if messages is None:
        return []
    document, acts = AsyncApiDocument.load(ctx.root / messages.document), Acts()
    ctx.history.listen(acts.see, "taps")
    taps = [MessageTap(ctx, document.channels[name], tap, acts) for name, tap in messages.taps.items()]
    for tap in taps:
        tap.empty()
    told = {name: tuple(one.name for one in document.channels[name].messages) for name in messages.taps}
    ctx.history.record(TapsOpened(at=ctx.now(), channels=told, untapped=document.untapped(messages)))
    return taps

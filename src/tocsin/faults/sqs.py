"""Faults of Amazon SQS."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, ClassVar

from pydantic import Field

from tocsin.aws import keys
from tocsin.aws.iam import Arns, Grant
from tocsin.aws.sqs import Depth, Redrive, depth, name_of, queue_arns, queue_attributes, redrive_of
from tocsin.aws.target import Aws, aws_errors, may_be_done, pause_wall_s
from tocsin.errors import CredentialsExpired, LedgerError, TargetError, Unavailable
from tocsin.faults.base import Fault, State, not_as_assumed
from tocsin.model.spent import LOOKS_INTO, Spent

_MARK, _NUMBER = "tocsin", "tocsin-number"
"""Message attributes that tell our messages from all others, and which of ours it is: of one that was sent twice both
have the same number. They are kept when SQS moves a message to the DLQ.
"""
_REPEATS_A_MESSAGE = 2
"""As often is a message sent again of which nobody knows whether it was taken; botocore would do the same."""
_HOLD_S, _HOLD_WALL_S = 30.0, 2.0
"""How long a look through a queue hides what it has received, in production and in wall seconds; whichever is more."""
_LONG_POLL_S = 1
"""A long poll asks all servers of SQS; a short one asks some, and may find nothing where there is something.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
"""
_A_CALL = 10
_MOST_LOOKED_AT = 1000
"""Messages of a source queue that one look may go through: longer ones are not kept from their consumers."""
_LEFT_TO_CONSUMERS = 2
"""Of the receives that a message has, so many are never ours."""
_COUNTED_AFTER_S = 60.0
"""Production seconds until what SQS says of its depth is true."""
_PAUSE_S, _PAUSE_WALL_S = 1.0, 0.1
_SHORTEST_EFFECT_S = 900.0


class PoisonState(State):
    """Messages of ours that are in the dead-letter queue."""

    in_dead_letter_queue: int
    tried_for_s: float = Field(default=0.0, description="production seconds until a message is given up; 0: not known")


class SqsPoisonMessage(Fault[PoisonState]):
    """Send messages that no consumer can process; they end in the dead-letter queue.

    The undo deletes exactly these messages, found by their attribute; it never purges. The effect is seen when they
    arrive in the dead-letter queue, after `maxReceiveCount` times the visibility time-out. No schedule can end it: no
    single call finds them, and there they hurt nobody.

    A message whose answer was lost may have been taken all the same, and is sent again: then there are two of it. The
    ledger knows how many there may be before another is sent, and the undo does not end before it has found as many,
    or nothing can be left.

    A message cannot be looked at without receiving it, and one that is received too often is given up. So the undo
    waits at the dead-letter queue. It looks into the source queue at most once in a visibility time-out, and in all
    only as often as leaves each message of others two receives: counted for the queue, over all drills that this
    ledger knows of. Whether anything may still be there is told by how deep the queue is. What may still be in a long
    queue stays in the ledger. A consumer that holds messages longer than the visibility time-out may hide one of ours
    from all that.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
    """

    kind: ClassVar[str] = "sqs_poison_message"
    state: ClassVar[type[State]] = PoisonState
    summary: ClassVar[str] = "send messages that no consumer can process"
    aws_service: ClassVar[str] = "sqs"
    permissions: ClassVar[tuple[str, ...]] = (
        "sqs:GetQueueUrl",
        "sqs:GetQueueAttributes",
        "sqs:SendMessage",
        "sqs:ReceiveMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
    )
    effect_within_s: ClassVar[float] = _SHORTEST_EFFECT_S

    queue: str = Field(description="name of the source queue; no FIFO queue")
    count: int = Field(default=1, ge=1, le=100)
    body: str = Field(default='{"tocsin": "poison"}', description="what the consumer chokes on")

    @property
    def resource(self) -> str:
        return f"queue {self.queue}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return queue_arns(aws, self.queue)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        # Only the account knows the name of the dead-letter queue.
        return (arns("sqs", self.queue if action == "sqs:SendMessage" else "*"),)

    def key_grants(self, aws: Aws) -> Iterator[Grant]:
        yield from keys.of_queue(aws.target, self.queue, keys.SENDING)
        yield from keys.of_queue(aws.target, name_of(redrive_of(aws.target, self.queue).dead_url), keys.RECEIVING)

    def effect_within(self, prior: PoisonState) -> float:
        """Twice the time for which the queue tries a message: a consumer may have others before it."""
        return max(_SHORTEST_EFFECT_S, 2 * prior.tried_for_s)

    def on_its_way(self, now: PoisonState, prior: PoisonState) -> bool:
        return 0 < now.in_dead_letter_queue < self.count

    def observe(self, aws: Aws, prior: PoisonState | None) -> PoisonState:
        redrive = redrive_of(aws.target, self.queue)
        if prior is None:
            # Nothing of ours can be there before the entry exists.
            self._check_harmless(aws, redrive)
            _Looks(aws, redrive).forget(depth(aws.target, redrive.source_url))
            return PoisonState(in_dead_letter_queue=0, tried_for_s=redrive.tried_for_s)
        return prior.model_copy(update={"in_dead_letter_queue": min(self.count, self._arrived(aws, redrive.dead_url))})

    def _check_harmless(self, aws: Aws, redrive: Redrive) -> None:
        """Whether looking for our messages can hurt no others.

        Raises:
            Refused: it could.
        """
        if self.queue.endswith(".fifo"):
            raise not_as_assumed(
                "a standard queue",
                f"the FIFO queue {self.queue}",
                "looking for our message there would hold back the groups of others",
            )
        if "RedrivePolicy" in queue_attributes(aws.target, redrive.dead_url, "RedrivePolicy"):
            raise not_as_assumed(
                f"the dead-letter queue {name_of(redrive.dead_url)} to keep what it gets",
                "that it has a dead-letter queue itself",
                "looking for our message would move the messages of others on",
            )

    def _arrived(self, aws: Aws, dead_url: str) -> int:
        """How many of our messages are in the dead-letter queue; afterwards all of them can be received as before."""
        if depth(aws.target, dead_url).visible <= _A_CALL:
            with aws_errors(f"looking into the dead-letter queue of {self.queue}"):
                found = _receive(aws, dead_url, hold_s=0)
        else:
            found, _ = self._look(aws, dead_url)
            _release(aws, dead_url, found)
        return len({_number(message) for message in found if _is_ours(message, aws.entry)})

    def broken(self, prior: PoisonState) -> PoisonState:
        return prior.model_copy(update={"in_dead_letter_queue": self.count})

    def inject(self, aws: Aws, prior: PoisonState) -> None:
        url = redrive_of(aws.target, self.queue).source_url
        for number in range(self.count):
            self._send(aws, url, number)

    def _send(self, aws: Aws, url: str, number: int) -> None:
        """One message. botocore would send it again by itself, and nobody would know that there may be two."""
        attributes = {_MARK: aws.entry, _NUMBER: str(number)}
        for attempt in itertools.count():
            try:
                aws.ask(
                    f"sending to {self.resource}",
                    aws.target.client("sqs", retries=False).send_message,
                    QueueUrl=url,
                    MessageBody=self.body,
                    MessageAttributes={
                        name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
                    },
                )
            except Unavailable as error:
                if attempt == _REPEATS_A_MESSAGE or isinstance(error, CredentialsExpired):
                    raise
                if may_be_done(error) and not aws.spend(_REPEATS_A_MESSAGE * self.count, Spent.REPEATS):
                    raise
                aws.wait(pause_wall_s(aws.target, attempt))
            else:
                return

    def undo(self, aws: Aws, prior: PoisonState) -> None:
        _Search(self, aws, redrive_of(aws.target, self.queue)).until_gone()

    def delete_ours(self, aws: Aws, url: str) -> tuple[set[str], bool]:
        """Look through a queue once: ids of ours that were deleted, and whether all that is visible was seen."""
        held, complete = self._look(aws, url)
        ours = [message for message in held if _is_ours(message, aws.entry)]
        try:
            with aws_errors(f"removing our messages from {name_of(url)}"):
                for message in ours:
                    aws.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                    held.remove(message)
        finally:
            # Ours, too, where it could not be deleted: what is hidden would be taken for gone.
            _release(aws, url, held)
        return {message["MessageId"] for message in ours}, complete

    def _look(self, aws: Aws, url: str) -> tuple[list[dict[str, Any]], bool]:
        """Each visible message once, held while we look; whether that is all of them."""
        found: dict[str, dict[str, Any]] = {}
        # As long as what was received first is still hidden; the rest is seen by the next look.
        deadline = time.monotonic() + _hold_s(aws) / aws.target.scale / 2
        while time.monotonic() < deadline:
            try:
                with aws_errors(f"looking through {name_of(url)} for our messages"):
                    batch = _receive(aws, url, _hold_s(aws))
            except TargetError:
                _release(aws, url, found.values())
                raise
            if not batch:
                # Nothing at all, where SQS counts something, is no answer.
                return list(found.values()), bool(found) or depth(aws.target, url).empty
            found |= {message["MessageId"]: message for message in batch}
        return list(found.values()), False


class _Looks:
    """Looks into a source queue, of every entry and process that this ledger knows of.

    Each is a receive of every message that was there: those of two entries add up. A look is forgotten when no message
    that it has seen can be there any more.
    """

    def __init__(self, aws: Aws, redrive: Redrive) -> None:
        self._aws, self._redrive = aws, redrive
        self._name = f"{LOOKS_INTO}{aws.arn('sqs', name_of(redrive.source_url))}"
        self._budget = max(0, redrive.max_receive_count - _LEFT_TO_CONSUMERS)

    def take(self) -> bool:
        """Write another one down before it is made; False when none may be made now."""
        try:
            taken = [at for at in self._taken() if self._age_s(at) < self._redrive.kept_for_s]
        except (LedgerError, ValueError):
            return False  # there may have been any number
        if len(taken) >= self._budget:
            return False
        if any(self._age_s(at) < self._redrive.visibility_timeout_s for at in taken):
            return False  # a consumer may hold what is ours, and nothing would be learnt
        return self._aws.note(self._name, json.dumps([*taken, time.time()]))

    def forget(self, held: Depth) -> None:
        """Nothing is in the queue: what was looked at so long ago that SQS would count it by now is gone from there."""
        if not held.empty:
            return
        with suppress(LedgerError, ValueError):  # then it is remembered for longer
            taken = self._taken()
            kept = [at for at in taken if self._age_s(at) < _COUNTED_AFTER_S + _hold_s(self._aws)]
            if kept != taken:
                self._aws.note(self._name, json.dumps(kept) if kept else None)

    def _taken(self) -> list[float]:
        """When, in epoch seconds, oldest first."""
        return [float(at) for at in json.loads(self._aws.noted(self._name) or "[]")]

    def _age_s(self, at: float) -> float:
        """Production seconds since then."""
        return (time.time() - at) * self._aws.target.scale


class _Search:
    """What is left of our messages, looked for without hurting others."""

    def __init__(self, fault: SqsPoisonMessage, aws: Aws, redrive: Redrive) -> None:
        self._fault, self._aws, self._redrive = fault, aws, redrive
        self._looks = _Looks(aws, redrive)
        # SQS may hand out one that was deleted again: each is counted once.
        self._deleted: set[str] = set()
        self._most = fault.count + aws.spent(Spent.REPEATS)
        # What a look of a process that died, or whose answer was lost, still hides in the dead-letter queue is no
        # longer hidden after this.
        self._certain_after_s = max(_COUNTED_AFTER_S, _hold_s(aws) + _PAUSE_S * 2)
        self._empty_since: float | None = None
        self._clear_since: float | None = None
        self._gone_since: float | None = None

    def until_gone(self) -> None:
        """Delete our messages where they arrive, until none can be left.

        Raises:
            TargetError: one may be left, and everything else that could be done would hurt others.
        """
        redrive, aws = self._redrive, self._aws
        patience_s = redrive.tried_for_s + 2 * redrive.visibility_timeout_s + 2 * self._certain_after_s
        deadline = time.monotonic() + patience_s / aws.target.scale
        while True:
            deleted, all_seen = self._fault.delete_ours(aws, redrive.dead_url)
            self._deleted |= deleted
            if len(self._deleted) >= self._most:
                return
            held = depth(aws.target, redrive.source_url)
            if (self._look(held) and all_seen) or len(self._deleted) >= self._most:
                return
            if time.monotonic() > deadline:
                raise TargetError(
                    f"expected our messages in the dead-letter queue, found {len(self._deleted)} of {self._sent}, and "
                    f"{held.visible + held.hidden} messages in {self._fault.resource}: ours may be among them. Looking "
                    "for them again would move messages of others to the dead-letter queue. When the consumer has "
                    "worked through the queue, call `tocsin recover`"
                )
            time.sleep(max(_PAUSE_WALL_S, _PAUSE_S / aws.target.scale))

    @property
    def _sent(self) -> str:
        return f"{self._fault.count}" if self._most == self._fault.count else f"{self._fault.count} to {self._most}"

    def _look(self, held: Depth) -> bool:
        """Delete what of ours is in the source queue; whether none can be left there or on the way."""
        now, clear = time.monotonic(), held.visible == 0
        self._looks.forget(held)
        self._empty_since = (self._empty_since or now) if held.empty else None
        if held.hidden:
            # One of ours may be among them: it was counted late, or another consumer has it.
            self._gone_since = None
        if held.visible and self._may_look(held):
            found, complete = self._fault.delete_ours(self._aws, self._redrive.source_url)
            self._deleted |= found
            clear = complete and not found
            if clear and not held.hidden:
                self._gone_since = now
        # As long as nothing of ours waits there, a consumer holds it: it goes on, or to the dead-letter queue, in time.
        # What waits there again may be ours, and its time begins anew.
        self._clear_since = (self._clear_since or now) if clear else None
        over = (
            self._passed(self._empty_since, self._certain_after_s),
            self._passed(self._gone_since, self._certain_after_s),
            self._passed(self._clear_since, self._redrive.tried_for_s + self._certain_after_s),
        )
        return any(over)

    def _may_look(self, held: Depth) -> bool:
        if held.visible > _MOST_LOOKED_AT:
            return False
        return self._gone_since is None and self._looks.take()

    def _passed(self, since: float | None, production_s: float) -> bool:
        return since is not None and time.monotonic() - since >= production_s / self._aws.target.scale


def _hold_s(aws: Aws) -> int:
    """Production seconds for which a look hides what it has received."""
    return min(43200, round(max(_HOLD_S, _HOLD_WALL_S * aws.target.scale)))


def _receive(aws: Aws, url: str, hold_s: int) -> list[dict[str, Any]]:
    answer = aws.client("sqs").receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=_A_CALL,
        VisibilityTimeout=hold_s,
        WaitTimeSeconds=_LONG_POLL_S,
        MessageAttributeNames=[_MARK, _NUMBER],
    )
    messages: list[dict[str, Any]] = answer.get("Messages", [])
    return messages


def _release(aws: Aws, url: str, messages: Iterable[dict[str, Any]]) -> None:
    """Let everybody receive them again, at once."""
    for message in messages:
        # What cannot be released comes back by itself when its time is over.
        with suppress(TargetError), aws_errors(f"releasing a message of {name_of(url)}"):
            aws.client("sqs").change_message_visibility(
                QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )


def _number(message: dict[str, Any]) -> str:
    """Which of ours it is. An older Tocsin did not number them."""
    told: dict[str, str] = message["MessageAttributes"].get(_NUMBER, {})
    return told.get("StringValue", str(message["MessageId"]))


def _is_ours(message: dict[str, Any], entry: str) -> bool:
    attribute = message.get("MessageAttributes", {}).get(_MARK, {})
    return bool(attribute.get("StringValue") == entry)

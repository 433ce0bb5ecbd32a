"""Which messages a system promises: AsyncAPI 3.0 documents, and whether a message is as one of them says.

https://www.asyncapi.com/docs/reference/specification/v3.0.0

Of a message its payload and its headers are judged, as JSON, by `jsonschema_rs`: the library by which Schemathesis
judges answers. What is found is told by its kind and its size, never by its value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from tocsin.errors import Complaints, InvalidInput, near_match, shortened
from tocsin.model.messages import Messages, Tap
from tocsin.model.tapped import MessageFailure
from tocsin.project.asyncapi_schemas import Schemas
from tocsin.project.documents import Document, parse_model
from tocsin.project.nodes import kind_of
from tocsin.project.references import Files, Part

if TYPE_CHECKING:
    from jsonschema_rs import Draft7Validator, ValidationError

_JSON = re.compile(r"application/([\w.+-]+\+)?json(;.*)?", re.IGNORECASE)
_LONGEST = 300
_MOST_FAILURES = 10
"""Of one message; the rest is told when these are mended."""


class _Open(BaseModel):
    """A part of a document, as far as its form is looked at here; what else it says is for others."""

    model_config = ConfigDict(frozen=True, extra="allow")


class _Form(_Open):
    asyncapi: str = Field(pattern=r"^3\.0\.\d+(-.+)?$")
    default_content_type: str = Field(default="application/json", alias="defaultContentType")
    channels: dict[str, dict[str, Any]] = Field(min_length=1)
    operations: dict[str, dict[str, Any]] = Field(default_factory=dict)


class _NamedForm(_Open):
    name: str | None = None


class _BindingForm(_Open):
    """https://github.com/asyncapi/bindings/tree/master/sns and /sqs: the names of the topic and of the queue."""

    queue: _NamedForm | None = None
    name: str | None = None


class _BindingsForm(_Open):
    sns: _BindingForm | None = None
    sqs: _BindingForm | None = None


class _ChannelForm(_Open):
    address: str | None = None
    messages: dict[str, dict[str, Any]] = Field(min_length=1)


class _MessageForm(_Open):
    content_type: str | None = Field(default=None, alias="contentType")
    payload: dict[str, Any] | bool
    headers: dict[str, Any] | bool | None = None
    traits: tuple[dict[str, Any], ...] = ()


class _TraitForm(_Open):
    content_type: str | None = Field(default=None, alias="contentType")


class _OperationForm(_Open):
    action: str = Field(pattern=r"^(send|receive)$")
    channel: dict[str, Any]
    messages: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Judged:
    """Which documented message a message is, or is nearest to, and how it differs from it."""

    message: str
    failures: tuple[MessageFailure, ...] = ()


@dataclass(frozen=True)
class _Message:
    name: str
    payload: Draft7Validator
    headers: Draft7Validator | None

    def failures(self, payload: Any, headers: Mapping[str, Any]) -> tuple[MessageFailure, ...]:
        """How a message differs from this one: nothing when it is one."""
        found = [_failure(self.name, "payload", error) for error in self.payload.iter_errors(payload)]
        if self.headers is not None:
            found += [_failure(self.name, "headers", error) for error in self.headers.iter_errors(dict(headers))]
        return tuple(found)


@dataclass(frozen=True)
class Channel:
    """One channel of the document with the messages that may be sent to it."""

    name: str
    address: str | None
    topic: str | None
    """name of its SNS topic, where its bindings tell it"""
    queue: str | None
    """name of its SQS queue, where its bindings tell it"""
    messages: tuple[_Message, ...]

    def judge(self, body: str, headers: Mapping[str, Any]) -> Judged:
        """Whether a message is one of the channel's.

        It must be as one of them says, and only one: that is what the specification demands.
        https://www.asyncapi.com/docs/reference/specification/v3.0.0#messagesObject
        """
        try:
            payload = json.loads(body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            wrong = _told(
                self.messages[0].name, "payload", "", "expected JSON", f"{_counted(len(body), 'character')} of text"
            )
            return Judged(self.messages[0].name, (wrong,))
        tried = [(one.name, one.failures(payload, headers)) for one in self.messages]
        kept = [name for name, failures in tried if not failures]
        if len(kept) > 1:
            both = " and of ".join(kept)
            return Judged(
                kept[0], (_told(kept[0], "payload", "", "expected one documented message", f"the form of {both}"),)
            )
        name, failures = min(tried, key=lambda one: len(one[1]))
        return Judged(name, failures[:_MOST_FAILURES])


@dataclass(frozen=True)
class AsyncApiDocument:
    """An AsyncAPI 3.0 document, in one file or in several, of which every message can be judged."""

    channels: Mapping[str, Channel]
    """by the name that the document gives them"""
    notes: tuple[str, ...]
    """what the document says and nobody looks at, each with its file"""

    @classmethod
    def load(cls, path: Path) -> AsyncApiDocument:
        """Read a document with all that its references lead to.

        Raises:
            InvalidInput: everything that is wrong with it, each with file and line.
        """
        files = Files()
        document = files.document(path)
        return _Reader(files, document, parse_model(_Form, document.data, document)).read()

    def tap_problems(self, messages: Messages, system: Document) -> Iterator[InvalidInput]:
        """What is wrong with the taps of a system file: in that file, whose document this is."""
        for name, tap in messages.taps.items():
            if name not in self.channels:
                yield system.invalid(
                    f"messages.taps: expected a channel of {messages.document}, found '{shortened(name)}'. "
                    f"{near_match(name, self.channels)}",
                    ("messages", "taps", name),
                )
            else:
                yield from _tap_problems(self.channels[name], tap, system)

    def untapped(self, messages: Messages) -> tuple[str, ...]:
        """Channels that nobody looks at."""
        return tuple(name for name in self.channels if name not in messages.taps)


def _tap_problems(channel: Channel, tap: Tap, system: Document) -> Iterator[InvalidInput]:
    at = ("messages", "taps", channel.name)
    if tap.queue in (channel.queue, channel.address):
        yield system.invalid(
            f"messages.taps.{channel.name}: expected a queue that gets copies, found {tap.queue}, the channel itself: "
            "its messages would be taken from whoever works on them. Let a topic, or a rule of EventBridge, fill a "
            "queue of the drills' own.",
            (*at, "queue"),
        )
    if tap.topic is not None and channel.topic not in (None, tap.topic):
        yield system.invalid(
            f"messages.taps.{channel.name}: expected the topic {channel.topic}, as the document binds the channel, "
            f"found {tap.topic}",
            (*at, "topic"),
        )


class _Reader:
    """Reads one document, and keeps what is wrong until all of it was looked at."""

    def __init__(self, files: Files, document: Document, form: _Form) -> None:
        self._files = files
        self._form = form
        self._root = Part(document, (), document.data)
        self._schemas = Schemas(files)
        self._complaints = Complaints()
        self._places: dict[str, Part] = {}
        """channel -> where it is written"""

    def read(self) -> AsyncApiDocument:
        channels = {}
        for name in self._form.channels:
            channel = self._complaints.attempt(self._channel, name)
            if channel is not None:
                channels[name] = channel
        for name in self._form.operations:
            self._complaints.attempt(self._check_operation, name)
        self._complaints.tell()
        document = self._root.document
        notes = tuple(
            f"{document.path}: format '{shortened(one)}': nothing is asked of it, every value passes"
            for one in sorted(self._schemas.unread_formats)
        )
        return AsyncApiDocument(channels, notes)

    def _channel(self, name: str) -> Channel:
        part = self._files.resolved(self._root.child("channels").child(name))
        self._places[name] = part
        form = parse_model(_ChannelForm, part.value, part.document, part.at)
        written = part.get("bindings")
        bindings = _BindingsForm()
        if written is not None:
            found = self._files.resolved(written)
            bindings = parse_model(_BindingsForm, found.value, found.document, found.at)
        complaints = Complaints()
        read = complaints.each(lambda one: self._message(one, part.child("messages").child(one)), form.messages)
        complaints.tell()
        return Channel(
            name=name,
            address=form.address,
            topic=bindings.sns.name if bindings.sns else None,
            queue=bindings.sqs.queue.name if bindings.sqs and bindings.sqs.queue else None,
            messages=tuple(read),
        )

    def _message(self, name: str, written: Part) -> _Message:
        part = self._files.resolved(written)
        if part.get("payload") is None and part.value.get("payload") is not False:
            raise part.invalid(f"message {name}: expected a payload, found none: every message would be one")
        form = parse_model(_MessageForm, part.value, part.document, part.at)
        of_traits = self._trait_content(part, form)
        content = form.content_type or of_traits or self._form.default_content_type
        if not _JSON.fullmatch(content.strip()):
            raise part.invalid(
                f"message {name}: expected a content type of JSON, by which it can be judged, found "
                f"'{shortened(content)}'",
                "contentType",
            )
        headers = part.get("headers")
        return _Message(
            name=name,
            payload=self._schemas.validator(part.child("payload")),
            headers=self._schemas.validator(headers) if headers is not None else None,
        )

    def _trait_content(self, part: Part, form: _MessageForm) -> str | None:
        """The content type that a trait adds to a message; what else traits may add to be judged is refused."""
        content = None
        for index in range(len(form.traits)):
            trait = self._files.resolved(part.child("traits").child(index))
            if trait.get("headers") is not None:
                raise trait.invalid("expected headers in the message itself, found them in a trait of it", "headers")
            found = parse_model(_TraitForm, trait.value, trait.document, trait.at)
            content = found.content_type or content
        return content

    def _check_operation(self, name: str) -> None:
        part = self._files.resolved(self._root.child("operations").child(name))
        form = parse_model(_OperationForm, part.value, part.document, part.at)
        channel = self._files.resolved(part.child("channel"))
        if channel.place not in {one.place for one in self._places.values()}:
            raise part.invalid(f"operation {name}: expected a channel of this document", "channel")
        ours = channel.get("messages")
        known = [self._files.resolved(ours.child(one)).place for one in ours.value] if ours is not None else []
        for index in range(len(form.messages)):
            if self._files.resolved(part.child("messages").child(index)).place not in known:
                raise part.invalid(
                    f"operation {name}: expected messages of its channel, found another", "messages", index
                )


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _failure(message: str, part: str, error: ValidationError) -> MessageFailure:
    pointer = "".join(f"/{_escaped(str(name))}" for name in error.instance_path)
    return _told(message, part, pointer, error.message, _kind(error.instance))


def _told(message: str, part: str, pointer: str, complaint: str, found: str) -> MessageFailure:
    return MessageFailure.model_validate(
        {
            "message": message,
            "part": part,
            "pointer": shortened(pointer, _LONGEST),
            "complaint": shortened(complaint, _LONGEST),
            "found": found,
        }
    )


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _kind(value: Any) -> str:
    """What a value is, in words that do not tell it."""
    match value:
        case str():
            return f"a text of {_counted(len(value), 'character')}"
        case list():
            return f"a list of {_counted(len(value), 'value')}"
        case dict():
            return f"a mapping of {_counted(len(value), 'name')}"
        case _:
            return kind_of(value)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

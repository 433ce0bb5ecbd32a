"""What a run and its workers say to each other: one JSON object a line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from tocsin.model.base import Model
from tocsin.model.events import Event, FirstTry
from tocsin.model.parts import PartsChoice


class Orders(Model):
    """The first line that a worker reads: what holds for all its drills."""

    root: Path
    parts: PartsChoice | None = None
    policy: str | None = None
    seed: int | None = None


class Job(Model):
    """One drill."""

    kind: Literal["job"] = "job"
    path: Path
    out: Path
    """directory of the run"""
    scale: float
    because: str = ""
    """why it is no faster, where it was chosen for this drill"""
    first: FirstTry | None = None
    """the try before, where this is the second"""


class Halt(Model):
    """End the drill: undo, verify, report."""

    kind: Literal["halt"] = "halt"
    why: str


class Finish(Model):
    """There is nothing more to do: the sandbox may go."""

    kind: Literal["finish"] = "finish"


class Told(Model):
    """One line for people."""

    kind: Literal["told"] = "told"
    text: str


class Seen(Model):
    """An event of the drill."""

    kind: Literal["seen"] = "seen"
    event: Event


class Done(Model):
    """A drill came to its verdict, which is written."""

    kind: Literal["done"] = "done"
    slug: str


class Failed(Model):
    """The worker ends, because of this."""

    kind: Literal["failed"] = "failed"
    error: str
    invalid: bool = False
    """whether what the user gave is wrong"""


ToWorker = Job | Halt | Finish
FromWorker = Told | Seen | Done | Failed
TO_WORKER: TypeAdapter[ToWorker] = TypeAdapter(Annotated[ToWorker, Field(discriminator="kind")])
FROM_WORKER: TypeAdapter[FromWorker] = TypeAdapter(Annotated[FromWorker, Field(discriminator="kind")])

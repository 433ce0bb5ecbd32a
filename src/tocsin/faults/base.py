"""What every fault is made of, and the one way in which all of them are injected and undone.

A fault says how to read the state it changes (`observe`), what that state becomes (`broken`), and how to get
there and back. Everything else (the ledger, evidence, verification, drift) follows from comparing states and
is written once, in `lifecycle.py`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import ConfigDict, Field

from tocsin.iam import ANY, Arns
from tocsin.model.base import Model
from tocsin.target import Target


class State(Model):
    """What a fault remembers of a resource: compared field by field, written to the ledger, free of secrets."""

    def differing(self, other: State) -> list[str]:
        """The fields in which two states differ, with both values in words."""
        mine, theirs = self.model_dump(), other.model_dump()
        return [f"{name} is {mine[name]!r}, not {theirs[name]!r}" for name in mine if mine[name] != theirs[name]]


StateT = TypeVar("StateT", bound=State)


@dataclass(frozen=True)
class Aws:
    """What a fault may use: clients of the target, the id of its ledger entry, and production time."""

    target: Target
    entry: str
    expires_at: float | None = None
    """Epoch seconds at which a self-expiring fault ends by itself."""
    wait: Callable[[float], None] = time.sleep
    """Sleeps in wall seconds. While a drill injects, raises Refused when its end is asked for."""

    def client(self, service: str) -> Any:
        """A boto3 client of the target."""
        return self.target.client(service)

    @property
    def partition(self) -> str:
        """`aws`, or that of China or of the government regions."""
        return str(self.target.session.get_partition_for_region(self.target.region))

    def arn(self, service: str, resource: str) -> str:
        """ARN of a resource in the target's account and region, whose name is all there is to know."""
        return f"arn:{self.partition}:{service}:{self.target.region}:{self.target.account}:{resource}"


class Change(Protocol):
    """What the guards of a change ask about."""

    @property
    def resource(self) -> str:
        """What is changed, as a person would name it."""

    def arns(self, aws: Aws) -> tuple[str, ...]:
        """ARNs of what is changed."""


class ScheduledCall(Model):
    """One call of the AWS SDK that EventBridge Scheduler can make: a universal target.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
    """

    service: str = Field(description="service of the SDK in lower case: `lambda`, `rds`")
    operation: str = Field(description="operation in camel case: `deleteFunctionConcurrency`")
    request: dict[str, Any] = Field(
        description="its parameters, named as in the SDK for Java, with a capital: `DbProxyName`, `Uuid`; never a "
        "secret: a schedule can be read"
    )


class Fault(Model, ABC, Generic[StateT]):
    """One way to break something, with its arguments as fields.

    Subclasses set the class variables and the five methods. Methods may raise TargetError (through `aws_errors`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    """Name in experiments: `func` of the action."""
    state: ClassVar[type[State]]
    """What it remembers: the type to read back from the ledger."""
    summary: ClassVar[str]
    """One line for `tocsin faults`."""
    aws_service: ClassVar[str]
    """AWS service it changes, as in IAM action names."""
    permissions: ClassVar[tuple[str, ...]]
    """IAM actions for remembering, injecting, seeing the effect, undoing and verifying."""
    effect_within_s: ClassVar[float] = 120.0
    """Production seconds after which the absence of an effect is a fact."""
    expires: ClassVar[bool] = False
    """Whether AWS ends it by itself at `Aws.expires_at`, also when nobody is left to undo it."""
    heals: ClassVar[bool] = False
    """Whether AWS mends it by itself at once, as a stopped task is replaced: the undo only waits for that, and what is
    neither as before nor as broken is on its way, and no drift. Such a state holds counts, never identities."""

    @property
    @abstractmethod
    def resource(self) -> str:
        """What is changed, as a person would name it."""

    @abstractmethod
    def arns(self, aws: Aws) -> tuple[str, ...]:
        """ARNs of the resources that are changed: what must have opted in, and what counts for the blast radius."""

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        """ARNs on which IAM must allow one of the `permissions`, as far as the arguments name them.

        What only the account knows (an id, the name of a dead-letter queue) is a wildcard. An action that IAM cannot
        limit to a resource keeps this answer: any.
        """
        return ANY

    @abstractmethod
    def observe(self, aws: Aws, prior: StateT | None) -> StateT:
        """Read the state now. `prior` is None the first time: that reading is what the undo goes back to."""

    @abstractmethod
    def broken(self, prior: StateT) -> StateT:
        """The state the resource is in when the fault is in force."""

    @abstractmethod
    def inject(self, aws: Aws, prior: StateT) -> None:
        """Break it."""

    @abstractmethod
    def undo(self, aws: Aws, prior: StateT) -> None:
        """Put the prior state back. Called again after a crash: must be harmless when there is nothing to undo."""

    def forget(self, aws: Aws, prior: StateT) -> None:
        """Remove what the fault itself made, after the undo was verified. May be called again after a crash."""

    def dead_man(self, aws: Aws, prior: StateT) -> ScheduledCall | None:
        """The one call that ends the harm when nobody is left to undo it; None where no single call can.

        It may leave things behind that hurt nobody: what it leaves must be as before or as broken, field by field, so
        that a later undo finds no drift. Asked before there is a ledger entry.
        """
        return None


AnyFault = Fault[Any]

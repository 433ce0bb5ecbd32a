"""What every fault is made of, and the one way in which all of them are injected and undone.

A fault says how to read the state it changes (`observe`), what that state becomes (`broken`), and how to get
there and back. Everything else (the ledger, evidence, verification, drift) follows from comparing states and
is written once, in `lifecycle.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import ConfigDict, Field

from tocsin.aws.iam import ANY, Arns, Grant
from tocsin.aws.target import Aws
from tocsin.errors import Refused
from tocsin.model.base import Model
from tocsin.model.system import System


class State(Model):
    """What a fault remembers of a resource: compared field by field, written to the ledger, free of secrets."""

    def differing(self, other: State) -> list[str]:
        """The fields in which two states differ, with both values in words."""
        mine, theirs = self.model_dump(), other.model_dump()
        return [f"{name} is {mine[name]!r}, not {theirs[name]!r}" for name in mine if mine[name] != theirs[name]]


StateT = TypeVar("StateT", bound=State)


class Change(Protocol):
    """What the guards of a change ask about."""

    @property
    def resource(self) -> str:
        """What is changed, as a person would name it."""

    def arns(self, aws: Aws) -> tuple[str, ...]:
        """ARNs of what is changed."""


def not_as_assumed(expected: str, found: str, why: str) -> Refused:
    """What a fault answers before anything is written down, where its undo would not lead back to what is there."""
    return Refused("undo", f"expected {expected}, found {found}: {why}. Nothing was changed.")


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
    begins_within_s: ClassVar[float] = 0.0
    """Production seconds for which AWS may still show the state of before, although it has taken the call that breaks
    it: what looks as before in that time is not yet called mended. 0 where the undo writes what was before in any
    case, and so comes after whatever is on its way."""
    burns_processor: ClassVar[bool] = False
    """Whether it takes a whole processor on purpose: on the sandbox, this machine's. Beside it no other drill runs."""
    expires: ClassVar[bool] = False
    """Whether AWS ends it by itself at `Aws.expires_at`, also when nobody is left to undo it."""
    heals: ClassVar[bool] = False
    """Whether AWS mends it by itself at once, as a stopped task is replaced: the undo only waits for that, and what is
    neither as before nor as broken is on its way, and no drift. Such a state holds counts, never identities."""

    def effect_within(self, prior: StateT) -> float:
        """Production seconds after which the absence of an effect is a fact, where that depends on the resource."""
        return self.effect_within_s

    def on_its_way(self, now: StateT, prior: StateT) -> bool:
        """Whether a state is between before and broken because the fault comes, or goes, piece by piece: no drift."""
        return False

    @property
    @abstractmethod
    def resource(self) -> str:
        """What is changed, as a person would name it."""

    @abstractmethod
    def arns(self, aws: Aws) -> tuple[str, ...]:
        """ARNs of the resources that are changed: what must have opted in, and what counts for the blast radius."""

    def unknown_in(self, system: System) -> str | None:
        """What the arguments name of the system of their experiment and the system file does not have, in words.

        Most faults name nothing of it: None.
        """
        return None

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        """ARNs on which IAM must allow one of the `permissions`, as far as the arguments name them.

        What only the account knows (an id, the name of a dead-letter queue) is a wildcard. An action that IAM cannot
        limit to a resource keeps this answer: any. None at all where it is not needed with these arguments.
        """
        return ANY

    def key_grants(self, aws: Aws) -> Iterator[Grant]:
        """What its calls need of keys with which the account has encrypted what they are about: only the account knows.

        Where it does not say, nothing.
        """
        yield from ()

    def check_bites(self, aws: Aws) -> None:
        """Whether it would do anything here: not every target does what AWS does, and not every argument names a use.

        Asked before anything is changed. Most faults show in `observe` what they change: nothing is asked.

        Raises:
            Refused: it would do nothing; says why.
        """

    def vouched(self, aws: Aws, prior: StateT, since: float) -> str | None:
        """What the service itself kept of the effect since then (epoch seconds), in words; None where it tells none.

        Asked where the state that is read is not the broken one: what AWS mends may be over before anybody looked. Most
        faults stay until they are undone, and ask nothing.
        """
        return None

    def felt(self, aws: Aws, since: float) -> int | None:
        """How many calls were refused, or failed, because of it since then (epoch seconds).

        None where that cannot be had here; most faults are felt by callers that nobody counts.
        """
        return None

    def look_ahead(self, aws: Aws, prior: StateT) -> None:
        """Make once the reads that come only later in its life, as of what it will have made for its ledger entry.

        Changes nothing. What is found says nothing, that it can be asked does. Most ask nothing that the first
        `observe` does not.
        """

    @abstractmethod
    def observe(self, aws: Aws, prior: StateT | None) -> StateT:
        """Read the state now. `prior` is None the first time: that reading is what the undo goes back to.

        It may raise Refused then: on this target there can be no such fault, or (`not_as_assumed`) its undo could not
        put back what is there.
        """

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

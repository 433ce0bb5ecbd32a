"""What every throwaway resource is: a name of its own, a mark, a ledger entry, a deletion that is verified."""

from __future__ import annotations

import json
import re
import uuid
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from botocore.exceptions import ClientError
from pydantic import Field

from tocsin.aws.error_codes import DENIED
from tocsin.aws.iam import Arns
from tocsin.aws.target import Aws
from tocsin.errors import Busy, NotFound, TargetError, Unavailable
from tocsin.faults.base import Fault, State, not_as_assumed

PREFIX = "tocsin-parity-"
"""How the name of everything begins that is made here, and that a policy may be limited to."""
TAG = "tocsin-parity"
"""Its value is the name of the resource itself."""
_NAME = rf"^{PREFIX}[0-9a-f]{{12}}-[a-z]{{1,16}}$"


class Presence(State):
    """What stands under the name of a throwaway resource."""

    found: Literal["absent", "ours", "somebody else's"]


ABSENT = Presence(found="absent")
OURS = Presence(found="ours")
OTHERS = Presence(found="somebody else's")


def new_run() -> str:
    """What the names of one run have in common, and no other's have."""
    return f"{PREFIX}{uuid.uuid4().hex[:12]}"


class Throwaway(Fault[Presence]):
    """One resource that a measurement makes for itself.

    What stands under its name without its mark is somebody else's: it is never made over and never deleted.
    """

    state: ClassVar[type[State]] = Presence
    noun: ClassVar[str]
    """What it is, in words."""

    name: str = Field(pattern=_NAME, description="its name in the account")

    @property
    def resource(self) -> str:
        return f"{self.noun} {self.name}"

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        return (self.pattern(arns),)

    @classmethod
    @abstractmethod
    def pattern(cls, arns: Arns) -> str:
        """ARN of whatever of its kind may be made here: a pattern of IAM."""

    @property
    def tag(self) -> Mapping[str, str]:
        """The mark by which it is known."""
        return {TAG: self.name}

    @abstractmethod
    def marks(self, aws: Aws) -> Mapping[str, str]:
        """The tags of what stands under its name.

        Raises:
            NotFound: nothing does.
        """

    @abstractmethod
    def make(self, aws: Aws) -> None:
        """Create it, with its mark, in the one call that creates it."""

    @abstractmethod
    def delete(self, aws: Aws) -> None:
        """Delete it, with all that is in it.

        Raises:
            NotFound: it is not there.
        """

    def observe(self, aws: Aws, prior: Presence | None) -> Presence:
        found = self._found(aws)
        if prior is None and found != ABSENT:
            raise not_as_assumed(f"nothing named {self.name}", f"a {self.noun}", "it is not of this run")
        return found

    def broken(self, prior: Presence) -> Presence:
        return OURS

    def inject(self, aws: Aws, prior: Presence) -> None:
        self.make(aws)

    def undo(self, aws: Aws, prior: Presence) -> None:
        try:
            self.delete(aws)
        except Unavailable:
            raise
        except TargetError:
            # Where nothing is, AWS may also say that it may not be deleted.
            if self._found(aws) != ABSENT:
                raise

    def _found(self, aws: Aws) -> Presence:
        try:
            marks = self.marks(aws)
        except NotFound:
            return ABSENT
        return OURS if marks.get(TAG) == self.name else OTHERS


def tags_of(listed: list[Mapping[str, str]]) -> Mapping[str, str]:
    """Tags as most services list them, by their keys."""
    return {tag["Key"]: tag["Value"] for tag in listed}


def document(*statements: Mapping[str, Any]) -> str:
    """A policy of these statements, as AWS takes it."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as most services take them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


_ROLE_NOT_KNOWN = re.compile(r"\brole\b.*\bassume|\bassume.*\brole\b", re.IGNORECASE | re.DOTALL)
"""What Lambda ("cannot be assumed by Lambda") and Scheduler ("must allow AWS EventBridge Scheduler to assume the role")
say of a role that they do not know yet, with codes that mean anything.
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
"""


def asked_with_a_new_role(aws: Aws, doing: str, call: Callable[..., Any], **request: Any) -> None:
    """One call that hands over a role which was just made, made again as long as its service does not know the role.

    Raises:
        Unavailable: it does not to the end of the patience.
        TargetError: any other answer.
    """

    def once() -> None:
        try:
            call(**request)
        except ClientError as error:
            said = error.response.get("Error", {})
            # A refusal names who asks, who may be in an assumed role.
            if said.get("Code") in DENIED or _ROLE_NOT_KNOWN.search(said.get("Message", "")) is None:
                raise
            raise _NotKnownYet(f"{doing}: {error}") from error

    aws.ask(doing, once)


class _NotKnownYet(Busy):
    """The role that was handed over is too new."""

"""A Deny statement that ends by itself: what the faults of IAM, S3 and DynamoDB have in common.

Each statement carries `DateLessThan aws:CurrentTime`, so AWS stops applying it at that time, whoever is left to
remove it. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

import json
import re
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal, TypeVar

from botocore.exceptions import ClientError
from pydantic import field_validator

from tocsin.aws import cloudtrail
from tocsin.aws.enforcement import answers_strangers
from tocsin.aws.target import Aws
from tocsin.errors import Refused, TargetError
from tocsin.faults.base import Fault, State

Document = dict[str, Any]
"""A policy or a statement as AWS gives it: other people's parts of it are kept, whatever they say."""

PRINCIPAL = r"^(\*|arn:aws[a-z-]*:(iam|sts)::\d{12}:[\w+=,.@/-]+)$"
"""Who is denied in a resource policy: everybody, or one role, user or session."""
_ACTION = re.compile(r"^[a-z0-9-]+:[A-Za-z0-9*?]+$")

_POLL_WALL_S = 0.1
GUARD = "bites"
"""The guard that asks whether a fault would do anything."""

T = TypeVar("T")


class DenyState(State):
    """Our Deny statement in a policy; the other statements are somebody else's, and kept as they are."""

    statement: Literal["absent", "ours", "changed"]


ABSENT = DenyState(statement="absent")
OURS = DenyState(statement="ours")


class DenyFault(Fault[DenyState]):
    """Denies its `actions` by a statement of its own, which ends by itself."""

    state: ClassVar[type[State]] = DenyState
    effect_within_s: ClassVar[float] = 60.0
    expires: ClassVar[bool] = True
    denies: ClassVar[str | None]
    """Service whose actions it can deny; None: every service's."""
    way_back: ClassVar[tuple[str, ...]]
    """IAM actions that the undo needs: never denied."""

    @field_validator("actions", check_fields=False)
    @classmethod
    def _way_back_open(cls, actions: tuple[str, ...]) -> tuple[str, ...]:
        return checked_actions(actions, cls.way_back, cls.denies)

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (self._arn(aws),)

    def broken(self, prior: DenyState) -> DenyState:
        return OURS

    def check_bites(self, aws: Aws) -> None:
        if answers_strangers(aws.target):
            raise Refused(
                GUARD,
                f"expected a target that obeys policies, found that {aws.target.name} answers an access key that "
                f"nobody made: {self.kind} would change a policy and nothing else. Use the sandbox, or an account "
                "of AWS.",
            )

    def felt(self, aws: Aws, since: float) -> int | None:
        found = sum(1 for event in cloudtrail.explicitly_denied(aws, self.denied, since) if self._is_ours(aws, event))
        # CloudTrail tells late and not everything on AWS: there, none is no evidence.
        return found if found or aws.target.endpoint_url is not None else None

    @property
    @abstractmethod
    def denied(self) -> tuple[str, ...]:
        """The IAM actions that are denied: `actions`, a field that each fault describes in its own words."""

    @abstractmethod
    def _is_ours(self, aws: Aws, event: Mapping[str, Any]) -> bool:
        """Whether a call that was refused meant what this fault denies."""

    @abstractmethod
    def _arn(self, aws: Aws) -> str:
        """ARN of the resource whose policy is changed."""

    @abstractmethod
    def _statement(self, aws: Aws) -> Document:
        """Our statement."""


class ResourcePolicyDeny(DenyFault):
    """Denies by one statement more in the policy of a resource. The others stay, also those added meanwhile."""

    def _is_ours(self, aws: Aws, event: Mapping[str, Any]) -> bool:
        arn = self._arn(aws)
        return any(one == arn or one.startswith(f"{arn}/") for one in cloudtrail.resources_of(event))

    def observe(self, aws: Aws, prior: DenyState | None) -> DenyState:
        policy, _ = self._read(aws)
        return ABSENT if prior is None else state_of(policy, self._statement(aws))

    def inject(self, aws: Aws, prior: DenyState) -> None:
        policy, revision = self._read(aws)
        self._write(aws, with_ours(policy, self._statement(aws)), revision)

    def undo(self, aws: Aws, prior: DenyState) -> None:
        # What was written a moment ago may not be read yet: configurations of buckets are eventually consistent.
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel
        deadline = time.monotonic() + self.effect_within_s / aws.target.scale
        while True:
            policy, revision = self._read(aws)
            if policy is not None and state_of(policy, self._statement(aws)) != ABSENT:
                self._write(aws, without_ours(policy, sid(aws)), revision)
                return
            if time.monotonic() > deadline:
                return
            time.sleep(max(_POLL_WALL_S, 1.0 / aws.target.scale))

    @abstractmethod
    def _read(self, aws: Aws) -> tuple[Document | None, str]:
        """The policy, if there is one, and its revision; empty where the service knows none."""

    @abstractmethod
    def _write(self, aws: Aws, policy: Document | None, revision: str) -> None:
        """Put the policy in place of that revision, or delete it when there is none."""


def checked_actions(actions: tuple[str, ...], protected: Iterable[str], service: str | None) -> tuple[str, ...]:
    """Actions that may be denied: well-formed, of one service (None: of any), and none that the undo needs.

    Raises:
        ValueError: one may not; the message names it.
    """
    for action in actions:
        if not _ACTION.match(action) or (service is not None and not action.startswith(f"{service}:")):
            raise ValueError(f"expected an action like '{service or 'dynamodb'}:GetItem', found '{action}'")
        needed = next((name for name in protected if fnmatchcase(name.lower(), action.lower())), None)
        if needed is not None:
            raise ValueError(
                f"expected actions that leave the way back open, found '{action}': it denies {needed}, which the undo "
                "needs. Name the data actions to be denied"
            )
    return actions


def sid(aws: Aws) -> str:
    """Sid of this entry's statement: letters and digits only.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_sid.html
    """
    return f"tocsin{aws.entry}"


def deny_statement(
    aws: Aws, actions: Iterable[str], resources: Iterable[str], principal: str | None = None
) -> Document:
    """This entry's statement, in force until `aws.expires_at`; without a principal for a policy of a role.

    Raises:
        TargetError: there is no time at which it ends.
    """
    if aws.expires_at is None:
        raise TargetError("expected a time at which the Deny statement ends by itself, found none")
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(aws.expires_at))
    who = {} if principal is None else {"Principal": "*" if principal == "*" else {"AWS": principal}}
    return {
        "Sid": sid(aws),
        "Effect": "Deny",
        **who,
        "Action": list(actions),
        "Resource": list(resources),
        "Condition": {"DateLessThan": {"aws:CurrentTime": until}},
    }


def state_of(policy: Document | None, ours: Document) -> DenyState:
    """Whether a policy holds our statement, as we wrote it."""
    found = [statement for statement in _statements(policy) if statement.get("Sid") == ours["Sid"]]
    if not found:
        return ABSENT
    return (
        OURS if [_canonical(statement) for statement in found] == [_canonical(ours)] else DenyState(statement="changed")
    )


def with_ours(policy: Document | None, ours: Document) -> Document:
    """The policy with our statement as its last one; a new one where there was none."""
    others = [statement for statement in _statements(policy) if statement.get("Sid") != ours["Sid"]]
    return {**(policy or {"Version": "2012-10-17"}), "Statement": [*others, ours]}


def without_ours(policy: Document, own_sid: str) -> Document | None:
    """The policy without our statement; None when no statement is left, which no policy may be."""
    others = [statement for statement in _statements(policy) if statement.get("Sid") != own_sid]
    return {**policy, "Statement": others} if others else None


def as_text(policy: Document) -> str:
    """The policy as AWS takes it; without spaces, which count towards the size it may have."""
    return json.dumps(policy, separators=(",", ":"), ensure_ascii=False)


def allows_any(policies: Iterable[Document], actions: Iterable[str], resources: Iterable[str]) -> bool:
    """Whether a statement of these policies could allow one of the actions on one of the resources."""
    return any(
        statement.get("Effect") == "Allow"
        and _may_meet(statement, "Action", [action.lower() for action in actions])
        and _may_meet(statement, "Resource", list(resources))
        for policy in policies
        for statement in _statements(policy)
    )


def _may_meet(statement: Document, element: str, patterns: list[str]) -> bool:
    """Whether what a statement names may be among the patterns: in doubt it is."""
    if element not in statement:
        return True  # NotAction, NotResource: all but a few
    named = statement[element] if isinstance(statement[element], list) else [statement[element]]
    mine = [str(one).lower() if element == "Action" else str(one) for one in named]
    return any(_overlap(one, pattern) for one in mine for pattern in patterns)


def _overlap(one: str, other: str) -> bool:
    if fnmatchcase(one, other) or fnmatchcase(other, one):
        return True
    wild = [re.split(r"[*?]", text, maxsplit=1)[0] for text in (one, other) if re.search(r"[*?]", text)]
    return len(wild) == 2 and (wild[0].startswith(wild[1]) or wild[1].startswith(wild[0]))


def none_if(code: str, read: Callable[[], T]) -> T | None:
    """What `read` gives; None when AWS answers with that error code."""
    try:
        return read()
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != code:
            raise
        return None


def _statements(policy: Document | None) -> list[Document]:
    found = (policy or {}).get("Statement", [])
    return [found] if isinstance(found, dict) else list(found)


def _canonical(value: Any) -> Any:
    """AWS gives back a list of one as its element, a list in another order, and `*` as `{"AWS": "*"}`."""
    if isinstance(value, dict):
        return "*" if value == {"AWS": "*"} else {name: _canonical(part) for name, part in value.items()}
    if isinstance(value, list):
        parts = sorted((_canonical(part) for part in value), key=repr)
        return parts[0] if len(parts) == 1 else parts
    return value

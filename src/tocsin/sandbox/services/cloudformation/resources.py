"""What a type of resource is, and how one is made, changed and removed by it: the same for every type of the table.

A type says which requests make and remove a resource, and which *parts* of it other requests change. A change sends the
parts whose properties differ between the templates, each of them whole; what else was changed meanwhile, by whomever,
stays. "CloudFormation compares the changes you submit with the current state of your stack":
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks.html
"""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tocsin.sandbox.services.cloudformation.requests import InvalidProperties, ResourceFailed

Properties = Mapping[str, Any]
"""Of a resource as the template has them, with every function of it answered."""

Call = Callable[..., Mapping[str, Any]]
"""(service, operation, **request) -> the answer. Raises ResourceFailed."""

_WAIT_S = 120.0
"""How long a change of a resource may take, on the wall."""


@dataclass(frozen=True)
class Resource:
    """One resource of a stack, as the functions of its type see it."""

    call: Call
    account: str
    region: str
    stack: str
    logical_id: str
    physical_id: str = ""

    def generated(self, longest: int) -> str:
        """A name where the template gives none; another one whenever it is asked for.

        https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-name.html
        """
        ending = "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(12))
        return f"{f'{self.stack}-{self.logical_id}'[: longest - len(ending) - 1]}-{ending}"

    def name(self, given: Any, longest: int) -> str:
        """The name in the template, or one that is made from the names of stack and resource."""
        return str(given) if given else self.generated(longest)

    def arn(self, service: str, rest: str) -> str:
        """ARN of something in the same account and region."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{rest}"

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Wait for what a request began; raises ResourceFailed when it does not end."""
        deadline = time.monotonic() + _WAIT_S
        while not done():
            if time.monotonic() > deadline:
                raise ResourceFailed(f"{what} did not end in {_WAIT_S:g} s", "NotStabilized")
            time.sleep(0.02)


@dataclass(frozen=True)
class Part:
    """Properties that one function puts: (resource, as they shall be, as the former template has them)."""

    properties: tuple[str, ...]
    put: Callable[[Resource, Properties, Properties], None]
    made: bool = False
    """whether the request that makes the resource has put them already"""

    def differs(self, new: Properties, old: Properties) -> bool:
        """Whether the templates differ in it."""
        return any(new.get(name) != old.get(name) for name in self.properties)


@dataclass(frozen=True)
class ResourceType:
    """A type of the table."""

    name: str
    """such as AWS::SQS::Queue"""
    create: Callable[[Resource, Properties], str]
    """makes it; returns the physical id"""
    delete: Callable[[Resource, Properties], None]
    attributes: Callable[[Resource, Properties], Mapping[str, Any]]
    """what `Fn::GetAtt` answers"""
    required: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    """properties that only another resource can have"""
    parts: tuple[Part, ...] = ()
    find: Callable[[Resource, Properties], str | None] | None = None
    """for APIs that make what is there already: the name under which it is there"""
    settle: Callable[[Resource], None] | None = None
    """waits until what was made can be used"""

    @property
    def properties(self) -> frozenset[str]:
        """All that a template may give it here."""
        of_parts = (name for part in self.parts for name in part.properties)
        return frozenset((*self.required, *self.replaces, *of_parts))

    def check(self, resource: Resource, properties: Properties) -> None:
        """Raises InvalidProperties: one is missing, or the sandbox has no such property of this type."""
        missing = [name for name in self.required if properties.get(name) is None]
        if missing:
            raise InvalidProperties(resource.logical_id, f"#: required key [{missing[0]}] not found")
        unknown = sorted(properties.keys() - self.properties)
        if unknown:
            raise InvalidProperties(
                resource.logical_id,
                f"#: extraneous key [{unknown[0]}] is not permitted: of {self.name} the sandbox has "
                f"{', '.join(sorted(self.properties))}",
            )


def create(kind: ResourceType, resource: Resource, properties: Properties) -> tuple[Resource, Mapping[str, Any]]:
    """Make a resource; returns it with its physical id, and its attributes.

    Raises:
        ResourceFailed: nothing of it is left.
    """
    kind.check(resource, properties)
    there = kind.find(resource, properties) if kind.find else None
    if there is not None:
        known = f"Resource of type '{kind.name}' with identifier '{there}' already exists."
        raise ResourceFailed(known, "AlreadyExists")
    made = replace(resource, physical_id=kind.create(resource, properties))
    try:
        if kind.settle:
            kind.settle(made)
        for part in kind.parts:
            if not part.made and part.differs(properties, {}):
                part.put(made, properties, {})
        return made, kind.attributes(made, properties)
    except Exception as error:
        failed = _failure(error)
        _taken_back(failed, lambda: remove(kind, made, properties))
        raise failed from error


def update(kind: ResourceType, resource: Resource, new: Properties, old: Properties) -> Mapping[str, Any]:
    """Change a resource where the templates differ; returns its attributes.

    Raises:
        ResourceFailed: the parts that were changed before the one that failed are as they were.
    """
    kind.check(resource, new)
    done: list[Part] = []
    try:
        for part in kind.parts:
            if part.differs(new, old):
                part.put(resource, new, old)
                done.append(part)
    except Exception as error:
        failed = _failure(error)
        for part in reversed(done):
            _taken_back(failed, partial(part.put, resource, old, new))
        raise failed from error
    return kind.attributes(resource, new)


def _failure(error: Exception) -> ResourceFailed:
    """Why it failed; an error that is none of a request lies in the template, such as tags that are none."""
    if isinstance(error, ResourceFailed):
        return error
    return ResourceFailed(f"a property has not the form that its type wants: {error!r}", "InvalidRequest")


def _taken_back(failed: ResourceFailed, back: Callable[[], None]) -> None:
    """Take back what was done before a request failed; where that fails, too, both are told, the cause first."""
    try:
        back()
    except ResourceFailed as also:
        raise ResourceFailed(f"{failed.message} What was done before stays: {also.message}", failed.code) from failed


def remove(kind: ResourceType, resource: Resource, properties: Properties) -> None:
    """Remove a resource; one that is gone already is removed.

    Raises:
        ResourceFailed: it is still there.
    """
    try:
        kind.delete(resource, properties)
    except ResourceFailed as failed:
        if failed.code != "NotFound":
            raise


def given(properties: Properties, names: Iterable[str]) -> dict[str, Any]:
    """Those of the properties that the template gives."""
    return {name: properties[name] for name in names if properties.get(name) is not None}


def changed(new: Properties, old: Properties, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Properties to be put: those of the template, and AWS's default for one that it no longer has."""
    gone = {name: default for name, default in defaults.items() if name in old and new.get(name) is None}
    return given(new, defaults) | gone

"""Answers of AWS that say themselves what they lack: where a member is asked for that is not there, its name is told.

botocore leaves out what an answer does not say, and a plain `KeyError` names neither the service nor the call. What a
model of a service calls optional may be missing from any answer, and whoever needs it must not go on without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tocsin.errors import Incomplete


class Answer(dict[str, Any]):
    """An answer, or a part of one; `place` names it: `lambda:GetAlias.RoutingConfig`.

    `get` and `in` are for what may be missing because its absence says something.

    Raises:
        Incomplete: a member that is asked for by its name is not there.
    """

    __slots__ = ("place",)

    def __init__(self, members: Mapping[str, Any], place: str) -> None:
        super().__init__(members)
        self.place = place
        for name, value in members.items():
            if isinstance(value, (dict, list)):
                self[name] = _named(value, f"{place}.{name}")

    def __missing__(self, member: str) -> Any:
        raise lacking(self, member)


def lacking(answer: Mapping[str, Any], member: str) -> Incomplete:
    """What is to be said where an answer lacks what it must have: names, and never a value."""
    place = answer.place if isinstance(answer, Answer) else "AWS"
    there = ", ".join(name for name in answer if name != "ResponseMetadata") or "nothing"
    return Incomplete(f"expected an answer {place} that says '{member}', found one without '{member}'; it says {there}")


def first_of(answer: Mapping[str, Any], member: str) -> Any:
    """The first of what an answer lists under a name.

    Raises:
        Incomplete: it lists nothing, or does not say it.
    """
    listed = answer.get(member)
    if not listed:
        raise lacking(answer, f"{member}[0]")
    return listed[0]


def taken_by(client: Any, operation: str, *path: str) -> frozenset[str]:
    """Names of the members that an operation takes, at the top or in one of its structures (`path`; also of a list).

    What was read of them is written back whole: what a call replaces and is not told, AWS sets to its default.
    """
    shape = client.meta.service_model.operation_model(operation).input_shape
    for name in path:
        shape = shape.members[name]
        shape = shape.member if shape.type_name == "list" else shape
    return frozenset(shape.members)


def naming(client: Any) -> Any:
    """The client, whose every answer is an `Answer` from now on, also those of its paginators and waiters.

    botocore has no event that may replace an answer; all calls of a client go through this one method, which is where
    tracers stand, too.
    """
    service, made = client.meta.service_model.service_name, type(client)

    def asked(operation: str, request: dict[str, Any]) -> Answer:
        return Answer(made._make_api_call(client, operation, request), f"{service}:{operation}")  # noqa: SLF001

    client._make_api_call = asked  # noqa: SLF001 - see above
    return client


def _named(value: Any, place: str) -> Any:
    if isinstance(value, dict):
        return Answer(value, place)
    if isinstance(value, list):
        return [_named(one, f"{place}[]") for one in value]
    return value

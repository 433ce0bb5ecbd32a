"""Requests in AWS's Query protocol (form-encoded), as the JSON of the same request would be; every value is text.

https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tocsin.errors import InvalidInput

_LIST = "member"
_OF_THE_PROTOCOL = ("Action", "Version")
_LISTS = ("AlarmActions", "Dimensions", "InsufficientDataActions", "Metrics", "OKActions", "Tags")
"""Lists of the requests that are read; an empty one is written as `Tags=`."""


def request_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """The request of a form: `Dimensions.member.1.Name=QueueName` is the name of the first dimension.

    Args:
        params: name -> value, or a list of which the first is the value

    Raises:
        InvalidInput: one name is both a value and the beginning of others.
    """
    tree: dict[str, Any] = {}
    for name, value in params.items():
        if name not in _OF_THE_PROTOCOL:
            _plant(tree, name, value[0] if isinstance(value, list) else value)
    return {name: _read(name, branch) for name, branch in tree.items()}


def _plant(tree: dict[str, Any], name: str, value: Any) -> None:
    *path, last = name.split(".")
    for part in path:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise InvalidInput(f"expected one meaning of each part of '{name}', found a value and parts of it")
    if isinstance(tree.get(last), dict):
        raise InvalidInput(f"expected one meaning of '{name}', found a value and parts of it")
    tree[last] = value


def _read(name: str, branch: Any) -> Any:
    if not isinstance(branch, dict):
        return [] if branch == "" and name in _LISTS else branch
    if set(branch) == {_LIST} and isinstance(branch[_LIST], dict):
        members = branch[_LIST]
        wrong = next((index for index in members if not index.isdecimal()), None)
        if wrong is not None:
            raise InvalidInput(f"{name}: expected numbers of its members, found '{wrong}'")
        return [_read("", members[index]) for index in sorted(members, key=int)]
    return {part: _read(part, inner) for part, inner in branch.items()}

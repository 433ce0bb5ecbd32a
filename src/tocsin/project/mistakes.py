"""What is wrong with a value, in words for whoever wrote it, from what a model says about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from reprlib import Repr
from typing import Any

from pydantic import BaseModel, ValidationError

from tocsin.errors import near_match, shortened
from tocsin.model.toolkit import Location
from tocsin.project.nodes import kind_of

MOST_TOLD = 20
"""Mistakes of one file; whoever mends these sees the others."""

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist = 2, 3, 3


def found(value: Any) -> str:
    """A value as it is shown in a message: never long."""
    return kind_of(value) if value is None else _SHORT.repr(value)


def mistakes(error: ValidationError, model: type[BaseModel], data: Any) -> tuple[list[tuple[Location, str]], int]:
    """Where in `data` something is wrong, and what: each once, in the order of the model, and never many.

    Of the members of a union only the one is told about that `data` fits best.

    Returns:
        The first of them, and how many there are more.
    """
    problems = _of_best_members(error.errors(include_url=False), data, 0)
    told: dict[tuple[Location, str], None] = {}
    for problem in problems[:MOST_TOLD]:
        location = _in_data(problem, data)
        told[((*location, *_further(problem)), _sentence(problem, location, model))] = None
    return list(told), max(0, len(problems) - MOST_TOLD)


def _further(problem: Any) -> Location:
    """Where a problem is below the place that the model names for it."""
    context = problem.get("ctx") or {}
    if problem["type"] == "union_tag_invalid":
        return (str(context["discriminator"]).strip("'"),)
    return tuple(context.get("at", ()))


def _of_best_members(problems: Sequence[Any], data: Any, start: int) -> list[Any]:
    """The problems at `start` and below, without those of members of a union that `data` was not meant as."""
    chosen: list[Any] = []
    places: dict[Location, list[Any]] = {}
    for problem in problems:
        places.setdefault(_prefix(problem["loc"], data, start), []).append(problem)
    for prefix, same in places.items():
        members: dict[Any, list[Any]] = {}
        for problem in same:
            members.setdefault(_member(problem, len(prefix)), []).append(problem)
        chosen += members.pop(None, [])
        if members:
            best = min(members.values(), key=lambda member: _misfit(member, len(prefix) + 1))
            chosen += _of_best_members(best, data, len(prefix) + 1)
    return _without_what_a_typing_mistake_explains(chosen)


def _member(problem: Any, at: int) -> int | str | None:
    """The member of a union whose problem it is; a name that is missing is none."""
    location = problem["loc"]
    is_none = len(location) == at or (problem["type"] == "missing" and len(location) == at + 1)
    return None if is_none else location[at]


def _prefix(location: Location, data: Any, start: int) -> Location:
    """The part of a location up to the first tag of a union at or after `start`."""
    value = _at(data, location[:start])
    for index in range(start, len(location)):
        step = _step(value, location[index])
        if step is None:
            return location[:index]
        value = step[0]
    return location


def _at(data: Any, location: Sequence[int | str]) -> Any:
    for part in location:
        step = _step(data, part)
        data = data if step is None else step[0]
    return data


def _step(value: Any, part: int | str) -> tuple[Any] | None:
    if isinstance(value, Mapping) and part in value:
        return (value[part],)
    if isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
        return (value[part],)
    return None


def _in_data(problem: Any, data: Any) -> Location:
    """The place of a problem without the tags of unions, which have no place in the file."""
    kept: list[int | str] = []
    step = None
    for part in problem["loc"]:
        step = _step(data, part)
        if step is not None:
            data = step[0]
            kept.append(part)
    # One that counts as missing because it is null is in `data`.
    return (*kept, problem["loc"][-1]) if problem["type"] == "missing" and step is None else tuple(kept)


def _misfit(problems: Sequence[Any], below: int) -> tuple[int, int]:
    """How badly data fits a member of a union: names that do not belong count before all else."""
    strangers = sum(p["type"] == "extra_forbidden" and len(p["loc"]) == below + 1 for p in problems)
    of_other_kind = any(len(p["loc"]) == below and p["type"].endswith("_type") for p in problems)
    return strangers + 1000 * of_other_kind, len(_without_what_a_typing_mistake_explains(problems))


def _without_what_a_typing_mistake_explains(problems: Sequence[Any]) -> list[Any]:
    """`withn` is an unknown name; that `within` is missing needs no second message."""
    unknown: dict[Location, list[str]] = {}
    for problem in problems:
        if problem["type"] == "extra_forbidden":
            names = unknown.setdefault(problem["loc"][:-1], [])
            if len(names) < MOST_TOLD:
                names.append(str(problem["loc"][-1]))
    return [
        problem
        for problem in problems
        if problem["type"] != "missing"
        or not get_close_matches(str(problem["loc"][-1]), unknown.get(problem["loc"][:-1], ()), n=1, cutoff=0.5)
    ]


def _sentence(problem: Any, location: Location, model: type[BaseModel]) -> str:
    place = ".".join(shortened(str(part)) for part in location)
    if problem["type"] == "extra_forbidden":
        name = str(problem["loc"][-1])
        known = _names_at(model, problem["loc"][:-1])
        parent = ".".join(shortened(str(part)) for part in location[:-1])
        return f"unknown name '{shortened(name)}'{f' in {parent}' if parent else ''}. {near_match(name, known)}"
    if problem["type"] == "missing":
        return f"expected '{place}', found nothing"
    told = _expected(problem)
    if "found" not in told and problem["type"] != "value_error":
        told = f"{told}, found {found(problem['input'])}"
    return f"{place}: {told}" if place else told


_EXPECTED = {
    "string_type": "expected a text",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
}


def _expected(problem: Any) -> str:
    context = problem.get("ctx") or {}
    if problem["type"] == "greater_than":
        return f"expected more than {context['gt']:g}"
    if problem["type"] == "union_tag_invalid":
        known = re.findall("'([^']*)'", context["expected_tags"])
        return f"expected {context['expected_tags']}, found '{context['tag']}'. {near_match(context['tag'], known)}"
    if problem["type"] == "union_tag_not_found":
        return f"expected {context['discriminator']} in it, found nothing"
    told = _EXPECTED.get(problem["type"])
    return told or str(problem["msg"]).removeprefix("Value error, ").replace("Input should be ", "expected ", 1)


def _names_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Field names of the model that stands at `location` below `model`."""
    schema = _schema(model)
    definitions = schema.get("$defs", {})
    node: Any = schema
    for part in location:
        node = _schema_child(node, part, definitions)
    names: set[str] = set()
    for option in _options(node, definitions):
        names |= set(option.get("properties", {}))
    return sorted(names)


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True)


def _options(node: Any, definitions: Mapping[str, Any]) -> Iterable[Any]:
    if "$ref" in node:
        yield from _options(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
        return
    for option in node.get("anyOf") or node.get("oneOf") or [node]:
        if option is node:
            yield node
        else:
            yield from _options(option, definitions)


def _schema_child(node: Any, part: int | str, definitions: Mapping[str, Any]) -> Any:
    tags = node.get("discriminator", {}).get("mapping", {})
    if isinstance(part, str) and (part in tags or part in definitions):  # the tag of a member of a union
        return {"$ref": tags[part]} if part in tags else definitions[part]
    for option in _options(node, definitions):
        if isinstance(part, int) and "items" in option:
            return option["items"]
        if part in option.get("properties", {}):
            return option["properties"][part]
        if isinstance(part, str) and isinstance(option.get("additionalProperties"), dict):
            return option["additionalProperties"]
    return node

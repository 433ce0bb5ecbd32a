"""What a target is given of an event: all of it, a part, a constant, or a template. Pure.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\*)\]")
_STRING_OR_VARIABLE = re.compile(r'"(?:\\.|[^"\\])*"|<[^<>]*>')
_VARIABLE = re.compile(r"<([^<>]*)>")

_RESERVED = "aws.events."
_ABSENT = ""
"""A variable whose path leads nowhere leaves nothing in the output."""


@dataclass(frozen=True)
class Occasion:
    """What a template knows besides the event."""

    rule_name: str
    rule_arn: str
    ingested: str
    """When EventBridge took the event in (ISO 8601)."""


def problem(target: Mapping[str, Any]) -> str | None:
    """What is wrong with the input that a target asks for; None when nothing is."""
    given = [name for name in ("Input", "InputPath", "InputTransformer") if target.get(name)]
    if len(given) > 1:
        return f"Only one of Input, InputPath, or InputTransformer must be provided for target {target.get('Id')}."
    transformer = target.get("InputTransformer") or {}
    if transformer and not transformer.get("InputTemplate"):
        return f"InputTemplate is required for target {target.get('Id')}."
    reserved = next((name for name in transformer.get("InputPathsMap") or {} if name.startswith(_RESERVED)), None)
    return None if reserved is None else f"InputPathsMap of target {target.get('Id')} defines reserved {reserved}."


def payload(target: Mapping[str, Any], event: Mapping[str, Any], occasion: Occasion) -> str:
    """The text that a target is sent for an event (the delivered form, with `detail` and `detail-type`)."""
    if target.get("Input"):
        return str(target["Input"])
    if target.get("InputTransformer"):
        return _transformed(target["InputTransformer"], event, occasion)
    if target.get("InputPath"):
        return json.dumps(_at(event, target["InputPath"]))
    return json.dumps(event)


def _at(event: Any, path: str) -> Any:
    """The value at a path such as `$.detail.items[0]` or `$.detail.items[*].id`; None where it leads nowhere."""
    found: Any = event
    steps = list(_STEP.finditer(path))
    for number, step in enumerate(steps):
        if step[2] == "*":
            rest = "".join(later[0] for later in steps[number + 1 :])
            return [_at(one, rest) for one in found] if isinstance(found, list) else None
        try:
            found = found[step[1]] if step[1] else found[int(step[2])]
        except (KeyError, IndexError, TypeError):
            return None
    return found


def _transformed(transformer: Mapping[str, Any], event: Mapping[str, Any], occasion: Occasion) -> str:
    paths = transformer.get("InputPathsMap") or {}
    values = {name: _ABSENT if (found := _at(event, path)) is None else found for name, path in paths.items()}
    reserved = {
        "aws.events.rule-name": occasion.rule_name,
        "aws.events.rule-arn": occasion.rule_arn,
        "aws.events.event": {name: value for name, value in event.items() if name != "detail"},
        "aws.events.event.json": event,
        "aws.events.event.ingestion-time": occasion.ingested,
    }
    return _rendered(str(transformer["InputTemplate"]), values | reserved)


def _rendered(template: str, values: Mapping[str, Any]) -> str:
    """Put the variables in: as JSON where a value stands, bare inside of a string or of plain text."""

    def bare(found: re.Match[str]) -> str:
        if found[1] not in values:
            return found[0]
        value = values[found[1]]
        # Quotes of an object inside of a string are dropped, so that the string stays one.
        return value if isinstance(value, str) else json.dumps(value).replace('"', "")

    def whole(found: re.Match[str]) -> str:
        token, name = found[0], found[0][1:-1]
        if token.startswith('"'):
            return _VARIABLE.sub(bare, token)
        if name not in values:
            return token
        # What was extracted is not escaped: a quote in it can break the JSON, as on AWS.
        return f'"{values[name]}"' if isinstance(values[name], str) else json.dumps(values[name])

    if '"' not in template and "{" not in template:
        return _VARIABLE.sub(bare, template)
    return _STRING_OR_VARIABLE.sub(whole, template)

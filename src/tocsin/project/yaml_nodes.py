"""YAML, event by event: libyaml's own composer ends the process where a file is nested deeply enough."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tocsin.errors import InvalidInput
from tocsin.project.nodes import Builder, Limits, MappingBuilder, Place, kind_of

_TAG = "tag:yaml.org,2002:"
_TEXTS = ("str", "timestamp", "value", "merge")
_OFFSET = re.compile(r"position (\d+)")


class _Resolver(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """What a plain scalar means by YAML 1.1, which is what Chaos Toolkit reads."""

    def __init__(self) -> None:
        yaml.constructor.SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)

    def meaning(self, text: str, implicit: tuple[bool, bool]) -> Any:
        """The tag of a scalar that has none."""
        return self.resolve(yaml.ScalarNode, text, implicit)  # type: ignore[no-untyped-call]

    def int(self, text: str) -> Any:
        """A whole number."""
        return self.construct_yaml_int(yaml.ScalarNode(f"{_TAG}int", text))

    def float(self, text: str) -> Any:
        """A number."""
        return self.construct_yaml_float(yaml.ScalarNode(f"{_TAG}float", text))


def read_yaml(text: str, path: Path, limits: Limits, *, texts: bool = False) -> tuple[Any, Place]:
    """The one document of a YAML file; nothing at all is null. With `texts`, every other scalar is a text.

    Raises:
        InvalidInput: it is not YAML, holds what JSON has not, says a name twice, or goes beyond the limits.
    """
    reader = _Reader(text, path, limits, texts)
    try:
        return reader.document()
    except yaml.YAMLError as error:
        raise InvalidInput(_problem(error), file=path, line=_line(error, text)) from None
    except RecursionError:
        # Only where PyYAML came without libyaml: its own parser is nested as the file is.
        raise InvalidInput("expected YAML, found it nested too deeply", file=path, line=reader.line) from None


def _problem(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed"
    return f"expected YAML: {problem}"


def _line(error: yaml.YAMLError, text: str) -> int:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        return int(mark.line) + 1
    position = getattr(error, "position", None)
    # libyaml counts bytes.
    return 1 if position is None else text.encode()[:position].count(b"\n") + 1


def _start(event: yaml.Event) -> int:
    mark: Any = event.start_mark
    return int(mark.line) + 1


class _Reader:
    def __init__(self, text: str, path: Path, limits: Limits, texts: bool) -> None:
        self._events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self._builder = Builder(path, limits)
        self._scalars = _Resolver()
        self._texts = texts
        self._anchors: dict[str, tuple[Any, Place] | None] = {}
        self.line = 1

    def document(self) -> tuple[Any, Place]:
        """The one document of the stream."""
        found: tuple[Any, Place] | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if found is not None:
                    raise self._builder.invalid("expected one document, found a second after '---'", _start(event))
                found = self._value(self._next(), 0)
        return found or (None, Place(1, empty=True))

    def _next(self) -> yaml.Event:
        event = next(self._events)
        self.line = _start(event)
        return event

    def _value(self, event: yaml.Event, depth: int) -> tuple[Any, Place]:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        self._builder.count(1, depth, self.line)
        anchor = event.anchor  # type: ignore[attr-defined]
        if anchor is not None:
            self._anchors[anchor] = None
        if isinstance(event, yaml.MappingStartEvent):
            value = self._mapping(event, depth)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(event, depth)
        else:
            value = self._scalar(event)
        if anchor is not None:
            self._anchors[anchor] = value
        return value

    def _alias(self, event: yaml.AliasEvent, depth: int) -> tuple[Any, Place]:
        if event.anchor not in self._anchors:
            raise self._builder.invalid(f"expected an anchor '&{event.anchor}' before '*{event.anchor}'", self.line)
        found = self._anchors[event.anchor]
        if found is None:
            raise self._builder.invalid(
                f"expected an alias of something else, found '*{event.anchor}' in itself", self.line
            )
        self._builder.count(found[1].size, depth + found[1].height, self.line)
        return found

    def _sequence(self, event: yaml.SequenceStartEvent, depth: int) -> tuple[Any, Place]:
        self._plain(event, "seq")
        line, pairs = self.line, []
        while not isinstance(inner := self._next(), yaml.SequenceEndEvent):
            pairs.append(self._value(inner, depth + 1))
        return self._builder.sequence(line, pairs)

    def _mapping(self, event: yaml.MappingStartEvent, depth: int) -> tuple[Any, Place]:
        self._plain(event, "map")
        mapping = self._builder.mapping(self.line)
        while not isinstance(name := self._next(), yaml.MappingEndEvent):
            self._entry(mapping, name, depth)
        return mapping.built()

    def _entry(self, mapping: MappingBuilder, event: yaml.Event, depth: int) -> None:
        line = self.line
        merges = isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]
        name, place = self._value(event, depth + 1) if isinstance(event, yaml.AliasEvent) else self._name(event, depth)
        if not isinstance(name, str):
            raise self._builder.invalid(f"expected a text as name, found {kind_of(name)}", line)
        if not merges:
            mapping.check(name, line)
        value, place = self._value(self._next(), depth + 1)
        if merges:
            mapping.merge(value, place)
        else:
            mapping.add(name, line, value, place)

    def _name(self, event: yaml.Event, depth: int) -> tuple[Any, Place]:
        self._builder.count(1, depth + 1, self.line)
        if not isinstance(event, yaml.ScalarEvent):
            found = "a mapping" if isinstance(event, yaml.MappingStartEvent) else "a list"
            raise self._builder.invalid(f"expected a text as name, found {found}", self.line)
        if not event.value and not event.style:
            raise self._builder.invalid("expected a name before ':', found none", self.line)
        named = event.value, Place(self.line)
        if event.anchor is not None:
            self._anchors[event.anchor] = named
        return named

    def _plain(self, event: Any, kind: str) -> None:
        if event.tag not in (None, "!", f"{_TAG}{kind}"):
            raise self._builder.invalid(f"expected no tag, found '{event.tag}'", self.line)

    def _scalar(self, event: Any) -> tuple[Any, Place]:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._scalars.meaning(event.value, event.implicit)
        place = Place(self.line, empty=not event.value and not event.style and event.tag is None)
        return self._converted(str(tag).removeprefix(_TAG), event.value), place

    def _converted(self, tag: str, text: str) -> Any:
        if tag == "null":
            return None
        if tag in _TEXTS or self._texts:
            return text
        if tag == "bool" and text.lower() in self._scalars.bool_values:
            return self._scalars.bool_values[text.lower()]
        if tag in ("int", "float"):
            return self._builder.number(text, self.line, self._scalars.int if tag == "int" else self._scalars.float)
        raise self._builder.invalid(f"expected no tag, or another value, found '{tag}' before {text!r}", self.line)

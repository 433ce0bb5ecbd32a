"""Schemas that ask only themselves: such a schema forbids nothing, and what it seems to forbid would pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

ALL_OF = ("allOf",)
ONE_OF = ("anyOf", "oneOf")
"""Keywords whose schemas are asked of the same value. A circle through both kinds, as of a base class that lists its
subclasses, says something in part; a circle through one kind says nothing."""


def circular(schemas: Mapping[str, object], keywords: tuple[str, ...], name_of: Callable[[str], str]) -> Iterator[str]:
    """Names of schemas that ask themselves about the same value, through references and these keywords.

    JSON Schema forbids that (https://json-schema.org/draft/2020-12/json-schema-core#section-9.4.1).

    Args:
        schemas: by their names.
        keywords: `ALL_OF` or `ONE_OF`.
        name_of: the name of the schema that a `$ref` leads to.
    """
    asked = {name: set(map(name_of, _references(schema, keywords))) for name, schema in schemas.items()}
    for name in schemas:
        reached: set[str] = set()
        waiting = [name]
        while waiting:
            new = asked.get(waiting.pop(), set()) - reached
            reached |= new
            waiting += new
        if name in reached:
            yield name


def _references(schema: object, keywords: tuple[str, ...]) -> Iterator[str]:
    """References to the schemas that one asks about its own value at once."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Mapping):
            continue
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference
        for keyword in keywords:
            members = node.get(keyword)
            waiting += members if isinstance(members, list) else []

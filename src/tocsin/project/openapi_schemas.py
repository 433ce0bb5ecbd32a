"""What Schemathesis leaves out of a documented schema without a word, so that answers pass that it forbids.

It looks at the schema as people wrote it, with what its references lead to, before the library makes its own of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tocsin.errors import shortened
from tocsin.project.schema_circles import ALL_OF, ONE_OF, circular


def lost(schema: object, resolver: Any, *, siblings: bool) -> str:
    """Why a schema allows more than it says; nothing when it does not.

    Args:
        schema: as it is written in the document.
        resolver: Schemathesis's own, which knows what a reference leads to from there.
        siblings: whether names beside a `$ref` count, as since OpenAPI 3.1.

    Raises:
        Exception: what the library raises for a reference that leads nowhere.
    """
    from schemathesis.core.jsonschema.bundler import BUNDLE_STORAGE_KEY, REFERENCE_TO_BUNDLE_PREFIX, bundle

    if not isinstance(schema, dict):
        return ""
    gathered = bundle(schema, resolver, ref_siblings=siblings)
    parts = gathered.schema.get(BUNDLE_STORAGE_KEY, {}) if isinstance(gathered.schema, dict) else {}
    for keywords in (ALL_OF, ONE_OF):
        for name in circular(
            parts, keywords, lambda reference: reference.removeprefix(f"{REFERENCE_TO_BUNDLE_PREFIX}/")
        ):
            told = "#" + gathered.name_to_uri[name].partition("#")[2]
            return (
                f"expected a schema, found '{shortened(told)}', which leads back to itself: what it forbids would pass"
            )
    for node in _nodes(gathered.schema):
        pattern = node.get("pattern")
        if pattern is not None and not _is_pattern(pattern):
            found = shortened(str(pattern))
            return f"pattern: expected a regular expression, found '{found}': every text would pass"
    return ""


def uses(schema: object, resolver: Any, keyword: str, *, siblings: bool) -> bool:
    """Whether a keyword stands in a schema, or in one that its references lead to. Arguments as for `lost`."""
    from schemathesis.core.jsonschema.bundler import bundle

    if not isinstance(schema, dict):
        return False
    return any(keyword in node for node in _nodes(bundle(schema, resolver, ref_siblings=siblings).schema))


def _nodes(schema: object) -> Iterator[Mapping[str, Any]]:
    """Every schema in a schema, where the library looks for them."""
    from schemathesis.specs.openapi.converter import IN_CHILD, IN_ITEM, IN_VALUE

    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Mapping):
            continue
        yield node
        for keyword, value in node.items():
            if keyword in IN_VALUE:
                waiting.append(value)
            elif keyword in IN_ITEM and isinstance(value, list):
                waiting += value
            elif keyword in IN_CHILD and isinstance(value, Mapping):
                waiting += value.values()


def _is_pattern(pattern: object) -> bool:
    """Whether the library asks for a pattern, or drops it (it translates some that its engine does not know)."""
    from schemathesis.core.jsonschema.patterns import enforced_pattern

    return isinstance(pattern, str) and enforced_pattern(pattern) is not None

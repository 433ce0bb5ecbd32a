"""Schemas of an AsyncAPI document: gathered from all its files, and refused where they allow more than they say.

AsyncAPI's own schemas are a superset of JSON Schema draft 07
(https://www.asyncapi.com/docs/reference/specification/v3.0.0#schemaObject). A keyword of a later draft, or of OpenAPI,
forbids nothing there, and a schema that asks only itself forbids nothing either: messages would pass that people
believe to be forbidden. So both are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tocsin.errors import InvalidInput, shortened
from tocsin.project.references import Files, Part
from tocsin.project.schema_circles import ALL_OF, ONE_OF, circular

if TYPE_CHECKING:
    from jsonschema_rs import Draft7Validator

_FORMATS = re.compile(
    r"application/(vnd\.aai\.asyncapi(\+json|\+yaml)?(;version=3\.0\.0)?|schema\+(json|yaml);version=draft-07)"
)
"""Formats of a schema (https://www.asyncapi.com/docs/reference/specification/v3.0.0#multiFormatSchemaObject)."""
_DRAFT = re.compile(r"https?://json-schema\.org/draft-07/schema#?")
_ONE = ("additionalItems", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_MANY = ("allOf", "anyOf", "oneOf")
_NAMED = ("properties", "patternProperties", "definitions", "dependencies")
_SILENT = (
    *("nullable", "unevaluatedProperties", "unevaluatedItems", "dependentRequired", "dependentSchemas", "prefixItems"),
    *("minContains", "maxContains", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$id"),
)
"""Keywords that say nothing in draft 07, and one that would change where references lead."""
_KNOWN_FORMATS = frozenset(
    (
        *("date", "time", "date-time", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri"),
        *("uri-reference", "iri", "iri-reference", "uri-template", "json-pointer", "relative-json-pointer", "regex"),
        "uuid",
    )
)
"""Those of draft 07 (https://json-schema.org/draft-07/json-schema-validation#rfc.section.7.3), and `uuid`."""


class Schemas:
    """The schemas of one document; a validator of each is made when it is added."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.unread_formats: set[str] = set()
        """values of `format` of which nothing is asked"""

    def validator(self, part: Part) -> Draft7Validator:
        """What judges values by a schema, as it is written in the document or with a format beside it.

        Raises:
            InvalidInput: it is no schema, another kind of schema, or allows more than it says.
        """
        import jsonschema_rs

        gathered = _Gathered(self._files, self._plain(self._files.resolved(part)))
        self.unread_formats |= gathered.formats - _KNOWN_FORMATS
        gathered.refuse_circles()
        schema = {"$ref": "#/definitions/0", "definitions": gathered.definitions}
        try:
            jsonschema_rs.Draft7Validator(schema, offline=True)
        except jsonschema_rs.ValidationError as error:
            raise gathered.invalid(list(error.instance_path), error.message) from None
        # From here on values are those of people.
        return jsonschema_rs.Draft7Validator(
            schema, validate_formats=True, formats={"uuid": _is_uuid}, mask="the value", offline=True
        )

    def _plain(self, part: Part) -> Part:
        """The schema of a Multi Format Schema Object, or the part itself."""
        written = part.get("schemaFormat")
        if written is None:
            return part
        if not _FORMATS.fullmatch(str(written.value).replace(" ", "")):
            raise written.invalid(
                "expected a schema of AsyncAPI 3.0 or of JSON Schema draft 07, by which messages can be judged, found "
                f"'{shortened(str(written.value))}'"
            )
        inner = part.get("schema")
        if inner is None:
            raise part.invalid("expected `schema` beside `schemaFormat`, found none")
        return self._files.resolved(inner)


class _Gathered:
    """A schema and all that it refers to, each under a number, with references to the numbers."""

    def __init__(self, files: Files, part: Part) -> None:
        self._files = files
        self._parts: list[Part] = [part]
        self._numbers = {part.place: 0}
        self.formats: set[str] = set()
        self.definitions: dict[str, Any] = {}
        while len(self.definitions) < len(self._parts):
            number = len(self.definitions)
            self.definitions[str(number)] = self._copy(self._parts[number])

    def invalid(self, path: list[str | int], message: str) -> InvalidInput:
        """A complaint about a place in the gathered schema, told where it is written."""
        _, number, *below = path
        return self._parts[int(number)].invalid(f"expected a JSON Schema of draft 07: {message}", *below)

    def refuse_circles(self) -> None:
        """Raises InvalidInput: a schema that asks itself about the same value, by one kind of keyword."""
        for keywords in (ALL_OF, ONE_OF):
            for name in circular(self.definitions, keywords, lambda reference: reference.rpartition("/")[2]):
                raise self._parts[int(name)].invalid(
                    "expected a schema, found one that leads back to itself: what it forbids would pass"
                )

    def _copy(self, part: Part) -> Any:
        value = part.value
        if isinstance(value, bool):
            return value
        if not isinstance(value, Mapping):
            raise part.invalid("expected a schema: a mapping, true or false")
        self._look_at(part)
        if "$ref" in value:
            return {"$ref": f"#/definitions/{self._number(self._files.resolved(part))}"}
        return {name: self._keyword(part.child(name)) for name in value}

    def _look_at(self, part: Part) -> None:
        value = part.value
        for name in _SILENT:
            if name in value:
                raise part.invalid(
                    f"expected keywords of JSON Schema draft 07, which AsyncAPI uses, found '{name}': there it is not "
                    "what it is elsewhere",
                    name,
                )
        if "schemaFormat" in value:
            raise part.invalid("expected a schema, found one with `schemaFormat`, which only a whole payload may have")
        if "$schema" in value and not _DRAFT.fullmatch(str(value["$schema"])):
            found = shortened(str(value["$schema"]))
            raise part.invalid(f"expected JSON Schema draft 07, found '{found}'", "$schema")
        if isinstance(value.get("format"), str):
            self.formats.add(value["format"])

    def _keyword(self, part: Part) -> Any:
        name, value = part.at[-1], part.value
        if name in _ONE or (name == "items" and not isinstance(value, list)):
            return self._copy(part)
        if (name in _MANY or name == "items") and isinstance(value, list):
            return [self._copy(part.child(index)) for index in range(len(value))]
        if name in _NAMED and isinstance(value, Mapping):
            # A dependency is a schema, or a list of names.
            return {
                one: inner if isinstance(inner, list) else self._copy(part.child(one)) for one, inner in value.items()
            }
        return value

    def _number(self, part: Part) -> int:
        if part.place not in self._numbers:
            self._numbers[part.place] = len(self._parts)
            self._parts.append(part)
        return self._numbers[part.place]


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False

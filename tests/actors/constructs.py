"""Constructs of OpenAPI on which two readers of a document easily disagree, each with an answer that keeps it and one
that does not.

What is right is written here by hand, from the specification (https://spec.openapis.org/oas/v3.0.4.html and
https://spec.openapis.org/oas/v3.1.1.html), and not asked of any program.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field

JSON = "application/json"


@dataclass(frozen=True)
class Answer:
    """An answer of the system."""

    body: bytes = b"{}"
    status: int = 200
    media_type: str | None = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Construct:
    """`responses` is YAML, the responses of one operation."""

    name: str
    version: str
    responses: str
    good: Answer
    bad: Answer
    method: str = "get"

    def path(self, kind: str) -> str:
        """Where the operation with the good, or the bad answer is."""
        return f"/{self.name.replace(' ', '-')}/{kind}"

    @property
    def answers(self) -> dict[tuple[str, str], Answer]:
        """What is answered where."""
        method = self.method.upper()
        return {(method, self.path("good")): self.good, (method, self.path("bad")): self.bad}


def _json(value: object, status: int = 200, media_type: str = JSON, **headers: str) -> Answer:
    return Answer(json.dumps(value).encode(), status, media_type, headers)


def _of(schema: str) -> str:
    return f"200: {{description: found, content: {{application/json: {{schema: {schema}}}}}}}"


_OLD = "3.0.3"
_NEW = "3.1.0"

CONSTRUCTS = (
    Construct(
        "nullable",
        _OLD,
        _of("{required: [seat], properties: {seat: {type: string, nullable: true}}}"),
        _json({"seat": None}),
        _json({"seat": 7}),
    ),
    Construct(
        "not nullable",
        _OLD,
        _of("{required: [seat], properties: {seat: {type: string}}}"),
        _json({"seat": "A7"}),
        _json({"seat": None}),
    ),
    Construct(
        "nullable enum",
        _OLD,
        _of("{properties: {state: {type: string, nullable: true, enum: [new, null]}}}"),
        _json({"state": None}),
        _json({"state": "old"}),
    ),
    Construct(
        "boolean exclusiveMinimum",
        _OLD,
        _of("{properties: {left: {type: integer, minimum: 0, exclusiveMinimum: true}}}"),
        _json({"left": 1}),
        _json({"left": 0}),
    ),
    Construct(
        "boolean exclusiveMaximum",
        _OLD,
        _of("{properties: {left: {type: integer, maximum: 9, exclusiveMaximum: true}}}"),
        _json({"left": 8}),
        _json({"left": 9}),
    ),
    Construct(
        "writeOnly",
        _OLD,
        _of("{type: object, required: [name, pin], properties: {name: {type: string}, pin: {writeOnly: true}}}"),
        _json({"name": "Ada"}),
        _json({"pin": "1234"}),
    ),
    Construct(
        "bare status",
        _OLD,
        "201: {description: made}",
        Answer(status=201),
        Answer(status=200),
    ),
    Construct(
        "range of statuses",
        _OLD,
        "4XX: {description: refused, content: {application/json: {schema: {type: object, required: [why]}}}}",
        _json({"why": "closed"}, 409),
        _json({}, 409),
    ),
    Construct(
        "default",
        _OLD,
        "200: {description: found}\ndefault: {description: other, content: {text/plain: {schema: {type: string}}}}",
        Answer(b"a teapot", 418, "text/plain"),
        _json({}, 418),
    ),
    Construct(
        "component named by a number",
        _OLD,
        '200: {description: found}\n404: {$ref: "#/components/responses/404"}',
        _json({"why": "sold"}, 404),
        _json({}, 404),
    ),
    Construct(
        "media type with a parameter",
        _OLD,
        '200: {description: x, content: {"application/json; v=1": {schema: {type: object, required: [code]}}}}',
        _json({"code": 1}),
        _json({}, media_type="application/json; charset=utf-8"),
    ),
    Construct(
        "range of media types",
        _OLD,
        '200: {description: found, content: {"application/*": {schema: {type: object, required: [code]}}}}',
        _json({"code": 1}, media_type="application/vnd.kiosk+json"),
        Answer(b"<html>", media_type="text/html"),
    ),
    Construct(
        "problem details",
        _OLD,
        "400: {description: no, content: {application/problem+json: {schema: {type: object, required: [title]}}}}",
        _json({"title": "no"}, 400, "application/problem+json"),
        _json({}, 400, "application/problem+json"),
    ),
    Construct(
        "date that looks like one",
        _NEW,
        _of("{properties: {day: {enum: [2026-11-29]}}}"),
        _json({"day": "2026-11-29"}),
        _json({"day": "2026-11-30"}),
    ),
    Construct(
        "name that looks like true",
        _NEW,
        _of("{type: object, required: [on], properties: {on: {type: integer}}}"),
        _json({"on": 1}),
        _json({"on": "yes"}),
    ),
    Construct(
        "schema that allows everything",
        _NEW,
        _of("true"),
        _json([None, {"any": 1}]),
        Answer(b"<html>"),
    ),
    Construct(
        "HEAD",
        _NEW,
        _of("{type: object, required: [code]}"),
        Answer(b""),
        Answer(b"", 204, None),
        method="head",
    ),
    Construct(
        "lines of JSON",
        _NEW,
        "200: {description: found, content: {application/x-ndjson: {schema: {type: object}}}}",
        Answer(b'{"code": 1}\n{"code": 2}\n', media_type="application/x-ndjson"),
        _json({"code": 1}),
    ),
    Construct(
        "escaped reference",
        _NEW,
        _of('{$ref: "#/components/schemas/seat~1row"}'),
        _json({"row": 1}),
        _json({"row": "A"}),
    ),
    Construct(
        "reference to another file",
        _NEW,
        _of('{$ref: "kiosk/schemas.yaml#/Ticket"}'),
        _json({"code": "A7", "holder": {"name": "Ada"}}),
        _json({"code": "A7", "holder": {}}),
    ),
    Construct(
        "required header",
        _NEW,
        "200: {description: found, headers: {X-Left: {required: true, schema: {type: integer}}}}",
        _json({}, **{"X-Left": "3"}),
        _json({}),
    ),
    Construct(
        "header that is no number",
        _NEW,
        "200: {description: found, headers: {X-Left: {schema: {type: integer}}}}",
        _json({}),
        _json({}, **{"X-Left": "few"}),
    ),
    Construct(
        "format",
        _NEW,
        _of("{properties: {at: {type: string, format: date-time}}}"),
        _json({"at": "2026-11-29T12:00:00Z"}),
        _json({"at": "yesterday"}),
    ),
    Construct(
        "list of types",
        _NEW,
        _of("{properties: {seat: {type: [string, 'null'], exclusiveMinimum: 0}, left: {exclusiveMinimum: 0}}}"),
        _json({"seat": None, "left": 1}),
        _json({"left": 0}),
    ),
    Construct(
        "answer without a body",
        _NEW,
        "204: {description: gone}",
        Answer(b"", 204, None),
        _json({}, 200),
    ),
)

SCHEMAS = """\
Ticket:
  type: object
  required: [code, holder]
  properties: {code: {type: string}, holder: {$ref: "#/Person"}}
Person: {$ref: "people.yaml"}
"""
PEOPLE = "type: object\nrequired: [name]\n"


def document(version: str, constructs: tuple[Construct, ...] = CONSTRUCTS) -> str:
    """One document with every construct of a version, each at two paths."""
    parts = [f'openapi: {version}\ninfo: {{title: Kiosk, version: "3"}}\nservers: [{{url: /v2}}]\npaths:\n']
    for construct in constructs:
        if construct.version == version:
            responses = textwrap.indent(construct.responses, "        ")
            for kind in ("good", "bad"):
                parts.append(f"  {construct.path(kind)}:\n    {construct.method}:\n      responses:\n{responses}\n")
    parts.append(
        "components:\n"
        "  responses:\n"
        "    404: {description: none, content: {application/json: {schema: {type: object, required: [why]}}}}\n"
        "  schemas:\n"
        "    seat/row: {properties: {row: {type: integer}}}\n"
    )
    return "".join(parts)

"""AsyncAPI documents: what is wrong is told in its place, and a message is judged as the document says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tocsin.errors import InvalidInput
from tocsin.model.messages import Messages
from tocsin.project.asyncapi import AsyncApiDocument, Channel
from tocsin.project.documents import read_document

DOCUMENT = """\
asyncapi: 3.0.0
info: {title: Parcel desk, version: 1.0.0}
channels:
  labels:
    address: labels
    bindings: {sns: {name: labels}}
    messages:
      Printed: {$ref: "#/components/messages/Printed"}
      Refused:
        payload: {type: object, required: [reason], properties: {reason: {type: string}}, additionalProperties: false}
operations:
  tell:
    action: send
    channel: {$ref: "#/channels/labels"}
    messages: [{$ref: "#/channels/labels/messages/Printed"}]
components:
  messages:
    Printed:
      contentType: application/json
      headers: {type: object, required: [attempt], properties: {attempt: {type: integer}}}
      payload: {$ref: "#/components/schemas/Label"}
  schemas:
    Label:
      type: object
      required: [label]
      additionalProperties: false
      properties:
        label: {type: string, format: uuid}
        weights: {type: array, items: {type: number, exclusiveMinimum: 0}}
"""
GOOD = {"label": "5a2f7a70-6a0e-4a6e-9c1f-0d7e2f6b1c11", "weights": [0.4]}


def load(directory: Path, text: str = DOCUMENT) -> AsyncApiDocument:
    path = directory / "desk.asyncapi.yaml"
    path.write_text(text)
    return AsyncApiDocument.load(path)


def labels(directory: Path, text: str = DOCUMENT) -> Channel:
    return load(directory, text).channels["labels"]


def with_payload(payload: str) -> str:
    return DOCUMENT.replace('{$ref: "#/components/schemas/Label"}', payload)


# --- documents --------------------------------------------------------------------------------------------------------


WRONG = [
    ("another version", ("asyncapi: 3.0.0", "asyncapi: 2.6.0"), r"yaml:1: .*asyncapi.*2\.6\.0"),
    ("no channel", (DOCUMENT[DOCUMENT.index("  labels:\n") : DOCUMENT.index("operations")], ""), "channels"),
    (
        "a reference that leads nowhere",
        ('"#/components/messages/Printed"', '"#/components/messages/Prined"'),
        "yaml:8: .*'#/components/messages/Prined' to lead to a value, found no 'Prined' there",
    ),
    (
        "a reference to the network",
        ('"#/components/schemas/Label"', '"https://example.com/label.json"'),
        "yaml:21: .*a reference to a file, found 'https://example.com/label.json'",
    ),
    (
        "a file that is not there",
        ('"#/components/schemas/Label"', '"label.yaml#/Label"'),
        "yaml:21: .*the file 'label.yaml' beside this one, found none",
    ),
    (
        "a reference back to itself",
        (
            "    Label:\n",
            '    Again: {$ref: "#/components/schemas/Again"}\n    Label:\n',
            '"#/components/schemas/Label"',
            '"#/components/schemas/Again"',
        ),
        "which leads back to itself",
    ),
    (
        "a message without a payload",
        ('      payload: {$ref: "#/components/schemas/Label"}\n', ""),
        "yaml:18: .*message Printed: expected a payload, found none",
    ),
    (
        "a content type that is not JSON",
        ("contentType: application/json", "contentType: application/xml"),
        "yaml:19: .*expected a content type of JSON.*found 'application/xml'",
    ),
    (
        "a schema of Avro",
        (
            '{$ref: "#/components/schemas/Label"}',
            "{schemaFormat: application/vnd.apache.avro;version=1.9.0, schema: {type: string}}",
        ),
        r"yaml:21: .*by which messages can be judged, found 'application/vnd\.apache\.avro;version=1\.9\.0'",
    ),
    (
        "a schema that is none",
        ("{type: string, format: uuid}", "{type: strin}"),
        'yaml:28: .*a JSON Schema of draft 07: "strin" is not valid',
    ),
    ("a pattern that is none", ("format: uuid", 'pattern: "("'), "yaml:28: .*regex"),
    (
        "a keyword of OpenAPI",
        ("format: uuid", "nullable: true"),
        "yaml:28: .*keywords of JSON Schema draft 07, which AsyncAPI uses, found 'nullable'",
    ),
    (
        "a keyword of a later draft",
        ("additionalProperties: false\n      prop", "unevaluatedProperties: false\n      prop"),
        "yaml:26: .*found 'unevaluatedProperties'",
    ),
    (
        "a later draft",
        ("      type: object\n", "      $schema: https://json-schema.org/draft/2020-12/schema\n"),
        "expected JSON Schema draft 07, found 'https://json-schema.org/draft/2020-12/schema'",
    ),
    (
        "a schema that asks only itself",
        ("{type: string, format: uuid}", '{allOf: [{$ref: "#/components/schemas/Label/properties/label"}]}'),
        "yaml:28: .*leads back to itself: what it forbids would pass",
    ),
    (
        "an operation of no channel",
        ('{$ref: "#/channels/labels"}', '{$ref: "#/components/schemas/Label"}'),
        "yaml:14: .*operation tell: expected a channel of this document",
    ),
    (
        "an operation with a message of another channel",
        ('[{$ref: "#/channels/labels/messages/Printed"}]', '[{$ref: "#/components/schemas/Label"}]'),
        "yaml:15: .*operation tell: expected messages of its channel, found another",
    ),
    (
        "headers in a trait",
        ("      contentType", "      traits: [{headers: {type: object}}]\n      contentType"),
        "yaml:19: .*expected headers in the message itself, found them in a trait",
    ),
]


@pytest.mark.parametrize(("changes", "told"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_is_wrong_is_told_where_it_is(tmp_path: Path, changes: tuple[str, ...], told: str) -> None:
    text = DOCUMENT
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert text.count(old) == 1
        text = text.replace(old, new)
    with pytest.raises(InvalidInput) as error:
        load(tmp_path, text)
    assert re.search(told, str(error.value)), str(error.value)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = DOCUMENT.replace("application/json", "application/xml").replace(
        "{type: object, required: [reason]", "{type: 7"
    )
    with pytest.raises(InvalidInput) as error:
        load(tmp_path, text)
    assert len(error.value.problems) == 2


def test_a_schema_may_stand_in_another_file_with_references_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "label.yaml").write_text(
        'Label: {type: object, properties: {label: {$ref: "./text.yaml#/Short"}, of: {$ref: "#/Label"}}}\n'
    )
    (tmp_path / "parts" / "text.yaml").write_text("Short: {type: string, maxLength: 3}\n")
    channel = labels(tmp_path, with_payload('{$ref: "parts/label.yaml#/Label"}'))
    (long,) = channel.judge('{"of": {"label": "abcd"}}', {"attempt": 1}).failures
    assert (long.message, long.pointer) == ("Printed", "/of/label")
    # In a file of its own the place of a mistake is that file.
    (tmp_path / "parts" / "text.yaml").write_text("\nShort: {type: text}\n")
    with pytest.raises(InvalidInput, match=r"text\.yaml:2: "):
        labels(tmp_path, with_payload('{$ref: "parts/label.yaml#/Label"}'))


def test_json_schema_may_be_named_as_the_format(tmp_path: Path) -> None:
    text = with_payload('{schemaFormat: "application/schema+json;version=draft-07", schema: {type: integer}}')
    assert labels(tmp_path, text).judge("7", {"attempt": 1}).failures == ()


def test_a_format_of_which_nothing_is_asked_is_noted(tmp_path: Path) -> None:
    (note,) = load(tmp_path, DOCUMENT.replace("format: uuid", "format: parcel")).notes
    assert note.endswith("format 'parcel': nothing is asked of it, every value passes")
    assert load(tmp_path).notes == ()


def test_values_and_names_of_people_are_no_keywords(tmp_path: Path) -> None:
    text = with_payload(
        "{type: object, properties: {nullable: {const: {$ref: nothing}}, $ref: {type: string}}, examples: [{$id: 1}]}"
    )
    channel = labels(tmp_path, text)
    assert channel.judge('{"nullable": {"$ref": "nothing"}, "$ref": "x"}', {"attempt": 1}).failures == ()


# --- messages ---------------------------------------------------------------------------------------------------------


def test_a_message_as_documented_keeps_the_contract(tmp_path: Path) -> None:
    assert labels(tmp_path).judge(json.dumps(GOOD), {"attempt": 1, "more": "x"}).message == "Printed"
    assert labels(tmp_path).judge(json.dumps(GOOD), {"attempt": 1}).failures == ()
    assert labels(tmp_path).judge('{"reason": "torn"}', {}).message == "Refused"


@pytest.mark.parametrize(
    ("body", "headers", "part", "pointer", "complaint", "found"),
    [
        ({**GOOD, "weights": [1, 0]}, 1, "payload", "/weights/1", "less than or equal to the minimum of 0", "a number"),
        ({**GOOD, "label": "sesame"}, 1, "payload", "/label", 'not a "uuid"', "a text of 6 characters"),
        ({"weights": []}, 1, "payload", "", '"label" is a required property', "a mapping of 1 name"),
        (GOOD, "first", "headers", "/attempt", 'not of type "integer"', "a text of 5 characters"),
    ],
)
def test_a_failure_tells_place_and_kind_and_never_the_value(
    tmp_path: Path, body: object, headers: object, part: str, pointer: str, complaint: str, found: str
) -> None:
    judged = labels(tmp_path).judge(json.dumps(body), {"attempt": headers})
    (failure,) = judged.failures
    assert (failure.message, failure.part, failure.pointer, failure.found) == ("Printed", part, pointer, found)
    assert complaint in failure.complaint
    assert "sesame" not in judged.failures[0].model_dump_json()
    assert "first" not in judged.failures[0].model_dump_json()


@pytest.mark.parametrize("body", ["", "sesame", "{", '{"label": NaN}', "[" * 100_000])
def test_what_is_no_json_is_told(tmp_path: Path, body: str) -> None:
    (failure,) = labels(tmp_path).judge(body, {}).failures
    assert failure.complaint == "expected JSON"
    assert "sesame" not in failure.found


def test_a_message_that_could_be_two_keeps_no_contract(tmp_path: Path) -> None:
    text = DOCUMENT.replace(", additionalProperties: false}", "}").replace("required: [reason], ", "")
    (failure,) = labels(tmp_path, text).judge(json.dumps(GOOD), {"attempt": 1}).failures
    assert failure.complaint == "expected one documented message"
    assert failure.found == "the form of Printed and of Refused"


# --- taps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taps", "told"),
    [
        ({"labels": {"queue": "labels-tap", "topic": "labels"}}, None),
        ({"label": {"queue": "labels-tap"}}, r"system\.yaml:3: .*a channel of .*found 'label'\. Did you mean 'labels'"),
        (
            {"labels": {"queue": "labels"}},
            r"system\.yaml:3: .*a queue that gets copies, found labels, the channel itself",
        ),
        ({"labels": {"queue": "tap", "topic": "other"}}, r"system\.yaml:3: .*the topic labels, .* found other"),
    ],
)
def test_taps_are_of_channels_and_of_queues_of_their_own(
    tmp_path: Path, taps: dict[str, dict[str, str]], told: str | None
) -> None:
    written = {"document": "desk.asyncapi.yaml", "taps": taps}
    (tmp_path / "system.yaml").write_text(f"messages:\n  taps:\n    {json.dumps(taps)[1:-1]}\n")
    system = read_document(tmp_path / "system.yaml")
    found = [str(one) for one in load(tmp_path).tap_problems(Messages.model_validate(written), system)]
    assert len(found) == (told is not None)
    assert told is None or re.search(told, found[0]), found


def test_channels_that_nobody_taps_are_named(tmp_path: Path) -> None:
    document = yaml.safe_load(DOCUMENT)
    document["channels"]["audit"] = {"messages": {"Seen": {"payload": {"type": "string"}}}}
    messages = Messages.model_validate({"document": "x", "taps": {"labels": {"queue": "labels-tap"}}})
    assert load(tmp_path, yaml.safe_dump(document, sort_keys=False)).untapped(messages) == ("audit",)

"""A contract that `validate` takes can be used, whatever its files look like; of one that cannot it says why."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tocsin.errors import InvalidInput
from tocsin.project.openapi import OpenApiDocument

HEAD = 'openapi: 3.1.0\ninfo: {title: Kiosk, version: "3"}\n'
TICKET = "{description: a ticket, content: {application/json: {schema: {type: object, required: [code]}}}}"
GET = f'get: {{responses: {{"200": {TICKET}}}}}'
KIOSK = "https://kiosk.test"


def write(directory: Path, text: str, **others: str) -> OpenApiDocument:
    for name, content in others.items():
        path = directory / f"{name}.yaml"
        path.write_text(content)
    (directory / "contract.yaml").write_text(text)
    return OpenApiDocument.load(directory / "contract.yaml")


def told(directory: Path, text: str, **others: str) -> list[str]:
    try:
        write(directory, text, **others).check()
    except InvalidInput as error:
        return [str(one).replace(f"{directory}/", "") for one in error.problems]
    return []


def problems(contract: OpenApiDocument, path: str, body: object, status: int = 200, endpoint: str = KIOSK) -> list[str]:
    address = path if "://" in path else endpoint + path
    response = httpx.Response(status, json=body, request=httpx.Request("GET", address))
    response.elapsed = timedelta(0)
    return contract.problems(response, endpoint)


def test_a_path_in_another_file_is_found(tmp_path: Path) -> None:
    contract = write(tmp_path, HEAD + "paths:\n  /tickets/{code}: {$ref: ticket.yaml}\n", ticket=GET)
    contract.check()
    assert [operation.name for operation in contract.operations] == ["GET /tickets/{code}"]
    assert problems(contract, "/tickets/A7", {"code": "A7"}) == []
    assert problems(contract, "/tickets/A7", {}) == [
        'GET /tickets/{code} answered 200, but the body: "code" is a required property'
    ]


@pytest.mark.parametrize(
    ("paths", "others", "message"),
    [
        ("/a: {$ref: gone.yaml}", {}, "contract.yaml:3: expected the file gone.yaml that 'gone.yaml' refers to, found"),
        (
            "/a: {$ref: here.yaml}",
            {"here": 'get: {responses: {"200": {$ref: "gone.yaml#/x"}}}'},
            "here.yaml:1: expected the file gone.yaml that 'gone.yaml#/x' refers to, found none",
        ),
        ("/a: {$ref: here.yaml}", {"here": "get: {a: 1, a: 2}"}, "here.yaml:1: expected 'a' once in a mapping"),
        ("/a: {$ref: here.yaml}", {"here": "[1]"}, "here.yaml:1: expected a mapping of names to values, found a list"),
        (
            "/a: {$ref: 'https://kiosk.test/a.yaml'}",
            {},
            "contract.yaml:3: expected a reference to a file, found 'https://kiosk.test/a.yaml'. Copy what is there",
        ),
        (
            '/a: {get: {responses: {200: {content: {application/json: {schema: {$ref: "#/components/x"}}}}}}}',
            {},
            "contract.yaml:3: GET /a: answer 200 as application/json: expected what '#/components/x' refers to",
        ),
        (
            "/a: {get: {responses: {200: {content: {application/json: {schema: {type: objekt}}}}}}}",
            {},
            "contract.yaml:3: GET /a: answer 200 as application/json: ",
        ),
        (
            "/a: {get: {responses: {200: {content: {json: {schema: {type: object}}}}}}}",
            {},
            "contract.yaml:3: GET /a: answer 200 as json: what Schemathesis cannot read (Malformed",
        ),
        ("{}", {}, "contract.yaml:3: expected at least one operation under 'paths', found none"),
        ("{x-internal: 1}", {}, "contract.yaml:3: expected at least one operation under 'paths', found none"),
    ],
)
def test_what_nobody_could_judge_is_refused(tmp_path: Path, paths: str, others: dict[str, str], message: str) -> None:
    paths = f"paths: {paths}" if paths.startswith("{") else f"paths: {{{paths}}}"
    (found,) = told(tmp_path, HEAD + paths + "\n", **others)
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello: world\n", "contract.yaml:1: expected 'openapi', found nothing"),
        ("openapi: 3.1.0\n", "contract.yaml:1: expected 'paths', found nothing"),
        ("swagger: '2.0'\npaths: {}\n", "contract.yaml:1: expected an OpenAPI 3 document, found Swagger 2"),
        ("openapi: 3.9.0\npaths: {}\n", "contract.yaml:1: openapi: "),
        ("openapi: '3.1'\npaths: {}\n", "contract.yaml:1: openapi: "),
        (HEAD + "servers: [{url: '{x}/v2'}]\npaths: {}\n", "contract.yaml:3: servers.0: expected 'x' of the URL among"),
    ],
)
def test_what_is_no_contract_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert [one for one in told(tmp_path, text) if one.startswith(message)]


def test_a_name_in_an_example_is_no_reference(tmp_path: Path) -> None:
    schema = "{properties: {example: {type: string}, link: {type: object}}}"
    content = f'{{application/json: {{schema: {schema}, example: {{link: {{$ref: "gone.yaml"}}}}}}}}'
    text = f'paths: {{/a: {{get: {{responses: {{"200": {{description: a, content: {content}}}}}}}}}}}\n'
    assert told(tmp_path, HEAD + text) == []
    text = text.replace("example: {type: string}", 'example: {$ref: "gone.yaml"}')
    assert told(tmp_path, HEAD + text) == [
        "contract.yaml:3: expected the file gone.yaml that 'gone.yaml' refers to, found none"
    ]


def test_files_that_refer_to_each_other_end(tmp_path: Path) -> None:
    schema = 'Node: {type: object, properties: {next: {$ref: "node.yaml#/Node"}, root: {$ref: "contract.yaml#/x-a"}}}\n'
    text = GET.replace("{type: object, required: [code]}", '{$ref: "node.yaml#/Node"}')
    contract = write(tmp_path, HEAD + f"x-a: {{type: integer}}\npaths: {{/a: {{{text}}}}}\n", node=schema)
    contract.check()
    assert problems(contract, "/a", {"next": {"next": {"root": 1}}}) == []
    assert problems(contract, "/a", {"next": {"next": {"root": "x"}}}) != []


@pytest.mark.parametrize(
    ("servers", "endpoint", "base"),
    [
        ("[]", "https://kiosk.test", "https://kiosk.test"),
        ("[{url: 'https://kiosk.test'}]", "http://127.0.0.1:80", "http://127.0.0.1:80"),
        ("[{url: 'https://kiosk.test/v2/'}]", "http://127.0.0.1:80", "http://127.0.0.1:80/v2"),
        ("[{url: 'https://kiosk.test/v2'}]", "http://127.0.0.1:80/v2", "http://127.0.0.1:80/v2"),
        ("[{url: 'https://kiosk.test/v2'}]", "http://127.0.0.1/stage", "http://127.0.0.1/stage/v2"),
        ("[{url: /v2}, {url: 'http://127.0.0.1'}]", "http://127.0.0.1", "http://127.0.0.1"),
        ("[{url: /}, {url: /v2}]", "http://127.0.0.1", "http://127.0.0.1"),
        ("[{url: '/{v}', variables: {v: {default: v3}}}]", "http://127.0.0.1", "http://127.0.0.1/v3"),
    ],
)
def test_where_the_paths_begin(tmp_path: Path, servers: str, endpoint: str, base: str) -> None:
    contract = write(tmp_path, HEAD + f"servers: {servers}\npaths: {{/a: {{{GET}}}}}\n")
    assert contract.base_url(endpoint) == base
    assert problems(contract, f"{base}/a", {"code": 1}, endpoint=endpoint) == []
    assert len(problems(contract, f"{base}/a", {}, endpoint=endpoint)) == 1


def test_a_path_outside_of_the_base_path_is_not_in_the_contract(tmp_path: Path) -> None:
    contract = write(tmp_path, HEAD + f"servers: [{{url: /v2}}]\npaths: {{/a: {{{GET}}}}}\n")
    assert problems(contract, "/a", {"code": 1}) == ["GET /a is not in the contract, whose paths begin at /v2"]
    assert problems(contract, "/v22/a", {"code": 1}) != []
    assert problems(contract, "https://elsewhere.test/v2/a", {}) == []


def test_the_path_with_fewer_parameters_is_meant(tmp_path: Path) -> None:
    paths = f'paths:\n  /a/{{id}}: {{{GET}}}\n  /a/me: {{get: {{responses: {{"200": {{description: me}}}}}}}}\n'
    contract = write(tmp_path, HEAD + paths)
    assert problems(contract, "/a/me", {}) == []
    assert problems(contract, "/a/you", {}) != []
    assert problems(contract, "/a/you%2Fand-me", {"code": 1}) == []
    assert problems(contract, "/a/you/me", {}) == ["GET /a/you/me is not in the contract"]


@pytest.mark.parametrize(
    ("key", "status", "documented"),
    [("503", 503, True), ("5XX", 503, True), ("default", 503, True), ("503", 502, False)],
)
def test_a_status_is_documented_as_a_range_too(tmp_path: Path, key: str, status: int, documented: bool) -> None:
    contract = write(tmp_path, HEAD + f"paths: {{/a: {{get: {{responses: {{{key}: {{description: away}}}}}}}}}}\n")
    assert contract.documents(status) is documented
    assert (problems(contract, "/a", {}, status) == []) is documented


def test_what_nobody_looks_at_is_said(tmp_path: Path) -> None:
    content = "{application/x-ndjson: {schema: {type: object}}, text/html: {schema: {type: string}}}"
    get = f'{{servers: [{{url: /b}}], responses: {{"200": {{description: x, content: {content}}}}}}}'
    text = (
        "jsonSchemaDialect: https://json-schema.org/draft/2020-12/schema\nwebhooks: {sold: {}}\n"
        f"paths: {{/a: {{servers: [{{url: /other}}], get: {get}}}}}\n"
    )
    contract = write(tmp_path, HEAD + text)
    contract.check()
    asked = "canaries and contract tests ask the endpoint of the system, also for this one"
    assert [note.removeprefix(f"{tmp_path}/") for note in contract.notes()] == [
        "contract.yaml:4: webhooks: neither canaries nor contract tests look at it",
        "contract.yaml:3: jsonSchemaDialect: neither canaries nor contract tests look at it",
        f"contract.yaml:5: paths./a.servers: {asked}",
        f"contract.yaml:5: paths./a.get.servers: {asked}",
        "contract.yaml: GET /a: of an answer 200 as application/x-ndjson the media type is looked at, and not its "
        "schema",
    ]
    assert list(write(tmp_path, HEAD + f"paths: {{/a: {{{GET}}}}}\n").notes()) == []


@pytest.mark.parametrize("key", ["banana", "Default", "50", "2000", "6XX", "5X", "200-299"])
def test_an_answer_without_a_status_is_refused(tmp_path: Path, key: str) -> None:
    text = f"paths:\n  /a:\n    get:\n      responses:\n        {key}: {{description: away}}\n"
    expected = "expected a status such as 503, a range such as 5XX, or 'default'"
    assert told(tmp_path, HEAD + text) == [f"contract.yaml:7: GET /a: {expected}, found '{key}'"]


@pytest.mark.parametrize("key", ["503", "599", "5XX", "5xx", "default", "x-note"])
def test_the_name_of_an_answer_may_be_a_range(tmp_path: Path, key: str) -> None:
    assert told(tmp_path, HEAD + f"paths: {{/a: {{get: {{responses: {{{key}: {{description: away}}}}}}}}}}\n") == []


def test_a_path_without_its_slash_is_refused(tmp_path: Path) -> None:
    assert told(tmp_path, HEAD + f"paths:\n  a: {{{GET}}}\n  x-b: 1\n  /c: {{{GET}}}\n") == [
        "contract.yaml:4: expected a path that begins with '/', found 'a'"
    ]


@pytest.mark.parametrize(
    ("media_type", "said"),
    [
        ("text/plain", "schema: {type: string, enum: [ok]}"),
        ("text/plain", "schema: {type: integer}"),
        ("text/csv", "schema: {type: string, maxLength: 3}"),
        ("text/html", "schema: {type: string, format: uuid}"),
        ("application/xml", "schema: {type: object, required: [code]}"),
        ("application/atom+xml", "schema: {type: object}"),
        ("application/jsonl", "itemSchema: {type: object}"),
    ],
)
def test_a_schema_that_nothing_reads_is_said(tmp_path: Path, media_type: str, said: str) -> None:
    contract = write(tmp_path, _answering(media_type, said))
    asked = httpx.Request("GET", f"{KIOSK}/a")
    answer = httpx.Response(200, content=b"broken", headers={"content-type": media_type}, request=asked)
    answer.elapsed = timedelta()
    assert contract.problems(answer, KIOSK) == []
    (note,) = contract.notes()
    assert note.endswith(f"of an answer 200 as {media_type} the media type is looked at, and not its schema")


@pytest.mark.parametrize(
    ("media_type", "said"),
    [
        ("text/plain", "schema: {type: string, description: a word, example: ok}"),
        ("application/octet-stream", "schema: {type: string, format: binary}"),
        ("application/pdf", "schema: {}"),
        ("application/problem+json", "schema: {type: object}"),
        ("application/yaml", "schema: {type: object}"),
        ("text/event-stream", "itemSchema: {type: object}"),
    ],
)
def test_a_schema_that_is_read_or_says_nothing_needs_no_word(tmp_path: Path, media_type: str, said: str) -> None:
    assert list(write(tmp_path, _answering(media_type, said)).notes()) == []


A = "#/components/schemas/A"
B = "#/components/schemas/B"
NO_END = ", which leads back to itself: what it forbids would pass"
NO_PATTERN = ": every text would pass"


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0", "3.2.0"])
@pytest.mark.parametrize(
    ("schema", "others", "message"),
    [
        ('{type: string, pattern: "[a-"}', "", "pattern: expected a regular expression, found '[a-'" + NO_PATTERN),
        ("{type: string, pattern: 12}", "", "pattern: expected a regular expression, found '12'" + NO_PATTERN),
        (
            f'{{type: array, items: {{$ref: "{A}"}}}}',
            'A: {anyOf: [{type: object, properties: {a: {pattern: "(b"}}}]}',
            "pattern: expected a regular expression, found '(b'" + NO_PATTERN,
        ),
        (f'{{$ref: "{A}"}}', f'A: {{$ref: "{A}"}}', f"expected a schema, found '{A}'{NO_END}"),
        (f'{{$ref: "{A}"}}', f'A: {{$ref: "{B}"}}, B: {{$ref: "{A}"}}', f"expected a schema, found '{B}'{NO_END}"),
        (f'{{$ref: "{A}"}}', f'A: {{allOf: [{{$ref: "{A}"}}]}}', f"expected a schema, found '{A}'{NO_END}"),
        (
            f'{{properties: {{a: {{$ref: "{A}"}}}}}}',
            f'A: {{anyOf: [{{type: string}}, {{oneOf: [{{$ref: "{A}"}}]}}]}}',
            f"expected a schema, found '{A}'{NO_END}",
        ),
        (
            '{properties: {a: {$ref: "#/$defs/X"}}, $defs: {X: {type: integer}}}',
            "",
            "expected what '#/$defs/X' refers to, found none ('#/' is the top of the file, also below an `$id`)",
        ),
    ],
)
def test_a_schema_that_would_lose_what_it_forbids_is_refused(
    tmp_path: Path, version: str, schema: str, others: str, message: str
) -> None:
    contract = _of_schema(version, schema, others)
    assert told(tmp_path, contract) == [f"contract.yaml:3: GET /a: answer 200 as application/json: {message}"]


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0", "3.2.0"])
@pytest.mark.parametrize(
    ("schema", "others", "bad"),
    [
        ('{type: string, pattern: "^\\\\p{L}+$"}', "", "12"),
        ('{type: string, pattern: "(?<!a)b$"}', "", "ab"),
        ("{properties: {pattern: {type: string}}}", "", {"pattern": 1}),
        (f'{{$ref: "{A}"}}', f'A: {{type: object, properties: {{next: {{$ref: "{A}"}}}}}}', {"next": 3}),
        (
            f'{{$ref: "{A}"}}',
            f'A: {{oneOf: [{{$ref: "{B}"}}]}}, B: {{allOf: [{{$ref: "{A}"}}, {{type: object, required: [b]}}]}}',
            {},
        ),
    ],
)
def test_a_schema_that_is_asked_in_whole_is_taken(
    tmp_path: Path, version: str, schema: str, others: str, bad: object
) -> None:
    contract = write(tmp_path, _of_schema(version, schema, others))
    contract.check()
    assert len(problems(contract, "/a", bad)) == 1


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ("{type: array, prefixItems: [{type: integer}], items: {type: string}}", "prefixItems"),
        (f'{{properties: {{a: {{$dynamicRef: "{A}"}}}}}}', "$dynamicRef"),
    ],
)
def test_a_keyword_that_nobody_judges_is_refused_by_its_name(tmp_path: Path, schema: str, keyword: str) -> None:
    (found,) = told(tmp_path, _of_schema("3.1.0", schema, "A: {type: object}"))
    assert found.endswith(
        f": {keyword}: expected a schema without it, found one that Schemathesis cannot judge. Say it otherwise"
    )


def test_a_schema_is_not_blamed_on_a_keyword_that_is_judged(tmp_path: Path) -> None:
    schema = "{type: objekt, prefixItems: [{type: integer}]}"
    assert [one for one in told(tmp_path, _of_schema("3.0.3", schema, "")) if "objekt" in one and "without" not in one]


def test_headers_are_looked_at_as_bodies_are(tmp_path: Path) -> None:
    headers = f'{{Age: {{schema: {{type: string, pattern: "[a-"}}}}, Via: {{schema: {{$ref: "{A}"}}}}}}'
    text = f'paths: {{/a: {{get: {{responses: {{"200": {{description: a, headers: {headers}}}}}}}}}}}\n'
    assert told(tmp_path, HEAD + text) == [
        "contract.yaml:3: GET /a: header Age of answer 200: pattern: expected a regular expression, found '[a-'"
        + NO_PATTERN,
        f"contract.yaml:3: GET /a: header Via of answer 200: expected what '{A}' refers to, found none ('#/' is the "
        "top of the file, also below an `$id`)",
    ]


def _of_schema(version: str, schema: str, others: str) -> str:
    content = f"{{application/json: {{schema: {schema}}}}}"
    paths = f'paths: {{/a: {{get: {{responses: {{"200": {{description: x, content: {content}}}}}}}}}}}\n'
    components = f"components: {{schemas: {{{others}}}}}\n" if others else ""
    return HEAD.replace("3.1.0", version) + paths + components


def _answering(media_type: str, said: str) -> str:
    content = f'{{"{media_type}": {{{said}}}}}'
    paths = f'paths: {{/a: {{get: {{responses: {{"200": {{description: x, content: {content}}}}}}}}}}}\n'
    return HEAD.replace("3.1.0", "3.2.0") + paths


def test_several_canaries_ask_at_once(tmp_path: Path) -> None:
    contract = write(tmp_path, HEAD + f"paths: {{/a: {{{GET}}}}}\n")
    together = threading.Barrier(8)

    def ask(index: int) -> int:
        together.wait(timeout=60)
        return len(problems(contract, "/a", {"code": 1} if index % 2 else {}))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [1, 0] * 4


def test_naming_a_contract_does_not_import_the_library(tmp_path: Path) -> None:
    write(tmp_path, HEAD + f"paths: {{/a: {{{GET}}}}}\n")
    code = (
        "import sys\nfrom pathlib import Path\nimport tocsin.canary\n"
        "from tocsin.project.openapi import OpenApiDocument\n"
        f"OpenApiDocument.load(Path({str(tmp_path / 'contract.yaml')!r})).base_url('http://127.0.0.1')\n"
        "assert 'schemathesis' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_references_without_an_end_are_told(tmp_path: Path) -> None:
    chain = "".join(
        f'    S{i}: {{properties: {{a: {{$ref: "#/components/schemas/S{i + 1}"}}}}}}\n' for i in range(1500)
    )
    text = GET.replace("{type: object, required: [code]}", '{$ref: "#/components/schemas/S0"}')
    (found,) = told(tmp_path, f"{HEAD}paths: {{/a: {{{text}}}}}\ncomponents:\n  schemas:\n{chain}    S1500: true\n")
    assert found.endswith("too many references inside of each other")
    assert told(tmp_path, HEAD + 'paths: {/a: {$ref: "#/paths/~1a"}, /b: {$ref: "#/paths/~1a"}}\n') != []

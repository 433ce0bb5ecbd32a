"""What an OpenAPI document says of an answer, decided by Schemathesis: by what the contract tests decide with, too.

Nothing here knows what a schema means. That OpenAPI 3.0 has `nullable`, that a media type may be a range, that HEAD has
no body: one library says so (https://schemathesis.readthedocs.io), and a canary and a contract test that see the same
answer cannot disagree. Importing it takes a fifth of a second, so it is imported when an answer, or the document
itself, is first looked at, and not where a document is only named.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tocsin.errors import Complaints, InvalidInput, shortened
from tocsin.model.toolkit import Location
from tocsin.project.documents import Document, parse_model, read_document
from tocsin.project.nodes import GENERATED
from tocsin.project.openapi_files import check_files
from tocsin.project.openapi_schemas import lost, uses

if TYPE_CHECKING:
    import httpx
    from schemathesis import APIOperation, BaseSchema
    from schemathesis.errors import InvalidSchema

    Known = APIOperation[Any, Any, Any, Any]
    """an operation as Schemathesis knows it"""

_CHECKS = (
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
"""Those of a contract test that ask about the answer alone; whether its status was wanted, the journey says."""
_LONGEST = 300
_SAYS_NOTHING_OF_A_TEXT = frozenset(
    ("type", "format", "nullable", "title", "description", "default", "example", "examples", "deprecated")
)
"""Names in a schema that leave every text allowed; of `type` and `format` it depends on what they say."""
_STATUS = re.compile(r"[1-9][0-9]{2}|[1-5][Xx]{2}|default|x-.*", re.DOTALL)
"""Names of answers (https://spec.openapis.org/oas/v3.1.1.html#responses-object); a small x is taken for a large one."""
_VARIABLE = re.compile(r"\{([^{}]*)\}")


class _Open(BaseModel):
    """A part of an OpenAPI document, as far as its form is looked at here; what else it says is for others."""

    model_config = ConfigDict(frozen=True, extra="allow")


def _without_extensions(value: object) -> object:
    """A mapping without the names that are anybody's (https://spec.openapis.org/oas/v3.1.1.html#patterned-fields-0)."""
    return {name: one for name, one in value.items() if not name.startswith("x-")} if isinstance(value, dict) else value


class _MediaForm(_Open):
    schema_: dict[str, Any] | bool | None = Field(default=None, alias="schema")


class _ResponseForm(_Open):
    content: dict[str, _MediaForm] = Field(default_factory=dict)


class _OperationForm(_Open):
    responses: Annotated[dict[str, _ResponseForm], BeforeValidator(_without_extensions)] = Field(default_factory=dict)


class _PathForm(_Open):
    get: _OperationForm | None = None
    put: _OperationForm | None = None
    post: _OperationForm | None = None
    delete: _OperationForm | None = None
    options: _OperationForm | None = None
    head: _OperationForm | None = None
    patch: _OperationForm | None = None
    trace: _OperationForm | None = None


class _ComponentsForm(_Open):
    schemas: dict[str, dict[str, Any] | bool] = Field(default_factory=dict)
    responses: dict[str, _ResponseForm] = Field(default_factory=dict)


class _ServerVariableForm(_Open):
    default: str


class _ServerForm(_Open):
    url: str
    variables: dict[str, _ServerVariableForm] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_its_variables(self) -> _ServerForm:
        missing = [name for name in _VARIABLE.findall(self.url) if name not in self.variables]
        if missing:
            raise ValueError(f"expected '{missing[0]}' of the URL among the `variables` of this server, found none")
        return self

    @property
    def written_out(self) -> str:
        """The URL with the defaults of its variables, without a slash at its end."""
        return _VARIABLE.sub(lambda found: self.variables[found[1]].default, self.url).rstrip("/")


class _Form(_Open):
    openapi: str = Field(pattern=r"^3\.[0-2]\.\d+(-.+)?$")
    servers: tuple[_ServerForm, ...] = ()
    paths: Annotated[dict[str, _PathForm], BeforeValidator(_without_extensions)]
    components: _ComponentsForm = _ComponentsForm()


@dataclass(frozen=True)
class Operation:
    """One method of one path of the document."""

    method: str
    """as it is sent: `GET`"""
    path: str
    """below the base URL: `/orders/{id}`"""

    @property
    def name(self) -> str:
        """As people write it: `GET /orders/{id}`."""
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class _Documented:
    """An operation, as Schemathesis knows it."""

    operation: Operation
    known: Known
    pattern: re.Pattern[str]

    def parameters(self, method: str, path: str) -> dict[str, str] | None:
        """What stands in a path for the names of the operation's; None: another operation."""
        found = self.pattern.fullmatch(path) if method == self.operation.method else None
        return dict(zip(_VARIABLE.findall(self.operation.path), found.groups(), strict=True)) if found else None


class OpenApiDocument:
    """An OpenAPI document of version 3.0, 3.1 or 3.2 (https://spec.openapis.org/oas/), in one file or in several."""

    def __init__(self, document: Document, form: _Form) -> None:
        self._document = document
        self._form = form
        self._lock = threading.Lock()
        self._known: tuple[_Documented, ...] | None = None

    @classmethod
    def load(cls, path: Path) -> OpenApiDocument:
        """Read a document; what its references lead to, `check` looks at.

        Raises:
            InvalidInput: the file is missing, is not YAML or JSON, or is not of the form of an OpenAPI 3 document.
        """
        document = read_document(path, GENERATED)
        if "swagger" in document.data:
            raise document.invalid(
                "expected an OpenAPI 3 document, found Swagger 2. Convert it: its schemas stand elsewhere", ("swagger",)
            )
        return cls(document, parse_model(_Form, document.data, document))

    def check(self) -> None:
        """Look whether every answer that is documented can be judged.

        Raises:
            InvalidInput: a file, a reference, a schema or a media type that cannot be used, or no operation at all.
        """
        check_files(self._document)
        complaints = Complaints()
        documented = complaints.attempt(self._documented) or ()
        for path in (path for path in self._form.paths if not path.startswith("/")):
            complaints.add(
                self._document.invalid(f"expected a path that begins with '/', found '{path}'", ("paths", path))
            )
        for one in documented:
            complaints.extend(self._problems_of(one))
        complaints.tell()
        if not documented:
            raise self._document.invalid("expected at least one operation under 'paths', found none", ("paths",))

    def notes(self) -> Iterator[str]:
        """What the document says and nobody looks at, each with its file."""
        data, file = self._document.data, self._document.path
        for part in ("webhooks", "jsonSchemaDialect"):
            if data.get(part):
                yield f"{file}:{self._document.line((part,))}: {part}: neither canaries nor contract tests look at it"
        for at in self._inner_servers():
            yield (
                f"{file}:{self._document.line(at)}: {'.'.join(map(str, at))}: canaries and contract tests ask the "
                "endpoint of the system, also for this one"
            )
        for one in self._documented():
            for status, media_type in _unread(one.known):
                yield (
                    f"{file}: {one.operation.name}: of an answer {status} as {media_type} the media type is looked at, "
                    "and not its schema"
                )

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Every operation; paths with fewer parameters first, as the specification demands.

        Raises:
            InvalidInput: one of them cannot be read.
        """
        return tuple(one.operation for one in self._documented())

    @property
    def schema_names(self) -> tuple[str, ...]:
        """Names of the component schemas."""
        return tuple(self._form.components.schemas)

    def documents(self, status: int) -> bool:
        """Whether any operation says what an answer with this status looks like: by itself, as `5XX` or `default`."""
        return any(one.known.responses.find_by_status_code(status) is not None for one in self._documented())

    def base_url(self, endpoint: str) -> str:
        """Where the paths of the document begin, for a system whose callers use `endpoint`.

        The path of the first server (https://spec.openapis.org/oas/v3.1.1.html#server-object) is put behind it, unless
        the endpoint is one of the servers, or ends with the path of one.
        """
        servers = [server.written_out for server in self._form.servers]
        paths = [_path_of(server) for server in servers]
        own = urlsplit(endpoint).path
        if not paths or endpoint in servers or any(own.endswith(path) for path in paths if path):
            return endpoint
        return endpoint + paths[0]

    def problems(self, response: httpx.Response, endpoint: str) -> list[str]:
        """What is wrong with an answer; nothing when it is as documented.

        An answer of another host says nothing about this contract.

        Args:
            response: the answer, read to its end, with its request.
            endpoint: URL that callers of the system use.

        Raises:
            InvalidInput: the document does not say, because a part of it cannot be used.
        """
        import httpx
        from schemathesis.errors import FailureGroup

        method, url = response.request.method, response.request.url
        # As httpx itself reads the URL that it was given: it drops the port that is usual anyway.
        base = httpx.URL(self.base_url(endpoint))
        if url.netloc != base.netloc:
            return []
        asked, root = _raw_path(url), _raw_path(base).rstrip("/")
        found = self._find(method, asked.removeprefix(root)) if asked.startswith(f"{root}/") else None
        if found is None:
            below = f", whose paths begin at {root}" if root else ""
            return [f"{method} {asked} is not in the contract{below}"]
        one, parameters = found
        try:
            one.known.Case(path_parameters=parameters).validate_response(response)
        except FailureGroup as group:
            told = f"{one.operation.name} answered {response.status_code}"
            return sorted(f"{told}{_words(failure)}" for failure in group.exceptions)
        except Exception as error:
            raise self._document.invalid(f"{one.operation.name}: {_why(error)}", ("paths",)) from None
        return []

    def _find(self, method: str, path: str) -> tuple[_Documented, dict[str, str]] | None:
        for one in self._documented():
            parameters = one.parameters(method, path)
            if parameters is not None:
                return one, parameters
        return None

    def _documented(self) -> tuple[_Documented, ...]:
        """What Schemathesis makes of the document; once, as canaries ask from several threads.

        Raises:
            InvalidInput: what it cannot read.
        """
        with self._lock:
            if self._known is None:
                self._known = tuple(sorted(self._read(), key=lambda one: one.operation.path.count("{")))
            return self._known

    def _read(self) -> list[_Documented]:
        from schemathesis.core.result import Err

        complaints, found = Complaints(), []
        # Whatever the library stumbles over stands in the file that somebody wrote.
        try:
            for result in _load(self._document.path).get_all_operations():
                if isinstance(result, Err):
                    complaints.add(self._unreadable(result.err()))
                else:
                    known = result.ok()
                    operation = Operation(known.method.upper(), known.path)
                    found.append(_Documented(operation, known, _pattern(known.path)))
        except Exception as error:
            complaints.add(self._document.invalid(f"expected an OpenAPI document, found {_why(error)}", ("paths",)))
        complaints.tell()
        return found

    def _unreadable(self, wrong: InvalidSchema) -> InvalidInput:
        at: Location = ("paths", *(part for part in (wrong.path, wrong.method) if part))
        return self._document.invalid(f"{wrong.label}: {_one_line(wrong)}", at)

    def _problems_of(self, one: _Documented) -> Iterator[InvalidInput]:
        """Answers of an operation that nobody could judge: Schemathesis would let each of them pass."""
        where = ("paths", one.operation.path, one.operation.method.lower(), "responses")
        try:
            answers = tuple(_answers(one.known))
        except Exception as error:
            yield self._document.invalid(f"{one.operation.name}: answers: {_why(error)}", where)
            return
        for status in (status for status, _ in one.known.responses.items() if not _STATUS.fullmatch(status)):
            expected = "expected a status such as 503, a range such as 5XX, or 'default'"
            yield self._document.invalid(
                f"{one.operation.name}: {expected}, found '{shortened(status)}'", (*where, status)
            )
        for status, media_type, response in answers:
            wrong = _wrong_with(response, media_type)
            if wrong:
                at = (*where, status, "content", media_type)
                yield self._document.invalid(f"{one.operation.name}: answer {status} as {media_type}: {wrong}", at)
        for status, name, header in _headers(one.known):
            wrong = _wrong_with_header(header)
            if wrong:
                at = (*where, status, "headers", name)
                yield self._document.invalid(f"{one.operation.name}: header {name} of answer {status}: {wrong}", at)

    def _inner_servers(self) -> Iterator[Location]:
        for path in self._form.paths:
            item = self._document.data["paths"][path]
            if item.get("servers"):
                yield ("paths", path, "servers")
            for method, operation in item.items():
                if isinstance(operation, Mapping) and operation.get("servers"):
                    yield ("paths", path, method, "servers")


def _load(path: Path) -> BaseSchema:
    """The document as Schemathesis reads it, which of all its checks is to make those of an answer.

    Raises:
        Exception: it cannot read it.
    """
    import schemathesis

    checks = {"enabled": False, **{name: {"enabled": True} for name in _CHECKS}}
    return schemathesis.openapi.from_path(path, config=schemathesis.Config.from_dict({"checks": checks}))


def _answers(known: Known) -> Iterator[tuple[str, str, Any]]:
    """Status, media type and documented response of every body that an operation may answer with."""
    for status, response in known.responses.items():
        content = response.definition.get("content")
        for media_type in content if isinstance(content, Mapping) else ():
            yield status, media_type, response


def _headers(known: Known) -> Iterator[tuple[str, str, Any]]:
    """Status, name and documented header of every answer."""
    for status, response in known.responses.items():
        for name, header in response.headers.items():
            yield status, name, header


def _wrong_with(response: Any, media_type: str) -> str:
    """Why no answer of a media type could be judged, or any would pass; nothing when each can be judged."""
    from schemathesis.core import media_types

    siblings = response.adapter.ref_siblings
    try:
        media_types.parse(media_type)
        documented = response.get_schema(media_type)
        if documented.unresolvable_reference is not None:
            return _leads_nowhere(documented.unresolvable_reference)
        if documented.schema is not None:
            response.get_validator(documented.media_type, documented.schema)
        said = response.definition["content"][media_type]
        wrong = (lost(said.get(name), response.resolver, siblings=siblings) for name in ("schema", "itemSchema"))
        return next(filter(None, wrong), "")
    except Exception as error:
        schema = response.definition["content"][media_type].get("schema")
        unknown = _unknown_keyword(error)
        if unknown and uses(schema, response.resolver, unknown, siblings=siblings):
            return (
                f"{unknown}: expected a schema without it, found one that Schemathesis cannot judge. Say it otherwise"
            )
        return _why(error)


def _wrong_with_header(header: Any) -> str:
    """Why a header could not be judged, or any would pass; nothing when it can be."""
    from schemathesis.core.errors import RefResolutionError, unresolvable_reference

    try:
        return lost(header.definition.get("schema"), header.resolver, siblings=header.adapter.ref_siblings)
    except RefResolutionError as error:
        return _leads_nowhere(unresolvable_reference(error))
    except Exception as error:
        return _why(error)


def _leads_nowhere(reference: str) -> str:
    top = " ('#/' is the top of the file, also below an `$id`)" if reference.startswith("#/") else ""
    return f"expected what '{reference}' refers to, found none{top}"


def _unknown_keyword(error: Exception) -> str:
    """The keyword that an error may be about, though its words are of what the library made of it; or nothing."""
    from jsonschema_rs import ValidationError

    if not isinstance(error, ValidationError):
        return ""
    # It writes `prefixItems` as the list that `items` was before 2020, and then refuses that list.
    if list(error.instance_path)[-1:] == ["items"]:
        return "prefixItems"
    return "$dynamicRef" if "does not exist" in str(error) else ""


def _why(error: Exception) -> str:
    """What kept the library from reading a part of the document."""
    from jsonschema_rs import ValidationError
    from schemathesis.errors import SchemathesisError

    if isinstance(error, RecursionError):
        return "too many references inside of each other"
    if isinstance(error, SchemathesisError | ValidationError):
        return _one_line(error)
    return _one_line(f"what Schemathesis cannot read ({type(error).__name__}: {error})")


def _unread(known: Known) -> Iterator[tuple[str, str]]:
    """Status and media type of bodies with a schema that says more than any text does, and that nothing reads."""
    for status, media_type, response in _answers(known):
        if "*" in media_type or _reads(media_type):
            continue
        schemas = (response.get_schema(media_type).schema, response.definition["content"][media_type].get("itemSchema"))
        if any(_says_more(schema) for schema in schemas):
            yield status, media_type


def _reads(media_type: str) -> bool:
    """Whether Schemathesis looks into bodies of a media type.

    It says so of XML and plain text too, which it writes in requests and does not read in answers.
    """
    from schemathesis.core import media_types
    from schemathesis.core.deserialization import has_deserializer

    written_only = media_types.is_xml(media_type) or media_types.is_plain_text(media_type)
    return has_deserializer(media_type) and not written_only


def _says_more(schema: object) -> bool:
    """Whether there are texts that a schema does not allow."""
    if not isinstance(schema, Mapping):
        return schema is False
    if schema.get("type", "string") != "string" or schema.get("format", "binary") not in ("binary", "byte"):
        return True
    return not schema.keys() <= _SAYS_NOTHING_OF_A_TEXT


def _words(failure: Any) -> str:
    """What is wrong, after `GET /orders answered 200`."""
    from schemathesis.core.failures import MalformedJson
    from schemathesis.openapi.checks import JsonSchemaError, UndefinedStatusCode

    if isinstance(failure, UndefinedStatusCode):
        return f", which is not documented: {', '.join(failure.defined_status_codes)}"
    if isinstance(failure, MalformedJson):
        return " with a body that is not JSON"
    if isinstance(failure, JsonSchemaError) and failure.title == failure.kind_title:
        where = "/".join(map(str, failure.instance_path)) or "the body"
        return f", but {where}: {failure.message.partition(chr(10))[0]}"[:_LONGEST]
    return f", but {failure.title}: {_one_line(failure.message)}"[:_LONGEST]


def _one_line(told: object) -> str:
    return " ".join(str(told).split())[:_LONGEST]


def _raw_path(url: httpx.URL) -> str:
    """The path as it is sent, in which an escaped slash ends no part."""
    return url.raw_path.decode().partition("?")[0]


def _path_of(server: str) -> str:
    """Path of a server's URL, which may be relative; `` for the root."""
    path = urlsplit(server).path.strip("/")
    return f"/{path}" if path not in ("", ".") else ""


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^{}]*\}", path)
    return re.compile("([^/]+)".join(re.escape(part) for part in parts))

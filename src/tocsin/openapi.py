"""Checks one HTTP answer against an OpenAPI document: cheap enough for every answer a canary sees.

The contract tests proper (generated input, all checks) are schemathesis' work; this only asks whether an answer that
was seen anyway is documented: its status, its media type and its schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema_rs

from tocsin.loader import read_yaml

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


@dataclass(frozen=True)
class Operation:
    """One method of one path of the document."""

    method: str
    path: str
    pattern: re.Pattern[str]
    responses: Mapping[str, Any]

    @property
    def name(self) -> str:
        """As people write it: `GET /orders/{id}`."""
        return f"{self.method.upper()} {self.path}"


class OpenApiDocument:
    """An OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.1.html), loaded once."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self._validators: dict[tuple[str, str, str], Any] = {}

    @classmethod
    def load(cls, path: Path) -> OpenApiDocument:
        """Read a document.

        Raises:
            InvalidInput: the file is missing or is not YAML or JSON.
        """
        return cls(read_yaml(path).data)

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """Every operation; paths without parameters first, as the specification demands."""
        found = [
            Operation(method, path, _pattern(path), item[method].get("responses", {}))
            for path, item in self._data.get("paths", {}).items()
            for method in _METHODS
            if method in item
        ]
        return tuple(sorted(found, key=lambda operation: operation.path.count("{")))

    @property
    def schema_names(self) -> tuple[str, ...]:
        """Names of the component schemas."""
        return tuple(self._data.get("components", {}).get("schemas", {}))

    def documents(self, status: int) -> bool:
        """Whether any operation says what an answer with this status looks like."""
        return any(str(status) in operation.responses for operation in self.operations)

    def problems(self, method: str, path: str, status: int, content_type: str, body: bytes) -> list[str]:
        """What is wrong with an answer; nothing when it is as documented."""
        operation = self._find(method, path)
        if operation is None:
            return [f"{method} {path} is not in the contract"]
        response = operation.responses.get(str(status)) or operation.responses.get(f"{status // 100}XX")
        response = response or operation.responses.get("default")
        if response is None:
            return [f"{operation.name} answered {status}, which is not documented"]
        content = self._resolve(response).get("content")
        return self._body_problems(operation, status, content, content_type, body) if content else []

    def _find(self, method: str, path: str) -> Operation | None:
        for operation in self.operations:
            if operation.method == method.lower() and operation.pattern.fullmatch(path):
                return operation
        return None

    def _body_problems(
        self, operation: Operation, status: int, content: Mapping[str, Any], content_type: str, body: bytes
    ) -> list[str]:
        media_type = content_type.split(";", 1)[0].strip().lower()
        if media_type not in content:
            return [f"{operation.name} answered {status} as '{media_type}', documented: {', '.join(content)}"]
        schema = content[media_type].get("schema")
        if schema is None or not media_type.endswith("json"):
            return []
        try:
            instance = json.loads(body)
        except ValueError:
            return [f"{operation.name} answered {status} with a body that is not JSON"]
        validator = self._validator((operation.name, str(status), media_type), schema)
        return [
            f"{operation.name} answered {status}, but {'/'.join(str(p) for p in error.instance_path) or 'the body'}: "
            f"{error.message}"
            for error in validator.iter_errors(instance)
        ]

    def _validator(self, key: tuple[str, str, str], schema: Any) -> Any:
        if key not in self._validators:
            # `#/components/...` references resolve inside the schema when the components travel with it.
            components = self._data.get("components", {})
            self._validators[key] = jsonschema_rs.validator_for({**schema, "components": components})
        return self._validators[key]

    def _resolve(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        reference = node.get("$ref")
        if reference is None:
            return node
        target: Any = self._data
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        return self._resolve(target)


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]+\}", path)
    return re.compile("[^/]+".join(re.escape(part) for part in parts))

"""One request that has arrived completely."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from .errors import ApiError

LONGEST = 200


class Call:
    """What a handler is asked."""

    def __init__(self, request: Request, body: bytes) -> None:
        self.path: Mapping[str, str] = request.path_params
        self.authorization = request.headers.get("authorization")
        self._body = body

    def text(self, name: str) -> str:
        """A string of the JSON body. Raises ApiError 400."""
        value = self._value(name)
        if not isinstance(value, str) or not value.strip() or len(value) > LONGEST or "\x00" in value:
            raise ApiError(400, f"expected a JSON object with the text '{name}'")
        return value

    def uuid(self, name: str) -> str:
        """A UUID of the JSON body. Raises ApiError 400."""
        try:
            return str(uuid.UUID(self.text(name)))
        except ValueError:
            raise ApiError(400, f"expected a JSON object with the UUID '{name}'") from None

    def id(self, name: str) -> str:
        """A UUID of the path. Raises ApiError 404."""
        try:
            return str(uuid.UUID(self.path[name]))
        except ValueError:
            raise ApiError(404, "not found") from None

    def _value(self, name: str) -> Any:
        try:
            return json.loads(self._body)[name]
        except (ValueError, KeyError, TypeError):
            return None

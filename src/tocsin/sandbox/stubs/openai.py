"""OpenAI's chat completions, as far as a caller of one needs them: the answer is what it was told to say.

| request | answer |
|---|---|
| `GET /v1/models` | 200, the one model |
| `POST /v1/chat/completions` | 200 `chat.completion`, or `text/event-stream` with `"stream": true`; else 400 |

Without `Authorization: Bearer <api_key>` it is 401 `invalid_api_key`, and 404 `model_not_found` for another model.
Tokens are counted as words: no caller should depend on the figure. What it answers when it is in trouble stands in
`model/third_party_cases.py`.

Shapes: https://platform.openai.com/docs/api-reference/chat and https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import hmac
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tocsin.errors import SandboxError
from tocsin.sandbox.stubs import ThirdParty

_TYPES = {401: "invalid_request_error", 429: "requests", 500: "server_error", 503: "server_error"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


@dataclass(frozen=True)
class Options:
    """The key that is accepted, the model there is, and what it says."""

    api_key: str
    model: str
    answer: str

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> Options:
        """From `api_key`, `model` (default `gpt-4`) and `answer` (default `ok`). Raises SandboxError."""
        if not options.get("api_key"):
            raise SandboxError("the stub 'openai' expects the option api_key, found none")
        return cls(options["api_key"], options.get("model", "gpt-4"), options.get("answer", "ok"))


class Said(BaseModel):
    """A message of a conversation; more than these fields is allowed."""

    role: str
    content: str | list[object] | None = None


class Asked(BaseModel):
    """What must be in a request for a completion; more is allowed."""

    model: str
    messages: list[Said] = Field(min_length=1)
    stream: bool = False

    def words(self) -> int:
        """How long the conversation is."""
        return sum(len(said.content.split()) for said in self.messages if isinstance(said.content, str))


class OpenAi:
    """What is behind the stub."""

    def __init__(self, options: Options) -> None:
        self._options = options

    async def models(self, _: Request) -> Response:
        """The models there are."""
        model = {"id": self._options.model, "object": "model", "created": 0, "owned_by": "openai"}
        return JSONResponse({"object": "list", "data": [model]})

    async def completions(self, request: Request) -> Response:
        """One completion."""
        try:
            asked = Asked.model_validate_json(await request.body())
        except ValidationError as cause:
            return _error(400, f"We could not parse the JSON body of your request: {cause.errors()[0]['msg']}")
        if asked.model != self._options.model:
            missing = f"The model `{asked.model}` does not exist or you do not have access to it."
            return _error(404, missing, code="model_not_found")
        if asked.stream:
            return StreamingResponse(self._chunks(), media_type="text/event-stream")
        message = {"role": "assistant", "content": self._options.answer, "refusal": None}
        prompt, answer = asked.words(), len(self._options.answer.split())
        return JSONResponse(
            {
                **self._head("chat.completion"),
                "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer},
            }
        )

    def guarded(self, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that asks for the key first."""
        wanted = f"Bearer {self._options.api_key}".encode()

        async def guarded(request: Request) -> Response:
            if not hmac.compare_digest(request.headers.get("authorization", "").encode(), wanted):
                return _error(401, "Incorrect API key provided.", code="invalid_api_key")
            return await endpoint(request)

        return guarded

    def _chunks(self) -> Iterator[str]:
        head = self._head("chat.completion.chunk")
        pieces = re.findall(r"\S+\s*|\s+", self._options.answer)
        for delta in ({"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces)):
            yield _sent({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        yield _sent({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        yield "data: [DONE]\n\n"

    def _head(self, kind: str) -> dict[str, object]:
        made = {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time())}
        return {**made, "model": self._options.model}


def make(options: Mapping[str, str]) -> ThirdParty:
    """The stub. Options: see `Options.parse`. Raises SandboxError."""
    stub = OpenAi(Options.parse(options))
    routes = [
        Route("/v1/models", stub.guarded(stub.models)),
        Route("/v1/chat/completions", stub.guarded(stub.completions), methods=["POST"]),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _not_found})
    return ThirdParty(app, lambda status: _document(status, "The fault door is open.", _CODES.get(status)))


def _sent(document: object) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(document)}\n\n"


def _not_found(request: Request, _: Exception) -> JSONResponse:
    return _error(404, f"Invalid URL ({request.method} {request.url.path})")


def _error(status: int, text: str, *, code: str | None = None) -> JSONResponse:
    return JSONResponse(_document(status, text, code), status)


def _document(status: int, text: str, code: str | None) -> object:
    kind = _TYPES.get(status, "invalid_request_error")
    return {"error": {"message": text, "type": kind, "param": None, "code": code}}

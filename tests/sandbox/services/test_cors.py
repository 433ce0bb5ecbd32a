"""CORS of an HTTP API is what its configuration declares, and nothing else.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html
"""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.sandbox.services.cors import Cors, is_preflight

PAGE = "https://admin.example.com"
CONFIGURATION = {
    "allowOrigins": [PAGE, "http://localhost:5173"],
    "allowMethods": ["GET", "POST"],
    "allowHeaders": ["authorization"],
    "exposeHeaders": ["x-total"],
    "allowCredentials": True,
    "maxAge": 300,
}
ASKED = {"origin": PAGE, "access-control-request-method": "POST"}
ALLOWED = {
    "access-control-allow-origin": PAGE,
    "access-control-allow-credentials": "true",
    "vary": "Origin",
}


def cors(**changed: Any) -> Cors:
    found = Cors.of(CONFIGURATION | changed)
    assert found is not None
    return found


def test_without_a_configuration_there_is_none() -> None:
    assert Cors.of(None) is None
    assert Cors.of({}) is None


def test_a_preflight_is_told_what_is_allowed() -> None:
    assert cors().preflight(ASKED) == ALLOWED | {
        "access-control-allow-methods": "GET,POST",
        "access-control-allow-headers": "authorization",
        "access-control-max-age": "300",
    }


def test_only_what_is_declared_is_said() -> None:
    bare = Cors.of({"allowOrigins": [PAGE]})
    assert bare is not None
    assert bare.preflight(ASKED) == {"access-control-allow-origin": PAGE, "vary": "Origin"}
    assert bare.on_answer(ASKED, {}) == {"access-control-allow-origin": PAGE, "vary": "Origin"}


@pytest.mark.parametrize(
    ("allowed", "origin", "answer"),
    [
        ([PAGE], PAGE, PAGE),
        ([PAGE], "HTTPS://ADMIN.EXAMPLE.COM", "HTTPS://ADMIN.EXAMPLE.COM"),
        ([PAGE], "https://admin.example.com.evil.test", None),
        ([PAGE], "https://evil.test", None),
        ([PAGE], "http://admin.example.com", None),
        ([PAGE], "null", None),
        ([PAGE], "", None),
        (["*"], "https://any.test", "*"),
        (["*"], "", None),
        (["https://*"], "https://any.test", "https://any.test"),
        (["https://*"], "http://any.test", None),
        (["http://*"], "http://any.test", "http://any.test"),
        ([], PAGE, None),
    ],
)
def test_an_origin_is_allowed_as_declared(allowed: list[str], origin: str, answer: str | None) -> None:
    one = cors(allowOrigins=allowed)
    for headers in (one.preflight(ASKED | {"origin": origin}), one.on_answer({"origin": origin}, {})):
        assert headers.get("access-control-allow-origin") == answer
        assert answer is not None or headers == {}
        assert answer != "*" or "access-control-allow-credentials" not in headers


def test_what_the_integration_says_of_cors_is_dropped_and_the_rest_is_kept() -> None:
    said = {"Access-Control-Allow-Origin": "*", "access-control-allow-methods": "*", "Vary": "Accept", "x-total": "3"}
    assert cors().on_answer({"origin": PAGE}, said) == ALLOWED | {
        "access-control-expose-headers": "x-total",
        "vary": "Accept, Origin",
        "x-total": "3",
    }
    assert cors().on_answer({"origin": "https://evil.test"}, said) == {"Vary": "Accept", "x-total": "3"}
    assert cors().on_answer({}, said) == {"Vary": "Accept", "x-total": "3"}


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("OPTIONS", ASKED, True),
        ("OPTIONS", {"origin": PAGE}, False),
        ("OPTIONS", {"access-control-request-method": "POST"}, False),
        ("POST", ASKED, False),
    ],
)
def test_a_preflight_is_known_by_its_headers(method: str, headers: dict[str, str], expected: bool) -> None:
    assert is_preflight(method, headers) is expected

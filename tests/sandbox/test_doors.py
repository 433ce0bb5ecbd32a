"""Which requests are for a port of the sandbox, and which come from a page of a browser."""

from __future__ import annotations

import pytest

from tocsin.sandbox.doors import comes_from_a_page, is_own_host, wrong_host


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:4566", "localhost:4566", "LOCALHOST:4566", "[::1]:4566", "bucket.s3.localhost:4566", "localhost.:4566"],
)
def test_a_name_of_loopback_with_the_port_is_an_own_one(host: str) -> None:
    assert is_own_host(host, 4566)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "127.0.0.1",
        "localhost",
        "127.0.0.1:4567",
        "127.0.0.1:456 6",
        "127.0.0.1:4566@evil.example",
        "evil.example",
        "evil.example:4566",
        "localhost.evil.example:4566",
        "127.0.0.1.evil.example:4566",
        "evillocalhost:4566",
        "0.0.0.0:4566",
        "127.0.0.1:4566, evil.example",
        "127.0.0.1:4566\nevil.example",
    ],
)
def test_any_other_name_is_not(host: str) -> None:
    assert not is_own_host(host, 4566)


def test_names_that_were_configured_are_own_ones() -> None:
    assert is_own_host("shop.example.com", 4566, {"shop.example.com"})
    assert is_own_host("a.shop.example.com:80", 4566, {".shop.example.com"})
    assert not is_own_host("shop.example.com.evil.example", 4566, {"shop.example.com", ".shop.example.com"})
    assert not is_own_host("evilshop.example.com", 4566, {"shop.example.com", ".shop.example.com"})


def test_a_request_has_exactly_one_host() -> None:
    own, other = (b"Host", b"127.0.0.1:4566"), (b"host", b"evil.example")
    assert wrong_host([own], 4566) is None
    for headers in ([], [own, other], [other, own], [own, own], [other]):
        assert wrong_host(headers, 4566) is not None


@pytest.mark.parametrize(
    ("headers", "page"),
    [
        ([], False),
        ([(b"sec-fetch-site", b"none")], False),
        ([(b"Origin", b"https://evil.example")], True),
        ([(b"origin", b"null")], True),
        ([(b"origin", b"")], True),
        ([(b"origin", b"http://127.0.0.1:4566")], True),
        ([(b"Sec-Fetch-Site", b"cross-site")], True),
        ([(b"sec-fetch-site", b"same-site")], True),
        ([(b"sec-fetch-site", b"same-origin")], True),
        ([(b"sec-fetch-site", b"none"), (b"sec-fetch-site", b"cross-site")], True),
    ],
)
def test_what_a_browser_adds_tells_a_page(headers: list[tuple[bytes, bytes]], page: bool) -> None:
    assert comes_from_a_page(headers) is page

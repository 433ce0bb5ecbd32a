"""Clients of which nobody sees what they send are found where a file imports them."""

from __future__ import annotations

import ast

import pytest

from tocsin.project.unseen_clients import unseen_clients


def found(python: str) -> list[tuple[str, int]]:
    """What is found, and the line of each."""
    told = unseen_clients(ast.parse(python), "`api`")
    return [(message.split("`")[3], line) for message, line in told]


@pytest.mark.parametrize(
    ("python", "client", "line"),
    [
        ("import httpx\n\nhttpx.post('x')", "httpx.post", 3),
        ("import httpx as web\n\nwith web.Client() as one: ...", "httpx.Client", 3),
        ("from httpx import Client", "httpx.Client", 1),
        ("def canary(api):\n    import requests", "requests", 2),
        ("from requests.sessions import Session", "requests.sessions.Session", 1),
        ("import urllib.request", "urllib.request", 1),
        ("from urllib import request", "urllib.request", 1),
        ("from urllib.request import urlopen", "urllib.request.urlopen", 1),
        ("from http import client", "http.client", 1),
        ("import boto3", "boto3", 1),
        ("import botocore.session", "botocore.session", 1),
        ("import smtplib", "smtplib", 1),
        ("import pg8000.native", "pg8000.native", 1),
    ],
)
def test_a_client_is_found_where_it_is_imported_or_used(python: str, client: str, line: int) -> None:
    assert found(python) == [(client, line)]


def test_each_is_told_once() -> None:
    python = "import requests\nfrom requests import post\nimport httpx\nhttpx.get('x')\nhttpx.put('x')\n"
    assert found(python) == [("requests", 1), ("httpx.get", 4)]


@pytest.mark.parametrize(
    "python",
    [
        "import urllib.parse\nurllib.parse.quote('x')",
        "from urllib.parse import quote",
        "from http import HTTPStatus",
        "import httpx\n\ndef canary(api):\n    try: ...\n    except httpx.ConnectError: ...",
        "from httpx import HTTPError, Response",
        "import requestsmith",
        "from . import requests",
        "from tocsin.load import ArrivalUser\n\nself.client.get('x')",
    ],
)
def test_what_sends_nothing_is_none(python: str) -> None:
    assert found(python) == []

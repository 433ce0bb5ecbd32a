"""A proxy of the environment never sees a loopback address, whichever client asks; what lies elsewhere it does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.project.proxy import NAMES, Proxy, running_proxy

from tocsin.project.proxies import is_loopback, spare_loopback

SPARE = "from tocsin.project.proxies import spare_loopback; spare_loopback()\n"
CLIENTS = {
    "boto3": "from tocsin.aws.target import Target\n"
    "Target(name='t', region='eu-west-1', endpoint_url=url, access_key_id='x', secret_access_key='x')"
    ".client('sqs').list_queues()",
    "requests": "import requests; requests.get(url)",
    "httpx": "import httpx; httpx.get(url)",
    "urllib": "import urllib.request; urllib.request.urlopen(url).read()",
    "the sandbox's doors": "from tocsin.sandbox.account import open_door; open_door(url, 'token', 'lag', {})",
    "a canary": "from tocsin.canary import Surroundings, run_canary\n"
    "def look(journey):\n"
    "    with journey.step('look'): journey.get('/', expect=200)\n"
    "ran = run_canary('look', look, Surroundings(base_url=url, token=str))\n"
    "assert ran.ok, ran.detail",
    "Prometheus": "from tocsin.alarms.prometheus_api import PrometheusApi; PrometheusApi(url).close()\n"
    "import httpx; httpx.get(url)",
    "a child": "import subprocess, sys\n"
    "code = 'import sys, requests; requests.get(sys.argv[1])'\n"
    "subprocess.run([sys.executable, '-c', code, url], check=True)",
}
ONLY_OURS = ("a canary",)
"""Made without proxies, since a proxy by SOCKS would keep them from being made at all."""


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with running_proxy() as found:
        yield found


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """A server of this machine that answers everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def ask(code: str, url: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return subprocess.run(
        [sys.executable, "-c", f"url = {url!r}\n{code}"],
        cwd=Path(__file__).parents[2],
        env=plain | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_asks_a_proxy_for_this_machine(proxy: Proxy, origin: str, client: str) -> None:
    done = ask(SPARE + CLIENTS[client], origin, proxy.environment)
    assert done.returncode == 0, done.stderr
    assert proxy.asked == []


@pytest.mark.parametrize("client", [name for name in CLIENTS if name not in ONLY_OURS])
def test_without_it_each_of_them_does(proxy: Proxy, origin: str, client: str) -> None:
    ask(CLIENTS[client], origin, proxy.environment)
    assert proxy.asked


NAMED = """
import socket
real = socket.getaddrinfo
def find(host, *others, **options):
    ours = "127.0.0.1" if host in ("upper.example", "lower.example") else host
    return real(ours, *others, **options)
socket.getaddrinfo = find
url = url.replace("127.0.0.1", NAME)
"""
"""Two names of the origin, as a name server would tell them."""
BY_NAME = ("boto3", "requests", "httpx", "urllib")


@pytest.mark.parametrize("name", ["upper.example", "lower.example"])
@pytest.mark.parametrize("client", BY_NAME)
def test_what_either_of_two_lists_spares_is_spared_by_each_client(
    proxy: Proxy, origin: str, client: str, name: str
) -> None:
    lists = {"no_proxy": "lower.example", "NO_PROXY": "upper.example"}
    done = ask(SPARE + NAMED.replace("NAME", repr(name)) + CLIENTS[client], origin, proxy.environment | lists)
    assert done.returncode == 0, done.stderr
    assert proxy.asked == []


@pytest.mark.parametrize("client", BY_NAME)
def test_without_it_one_of_the_lists_is_lost(proxy: Proxy, origin: str, client: str) -> None:
    lists = {"no_proxy": "lower.example", "NO_PROXY": "upper.example"}
    ask(NAMED.replace("NAME", "'upper.example'") + CLIENTS[client], origin, proxy.environment | lists)
    assert proxy.asked


def test_what_lies_elsewhere_still_goes_through_the_proxy(proxy: Proxy) -> None:
    code = "import httpx; print(httpx.get(url).status_code)"
    assert ask(SPARE + code, "http://aws.invalid/", proxy.environment).stdout == "502\n"
    assert proxy.asked == ["GET http://aws.invalid/"]


@pytest.mark.parametrize("client", ["a canary", "requests", "boto3", "urllib", "the sandbox's doors"])
def test_a_proxy_by_socks_keeps_nobody_from_this_machine(origin: str, client: str) -> None:
    done = ask(SPARE + CLIENTS[client], origin, dict.fromkeys(NAMES, "socks5://127.0.0.1:9"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, None),
        ({"NO_PROXY": "corp.example"}, "corp.example"),
        ({"HTTP_PROXY": "http://p:1"}, "localhost,.localhost,127.0.0.1,::1"),
        (
            {"https_proxy": "http://p:1", "NO_PROXY": "a.example, 127.0.0.1"},
            "a.example,127.0.0.1,localhost,.localhost,::1",
        ),
        (
            {"ALL_PROXY": "http://p:1", "no_proxy": "b, d", "NO_PROXY": "c,b"},
            "b,d,c,localhost,.localhost,127.0.0.1,::1",
        ),
        ({"ALL_PROXY": "http://p:1", "no_proxy": "", "NO_PROXY": "c"}, "c,localhost,.localhost,127.0.0.1,::1"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "*"}, "*"),
        ({"HTTP_PROXY": "http://p:1", "no_proxy": "c", "NO_PROXY": "*"}, "*"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "*,c"}, "*,c,localhost,.localhost,127.0.0.1,::1"),
        ({"HTTP_PROXY": "", "NO_PROXY": "d"}, "d"),
    ],
)
def test_what_was_spared_before_still_is(before: dict[str, str], after: str | None) -> None:
    environment = dict(before)
    for _ in range(2):
        spare_loopback(environment)
    assert environment.get("NO_PROXY") == after
    assert {name: value for name, value in environment.items() if name.lower() != "no_proxy"} == {
        name: value for name, value in before.items() if name.lower() != "no_proxy"
    }


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("http://127.0.0.1:9/x", True),
        ("http://127.8.0.1", True),
        ("http://localhost:80", True),
        ("http://api.localhost:80", True),
        ("http://[::1]:80/", True),
        ("https://aws.example", False),
        ("http://127.0.0.1.example", False),
        ("http://10.0.0.1", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_what_is_this_machine(url: str, ours: bool) -> None:
    assert is_loopback(url) is ours

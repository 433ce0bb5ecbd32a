"""A user's folder with a shop behind it, on loopback, that any target but the sandbox can be."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests import warm

SYSTEM = """
system: shop
title: Shop
endpoint: {{url: "{url}"}}
canaries: {{file: synthetics/shop.py, every: 60s}}
contract: contracts/shop.yaml
"""
TARGETS = '[targets.staging]\naccount = "123456789012"\nregion = "us-east-1"\nendpoint_url = "{url}/aws"\n'
CANARIES = """
def canary_home(api):
    with api.step("home"):
        assert api.get("/").json()["open"]

def canary_stock(api):
    with api.step("stock"):
        assert api.get("/").json()["stock"] == 3, "no stock"

def canary_lazy(api):
    pass
"""
SOMEBODY = (
    b"<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account>"
    b"</GetCallerIdentityResult></GetCallerIdentityResponse>"
)
NOBODY = b"<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>who?</Message></Error></ErrorResponse>"
CONTRACT = """
openapi: 3.0.3
info: {title: Shop, version: "1"}
paths:
  /:
    get:
      responses:
        "200":
          description: the shop
          content:
            application/json:
              schema: {type: object, required: [open], properties: {open: {type: boolean}}}
"""
EXPERIMENT = """
title: Nothing
description: Never gets as far as breaking anything.
tags: [gate]
method:
  - type: action
    name: throttle
    provider:
      type: python
      module: tocsin.faults
      func: rds_proxy_throttle
      arguments: {proxy: shop, max_connections_percent: 1, borrow_timeout_s: 1}
rollbacks: [{type: action, name: undo, provider: {type: python, module: tocsin.faults, func: undo}}]
extensions: [{name: tocsin, system: SYSTEM, expect: {gap: nothing breaks, recovery: {within: 5m}}}]
"""


_ALONE = ("-p", "no:cacheprovider", "-p", "tocsin.pytest_plugin", "-p", "xdist.plugin")


@dataclass
class Folder:
    """A user's folder, and the shop that it describes."""

    root: Path
    requests: list[str] = field(default_factory=list)
    somebody: bool = True
    """Whether AWS knows who asks."""
    asked: Callable[[], object] = lambda: None
    """Called whenever AWS is asked, before it answers."""
    more: dict[str, str] = field(default_factory=dict)
    """Of the environment of its processes."""

    def becomes_an_account(self) -> None:
        """`staging` is an account of AWS by its table, and only the environment says who answers for it."""
        toml = self.root / "tocsin.toml"
        lines = toml.read_text().splitlines()
        (endpoint,) = (line for line in lines if line.startswith("endpoint_url"))
        toml.write_text("\n".join(line for line in lines if line != endpoint))
        self.more["AWS_ENDPOINT_URL"] = endpoint.split('"')[1]

    @property
    def environment(self) -> dict[str, str]:
        """What a process of a user has, who may ask the shop's account."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AWS_"))}
        return kept | {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"} | self.more

    def pytest(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """With Tocsin's plugin and that of workers; others that are installed take longer to import than most tests."""
        self.more["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        return self.python("-m", "pytest", *_ALONE, *arguments)

    def tocsin(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.warm("-m", "tocsin.cli", *arguments)

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start Python on something that will not end by itself; whoever begins it waits for it."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """From its very beginning."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def warm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same with everything imported."""
        return warm.python(*arguments, cwd=self.root, env=self.environment)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    class Shop(BaseHTTPRequestHandler):
        def answer(self) -> None:
            is_aws = self.path.startswith("/aws")
            if is_aws:
                folder.asked()
            refused = is_aws and not folder.somebody
            body = NOBODY if refused else SOMEBODY if is_aws else b'{"open": true, "stock": 0}'
            folder.requests.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(403 if refused else 200)
            self.send_header("Content-Type", "text/xml" if is_aws else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    url = f"http://127.0.0.1:{server.server_port}"
    folder = Folder(tmp_path)
    files = {
        "systems/shop.yaml": SYSTEM.format(url=url),
        "tocsin.toml": TARGETS.format(url=url),
        "synthetics/shop.py": CANARIES,
        "contracts/shop.yaml": CONTRACT,
        "experiments/shop/nothing.yaml": EXPERIMENT.replace("SYSTEM", "shop"),
        "experiments/shop/lost.yaml": EXPERIMENT.replace("SYSTEM", "shopp"),
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield folder
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

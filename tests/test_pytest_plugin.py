"""`pytest ... --target NAME` as a user meets it, in a folder of their own without any conftest."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tocsin.ledger import Ledger
from tocsin.model.base import Model
from tocsin.project import ledger_path

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


@dataclass
class Folder:
    """A user's folder, and the shop that it describes."""

    root: Path
    requests: list[str] = field(default_factory=list)
    somebody: bool = True
    """Whether AWS knows who asks."""

    def pytest(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AWS_"))}
        environment |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    class Shop(BaseHTTPRequestHandler):
        def answer(self) -> None:
            is_aws = self.path.startswith("/aws")
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


def test_without_a_target_nothing_is_collected(folder: Folder) -> None:
    answer = folder.pytest("experiments", "synthetics", "contracts")
    assert "collected 0 items" in answer.stdout
    assert answer.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert not (folder.root / ".tocsin").exists()


def test_the_plugin_itself_loads_nothing_heavy() -> None:
    heavy = ("boto3", "chaoslib", "httpx", "locust", "pydantic", "rich", "schemathesis", "yaml")
    code = f"import sys, tocsin.pytest_plugin; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip() == "[]"


def test_one_item_an_experiment_a_canary_and_a_contract(folder: Folder) -> None:
    answer = folder.pytest("--co", "-q", "experiments", "synthetics", "contracts", "--target", "staging")
    assert answer.stdout.splitlines()[:6] == [
        "experiments/shop/lost.yaml::lost",
        "experiments/shop/nothing.yaml::nothing",
        "synthetics/shop.py::canary_home",
        "synthetics/shop.py::canary_stock",
        "synthetics/shop.py::canary_lazy",
        "contracts/shop.yaml::shop",
    ]
    assert folder.requests == []


def test_items_are_chosen_by_name_tag_and_system(folder: Folder) -> None:
    choice = "gate and nothing or canary_stock or shop and contracts"
    answer = folder.pytest("--co", "-q", "experiments", "synthetics", "contracts", "--target", "staging", "-k", choice)
    assert answer.stdout.splitlines()[:3] == [
        "experiments/shop/nothing.yaml::nothing",
        "synthetics/shop.py::canary_stock",
        "contracts/shop.yaml::shop",
    ]
    assert "3/6 tests collected" in answer.stdout


def test_an_unknown_target_is_one_message(folder: Folder) -> None:
    answer = folder.pytest("experiments", "--target", "stagin")
    assert answer.returncode == pytest.ExitCode.USAGE_ERROR
    assert "expected a target, found 'stagin'. Did you mean 'staging'?" in answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr


def test_an_experiment_that_cannot_be_used_fails_with_one_message_and_starts_nothing(folder: Folder) -> None:
    answer = folder.pytest("experiments/shop/lost.yaml", "--target", "sandbox")
    assert answer.returncode == pytest.ExitCode.TESTS_FAILED
    assert "lost.yaml:14: expected a system" in answer.stdout
    assert "Did you mean 'shop'?" in answer.stdout
    assert "Traceback" not in answer.stdout
    assert not (folder.root / ".tocsin" / "sandbox").exists()


def test_a_refused_drill_fails_with_its_guard(folder: Folder) -> None:
    folder.somebody = False
    answer = folder.pytest("experiments/shop/nothing.yaml", "--target", "staging", "--junitxml", "junit.xml")
    assert answer.returncode == pytest.ExitCode.TESTS_FAILED
    assert "Nothing: unknown, stopped by the guard 'identity'" in answer.stdout
    assert "(refused): " in answer.stdout
    assert "Traceback" not in answer.stdout
    case = ElementTree.parse(folder.root / "junit.xml").getroot().find(".//testcase")
    assert case is not None
    report = case.find("./properties/property[@name='report']")
    assert report is not None
    assert Path(report.attrib["value"]).is_file()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_canaries_pass_fail_and_are_found_broken(folder: Folder, workers: str) -> None:
    answer = folder.pytest("synthetics", "--target", "staging", "-n", workers, "--strict-markers")
    assert "2 failed, 1 passed" in answer.stdout
    assert "canary_stock: stock: AssertionError: no stock" in answer.stdout
    assert "canary_lazy: the canary itself is broken" in answer.stdout
    assert "Traceback" not in answer.stdout


def test_a_broken_contract_fails_with_operation_and_check(folder: Folder) -> None:
    (folder.root / "contracts" / "shop.yaml").write_text(CONTRACT.replace("boolean", "string"))
    answer = folder.pytest("contracts", "--target", "staging")
    assert "1 failed" in answer.stdout
    assert "GET /: response_schema_conformance" in answer.stdout
    assert "Traceback" not in answer.stdout


def test_a_file_that_no_system_names_is_told(folder: Folder) -> None:
    (folder.root / "contracts" / "other.yaml").write_text(CONTRACT)
    answer = folder.pytest("contracts/other.yaml", "--target", "staging")
    assert "that names this file under `contract`, found none" in answer.stdout
    assert answer.returncode == pytest.ExitCode.INTERRUPTED


def test_what_a_gone_sandbox_left_behind_is_closed_before_another_is_started(folder: Folder) -> None:
    ledger = Ledger(ledger_path(folder.root, "sandbox"), "sandbox")
    ledger.intend("dead", "rds_proxy_throttle", "a proxy", Model(), Model())
    answer = folder.pytest("synthetics/shop.py", "--target", "sandbox", "-k", "canary_home")
    assert "expected a replica, found no" in answer.stdout, "nothing can be started in this folder"
    assert ledger.entries(only_open=True) == []
    ledger.close()

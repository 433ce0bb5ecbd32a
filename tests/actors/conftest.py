"""A small real server on loopback whose behaviour a test can change, and a context to run actors in."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.actors import answers

from tocsin.actors.context import RunContext
from tocsin.actors.injector import Injector
from tocsin.aws.target import Target
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.model.events import ActivityRan, Event
from tocsin.model.experiment import Expect, Experiment, Extension, LoadPlan, RecoveryTarget
from tocsin.model.system import CanaryPlan, Endpoint, System
from tocsin.model.toolkit import ExperimentFile
from tocsin.project.histories import read_history
from tocsin.record.history import History
from tocsin.record.ledger import Ledger

Answer = tuple[int, Any]


@dataclass
class Shop:
    """An API with two operations; `broken` replaces the answer of all of them."""

    url: str = ""
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: list[tuple[str, str]] = field(default_factory=list)
    authorizations: set[str | None] = field(default_factory=set)
    broken: Callable[[str, str], Answer | None] = lambda method, path: None
    moved: dict[str, str] = field(default_factory=dict)
    """where paths lead to that are answered with a redirect"""
    frozen_until: float = 0.0

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        self.seen.append((method, path))
        time.sleep(max(0.0, self.frozen_until - time.monotonic()))
        planted = self.broken(method, path)
        return planted if planted is not None else self._healthy(method, path.partition("?")[0], body)

    def _healthy(self, method: str, path: str, body: bytes) -> Answer:
        if (method, path) == ("POST", "/items"):
            return self._create(body)
        if method == "GET" and path.startswith("/items/"):
            item = self.items.get(path.removeprefix("/items/"))
            return (200, item) if item else (404, problem("not found"))
        return 404, problem("no such path")

    def _create(self, body: bytes) -> Answer:
        try:
            name = json.loads(body)["name"]
        except (ValueError, KeyError, TypeError):
            return 400, problem("not an item")
        if not isinstance(name, str):
            return 400, problem("not a name")
        item = {"id": str(len(self.items) + 1), "name": name}
        self.items[item["id"]] = item
        return 201, item


def problem(detail: str) -> dict[str, Any]:
    return {"error": {"code": "PLANTED", "message": detail}}


def _handler(shop: Shop) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            shop.authorizations.add(self.headers.get("Authorization"))
            status, document = shop.answer(self.command, self.path, body)
            moved = shop.moved.get(self.path)
            text = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(302 if moved else status)
            if moved:
                self.send_header("Location", moved)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _do  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Silent."""

    return Handler


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(shop))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    shop.url = f"http://127.0.0.1:{server.server_port}"
    yield shop
    server.shutdown()
    server.server_close()
    thread.join()


CONTRACT = """
openapi: 3.1.0
info: {title: Shop, version: "1"}
paths:
  /items:
    post:
      operationId: createItem
      requestBody:
        required: true
        content: {application/json: {schema: {$ref: "#/components/schemas/NewItem"}}}
      responses:
        "201": {description: made, content: {application/json: {schema: {$ref: "#/components/schemas/Item"}}}}
        "400": {$ref: "#/components/responses/Problem"}
        "503": {$ref: "#/components/responses/Problem"}
  /items/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: string, pattern: "^[0-9]{1,4}$"}}]
    get:
      operationId: getItem
      responses:
        "200": {description: found, content: {application/json: {schema: {$ref: "#/components/schemas/Item"}}}}
        "404": {$ref: "#/components/responses/Problem"}
        "503": {$ref: "#/components/responses/Problem"}
components:
  responses:
    Problem: {description: a problem, content: {application/json: {schema: {$ref: "#/components/schemas/Problem"}}}}
  schemas:
    Item:
      type: object
      required: [id, name]
      properties: {id: {type: string}, name: {type: string}}
    NewItem:
      type: object
      required: [name]
      properties: {name: {type: string, maxLength: 20}}
    Problem:
      type: object
      required: [error]
      properties:
        error: {type: object, required: [code, message], properties: {code: {type: string}, message: {type: string}}}
"""

CANARIES = """
def canary_item(api):
    with api.step("create"):
        item = api.post("/items", json={"name": "tea"}, expect=201).json()
    with api.step("read"):
        assert api.get("/items/" + item["id"]).json()["name"] == "tea", "another name"
"""

LOADTEST = """
from tocsin.load import ArrivalUser, arrival

class Customer(ArrivalUser):
    @arrival(weight=3, name="GET /items/{id}")
    def read(self, call):
        call.get("/items/1")

    @arrival(weight=1, name="POST /items")
    def create(self, call):
        call.post("/items", json={"name": "tea"})
"""


@dataclass
class Stage:
    """A directory with the files of a system, and everything an actor needs."""

    root: Path
    shop: Shop

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.write_text(text)
        return path

    def context(self, *, expect: Expect | None = None, load: LoadPlan | None = None, scale: float = 60.0) -> RunContext:
        expect = expect or Expect(gap="nothing is broken", recovery=RecoveryTarget(within=60.0))
        system = System(
            system="shop",
            title="Shop",
            endpoint=Endpoint(url=self.shop.url),
            contract="contract.yaml",
            canaries=CanaryPlan(file="canaries.py"),
            load="loadtest.py",
        )
        extension = Extension(system="shop", expect=expect, load=load)
        experiment = Experiment(path="x.yaml", slug="x", title="X", method=(), rollbacks=(), extension=extension)
        return RunContext(
            drill="x-1",
            root=self.root,
            directory=self.root / "out",
            experiment=experiment,
            system=system,
            target=Target(name="test", region="us-east-1", scale=scale),
            history=History(self.root / "out" / "history.jsonl"),
            base_url=self.shop.url,
            seed=1,
        )

    def events(self) -> list[Event]:
        return read_history(self.root / "out" / "history.jsonl")


@pytest.fixture
def stage(tmp_path: Path, shop: Shop) -> Stage:
    stage = Stage(tmp_path, shop)
    stage.write("contract.yaml", CONTRACT)
    stage.write("canaries.py", CANARIES)
    stage.write("loadtest.py", LOADTEST)
    return stage


def wait_for(what: str, seen: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not seen():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s} s for {what}")
        time.sleep(0.05)


@dataclass
class Script:
    """An experiment that is run without a drill around it."""

    stage: Stage
    ledger: Ledger
    made: list[RunContext] = field(default_factory=list)

    def injector(self, **parts: Any) -> Injector:
        hypothesis = parts.pop("hypothesis", None)
        changes = tuple(parts.pop("changes", ()))
        written = {"title": "A script", "description": "of a test", "method": [], **parts}
        if hypothesis is not None:
            written["steady-state-hypothesis"] = {"title": "All is well", **hypothesis}
        ctx = self.stage.context()
        extension = ctx.experiment.extension.model_copy(update={"changes": changes})
        ctx = replace(ctx, experiment=ctx.experiment.model_copy(update={"extension": extension}))
        self.made.append(ctx)
        toolkit = ExperimentFile.model_validate(written)
        assert list(toolkit.problems()) == []
        return Injector(ctx, toolkit, FaultLifecycle(target=ctx.target, ledger=self.ledger, drill=ctx.drill))

    @property
    def ctx(self) -> RunContext:
        return self.made[-1]

    @property
    def ran(self) -> list[ActivityRan]:
        return [event for event in self.events if isinstance(event, ActivityRan)]

    @property
    def events(self) -> list[Event]:
        return self.stage.events()


@pytest.fixture
def latch() -> Iterator[answers.Latch]:
    """What hangs in functions of an experiment, until the test is over."""
    answers.latch = answers.Latch()
    yield answers.latch
    answers.latch.let_go.set()


@pytest.fixture
def script(stage: Stage) -> Iterator[Script]:
    ledger = Ledger(stage.root / "ledger.sqlite", "test")
    script = Script(stage, ledger)
    yield script
    for ctx in script.made:
        ctx.history.close()
    ledger.close()

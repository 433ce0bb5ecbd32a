"""A canary and a contract test that see the same answer say the same of it: what the specification says."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from tests.actors.conftest import Stage
from tests.actors.constructs import CONSTRUCTS, PEOPLE, SCHEMAS, Answer, document

from tocsin.actors.contract import ContractActor
from tocsin.canary import Journey, Surroundings, run_canary
from tocsin.model.events import Act, ContractRan
from tocsin.project.openapi import OpenApiDocument

VERSIONS = sorted({construct.version for construct in CONSTRUCTS})
PATIENCE_S = 120.0


def _handler(answers: Mapping[tuple[str, str], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = answers[self.command, self.path.partition("?")[0].removeprefix("/v2")]
            self.send_response(answer.status)
            if answer.media_type is not None:
                self.send_header("Content-Type", answer.media_type)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_HEAD = _do  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Silent."""

    return Handler


@pytest.fixture(scope="module")
def kiosk() -> Iterator[str]:
    answers = {where: answer for construct in CONSTRUCTS for where, answer in construct.answers.items()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(answers))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def write(directory: Path, version: str) -> Path:
    (directory / "kiosk").mkdir(exist_ok=True)
    (directory / "kiosk" / "schemas.yaml").write_text(SCHEMAS)
    (directory / "kiosk" / "people.yaml").write_text(PEOPLE)
    path = directory / "contract.yaml"
    path.write_text(document(version))
    return path


def refused_by_canaries(contract: OpenApiDocument, url: str) -> set[str]:
    refused = set()
    for operation in contract.operations:

        def ask(api: Journey, method: str = operation.method, path: str = operation.path) -> None:
            with api.step("ask"):
                status = httpx.request(method, f"{url}/v2{path}").status_code
                api.request(method, f"/v2{path}", expect=status)

        ran = run_canary("kiosk", ask, Surroundings(url, token=lambda name: name, contract=contract), retry=False)
        assert not ran.broken, ran.detail
        assert ran.ok or "contract: " in ran.detail, ran.detail
        refused |= set() if ran.ok else {operation.name}
    return refused


def refused_by_contract_tests(stage: Stage) -> set[str]:
    actor = ContractActor(stage.context())
    actor.start_act(Act.BASELINE)
    actor.wait(Act.BASELINE, PATIENCE_S)
    actor.stop()
    ran = next(event for event in reversed(stage.events()) if isinstance(event, ContractRan))
    assert ran.complete, ran.detail
    return {failure.operation for failure in ran.failures}


def test_there_are_more_than_twenty_constructs() -> None:
    assert len({construct.name for construct in CONSTRUCTS}) == len(CONSTRUCTS) >= 20


@pytest.mark.parametrize("version", VERSIONS)
def test_both_say_what_the_specification_says(stage: Stage, kiosk: str, version: str) -> None:
    stage.shop.url = kiosk
    contract = OpenApiDocument.load(write(stage.root, version))
    contract.check()
    wrong = {f"{one.method.upper()} {one.path('bad')}" for one in CONSTRUCTS if one.version == version}
    assert len(contract.operations) == 2 * len(wrong)
    assert refused_by_canaries(contract, kiosk) == wrong
    assert refused_by_contract_tests(stage) == wrong

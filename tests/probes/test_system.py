"""Probes of what a system file describes, as `chaos run` calls them: in a directory, with a target by name."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from tocsin.errors import InvalidInput, TargetError
from tocsin.probes import alarm_state, endpoint_status

TOML = '[targets.staging]\naccount = "123456789012"\nregion = "eu-west-1"\nendpoint_url = "http://127.0.0.1:9"\n'


class Desk(BaseHTTPRequestHandler):
    """Open at one path."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Desk) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def project(root: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    document = {
        "system": "desk",
        "title": "Desk",
        "region": "eu-west-1",
        "runbook": "Desk runbook",
        "endpoint": {"url": url},
    }
    (root / "systems").mkdir()
    (root / "systems" / "desk.yaml").write_text(yaml.safe_dump(document))
    (root / "tocsin.toml").write_text(TOML)
    monkeypatch.chdir(root)
    monkeypatch.setenv("TOCSIN_TARGET", "staging")


def test_the_status_of_an_endpoint(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, url, monkeypatch)
    assert (endpoint_status("desk", "/healthz"), endpoint_status("desk", "/orders")) == (200, 503)


def test_an_endpoint_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # and kept, so that nobody else answers there; it does not listen
        taken.bind(("127.0.0.1", 0))
        project(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}", monkeypatch)
        with pytest.raises(TargetError, match="expected an answer from /healthz, found ConnectError"):
            endpoint_status("desk", "/healthz")


def test_an_alarm_that_the_system_file_does_not_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, "http://127.0.0.1:9", monkeypatch)
    with pytest.raises(InvalidInput, match="expected an alarm of desk, found 'slow'"):
        alarm_state("desk", "slow")

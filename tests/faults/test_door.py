"""What a look through the fault door makes of an answer, against a small server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tocsin.faults.door import PATIENCE_S, Door
from tocsin.model.third_party import MARK, WrongAnswer


class Slow(BaseHTTPRequestHandler):
    """Begins its answer just before the patience of a look ends, and ends it just after."""

    def do_GET(self) -> None:
        time.sleep(PATIENCE_S * 0.75)
        self.send_response(200)
        self.send_header(MARK, "x")
        self.send_header("Content-Length", "2")
        self.end_headers()
        time.sleep(PATIENCE_S * 0.5)
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
        """Say nothing."""


@pytest.fixture
def slow() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_an_answer_that_comes_while_patience_ends_is_as_late_as_none(slow: str) -> None:
    assert Door(slow, None).shows(WrongAnswer(delay_s=PATIENCE_S))


def test_it_is_not_what_a_wrong_body_looks_like(slow: str) -> None:
    assert not Door(slow, None).shows(WrongAnswer(body="wrong"))

"""Streams of server-sent events in a journey: what is sent through one arrives, and an open silent one is no answer."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from tocsin.canary import Journey, Surroundings, run_canary
from tocsin.model.events import CanaryRan
from tocsin.project.event_streams import ServerSent, server_sent

SOON_S = 60.0
"""For what comes at once: costs nothing when all is well."""
NEVER_S = 0.2
"""For what never comes."""


class Desk(ThreadingHTTPServer):
    """A server with one stream: `pieces` are sent, then comments, or nothing, or the end of the answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content_type = "text/event-stream; charset=utf-8"
        self.pieces: list[str] = []
        self.then = "comments"
        self.closing = Event()
        self.authorizations: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Desk

    def do_GET(self) -> None:
        desk = self.server
        desk.authorizations.append(self.headers["authorization"])
        self.send_response(200)
        self.send_header("content-type", desk.content_type)
        self.end_headers()
        self.say("".join(desk.pieces))
        while desk.then != "end" and not desk.closing.wait(0.01):
            if desk.then == "comments" and not self.say(": still here\n\n"):
                return

    def say(self, text: str) -> bool:
        try:
            self.wfile.write(text.encode())
        except OSError:
            return False
        return True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Desk() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


def heard(desk: Desk, *, within_s: float, containing: str = "") -> tuple[CanaryRan, list[str]]:
    """A canary that waits for one event, and what it heard."""
    said: list[str] = []

    def canary(api: Journey) -> None:
        with api.step("listen"), api.events("/stream", as_="buyer", within_s=SOON_S) as stream:
            said.append(stream.wait("order", containing=containing, within_s=within_s))

    around = Surroundings(desk.url, token=lambda name: f"token-of-{name}")
    return run_canary("listener", canary, around, retry=False), said


def test_an_event_arrives_and_others_are_passed_over(desk: Desk) -> None:
    desk.pieces = ["event: weather\ndata: 7\n\n", "event: order\ndata: 6\n\n", "event: order\ndata: 7\n\n"]
    ran, said = heard(desk, within_s=SOON_S, containing="7")
    assert ran.ok, ran.detail
    assert said == ["7"]
    assert desk.authorizations == ["Bearer token-of-buyer"]


def test_a_stream_with_nothing_but_comments_is_silent(desk: Desk) -> None:
    desk.pieces = ["event: order\ndata: 6\n\n"]
    ran, said = heard(desk, within_s=NEVER_S, containing="7")
    assert not ran.ok
    assert not ran.broken
    assert said == []
    assert "GET /stream: no event 'order' with '7' within 0.2 s, on a stream that is open" in ran.detail


def test_a_stream_without_even_a_comment_is_silent(desk: Desk) -> None:
    desk.then = "nothing"

    def canary(api: Journey) -> None:
        with api.step("listen"), api.events("/stream", within_s=1.0) as stream:
            stream.wait("order")

    ran = run_canary("listener", canary, Surroundings(desk.url, token=str), retry=False)
    assert "no event 'order' within 1 s" in ran.detail


def test_a_stream_that_ends_is_told(desk: Desk) -> None:
    desk.then = "end"
    ran, _ = heard(desk, within_s=SOON_S)
    assert "GET /stream: the stream ended before an event 'order' came" in ran.detail


def test_another_kind_of_answer_is_no_stream(desk: Desk) -> None:
    desk.content_type, desk.pieces, desk.then = "application/json", ['{"error": "closed"}'], "end"
    ran, _ = heard(desk, within_s=SOON_S)
    assert "expected 200 and text/event-stream, found 200 and application/json" in ran.detail
    assert '{"error": "closed"}' in ran.detail


def test_silence_that_the_canary_swallows_is_still_a_failure(desk: Desk) -> None:
    def canary(api: Journey) -> None:
        with api.step("listen"):
            try:
                with api.events("/stream", within_s=SOON_S) as stream:
                    stream.wait("order", within_s=NEVER_S)
            except AssertionError:
                return

    assert not run_canary("listener", canary, Surroundings(desk.url, token=str), retry=False).ok


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("data: a\n\n", [ServerSent("message", "a")]),
        ("event: order\ndata:a\ndata: b\n\n", [ServerSent("order", "a\nb")]),
        (": comment\n\nid: 1\nretry: 10\ndata\n\n", [ServerSent("message", "")]),
        ("event: order\n\ndata: a\n\n", [ServerSent("message", "a")]),
        ("data:  a: b\n\n", [ServerSent("message", " a: b")]),
        ("data: never ended", []),
    ],
)
def test_a_stream_is_read_as_its_page_says(text: str, events: list[ServerSent]) -> None:
    assert [sent for sent in server_sent(text.split("\n")) if sent is not None] == events

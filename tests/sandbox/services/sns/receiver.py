"""A subscriber over HTTP, as a pager has one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """Answers with the statuses it was given, one a notification, and then with 200."""

    statuses: list[int] = field(default_factory=list)
    confirmations: list[dict[str, Any]] = field(default_factory=list)
    got: list[tuple[Mapping[str, str], str]] = field(default_factory=list)
    """headers (lower case) and body of each notification, whatever it answered"""
    url: str = ""

    @property
    def messages(self) -> list[str]:
        """What the notifications say."""
        return [json.loads(body)["Message"] for _, body in self.got]

    def answer(self, headers: Mapping[str, str], body: str) -> int:
        """Take one request; the status of the answer."""
        if headers["x-amz-sns-message-type"] == "SubscriptionConfirmation":
            self.confirmations.append(json.loads(body))
            return 200
        self.got.append((headers, body))
        return self.statuses.pop(0) if self.statuses else 200


@contextmanager
def receiver(*statuses: int) -> Iterator[Receiver]:
    """One that listens on a free port of loopback."""
    found = Receiver(list(statuses))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            status = found.answer({name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing: requests are no news."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}/"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

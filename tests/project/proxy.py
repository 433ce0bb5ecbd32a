"""A proxy that answers nobody and remembers what it was asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


class Proxy:
    """A loopback server; `environment` makes every client ask it."""

    def __init__(self, port: int, asked: list[str]) -> None:
        self.asked = asked
        self.environment = dict.fromkeys(NAMES, f"http://127.0.0.1:{port}")


@contextmanager
def running_proxy() -> Iterator[Proxy]:
    """A proxy for as long as it lasts."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self._refuse
            raise AttributeError(name)

        def _refuse(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_error(502, "only a test")

        def log_message(self, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Proxy(server.server_port, asked)
        server.shutdown()

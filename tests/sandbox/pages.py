"""A page that tries what pages can do to a server of another origin, and a browser that shows it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body><pre id="found"></pre>
<iframe name="frame"></iframe><script>
const url = %s, found = {};
const attempt = async (name, path, options) => {
  try {
    const answer = await fetch(url + path, options);
    found[name] = answer.type === "opaque" ? "opaque" : answer.status;
  } catch (error) { found[name] = error.name; }
};
const form = (path, fields) => new Promise((done) => {
  const form = document.createElement("form"), frame = document.querySelector("iframe");
  Object.assign(form, { method: "post", action: url + path, target: "frame" });
  for (const [name, value] of Object.entries(fields)) {
    form.append(Object.assign(document.createElement("input"), { name, value }));
  }
  frame.onload = done; setTimeout(done, 2000);
  document.body.append(form); form.submit();
});
const image = () => new Promise((done) => {
  const image = new Image();
  image.onload = () => { found.image = "loaded"; done(); };
  image.onerror = () => { found.image = "failed"; done(); };
  image.src = url + "/image";
});
const create = "Action=CreateUser&UserName=eve&Version=2010-05-08";
(async () => {
  await attempt("read", "/");
  await attempt("read simple", "/", { method: "POST", body: new URLSearchParams(create) });
  await attempt("asked first", "/bucket", { method: "PUT", headers: { "x-amz-target": "AmazonSQS.ListQueues" } });
  await attempt("sent", "/_ministack/reset", { method: "POST", mode: "no-cors", body: "{}" });
  await attempt("sent", "/", { method: "POST", mode: "no-cors", body: new URLSearchParams(create) });
  await form("/", { Action: "CreateUser", UserName: "mallory", Version: "2010-05-08" });
  await form("/_ministack/reset", {});
  await image();
  document.getElementById("found").textContent = JSON.stringify(found);
})();
</script>"""
_IMAGE = b"<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>"
_FOUND = re.compile(r'<pre id="found">(.+?)</pre>', re.DOTALL)


@dataclass
class OpenToAll:
    """A server that lets every page in, as a sandbox must not."""

    url: str
    heard: list[str] = field(default_factory=list)


@contextmanager
def served_pages() -> Iterator[tuple[str, OpenToAll]]:
    """The address of the page, and a server that lets it do everything."""
    heard: list[str] = []

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = parse_qs(urlsplit(self.path).query)["target"][0]
            _answer(self, {"Content-Type": "text/html"}, (_PAGE % json.dumps(target)).encode())

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    class Open(Pages):
        def _any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            heard.append(f"{self.command} {self.path}")
            headers = {f"Access-Control-Allow-{name}": "*" for name in ("Origin", "Methods", "Headers")}
            _answer(self, {**headers, "Content-Type": "image/svg+xml"}, _IMAGE)

        do_GET = do_POST = do_PUT = do_OPTIONS = _any  # noqa: N815 - as the base class calls them

    with _running(Pages) as page, _running(Open) as target:
        yield page, OpenToAll(target, heard)


@contextmanager
def _running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _answer(handler: BaseHTTPRequestHandler, headers: dict[str, str], body: bytes) -> None:
    handler.send_response(200)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def found_by(dom: str) -> dict[str, Any]:
    """What the page found out, of the document after its scripts ran."""
    told = _FOUND.search(dom)
    assert told is not None, "the browser did not finish"
    found: dict[str, Any] = json.loads(unescape(told[1]))
    return found

"""The report in a real browser: nothing overflows on a phone, nothing is fetched, the verdict is seen first."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.checkers.histories import Scene, failing, gap, passing, refused

from tocsin.checkers import judge
from tocsin.report import write_drill

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
WIDTHS = (390, 768, 1280)
HISTORIES = {"passing": passing, "failing": failing, "gap": gap, "refused": refused}

pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is on PATH")

PROBE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body><pre id="probe"></pre><script>
const pages = %s, widths = %s, seen = [];
const look = (page, width) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:900px;border:0`;
  frame.onload = () => {
    const document_ = frame.contentDocument, root = document_.documentElement, box = (e) => e.getBoundingClientRect();
    const wide = [...document_.querySelectorAll("main *")].filter((e) => box(e).right > width + 1 && !e.closest("svg"));
    seen.push({
      page, width, scroll: root.scrollWidth,
      wide: wide.slice(0, 5).map((e) => e.tagName + "." + e.className),
      fetched: frame.contentWindow.performance.getEntriesByType("resource").map((entry) => entry.name),
      headline: document_.querySelector("h1").textContent, top: box(document_.querySelector("h1")).top,
      order: [...document_.querySelectorAll("h1, h2")].map((e) => e.textContent),
      lanes: [...document_.querySelectorAll("[data-lane]")].filter((e) => box(e).height > 10)
        .map((e) => e.dataset.lane),
    });
    const band = box(document_.querySelector(".behind .shade") || document_.querySelector(".lanes"));
    const at = { clientX: (band.left + band.right) / 2, clientY: band.top + 40, bubbles: true };
    document_.querySelector(".lanes").dispatchEvent(new frame.contentWindow.PointerEvent("pointermove", at));
    seen.at(-1).readout = document_.querySelector(".readout").textContent;
    frame.remove();
    done();
  };
  frame.src = page + ".html";
  document.body.append(frame);
});
(async () => {
  for (const page of pages) for (const width of widths) await look(page, width);
  document.getElementById("probe").textContent = JSON.stringify(seen);
})();
</script>"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Say nothing: the test's own output is enough."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a directory with one report a history, and the page that looks at them."""
    directory = tmp_path_factory.mktemp("reports")
    for name, make in HISTORIES.items():
        history = make()
        write_drill(directory / name, history, judge(history))
        shutil.copy(directory / name / "report.html", directory / f"{name}.html")
    (directory / "probe.html").write_text(PROBE % (json.dumps(list(HISTORIES)), json.dumps(WIDTHS)))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def seen(served: str, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], dict[str, Any]]:
    """What the browser saw, by page and width."""
    dom = browse(f"{served}/probe.html", tmp_path_factory.mktemp("profile"))
    found = re.search(r'<pre id="probe">(.+?)</pre>', dom, re.DOTALL)
    assert found, "the browser did not finish looking"
    return {(entry["page"], entry["width"]): entry for entry in json.loads(unescape(found[1]))}


def browse(address: str, profile: Path) -> str:
    """The document after its scripts ran; no other host can be reached."""
    assert BROWSER is not None
    flags = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={profile}",
        "--virtual-time-budget=20000",
        "--window-size=1400,1000",
        "--dump-dom",
    )
    done = subprocess.run([BROWSER, *flags, address], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", HISTORIES)
def test_nothing_is_wider_than_the_screen(seen: dict[tuple[str, int], dict[str, Any]], page: str, width: int) -> None:
    entry = seen[page, width]
    assert entry["scroll"] <= width, entry["wide"]


@pytest.mark.parametrize("page", HISTORIES)
def test_nothing_is_fetched(seen: dict[tuple[str, int], dict[str, Any]], page: str) -> None:
    assert seen[page, 390]["fetched"] == []


@pytest.mark.parametrize(
    ("page", "headline"), [("passing", "Pass"), ("failing", "Fail"), ("gap", "Pass"), ("refused", "Refused")]
)
def test_the_verdict_is_seen_first(seen: dict[tuple[str, int], dict[str, Any]], page: str, headline: str) -> None:
    entry = seen[page, 390]
    assert entry["order"][:2] == [headline, "Not observed"]
    assert 0 <= entry["top"] < 300, "on a phone's first screen"


def test_the_pointer_reads_off_the_picture(seen: dict[tuple[str, int], dict[str, Any]]) -> None:
    readout = seen["passing", 1280]["readout"]
    assert re.fullmatch(r"\+5m\d\ds \(5\.\d s wall\) · fault · [\d.]+/s · \d+ % failed · p95 \d+ ms", readout)


def test_every_lane_is_drawn(seen: dict[tuple[str, int], dict[str, Any]]) -> None:
    scene = Scene()
    wanted = {"Acts", scene.fault, "Latency", "Answers by class", "Error share", "Schemathesis", "health"}
    for width in WIDTHS:
        assert wanted | set(scene.system.alarms) <= set(seen["passing", width]["lanes"])

"""Open-loop load against small loopback servers: what is offered, what is seen, and how it ends."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tocsin.actors.context import RunContext
from tocsin.actors.identities import Identities, Token
from tocsin.actors.locust import LoadActor
from tocsin.aws.target import Target
from tocsin.errors import InvalidInput
from tocsin.model.events import ActorDied, Event, LoadSecond
from tocsin.model.experiment import Expect, Experiment, Extension, LoadPlan, RecoveryTarget
from tocsin.model.histogram import quantile
from tocsin.model.system import System
from tocsin.record.history import History
from tocsin.record.load_seconds import Output, Tally

LOAD_FILE = """
import os
from pathlib import Path
from tocsin.load import ArrivalUser, Call, arrival

Path("pid").write_text(str(os.getpid()))


class Visitor(ArrivalUser):
    max_in_flight = {max_in_flight}

    @arrival(weight=3, name="GET /read")
    def read(self, call: Call) -> None:
        call.get(f"/read/{{self.index}}", as_={identity!r})

    @arrival(weight=1, name="POST /write")
    def write(self, call: Call) -> None:
        {write}
"""
WRITE = 'call.post("/write", json={"n": 1})'


@dataclass
class Server:
    """Answers 200, or nothing for as long as the gate is closed; remembers what came."""

    url: str
    gate: threading.Event = field(default_factory=threading.Event)
    paths: list[str] = field(default_factory=list)
    bodies: dict[str, tuple[str | None, bytes]] = field(default_factory=dict)
    """media type and body of the last request of each path"""
    tokens: set[str | None] = field(default_factory=set)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.paths.append(self.path)
            seen.bodies[self.path] = (self.headers.get("Content-Type"), body)
            seen.tokens.add(self.headers.get("Authorization"))
            seen.gate.wait(20)
            self.send_response(302 if self.path == "/moved" else 200)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PUT = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            """Silent."""

    class Http(ThreadingHTTPServer):
        request_queue_size = 200

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that gave up is expected here."""

    http = Http(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    seen = Server(f"http://127.0.0.1:{http.server_port}")
    seen.gate.set()
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield seen
    finally:
        seen.gate.set()
        http.shutdown()
        thread.join()
        http.server_close()


class TwoPeople(Identities):
    """Tokens without a user pool: two people behind one identity."""

    def __init__(self) -> None:
        """Ask nobody."""

    @property
    def names(self) -> tuple[str, ...]:
        return ("visitor",)

    def users(self, name: str) -> tuple[str, ...]:
        return "synthetic-one", "synthetic-two"

    def tokens(self, name: str, at_most: int | None = None) -> tuple[Token, ...]:
        return tuple(Token(f"{name}-{person}", 0.0, 1e12) for person in range(2))


@dataclass
class Load:
    """A running load and what it recorded."""

    actor: LoadActor
    events: list[Event]

    @property
    def seconds(self) -> list[LoadSecond]:
        return [event for event in self.events if isinstance(event, LoadSecond)]

    @property
    def deaths(self) -> list[ActorDied]:
        return [event for event in self.events if isinstance(event, ActorDied)]


class LoadFactory:
    """Starts loads in a directory; whatever a test forgets is stopped."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mark: str | None = None
        """of the data that the load writes"""

    def write(self, *, write: str = WRITE, max_in_flight: int = 500, identity: str | None = None) -> None:
        # Places enough for all that is due while a busy machine stands still.
        text = LOAD_FILE.format(write=write, max_in_flight=max_in_flight, identity=identity)
        (self.root / "load.py").write_text(text)

    def context(self, url: str, *, rate: float, users: int, seed: int) -> RunContext:
        plan = LoadPlan(users=users, arrivals_per_s=rate)
        expect = Expect(gap="nothing is broken", recovery=RecoveryTarget(within=60.0))
        extension = Extension(system="shop", load=plan, expect=expect)
        experiment = Experiment(path="", slug="x", title="x", method=(), rollbacks=(), extension=extension)
        directory = self.root / f"run-{len(list(self.root.glob('run-*')))}"
        return RunContext(
            drill="x",
            root=self.root,
            directory=directory,
            experiment=experiment,
            system=System.model_validate(
                {"system": "shop", "title": "Shop", "endpoint": {"url": url}, "load": "load.py", **self._test_data()}
            ),
            target=Target(name="here", region="us-east-1"),
            history=History(directory / "history.jsonl"),
            base_url=url,
            seed=seed,
        )

    def _test_data(self) -> dict[str, Any]:
        if self.mark is None:
            return {}
        told = {"tag": "of drills", "mark": self.mark, "counted_apart": "in no report", "expires": "at night"}
        return {"test_data": {"kinds": {"notes": {"title": "notes", "written_by": ["load"], **told}}}}

    @contextmanager
    def running(
        self, url: str, *, rate: float = 60, users: int = 3, seed: int = 7, identities: Identities | None = None
    ) -> Iterator[Load]:
        ctx = self.context(url, rate=rate, users=users, seed=seed)
        load = Load(LoadActor(ctx, identities), [])
        ctx.history.listen(load.events.append, "load")
        load.actor.start()
        try:
            yield load
        finally:
            load.actor.stop()
            ctx.history.close()


@pytest.fixture
def loads(tmp_path: Path) -> LoadFactory:
    factory = LoadFactory(tmp_path)
    factory.write()
    return factory


def wait_for(what: str, seen: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not seen():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s} s for {what}")
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_arrival_is_offered_sent_and_counted(server: Server, loads: LoadFactory) -> None:
    loads.write(identity="visitor")
    with loads.running(server.url, identities=TwoPeople()) as load:
        wait_for("four seconds", lambda: len(load.seconds) >= 4)
        pid = int((loads.root / "pid").read_text())
        assert alive(pid)
        load.actor.stop()
        assert not alive(pid)
        load.actor.stop()
    assert not load.deaths
    starts = [second.at for second in load.seconds]
    assert starts == [starts[0] + n for n in range(len(starts))]
    assert all(start.is_integer() for start in starts)
    # Not the first: on a busy machine its users may be there only after it began.
    for second in load.seconds[1:4]:
        # Poisson of 60, and always the same draws: a second that the end cut through would be far outside.
        assert 25 <= second.offered <= 110
        assert second.offered == second.sent == second.statuses["200"]
        assert second.dropped == 0
        assert sum(sum(counts.values()) for counts in second.by_name.values()) == second.sent
        assert 0 < second.latency_ms["p50"] <= second.latency_ms["p99"] <= second.latency_ms["max"]
        assert second.histogram is not None
        assert second.histogram.failed == {}
        assert sum(second.histogram.good.values()) == second.sent
        assert quantile(second.histogram.good, 1.0) == pytest.approx(second.latency_ms["max"], rel=0.03)
    assert {"GET /read", "POST /write"} == {name for second in load.seconds for name in second.by_name}
    assert server.tokens == {None, "Bearer visitor-0", "Bearer visitor-1"}


COUNTED = """
from tocsin.load import ArrivalUser, Call, arrival


class Visitor(ArrivalUser):
    max_in_flight = 500
    number, before = 0, 0.0

    @arrival(weight=3, name="GET /read")
    def read(self, call: Call) -> None:
        call.get(self.next("read", call))

    @arrival(weight=1, name="POST /write")
    def write(self, call: Call) -> None:
        call.post(self.next("write", call))

    def next(self, kind: str, call: Call) -> str:
        after_s, self.before = call._due - self.before, call._due
        self.number += 1
        return f"/{run}/{{self.index}}/{{self.number}}/{{kind}}/{{after_s}}"
"""


def test_the_same_seed_offers_the_same_arrivals(server: Server, loads: LoadFactory) -> None:
    """Each user's after its first, which comes later where the user itself does."""
    wanted = {(str(user), str(number)) for user in range(3) for number in range(2, 21)}

    def offered(run: str, seed: int) -> dict[tuple[str, str], tuple[str, float]]:
        (loads.root / "load.py").write_text(COUNTED.format(run=run))

        def seen() -> dict[tuple[str, str], tuple[str, float]]:
            parts = [path.split("/")[2:] for path in list(server.paths) if path.startswith(f"/{run}/")]
            found = {(user, number): (kind, float(after_s)) for user, number, kind, after_s in parts}
            return {which: found[which] for which in sorted(wanted & found.keys())}

        with loads.running(server.url, seed=seed):
            wait_for("twenty arrivals of each user", lambda: seen().keys() == wanted)
        return seen()

    def same(one: dict[tuple[str, str], tuple[str, float]], other: dict[tuple[str, str], tuple[str, float]]) -> bool:
        kinds, after_s = zip(*one.values(), strict=True)
        return (kinds, pytest.approx(after_s, abs=1e-5)) == tuple(zip(*other.values(), strict=True))

    first = offered("first", 11)
    assert same(offered("second", 11), first)
    assert not same(offered("third", 12), first)


def test_a_freeze_is_seen_by_every_arrival_that_was_due_in_it(server: Server, loads: LoadFactory) -> None:
    # Places enough for a freeze that lasts longer than planned on a busy machine.
    loads.write(max_in_flight=500)
    with loads.running(server.url) as load:
        wait_for("the first second", lambda: load.seconds)
        server.gate.clear()
        frozen = time.time()
        wait_for("two seconds of freeze", lambda: time.time() > frozen + 2.2)
        thawed = time.time()
        server.gate.set()
        wait_for("a second after it", lambda: load.seconds[-1].at > thawed)
    inside = [second for second in load.seconds if frozen < second.at and second.at + 1 < thawed]
    assert inside
    for second in inside:
        assert second.offered == second.sent >= 25
        assert second.latency_ms["p50"] > (thawed - second.at - 1) * 1000


def test_arrivals_that_find_no_place_are_counted(server: Server, loads: LoadFactory) -> None:
    loads.write(max_in_flight=1)
    server.gate.clear()
    with loads.running(server.url, users=2) as load:
        wait_for("both places to be taken", lambda: len(server.paths) >= 2)
        taken = time.time()
        wait_for("a second of drops", lambda: time.time() > taken + 1.2)
        server.gate.set()
        wait_for("two seconds", lambda: len(load.seconds) >= 2)
    assert sum(second.dropped for second in load.seconds) > 0
    assert all(second.offered == second.sent + second.dropped for second in load.seconds)


def test_a_target_that_is_down_is_no_answer(loads: LoadFactory) -> None:
    with socket.socket() as closed:
        # Bound but not listening: the port is refused, and nobody else can take it.
        closed.bind(("127.0.0.1", 0))
        with loads.running(f"http://127.0.0.1:{closed.getsockname()[1]}") as load:
            wait_for("a second", lambda: any(second.offered for second in load.seconds))
    assert not load.deaths
    first = next(second for second in load.seconds if second.offered)
    assert first.statuses == {"error": first.sent}
    assert first.sent == first.offered > 0
    assert first.histogram is not None
    assert first.histogram.good == {}
    assert sum(first.histogram.failed.values()) == first.sent


def test_a_killed_generator_is_a_dead_actor(server: Server, loads: LoadFactory) -> None:
    with loads.running(server.url) as load:
        wait_for("a second", lambda: load.seconds)
        os.kill(int((loads.root / "pid").read_text()), 9)
        wait_for("the death", lambda: load.deaths)
    assert [death.actor for death in load.deaths] == ["load"]
    assert "-9" in load.deaths[0].detail


def test_a_mistake_in_the_load_file_is_not_blamed_on_the_system(server: Server, loads: LoadFactory) -> None:
    loads.write(write="raise KeyError('id')")
    with loads.running(server.url) as load:
        wait_for("the death", lambda: load.deaths)
    assert "the load file is at fault: POST /write: KeyError: 'id'" in load.deaths[0].detail


FORMS = """
from tocsin.load import ArrivalUser, Call, arrival


class Guest(ArrivalUser):
    @arrival(weight=1, name="query")
    def query(self, call: Call) -> None:
        call.get("/tickets?page=1", params={"words": "front row", "day": ["1", "2"]})

    @arrival(weight=1, name="form")
    def form(self, call: Call) -> None:
        call.post("/sign-in", data={"name": "guest", "pin": "0 0"})

    @arrival(weight=1, name="text")
    def text(self, call: Call) -> None:
        call.put("/note", data=b"plain", headers={"Content-Type": "text/markdown"})

    @arrival(weight=1, name="file")
    def file(self, call: Call) -> None:
        call.post("/photos", data={"of": "me"}, files={"photo": ("a.png", b"png", "image/png")})

    @arrival(weight=1, name="moved")
    def moved(self, call: Call) -> None:
        call.get("/moved")
"""


def test_queries_forms_and_files_are_sent_and_a_redirect_is_an_answer(server: Server, loads: LoadFactory) -> None:
    (loads.root / "load.py").write_text(FORMS)
    with loads.running(server.url) as load:
        wait_for("each of them", lambda: {name for one in load.seconds for name in one.by_name} >= {"moved", "file"})
        wait_for("all paths", lambda: len(server.bodies) >= 5)
    assert not load.deaths
    assert set(server.bodies) == {
        "/tickets?page=1&words=front+row&day=1&day=2",
        "/sign-in",
        "/note",
        "/photos",
        "/moved",
    }
    assert server.bodies["/sign-in"] == ("application/x-www-form-urlencoded", b"name=guest&pin=0+0")
    assert server.bodies["/note"] == ("text/markdown", b"plain")
    kind, body = server.bodies["/photos"]
    assert str(kind).startswith("multipart/form-data; boundary=")
    assert b'name="of"\r\n\r\nme\r\n' in body
    assert b'filename="a.png"\r\nContent-Type: image/png\r\n\r\npng\r\n' in body
    assert {status for one in load.seconds for status in one.by_name.get("moved", {})} == {"302"}


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        ('self.client.get("/beside")', "GET /beside: sent without `call`, so that it would be in no record"),
        ('call.post("/write", json={}, data="x")', "TypeError: expected one body, found `json` and `data`"),
    ],
)
def test_what_could_not_be_recorded_ends_the_load(server: Server, loads: LoadFactory, write: str, reason: str) -> None:
    loads.write(write=write)
    with loads.running(server.url) as load:
        wait_for("the death", lambda: load.deaths)
        wait_for("the end", lambda: not alive(int((loads.root / "pid").read_text())))
    assert len(load.deaths) == 1
    assert reason in load.deaths[0].detail


def test_what_may_change_something_and_carries_no_mark_is_not_sent(server: Server, loads: LoadFactory) -> None:
    loads.mark = "synthetic-"
    with loads.running(server.url, identities=TwoPeople()) as load:
        wait_for("the death", lambda: load.deaths)
    assert "expected POST /write to carry the mark of `test_data` (synthetic-)" in load.deaths[0].detail
    assert "/write" not in server.paths


UNSEEN = """\
from contextlib import suppress
from tocsin.load import ArrivalUser, Call, arrival


class Guest(ArrivalUser):
    @arrival(weight=1, name="write")
    def write(self, call: Call) -> None:
        with open({photo!r}, "rb") as photo, suppress(RuntimeError):
            call.post("/photo", files={{"photo": photo}})
        with suppress(RuntimeError):
            call.post("/fragment#synthetic-", json={{}})
        with suppress(RuntimeError):
            call.post("https://synthetic-.test/host", json={{}})
        call.get("/read#top", params={{"a": "b"}})
"""


def test_a_mark_that_would_not_reach_the_system_is_none(server: Server, loads: LoadFactory) -> None:
    photo = loads.root / "synthetic-photos" / "photo.jpg"
    photo.parent.mkdir()
    photo.write_bytes(b"of a person")
    loads.mark = "synthetic-"
    (loads.root / "load.py").write_text(UNSEEN.format(photo=str(photo)))
    with loads.running(server.url, identities=TwoPeople()) as load:
        wait_for("a look", lambda: server.paths or load.deaths)
    assert not load.deaths
    assert set(server.paths) == {"/read?a=b"}, "a fragment would have taken the query with it"


@pytest.mark.parametrize(
    "write",
    [
        'call.post("/write", as_="visitor")',
        'call.post("/write", json={"by": "synthetic-x"})',
        'call.post("/write", params={"by": "synthetic-x"})',
    ],
)
def test_one_that_carries_it_by_who_sends_it_or_in_itself_is_sent(
    server: Server, loads: LoadFactory, write: str
) -> None:
    loads.mark = "synthetic-"
    loads.write(write=write)
    with loads.running(server.url, identities=TwoPeople()) as load:
        wait_for("a note", lambda: any(path.startswith("/write") for path in server.paths) or load.deaths)
    assert not load.deaths


def test_a_user_that_cannot_begin_ends_the_load(server: Server, loads: LoadFactory) -> None:
    loads.write()
    text = (loads.root / "load.py").read_text()
    began = "    def on_start(self) -> None:\n        raise KeyError('who')\n\n    @arrival(weight=3"
    (loads.root / "load.py").write_text(text.replace("    @arrival(weight=3", began))
    with loads.running(server.url) as load:
        wait_for("the death", lambda: load.deaths)
    assert "the load file is at fault: Visitor: KeyError: 'who'" in load.deaths[0].detail


def test_no_load_file_is_invalid_input(loads: LoadFactory) -> None:
    (loads.root / "load.py").unlink()
    ctx = loads.context("http://127.0.0.1:9", rate=1, users=1, seed=1)
    with pytest.raises(InvalidInput, match=r"load\.py: expected a Locust file"):
        LoadActor(ctx, TwoPeople()).start()
    ctx.history.close()


def free_port() -> str:
    """One that the system gives to nobody who asks for any: no other test has it by the time that it is used."""
    for port in range(20_000 + os.getpid() % 10_000, 32_768):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return str(port)
    raise AssertionError("expected a free port below 32768, found none")


def test_two_processes_add_up_and_end_with_their_parent(server: Server, loads: LoadFactory) -> None:
    loads.write(identity="visitor")
    port = free_port()
    reading, writing = os.pipe()
    argv = [
        *(sys.executable, "-m", "locust", "-f", "load.py", "--headless", "--only-summary", "--loglevel", "WARNING"),
        *("--host", server.url, "--users", "4", "--spawn-rate", "4", "--arrivals-per-s", "80", "--processes", "2"),
        *("--master-bind-host", "127.0.0.1", "--master-bind-port", port),
        *("--master-host", "127.0.0.1", "--master-port", port, "--stop-timeout", "0"),
        *("--exit-code-on-error", "0", "--seconds-fd", str(writing), "--tokens", "stdin"),
    ]
    process = subprocess.Popen(
        argv, cwd=loads.root, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[writing]
    )
    os.close(writing)
    assert process.stdin is not None
    process.stdin.write(json.dumps({"visitor": ["a", "b", "c", "d"]}).encode() + b"\n")
    process.stdin.flush()
    with os.fdopen(reading) as lines:
        seconds = [LoadSecond.model_validate(json.loads(next(lines))["second"]) for _ in range(2)]
        process.stdin.close()
        seconds += [LoadSecond.model_validate(json.loads(line)["second"]) for line in lines]
    process.wait(60)
    starts = [second.at for second in seconds]
    assert starts == [starts[0] + n for n in range(len(starts))]
    # Arrivals are a Poisson process: beyond six deviations is once in a thousand million runs. Half of them would be.
    offered, meant = sum(second.offered for second in seconds), 80 * len(seconds)
    assert abs(offered - meant) <= 6 * math.sqrt(meant)
    assert all(second.offered == second.sent == second.statuses["200"] for second in seconds[:2])
    # The second that the end cut through is sent, and not counted.
    assert len(server.paths) >= sum(second.sent for second in seconds)
    assert {f"/read/{user}" for user in range(4)} <= set(server.paths)
    assert server.tokens == {None, *(f"Bearer {token}" for token in "abcd")}


def test_a_second_that_one_worker_no_longer_saw_is_left_out(tmp_path: Path) -> None:
    written = tmp_path / "seconds"
    output = Output(os.open(written, os.O_CREAT | os.O_WRONLY))
    output.collect("one", {7: Tally(offered=40)}, {"one", "two"})
    output.collect("two", {7: Tally(offered=41)}, {"one", "two"})
    output.ends({"one", "two"})
    # The one ends in second 8 and is gone; the other lives until second 9.
    output.collect("two", {8: Tally(offered=39)}, {"two"})
    assert [json.loads(line)["second"]["offered"] for line in written.read_text().splitlines()] == [81]


def test_a_worker_that_dies_long_before_the_end_is_not_waited_for(tmp_path: Path) -> None:
    written = tmp_path / "seconds"
    output = Output(os.open(written, os.O_CREAT | os.O_WRONLY))
    output.collect("one", {7: Tally(offered=40)}, {"one", "two"})
    output.collect("one", {8: Tally(offered=40)}, {"one"})
    assert [json.loads(line)["second"]["offered"] for line in written.read_text().splitlines()] == [40, 40]

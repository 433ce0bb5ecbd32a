"""Canaries: what a journey tells when the API, the contract or the canary itself is at fault."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import pytest

from tocsin.actors.canaries import CanaryActor, EmulatedOutbox, EmulatedPages
from tocsin.aws.target import Target
from tocsin.canary import Journey, Surroundings, load_canaries, run_canary
from tocsin.errors import InvalidInput, TargetError
from tocsin.model.events import ActorDied, CanaryRan, FaultChanged, FaultStage
from tocsin.project.openapi import OpenApiDocument

from .conftest import Shop, Stage, problem, wait_for


@pytest.fixture
def around(stage: Stage) -> Surroundings:
    contract = OpenApiDocument.load(stage.root / "contract.yaml")
    return Surroundings(stage.shop.url, token=lambda name: f"token-of-{name}", contract=contract)


@pytest.fixture
def run(around: Surroundings) -> Callable[[Callable[[Journey], None]], CanaryRan]:
    return lambda canary: run_canary("planted", canary, around)


Run = Callable[[Callable[[Journey], None]], CanaryRan]


def read(api: Journey) -> None:
    with api.step("create"):
        item = api.post("/items", json={"name": "tea"}, expect=201).json()
    with api.step("read"):
        assert api.get(f"/items/{item['id']}", as_="buyer").json()["name"] == "tea", "another name"


def test_a_healthy_journey(run: Run, shop: Shop) -> None:
    ran = run(read)
    assert ran.ok
    assert ran.ok_after_retry
    assert not ran.broken
    assert [(step.name, step.ok) for step in ran.steps] == [("create", True), ("read", True)]
    assert shop.authorizations == {None, "Bearer token-of-buyer"}


def test_a_run_is_known_when_it_ended_after_its_retry(run: Run, shop: Shop) -> None:
    asked: list[float] = []

    def away(method: str, path: str) -> tuple[int, dict[str, object]]:
        asked.append(time.time())
        return 503, problem("away")

    shop.broken = away
    ran = run(read)
    assert len(asked) == 2, "once more after the failure"
    assert ran.at < asked[0] < asked[1] < ran.known_at < time.time()


def test_the_first_failing_step_is_told(run: Run, shop: Shop) -> None:
    shop.broken = lambda method, path: (503, problem("away")) if method == "GET" else None
    ran = run(read)
    assert not ran.ok
    assert not ran.ok_after_retry
    assert not ran.broken
    assert ran.detail.startswith("read: GET /items/")
    assert "503" in ran.detail
    assert [(step.name, step.ok) for step in ran.steps] == [("create", True), ("read", False)]


@pytest.mark.parametrize("token", ["opaque-token-4711", "opaque-token-4711\n"], ids=["repeated", "not a header"])
def test_a_token_that_is_repeated_is_not_told(around: Surroundings, shop: Shop, token: str) -> None:
    """By an API that puts the header into its error, or by the client that cannot send it."""
    shop.broken = lambda method, path: (401, problem(f"cannot read Bearer {token}"))

    def read_it(api: Journey) -> None:
        with api.step("read"):
            api.get("/items/1", as_="buyer")

    ran = run_canary("planted", read_it, replace(around, token=lambda name: token))
    assert not ran.ok
    assert "Bearer" in ran.detail
    assert "4711" not in ran.model_dump_json()


def test_a_retry_never_erases_the_evidence(run: Run, shop: Shop) -> None:
    answers = [(503, problem("blip"))]
    shop.broken = lambda method, path: answers.pop() if answers else None
    ran = run(read)
    assert not ran.ok
    assert ran.ok_after_retry
    assert not ran.broken
    assert ran.steps[0].ok is False


def test_a_wrong_value_fails_in_the_words_of_the_canary(run: Run, shop: Shop) -> None:
    shop.broken = lambda method, path: (200, {"id": "1", "name": "coffee"}) if method == "GET" else None
    ran = run(read)
    assert not ran.ok
    assert "another name" in ran.detail


def planted_answers() -> list[object]:
    return [
        pytest.param((200, {"id": 1, "name": "tea"}), "id", id="a body that breaks its schema"),
        pytest.param((202, {"id": "1", "name": "tea"}), "202, which is not documented", id="an undocumented status"),
        pytest.param((200, b"<html>"), "not JSON", id="no JSON"),
    ]


@pytest.mark.parametrize(("answer", "told"), planted_answers())
def test_the_contract_is_checked_for_free(run: Run, shop: Shop, answer: tuple[int, object], told: str) -> None:
    def canary(api: Journey) -> None:
        with api.step("read"):
            api.get("/items/1")

    shop.items["1"] = {"id": "1", "name": "tea"}
    assert run(canary).ok
    shop.broken = lambda method, path: answer
    ran = run(canary)
    assert not ran.ok
    assert not ran.broken
    assert told in ran.detail


def open_desk(around: Surroundings) -> Surroundings:
    """Without a contract: it documents no redirect, and would tell of one whatever the journey says."""
    return replace(around, contract=None)


def test_a_redirect_is_no_answer(around: Surroundings, shop: Shop) -> None:
    """A page to sign in is what callers see whose session the system has lost."""

    def canary(api: Journey) -> None:
        with api.step("read"):
            api.get("/items/1")

    shop.items["1"] = {"id": "1", "name": "tea"}
    assert run_canary("planted", canary, open_desk(around)).ok
    shop.moved = {"/items/1": "/login"}
    ran = run_canary("planted", canary, open_desk(around))
    assert not ran.ok
    assert not ran.ok_after_retry
    assert not ran.broken
    assert "read: GET /items/1: expected a status of success (2xx), found 302, a redirect to /login" in ran.detail


def test_a_redirect_passes_where_the_journey_says_so(around: Surroundings, shop: Shop) -> None:
    def wants_it(api: Journey) -> None:
        with api.step("read"):
            api.get("/items/1", expect=302)

    def goes_there(api: Journey) -> None:
        with api.step("read"):
            assert api.get("/items/1", follow_redirects=True).json()["name"] == "tea"

    shop.items["2"] = {"id": "2", "name": "tea"}
    shop.moved = {"/items/1": "/items/2"}
    assert run_canary("planted", wants_it, open_desk(around)).ok
    assert run_canary("planted", goes_there, open_desk(around)).ok
    shop.moved = {}
    assert not run_canary("planted", wants_it, open_desk(around)).ok


def test_both_ends_of_a_redirect_that_is_followed_keep_the_contract(around: Surroundings, shop: Shop) -> None:
    def canary(api: Journey) -> None:
        with api.step("read"):
            api.get("/items/1", follow_redirects=True)

    shop.items["2"] = {"id": "2", "name": "tea"}
    shop.moved = {"/items/1": "/items/2"}
    assert "GET /items/{id} answered 302, which is not documented" in run_canary("planted", canary, around).detail


def test_a_target_that_is_down_is_a_failure_of_the_system(stage: Stage) -> None:
    around = Surroundings("http://127.0.0.1:1", token=lambda name: name)
    ran = run_canary("planted", read, around)
    assert not ran.ok
    assert not ran.broken
    assert "no answer" in ran.detail


def mails_somebody(api: Journey) -> None:
    with api.step("order"):
        api.get("/items/1")
    with api.step("mail"):
        api.mailed("b@example.com", containing="order 7", within="1s")


class Outbox:
    """Holds one mail."""

    def __init__(self, to: str, text: str) -> None:
        self._to, self._text = to, text

    def find(self, to: str, containing: str, within_s: float) -> bool:
        return to == self._to and containing in self._text


def test_a_journey_waits_for_a_mail(around: Surroundings, shop: Shop) -> None:
    shop.items["1"] = {"id": "1", "name": "tea"}

    def ran(outbox: Outbox | None) -> CanaryRan:
        return run_canary("planted", mails_somebody, replace(around, mails=outbox), retry=False)

    assert ran(Outbox("b@example.com", "your order 7")).ok
    for outbox in (Outbox("c@example.com", "your order 7"), Outbox("b@example.com", "your order 8")):
        assert "no mail to b@example.com with 'order 7' within 1s" in ran(outbox).detail
    assert "which only the sandbox is" in ran(None).detail


def test_an_outbox_that_does_not_answer_is_told() -> None:
    nobody = Target(name="sandbox", region="eu-west-1", endpoint_url="http://127.0.0.1:1", scale=600.0)
    with pytest.raises(TargetError, match="expected the sandbox to tell its mails"):
        EmulatedOutbox(nobody).find("b@example.com", "order 7", 1.0)


def is_told(api: Journey) -> None:
    with api.step("order"):
        api.get("/items/1")
    with api.step("told"):
        api.told("slack", containing="order 7", within="1s")


def test_a_journey_waits_until_somebody_is_told(around: Surroundings, shop: Shop) -> None:
    shop.items["1"] = {"id": "1", "name": "tea"}

    def ran(pages: Outbox | None) -> CanaryRan:
        return run_canary("planted", is_told, replace(around, pages=pages), retry=False)

    assert ran(Outbox("slack", "your order 7")).ok
    for pages in (Outbox("pagerduty", "your order 7"), Outbox("slack", "your order 8")):
        assert "nothing with 'order 7' was told to slack within 1s" in ran(pages).detail
    assert "which only the sandbox is" in ran(None).detail


def test_a_sandbox_that_does_not_say_who_was_told_is_told() -> None:
    nobody = Target(name="sandbox", region="eu-west-1", endpoint_url="http://127.0.0.1:1", scale=600.0)
    with pytest.raises(TargetError, match="expected the sandbox to tell its received"):
        EmulatedPages(nobody).find("slack", "order 7", 1.0)


def remove_drafts(api: Journey) -> None:
    with api.step("remove"):
        api.sql("shop/db", "DELETE FROM items WHERE state = :state", state="draft")
        ((left,),) = api.sql("shop/db", "SELECT count(*) FROM items WHERE state = :state", state="draft")
        assert left == 0, f"{left} are left"


class Database:
    """A session as pg8000 gives it: no rows are None. `left` of the items stay."""

    def __init__(self, left: int = 0, refuses: str = "") -> None:
        self.asked: list[tuple[str, str, dict[str, object]]] = []
        self._left, self._refuses = left, refuses

    @contextmanager
    def session(self, secret: str) -> Iterator[Callable[..., list[list[int]] | None]]:
        def run(sql: str, **values: object) -> list[list[int]] | None:
            self.asked.append((secret, sql.split(" ")[0], values))
            if self._refuses:
                raise TargetError(self._refuses)
            return [[self._left]] if sql.startswith("SELECT") else None

        yield run


def test_a_journey_may_run_statements_and_these_count_as_asking(around: Surroundings, shop: Shop) -> None:
    database = Database()
    ran = run_canary("clean-up", remove_drafts, replace(around, database=database.session))
    assert ran.ok, ran.detail
    assert database.asked == [
        ("shop/db", "DELETE", {"state": "draft"}),
        ("shop/db", "SELECT", {"state": "draft"}),
    ]


@pytest.mark.parametrize(
    ("database", "told"),
    [
        (Database(left=2), "remove: AssertionError: 2 are left"),
        (
            Database(refuses="asking the database of secret shop/db: PostgreSQL answered 42501: no"),
            "remove: asking the",
        ),
    ],
)
def test_a_statement_that_is_refused_is_a_failure_and_no_broken_canary(
    around: Surroundings, database: Database, told: str
) -> None:
    ran = run_canary("clean-up", remove_drafts, replace(around, database=database.session), retry=False)
    assert not ran.ok
    assert not ran.broken
    assert ran.detail.startswith(told)


def test_where_there_are_no_secrets_a_statement_is_a_broken_canary(around: Surroundings) -> None:
    ran = run_canary("clean-up", remove_drafts, around, retry=False)
    assert ran.broken
    assert "expected a target with Secrets Manager for `sql`, found none" in ran.detail


def nothing(api: Journey) -> None:
    """Does nothing."""


def only_a_step(api: Journey) -> None:
    with api.step("looks busy"):
        assert api is not None


def outside_of_steps(api: Journey) -> None:
    api.get("/items/1", expect=404)
    with api.step("looks busy"):
        assert api is not None


def bug(api: Journey) -> None:
    with api.step("create"):
        api.post("/items", json={"name": "tea"}).json()["no such field"]


def gives_up(api: Journey) -> None:
    with api.step("read"):
        api.get("/items/1", expect=404)
        sys.exit()


def skips(api: Journey) -> None:
    with api.step("read"):
        api.get("/items/1", expect=404)
        pytest.skip("not today")


@pytest.mark.parametrize("canary", [nothing, only_a_step, outside_of_steps, bug, gives_up, skips])
def test_a_canary_that_proves_nothing_is_broken_and_never_well(run: Run, canary: Callable[[Journey], None]) -> None:
    ran = run(canary)
    assert ran.broken
    assert not ran.ok
    assert not ran.ok_after_retry


def test_a_failure_that_the_canary_swallows_is_still_a_failure(run: Run) -> None:
    def canary(api: Journey) -> None:
        with api.step("read"):
            try:
                api.get("/items/none")
            except AssertionError:
                return

    ran = run(canary)
    assert not ran.ok
    assert not ran.broken
    assert "404" in ran.detail
    assert [step.ok for step in ran.steps] == [False]


def test_cleanup_always_runs_latest_first_and_decides_nothing(run: Run, shop: Shop) -> None:
    order: list[str] = []

    def canary(api: Journey) -> None:
        api.cleanup(lambda: order.append("first"))
        api.cleanup(lambda: order.append(str(api.get("/items/none").status_code)))
        api.cleanup(lambda: {}["nothing there"])
        with api.step("read"):
            api.post("/items", json={"name": "tea"})

    assert run(canary).ok
    assert order == ["404", "first"]
    shop.broken = lambda method, path: (503, problem("away"))
    assert not run(canary).ok
    assert order[2:] == ["503", "first"] * 2


def test_the_actor_runs_every_canary_again_and_again(stage: Stage) -> None:
    actor = CanaryActor(stage.context())
    assert [(ran.canary, ran.ok) for ran in actor.run_once()] == [("item", True)]
    actor.start()
    wait_for("three runs", lambda: len(stage.events()) >= 3)
    started = time.monotonic()
    actor.stop()
    actor.stop()
    assert time.monotonic() - started < 30
    seen = stage.events()
    assert all(isinstance(event, CanaryRan) and event.ok for event in seen)


@pytest.mark.parametrize("ending", ["sys.exit(0)", "raise KeyboardInterrupt"])
def test_a_canary_that_ends_its_thread_is_missed_by_nobody(stage: Stage, ending: str) -> None:
    stage.write("canaries.py", f"import sys\n\ndef canary_item(api): ...\n\ndef canary_leaves(api):\n    {ending}\n")
    ran = {one.canary: one for one in CanaryActor(stage.context()).run_once()}
    assert list(ran) == ["item", "leaves"]
    assert ran["leaves"].broken
    assert not ran["leaves"].ok_after_retry
    assert ending.removeprefix("raise ").replace("sys.exit(0)", "SystemExit: 0") in ran["leaves"].detail


def test_a_clean_up_that_ends_the_process_decides_nothing(run: Run) -> None:
    def canary(api: Journey) -> None:
        api.cleanup(sys.exit)
        read(api)

    assert run(canary).ok


def test_the_actor_runs_every_canary_as_soon_as_an_undo_was_verified(stage: Stage) -> None:
    """The next run by the clock would come only after an hour."""
    ctx = stage.context()
    assert ctx.system.canaries is not None
    rare = ctx.system.model_copy(
        update={"canaries": ctx.system.canaries.model_copy(update={"every": 3600 * ctx.scale})}
    )
    actor = CanaryActor(replace(ctx, system=rare))
    actor.start()
    wait_for("the first run", lambda: len(stage.events()) >= 1)
    verified = FaultChanged(at=time.time(), entry="one", fault="outage", stage=FaultStage.VERIFIED)
    ctx.history.record(verified)
    wait_for("one more", lambda: len(stage.events()) >= 3)
    actor.stop()
    last = stage.events()[-1]
    assert isinstance(last, CanaryRan)
    assert last.at >= verified.at


def test_the_actor_never_dies_of_a_canary(stage: Stage, shop: Shop) -> None:
    shop.broken = lambda method, path: (500, b"\xff")
    actor = CanaryActor(stage.context())
    actor.start()
    wait_for("two runs", lambda: len(stage.events()) >= 2)
    actor.stop()
    assert not any(isinstance(event, ActorDied) for event in stage.events())
    assert not any(isinstance(event, CanaryRan) and event.ok for event in stage.events())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\n", "canary_"),
        ("def canary_x(api:\n", "expected Python: "),
        ("import no_such_module\n", "ModuleNotFoundError"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_message(stage: Stage, text: str, told: str) -> None:
    path = stage.write("canaries.py", text)
    with pytest.raises(InvalidInput, match=told) as caught:
        load_canaries(path)
    assert "canaries.py" in str(caught.value)


@pytest.fixture
def marked(around: Surroundings) -> Surroundings:
    """A system whose canaries write what carries `drill-`."""
    return replace(around, marks=("drill-",), user=lambda name: f"drill-{name}" if name == "buyer" else name)


@pytest.mark.parametrize(
    ("send", "sent"),
    [
        (lambda api: api.post("/items", json={"name": "tea"}, expect=201), False),
        (lambda api: api.post("/items", json={"name": "tea"}, as_="somebody", expect=201), False),
        (lambda api: api.post("/items", json={"name": "tea"}, as_="buyer", expect=201), True),
        (lambda api: api.post("/items", json={"name": "drill-tea"}, expect=201), True),
        (lambda api: api.post("/items", json={"name": "tea"}, headers={"x-of": "drill-1"}, expect=201), True),
        (lambda api: api.get("/items/1", expect=404), True),
    ],
    ids=("nothing", "user of another name", "user", "body", "header", "only read"),
)
def test_what_may_change_something_and_carries_no_mark_is_not_sent(
    marked: Surroundings, shop: Shop, send: Callable[[Journey], object], sent: bool
) -> None:
    def canary(api: Journey) -> None:
        with api.step("read"):
            api.get("/items/1", expect=404)
        with api.step("send"):
            send(api)

    ran = run_canary("marked", canary, marked, retry=False)
    found = "carry the mark of `test_data` (drill-)" in ran.detail
    assert (found, ran.broken) == (not sent, not sent), ran
    if not sent:
        assert "expected POST /items to" in ran.detail


def photo(path: Path) -> BinaryIO:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"of a person")
    return path.open("rb")


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (lambda root: {"files": {"f": photo(root / "drill-files" / "photo.jpg")}}, False),
        (lambda root: {"path": "/items#drill-", "json": {}}, False),
        (lambda root: {"json": {}, "extensions": {"drill-": 1}}, False),
        (lambda root: {"json": {}, "timeout": Timeouts(1.0)}, False),
        (lambda root: {"content": (part for part in [b"plain"])}, False),
        (lambda root: {"files": {"f": photo(root / "drill-photo.jpg")}}, True),
        (lambda root: {"content": (part for part in [b"dri", b"ll-1"])}, True),
        (lambda root: {"content": b'{"name": "\\u0064rill-1"}'}, True),
        (lambda root: {"path": "/items?of=%64rill-", "json": {}}, True),
        (lambda root: {"json": {}, "params": {"of": "drill-1"}}, True),
        (lambda root: {"json": {}, "auth": ("drill-1", "secret")}, True),
        (lambda root: {"json": {}, "cookies": {"of": "drill-1"}}, True),
    ],
    ids=(
        *("path of a file", "fragment", "extensions", "shown as", "read once", "name of a file", "in parts", "escaped"),
        *("quoted", "query", "basic", "cookie"),
    ),
)
def test_only_a_mark_that_reaches_the_system_counts(
    marked: Surroundings, shop: Shop, tmp_path: Path, arguments: Callable[[Path], dict[str, Any]], sent: bool
) -> None:
    asked: list[str] = []

    def broken(method: str, path: str) -> None:
        asked.append(f"{method} {path}")

    shop.broken = broken

    def canary(api: Journey) -> None:
        with api.step("send"):
            api.post(**{"path": "/items", **arguments(tmp_path)})

    ran = run_canary("marked", canary, replace(marked, contract=None), retry=False)
    assert ("carry the mark of `test_data` (drill-)" in ran.detail, bool(asked)) == (not sent, sent), ran


class Timeouts(httpx.Timeout):
    """Not sent, and shown with the mark."""

    def __repr__(self) -> str:
        return "drill-"


def test_the_host_of_a_system_marks_nobody(marked: Surroundings) -> None:
    def canary(api: Journey) -> None:
        with api.step("send"):
            api.post("/items", json={})

    ran = run_canary("marked", canary, replace(marked, base_url="https://drill-shop.test/drill-1"), retry=False)
    assert "carry the mark" in ran.detail


@pytest.mark.parametrize("removing", [False, True])
@pytest.mark.parametrize("cleaning", [False, True])
@pytest.mark.parametrize(
    ("statement", "values", "asked"),
    [
        ("INSERT INTO items VALUES (1)", {}, []),
        ("DELETE FROM items", {}, []),
        ("-- all of them\ndelete from items", {}, []),
        ("SELECT 1; DELETE FROM items", {}, []),
        ("SELECT ';' -- ;\n;", {}, ["BEGIN", "SELECT"]),
        ("SELECT remove_items()", {}, ["BEGIN", "SELECT"]),
        ("WITH gone AS (DELETE FROM items RETURNING 1) SELECT 1", {}, ["BEGIN", "WITH"]),
        ("DELETE FROM items WHERE by LIKE 'drill-%'", {}, ["DELETE"]),
        ("DELETE FROM items WHERE by = :by", {"by": "drill-1"}, ["DELETE"]),
    ],
)
def test_a_statement_without_the_mark_may_only_look(
    marked: Surroundings,
    statement: str,
    values: dict[str, object],
    asked: list[str],
    cleaning: bool,
    removing: bool,
) -> None:
    database = Database()

    def canary(api: Journey) -> None:
        def ask() -> None:
            api.sql("shop/db", statement, **values)

        if cleaning:
            api.cleanup(ask)
        with api.step("ask"):
            if not cleaning:
                ask()

    around = replace(marked, database=database.session, removing=removing)
    ran = run_canary("marked", canary, around, retry=False)
    assert [word for _, word, _ in database.asked] == asked
    if not asked and not cleaning:
        assert "expected a statement that changes something to carry the mark of `test_data` (drill-)" in ran.detail


def test_a_canary_that_swallows_it_has_failed(marked: Surroundings) -> None:
    def canary(api: Journey) -> None:
        with api.step("read"):
            api.get("/items/1", expect=404)
            with suppress(InvalidInput):
                api.post("/items", json={"name": "tea"})

    ran = run_canary("marked", canary, marked, retry=False)
    assert not ran.ok
    assert "carry the mark" in ran.detail


def test_what_only_removes_needs_none(marked: Surroundings, shop: Shop) -> None:
    def canary(api: Journey) -> None:
        api.cleanup(lambda: api.post("/items", json={"name": "tea"}))
        with api.step("read"):
            api.get("/items/1", expect=404)

    assert not run_canary("marked", canary, marked, retry=False).broken

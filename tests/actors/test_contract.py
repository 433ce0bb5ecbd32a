"""Planted bugs of an API: each must be found, and the same run without it finds nothing."""

from __future__ import annotations

import os
import signal
import socket
from functools import partial

import psutil
import pytest

from tocsin.actors.contract import ContractActor
from tocsin.actors.identities import Identities, Token
from tocsin.checkers.contract import uncovered
from tocsin.errors import Interrupted, InvalidInput
from tocsin.model.events import Act, ActorDied, ContractRan
from tocsin.model.experiment import Degraded, Expect, RecoveryTarget
from tocsin.model.synthetic import SyntheticData
from tocsin.model.system import CognitoIdentity

from .conftest import Shop, Stage, problem, wait_for

PATIENCE_S = 120.0
DEGRADED = Expect(gap="planted", degraded=Degraded(status=(503,)), recovery=RecoveryTarget(within=60.0))


@pytest.fixture(autouse=True)
def _ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is ended is recorded before anybody looks, however long a busy machine takes for it."""
    monkeypatch.setattr("tocsin.actors.contract.STOP_WITHIN_S", PATIENCE_S)


def run(stage: Stage, act: Act = Act.BASELINE, expect: Expect | None = None) -> ContractRan:
    actor = ContractActor(stage.context(expect=expect))
    actor.start_act(act)
    actor.wait(act, PATIENCE_S)
    actor.stop()
    return last_run(stage)


def last_run(stage: Stage) -> ContractRan:
    return [event for event in stage.events() if isinstance(event, ContractRan)][-1]


def checks(ran: ContractRan) -> set[str]:
    return {failure.check for failure in ran.failures}


def test_a_healthy_api_keeps_its_contract(stage: Stage) -> None:
    ran = run(stage)
    assert ran.complete, ran.detail
    assert ran.failures == ()
    assert ran.operations == ran.documented == 2
    assert ran.answers.keys() == {
        "GET /items/{id}",
        "POST /items",
    }
    assert uncovered(ran) == ""
    assert ran.cases == sum(ran.statuses.values()) >= 4
    assert ran.degraded == 0


def test_an_api_that_only_refuses_is_not_tested(stage: Stage, shop: Shop) -> None:
    shop.broken = lambda method, path: (404, problem("away")) if method == "GET" else (400, problem("not you"))
    ran = run(stage)
    assert ran.complete, ran.detail
    assert ran.failures == ()
    assert uncovered(ran).startswith("no operation answered with success (400: ")


def test_a_contract_of_one_operation_is_tested(stage: Stage) -> None:
    stage.write("contract.yaml", ONE_OPERATION)
    stage.shop.broken = lambda method, path: (200, {"open": True})
    for act, expect in ((Act.BASELINE, None), (Act.FAULT, DEGRADED)):
        ran = run(stage, act, expect)
        assert ran.complete, ran.detail
        assert (ran.operations, ran.documented, uncovered(ran)) == (1, 1, "")


ONE_OPERATION = """
openapi: 3.1.0
info: {title: Shop, version: "1"}
paths:
  /open:
    get:
      responses:
        "200": {description: open, content: {application/json: {schema: {type: object}}}}
        "503": {description: closed}
"""


def test_a_body_that_breaks_its_schema_is_found(stage: Stage, shop: Shop) -> None:
    shop.broken = lambda method, path: (201, {"id": 7, "name": "tea"}) if method == "POST" else None
    ran = run(stage)
    assert {(f.operation, f.check, f.status) for f in ran.failures} == {
        ("POST /items", "response_schema_conformance", 201)
    }
    assert ran.failures[0].count >= 1
    assert "id" in ran.failures[0].message


def test_the_documented_degraded_answer_is_accepted_in_the_fault_act_only(stage: Stage, shop: Shop) -> None:
    shop.broken = lambda method, path: (503, problem("database is away"))
    during = run(stage, Act.FAULT, DEGRADED)
    assert during.complete, during.detail
    assert during.failures == ()
    assert during.degraded == during.statuses["503"] > 0
    after = run(stage, Act.RECOVERY, DEGRADED)
    assert checks(after) == {"not_a_server_error"}
    assert after.degraded == 0


def test_without_a_degraded_contract_the_fault_act_is_strict(stage: Stage, shop: Shop) -> None:
    shop.broken = lambda method, path: (503, problem("database is away"))
    assert checks(run(stage, Act.FAULT)) == {"not_a_server_error"}


def test_a_degraded_answer_must_look_as_documented(stage: Stage, shop: Shop) -> None:
    shop.broken = lambda method, path: (503, {"oops": True})
    assert checks(run(stage, Act.FAULT, DEGRADED)) == {"response_schema_conformance"}


def test_a_crash_is_no_degraded_answer(stage: Stage, shop: Shop) -> None:
    shop.broken = lambda method, path: (500, problem("stack trace"))
    assert checks(run(stage, Act.FAULT, DEGRADED)) >= {"not_a_server_error", "status_code_conformance"}


def test_no_answer_at_all_is_never_a_contract_that_holds(stage: Stage) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        stage.shop.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        ran = run(stage)
    assert ran.failures or not ran.complete
    assert set(ran.statuses) <= {"error"}


def test_a_killed_child_is_told(stage: Stage) -> None:
    actor = ContractActor(stage.context())
    actor.start_act(Act.BASELINE)
    wait_for("the child", lambda: bool(children()))
    os.kill(children()[0].pid, signal.SIGKILL)
    actor.wait(Act.BASELINE, PATIENCE_S)
    actor.stop()
    assert not last_run(stage).complete
    died = [event for event in stage.events() if isinstance(event, ActorDied)]
    assert [event.actor for event in died] == ["contract baseline"]


def test_a_run_that_takes_too_long_is_cut_short_and_says_so(stage: Stage) -> None:
    actor = ContractActor(stage.context())
    actor.start_act(Act.BASELINE)
    actor.wait(Act.BASELINE, 0.1)
    actor.stop()
    assert not last_run(stage).complete
    assert last_run(stage).detail == "cut short after 0.1 s"
    assert not children()
    assert not any(isinstance(event, ActorDied) for event in stage.events())


def test_a_stopped_drill_does_not_wait_for_it(stage: Stage) -> None:
    context = stage.context()
    actor = ContractActor(context)
    actor.start_act(Act.BASELINE)
    context.stop.ask(Interrupted("SIGINT"))
    with pytest.raises(Interrupted):
        actor.wait(Act.BASELINE, PATIENCE_S)
    actor.stop()
    actor.stop()
    actor.stop()
    assert not last_run(stage).complete
    assert not children()


class OneToken(Identities):
    """Signs in without Cognito."""

    def token(self, name: str) -> Token:
        return Token(f"planted-token-of-{name}", 0.0, 1.0)

    def users(self, name: str) -> tuple[str, ...]:
        return (f"planted-{name}",)


def test_the_token_is_sent_and_written_nowhere(stage: Stage, shop: Shop) -> None:
    stage.write("contract.yaml", (stage.root / "contract.yaml").read_text() + SECURED)
    shop.broken = lambda method, path: (200, {"wrong": True}) if method == "GET" else None
    context = stage.context()
    identity = CognitoIdentity(secret="s", user_pool="p", client="c")
    system = context.system.model_copy(update={"identities": {"buyer": identity}, "contract_as": "buyer"})
    object.__setattr__(context, "system", system)
    actor = ContractActor(context, OneToken(context.target, system))
    actor.start_act(Act.BASELINE)
    actor.wait(Act.BASELINE, PATIENCE_S)
    actor.stop()
    assert "Bearer planted-token-of-buyer" in shop.authorizations
    assert last_run(stage).failures
    files = [path for path in stage.root.rglob("*") if path.is_file()]
    assert (context.directory / "contract-baseline.log") in files
    assert not [path for path in files if b"planted-token" in path.read_bytes()]


SECURED = """
  securitySchemes: {bearer: {type: http, scheme: bearer}}
security: [{bearer: []}]
"""


@pytest.mark.parametrize(("mark", "sent"), [("planted-", True), ("drill-", False)])
def test_nothing_is_sent_as_somebody_whose_name_has_not_the_mark(
    stage: Stage, shop: Shop, mark: str, sent: bool
) -> None:
    context = stage.context()
    told = {"tag": "of drills", "mark": mark, "counted_apart": "in no report", "expires": "at night"}
    kinds = {"notes": {"title": "notes", "written_by": ["contract"], **told}}
    changed = {
        "identities": {"buyer": CognitoIdentity(secret="s", user_pool="p", client="c")},
        "contract_as": "buyer",
        "test_data": SyntheticData.model_validate({"kinds": kinds}),
    }
    system = context.system.model_copy(update=changed)
    object.__setattr__(context, "system", system)
    actor = ContractActor(context, OneToken(context.target, system))
    actor.start_act(Act.BASELINE)
    actor.wait(Act.BASELINE, PATIENCE_S)
    actor.stop()
    assert bool(shop.authorizations) is sent
    assert ("to carry the mark of `test_data` (drill-)" in last_run(stage).detail) is not sent


def test_an_unknown_identity_is_refused_with_the_near_match(stage: Stage) -> None:
    context = stage.context()
    identity = CognitoIdentity(secret="s", user_pool="p", client="c")
    system = context.system.model_copy(update={"identities": {"buyer": identity}, "contract_as": "byuer"})
    object.__setattr__(context, "system", system)
    with pytest.raises(InvalidInput, match="Did you mean 'buyer'"):
        ContractActor(context)


def children() -> list[psutil.Process]:
    """The runs: forks of the parent, with its name."""
    ours = [one for one in psutil.Process().children(recursive=True) if "tocsin.actors.contract_forks" in line_of(one)]
    return [one for one in ours if one.ppid() != os.getpid()]


def line_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""  # another one, which ended after it was listed


def test_nothing_is_written_outside_the_run_and_the_work_directory(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name for path in stage.root.iterdir()}
    here = tmp_path_factory.mktemp("here")  # where nobody else writes meanwhile
    monkeypatch.chdir(here)
    run(stage)
    assert {path.name for path in stage.root.iterdir()} - before <= {"out", ".tocsin"}
    assert list(here.iterdir()) == []


def test_tables_of_unicode_are_made_once_for_a_user(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    run(stage)
    assert list(cache.glob("tocsin/hypothesis/unicode_data/*/charmap.json.gz"))
    assert not (stage.root / ".tocsin" / "hypothesis").exists()


def test_without_a_cache_of_the_user_they_are_made_once_for_a_checkout(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = tmp_path_factory.mktemp("nowhere") / "cache"
    nowhere.write_text("a file", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(nowhere))
    run(stage)
    assert list(stage.root.glob(".tocsin/hypothesis/unicode_data/*/charmap.json.gz"))


def test_a_parent_that_is_killed_between_two_runs_is_replaced(stage: Stage) -> None:
    """It has one thread as long as it forks: another one's locks would be copied as they are."""
    actor = ContractActor(stage.context())
    for act in (Act.BASELINE, Act.RECOVERY):
        actor.start_act(act)
        actor.wait(act, PATIENCE_S)
        assert last_run(stage).complete, last_run(stage).detail
        (parent,) = parents()
        assert parent.num_threads() == 1
        parent.kill()
        wait_for("its end", partial(has_ended, parent))
    actor.stop()


def has_ended(child: psutil.Process) -> bool:
    """Also before its exit code is asked for."""
    return child.status() == psutil.STATUS_ZOMBIE


def parents() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if "tocsin.actors.contract_forks" in line_of(one)]

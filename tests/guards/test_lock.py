"""The lock in the account: one holder, taken over only from the dead, and never by two."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.guards.conftest import Aws, Failure

from tocsin.commands.recover import recover_target
from tocsin.errors import Refused, ResidueLeft, TargetError
from tocsin.guards.lock import PARAMETER, AccountLock, check_free, regions_left_locked
from tocsin.model.base import Model
from tocsin.record.ledger import Debt, EntryState, Ledger


@pytest.fixture
def ledger_at() -> Iterator[Callable[[Path], Ledger]]:
    with ExitStack() as opened:

        def open_one(directory: Path) -> Ledger:
            ledger = Ledger(directory / "staging.sqlite", "staging")
            opened.callback(ledger.close)
            return ledger

        yield open_one


class Nothing(Model):
    """Of no interest here."""


LedgerAt = Callable[[Path], Ledger]


def lock(aws: Aws, ledger: Ledger, owner: str = "drill", for_s: float = 600.0) -> AccountLock:
    return AccountLock(aws.target(), ledger, owner, for_s)


def value(aws: Aws) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(aws.parameters[PARAMETER][-1])
    return found


def expired(owner: str) -> str:
    return json.dumps({"owner": owner, "runner": owner, "host": "elsewhere", "expires_at": "2020-01-01T00:00:00Z"})


@pytest.mark.parametrize("left", ["a row that is gone", "a lock that it does not know"])
def test_a_lock_that_the_ledger_does_not_account_for_is_not_taken_over(
    aws: Aws, tmp_path: Path, ledger_at: LedgerAt, left: str
) -> None:
    ledger = ledger_at(tmp_path)
    lock(aws, ledger, "dead-1").take()
    ledger.intend("dead-1", "f", "r", Nothing(), Nothing())
    statement = "DELETE FROM entries" if "row" in left else "DELETE FROM notes WHERE name LIKE 'account_lock%'"
    ledger._db.execute(statement)
    before, noted = list(aws.parameters[PARAMETER]), regions_left_locked(ledger)
    for _ in range(2):
        with pytest.raises(Refused, match=r"found that of dead-1 on .*Call `tocsin recover`"):
            lock(aws, ledger, "next-2").take()
    with pytest.raises(Refused, match="found that of dead-1 on"):
        check_free(aws.target(), ledger)
    assert (aws.parameters[PARAMETER], regions_left_locked(ledger)) == (before, noted)


def test_taken_told_and_given_back(aws: Aws, tmp_path: Path, ledger_at: LedgerAt) -> None:
    ledger = ledger_at(tmp_path)
    held = lock(aws, ledger, "bad-release-1")
    assert "is ours until" in held.take()
    assert value(aws)["owner"] == "bad-release-1"
    assert value(aws)["runner"] == ledger.runner
    assert regions_left_locked(ledger) == ("eu-west-1",)
    assert held.release() == f"{PARAMETER} released"
    assert (aws.parameters, regions_left_locked(ledger)) == ({}, ())


def test_another_ledger_is_refused_until_it_is_given_back(aws: Aws, tmp_path: Path, ledger_at: LedgerAt) -> None:
    mine, theirs = ledger_at(tmp_path / "mine"), ledger_at(tmp_path / "theirs")
    held = lock(aws, mine, "drill-1")
    held.take()
    with pytest.raises(Refused, match=r"in use by drill-1 on .* at most\. Wait for that run") as no:
        lock(aws, theirs, "drill-2").take()
    assert (no.value.guard, no.value.exit_code) == ("lock", 4)
    assert value(aws)["owner"] == "drill-1"
    assert regions_left_locked(theirs) == ()
    held.release()
    lock(aws, theirs, "drill-2").take()
    assert value(aws)["owner"] == "drill-2"


def test_whoever_only_looks_is_told_who_holds_it_and_takes_nothing(
    aws: Aws, tmp_path: Path, ledger_at: LedgerAt
) -> None:
    mine, theirs = ledger_at(tmp_path / "mine"), ledger_at(tmp_path / "theirs")
    assert check_free(aws.target(), mine) == f"{PARAMETER} is free"
    assert (aws.parameters, [file.name for file in (tmp_path / "mine").glob("*.lock")]) == ({}, [])
    with mine.lock("drill-1"), pytest.raises(Refused, match=r"in use by drill-1 \(process"):
        check_free(aws.target(), mine)
    held = lock(aws, theirs, "drill-2")
    held.take()
    before = value(aws)
    with pytest.raises(Refused, match="in use by drill-2 on"):
        check_free(aws.target(), mine)
    assert value(aws) == before
    assert "would be taken over" in check_free(aws.target(), theirs)
    aws.parameters[PARAMETER] = [expired("dead")]
    assert "would be taken over" in check_free(aws.target(), mine)


def left(ledger: Ledger, what: str, region: str = "eu-west-1") -> None:
    """Something that a dead run left there."""
    if what == "a fault":
        ledger.intend("dead-1", "f", "r", Nothing(), Nothing(), region=region)
    else:
        debt = Debt(drill="dead-1", experiment="e", rollbacks=("a",), digest="d", region=region, created_at=1.0)
        ledger.owe(debt)


def settle(ledger: Ledger) -> None:
    for entry in ledger.entries(only_open=True):
        ledger.advance(entry.id, EntryState.VERIFIED)
    ledger.forgive()


@pytest.mark.parametrize("what", ["a fault", "rollbacks"])
def test_whoever_took_it_over_gives_it_back_when_all_is_settled(
    aws: Aws, tmp_path: Path, ledger_at: LedgerAt, what: str
) -> None:
    ledger = ledger_at(tmp_path)
    lock(aws, ledger, "dead-1").take()
    left(ledger, what)
    for _ in range(2):
        refused = lock(aws, ledger, "next-2")
        refused.take()
        assert "as what a dead run left there is not settled" in refused.release()
        assert refused.stays
        assert value(aws)["owner"] == "next-2"
        assert regions_left_locked(ledger) == ("eu-west-1",)
        with pytest.raises(Refused, match="in use by next-2"):
            lock(aws, ledger_at(tmp_path / "other"), "other").take()
    settle(ledger)
    last = lock(aws, ledger, "last-3")
    last.take()
    assert last.release() == f"{PARAMETER} released"
    assert (aws.parameters, regions_left_locked(ledger), last.stays) == ({}, (), False)


@pytest.mark.parametrize("what", ["a fault", "rollbacks"])
def test_what_is_left_in_another_region_keeps_no_lock_here(
    aws: Aws, tmp_path: Path, ledger_at: LedgerAt, what: str
) -> None:
    ledger = ledger_at(tmp_path)
    lock(aws, ledger, "dead-1").take()
    left(ledger, what, "us-east-1")
    held = lock(aws, ledger, "next-2")
    held.take()
    assert held.release() == f"{PARAMETER} released"


def test_what_a_dead_process_of_this_ledger_left_is_taken_over_at_once(
    aws: Aws, tmp_path: Path, ledger_at: LedgerAt
) -> None:
    lock(aws, ledger_at(tmp_path), "killed").take()
    again = lock(aws, ledger_at(tmp_path), "next")
    assert "taken over" in again.take()
    assert value(aws)["owner"] == "next"


def test_a_copied_ledger_is_another_runner(aws: Aws, tmp_path: Path, ledger_at: LedgerAt) -> None:
    lock(aws, ledger_at(tmp_path / "here"), "alive").take()
    shutil.copytree(tmp_path / "here", tmp_path / "copy")
    with pytest.raises(Refused, match="in use by alive"):
        lock(aws, ledger_at(tmp_path / "copy")).take()


def test_others_take_over_after_it_expired(aws: Aws, tmp_path: Path, ledger_at: LedgerAt) -> None:
    aws.parameters[PARAMETER] = [expired("long ago")]
    lock(aws, ledger_at(tmp_path), "next").take()
    assert value(aws)["owner"] == "next"


def test_whoever_overwrites_second_puts_the_first_back(aws: Aws, tmp_path: Path, ledger_at: LedgerAt) -> None:
    """Both found it expired; the other one overwrites between our look and our write."""
    aws.parameters[PARAMETER] = [expired("long ago")]
    winner = json.dumps({"owner": "first", "runner": "r", "host": "h", "expires_at": "2999-01-01T00:00:00Z"})

    def overtaken(request: dict[str, Any]) -> Any:
        if request.get("Overwrite") and winner not in aws.parameters[PARAMETER]:
            aws.parameters[PARAMETER].append(winner)
        return aws.put(request)

    aws.answers["PutParameter"] = overtaken
    with pytest.raises(Refused, match="in use by first on h"):
        lock(aws, ledger_at(tmp_path), "second").take()
    assert aws.parameters[PARAMETER][-1] == winner


def test_one_that_was_given_back_in_between_is_put_anew(aws: Aws, tmp_path: Path, ledger_at: LedgerAt) -> None:
    aws.parameters[PARAMETER] = [expired("long ago")]

    def gone(request: dict[str, Any]) -> Any:
        aws.parameters.clear()
        aws.answers["GetParameter"] = aws.get
        return aws.get(request)

    aws.answers["GetParameter"] = gone
    lock(aws, ledger_at(tmp_path), "next").take()
    assert [json.loads(text)["owner"] for text in aws.parameters[PARAMETER]] == ["next"]


def test_of_many_exactly_one_wins(aws: Aws, tmp_path: Path, ledger_at: LedgerAt) -> None:
    ledgers = [ledger_at(tmp_path / str(number)) for number in range(6)]
    barrier = threading.Barrier(len(ledgers))

    def take(number: int) -> str | None:
        mine = lock(aws, ledgers[number], f"drill-{number}")
        barrier.wait(60)
        try:
            mine.take()
        except Refused:
            return None
        return f"drill-{number}"

    for start in (None, expired("long ago")):
        aws.parameters.clear()
        if start is not None:
            aws.parameters[PARAMETER] = [start]
        with ThreadPoolExecutor(len(ledgers)) as pool:
            winners = [name for name in pool.map(take, range(len(ledgers))) if name]
        assert winners == [value(aws)["owner"]]


def test_what_is_not_ours_any_more_is_left_alone(aws: Aws, tmp_path: Path, ledger_at: LedgerAt) -> None:
    held = lock(aws, ledger_at(tmp_path))
    held.take()
    aws.parameters[PARAMETER].append(expired("somebody"))
    assert "left alone" in held.release()
    assert value(aws)["owner"] == "somebody"


def test_a_parameter_that_is_no_lock_refuses(aws: Aws, tmp_path: Path, ledger_at: LedgerAt) -> None:
    aws.parameters[PARAMETER] = ["please do not touch"]
    with pytest.raises(Refused, match="please do not touch"):
        lock(aws, ledger_at(tmp_path)).take()
    assert aws.parameters[PARAMETER] == ["please do not touch"]


def test_an_account_that_does_not_answer_gives_no_lock(aws: Aws, tmp_path: Path, ledger_at: LedgerAt) -> None:
    del aws.answers["PutParameter"]
    with pytest.raises(TargetError, match="AccessDenied"):
        lock(aws, ledger_at(tmp_path)).take()


# --- recover ------------------------------------------------------------------------------------------------


@pytest.fixture
def project(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    (tmp_path / "tocsin.toml").write_text(
        f'[targets.staging]\naccount = "123456789012"\nregion = "eu-west-1"\nendpoint_url = "{aws.url}"\nscale = 600\n'
    )
    return tmp_path


def ledger_of(project: Path, ledger_at: LedgerAt) -> Ledger:
    return ledger_at(project / ".tocsin" / "ledger")


def test_recover_removes_the_lock_of_a_drill_that_was_killed(aws: Aws, project: Path, ledger_at: LedgerAt) -> None:
    lock(aws, ledger_of(project, ledger_at), "killed").take()
    assert list(recover_target(project, "staging")) == ["the lock that a dead run left in the account is gone"]
    assert aws.parameters == {}
    assert list(recover_target(project, "staging")) == ["nothing to recover on target 'staging'"]


def test_recover_keeps_away_while_somebody_else_drills(aws: Aws, project: Path, ledger_at: LedgerAt) -> None:
    lock(aws, ledger_at(project / "elsewhere"), "alive").take()
    ledger_of(project, ledger_at).set_note("account_lock", "eu-west-1")
    with pytest.raises(Refused, match="in use by alive"):
        list(recover_target(project, "staging"))


def test_recover_undoes_nothing_in_another_account(aws: Aws, project: Path, ledger_at: LedgerAt) -> None:
    ledger_of(project, ledger_at).set_note("account_lock", "eu-west-1")
    aws.account = "999999999999"
    with pytest.raises(Refused, match="credentials of 999999999999"):
        list(recover_target(project, "staging"))
    assert aws.asked == ["GetCallerIdentity"]


def test_recover_says_what_is_left_when_the_account_does_not_answer(
    aws: Aws, project: Path, ledger_at: LedgerAt
) -> None:
    def expired_credentials(_: dict[str, Any]) -> Any:
        raise Failure(403, "AccessDeniedException")

    ledger_of(project, ledger_at).set_note("account_lock", "eu-west-1")
    aws.answers["GetCallerIdentity"] = expired_credentials
    with pytest.raises(ResidueLeft, match="call `tocsin recover` again"):
        list(recover_target(project, "staging"))

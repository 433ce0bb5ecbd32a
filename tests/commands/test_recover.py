"""What `tocsin recover` does with a ledger of several regions, with bad rows, or with none: without a sandbox."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner, Result
from tests.faults.registered import register
from tests.faults.test_lifecycle import FileFault, Settings
from tests.guards.conftest import ACCOUNT
from tests.guards.conftest import Aws as Answers
from tests.guards.conftest import aws as aws

from tocsin.aws.target import Aws
from tocsin.cli import main
from tocsin.commands.recover import ledger_lines, recover_target
from tocsin.errors import Refused, ResidueLeft, TargetError
from tocsin.guards.lock import PARAMETER, AccountLock
from tocsin.project.places import ledger_path
from tocsin.record.ledger import Ledger

BEFORE, BROKEN = Settings(limit=100, mode="fast"), Settings(limit=0, mode="fast")


class RegionalFault(FileFault):
    """A setting in the file of a region: the same name in another region is another resource."""

    kind: ClassVar[str] = "regional"

    @property
    def resource(self) -> str:
        return f"settings of {Path(self.path).name}"

    def observe(self, aws: Aws, prior: Settings | None) -> Settings:
        return Settings.model_validate_json(file_of(self.path, aws.target.region).read_text())

    def undo(self, aws: Aws, prior: Settings) -> None:
        file_of(self.path, aws.target.region).write_text(prior.model_dump_json())


def file_of(path: str, region: str) -> Path:
    return Path(f"{path}-{region}.json")


class Dead:
    """A project with the ledger of runs that died, on an account that is a loopback server."""

    def __init__(self, root: Path, aws: Answers) -> None:
        self.root, self.aws, self.path = root, aws, ledger_path(root, "staging")
        (root / "tocsin.toml").write_text(
            f'[targets.staging]\naccount = "{ACCOUNT}"\nregion = "eu-west-1"\nendpoint_url = "{aws.url}"\nscale = 600\n'
        )

    def broke(self, name: str, region: str | None = "eu-west-1", account: str | None = ACCOUNT) -> Path:
        """Something is broken, and an entry of it is open."""
        fault = RegionalFault(path=str(self.root / name))
        file = file_of(fault.path, region or "eu-west-1")
        file.write_text(BROKEN.model_dump_json())
        with closing(Ledger(self.path, "staging")) as ledger:
            ledger.intend("dead-1", "regional", fault.resource, fault, BEFORE, account=account, region=region)
        return file

    def sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path)) as db:
            db.executescript(statement)

    def recover(self, *, checked: bool = False) -> list[str]:
        return list(recover_target(self.root, "staging", checked=checked))

    def command(self, *options: str) -> Result:
        """The command itself."""
        return CliRunner().invoke(main, ["recover", "--target", "staging", *options])

    def died_locked(self, owner: str = "dead-1") -> None:
        """The lock in the account is that of a drill that died, and which never came to give it back."""
        with closing(Ledger(self.path, "staging")) as ledger:
            AccountLock(self.aws.target(), ledger, owner, 600.0).take()

    def locked(self, until: str) -> str:
        return json.dumps({"owner": "orders-1a2b3c", "runner": "r", "host": "laptop", "expires_at": until})


@pytest.fixture
def dead(aws: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dead:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    register(monkeypatch, RegionalFault)
    return Dead(tmp_path, aws)


def settings(file: Path) -> Settings:
    return Settings.model_validate_json(file.read_text())


def test_each_entry_is_undone_in_its_own_region(dead: Dead) -> None:
    files = [dead.broke("pool", "eu-west-1"), dead.broke("pool", "ap-southeast-2"), dead.broke("pool", "us-east-1")]
    assert dead.recover() == ["undone and verified: regional on settings of pool"] * 3
    assert [settings(file) for file in files] == [BEFORE] * 3
    assert dead.recover() == ["nothing to recover on target 'staging'"]


class Signalled(RegionalFault):
    """Undone, and a signal comes right before."""

    kind: ClassVar[str] = "regional"
    signals: ClassVar[list[signal.Signals]] = []

    def undo(self, aws: Aws, prior: Settings) -> None:
        if self.signals:
            signal.raise_signal(self.signals.pop())
        super().undo(aws, prior)


def test_a_signal_ends_a_recovery_which_says_what_is_left(dead: Dead, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [dead.broke("first"), dead.broke("second")]
    register(monkeypatch, Signalled)
    Signalled.signals[:] = [signal.SIGINT]
    monkeypatch.chdir(dead.root)
    answer = CliRunner().invoke(main, ["recover", "--target", "staging"])
    assert answer.exit_code == 5, answer.output
    assert "found 2 still in place" in answer.output
    assert "settings of first: a signal came before" in answer.output
    assert dead.aws.parameters == {}, "the lock in the account was not given back"
    assert len(dead.recover()) == 2
    assert [settings(file) for file in files] == [BEFORE] * 2


def test_a_terminal_that_is_closed_ends_no_recovery(dead: Dead, monkeypatch: pytest.MonkeyPatch) -> None:
    file = dead.broke("first")
    register(monkeypatch, Signalled)
    Signalled.signals[:] = [signal.SIGHUP]
    monkeypatch.chdir(dead.root)
    answer = CliRunner().invoke(main, ["recover", "--target", "staging"])
    assert answer.exit_code == 0, answer.output
    assert (settings(file), Signalled.signals) == (BEFORE, [])


def test_an_entry_of_an_older_version_is_undone_where_the_target_is(dead: Dead) -> None:
    file = dead.broke("pool", region=None, account=None)
    assert len(dead.recover()) == 1
    assert settings(file) == BEFORE


def test_an_entry_of_another_account_is_named_and_the_others_are_undone(dead: Dead) -> None:
    mine, theirs = dead.broke("mine"), dead.broke("theirs", account="999999999999")
    with pytest.raises(ResidueLeft, match=r"found 1 still in place:\n.*theirs: it is in account 999999999999"):
        dead.recover()
    assert (settings(mine), settings(theirs)) == (BEFORE, BROKEN)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entries SET arguments = '{' WHERE sequence = 2",
        "UPDATE entries SET state = 'x' WHERE sequence = 2",
        "ALTER TABLE entries ADD COLUMN cell TEXT; UPDATE entries SET cell = 'blue' WHERE sequence = 2",
        "UPDATE entries SET fault = 'moon_stop' WHERE sequence = 2",
        """UPDATE entries SET arguments = '{"pace": 3}' WHERE sequence = 2""",
        """UPDATE entries SET prior = '{"limit": 99, "mode": "fast"}' WHERE sequence = 2""",
        "UPDATE entries SET created_at = 9e300 WHERE sequence = 2",
    ],
)
def test_a_row_that_cannot_be_used_is_named_and_the_others_are_undone(dead: Dead, damage: str) -> None:
    files = [dead.broke(name) for name in ("first", "second", "third")]
    dead.sql(damage)
    with pytest.raises(ResidueLeft, match=r"found 1 still in place:\n.*settings of second"):
        dead.recover()
    assert [settings(file) for file in files] == [BEFORE, BROKEN, BEFORE]
    assert len(list(ledger_lines(dead.root, "staging", everything=True))) == 3
    (left,) = ledger_lines(dead.root, "staging", everything=False)
    assert "settings of second" in left


def test_a_row_of_an_older_tocsin_whose_time_no_calendar_has_is_shown_and_undone(dead: Dead) -> None:
    file = dead.broke("pool")
    dead.sql("UPDATE entries SET created_at = 9e300, expires_at = 9e300, digest = NULL")
    (line,) = ledger_lines(dead.root, "staging", everything=False)
    assert "settings of pool" in line
    dead.sql("UPDATE entries SET expires_at = NULL")  # else a schedule would have to be deleted
    dead.recover()
    assert settings(file) == BEFORE


def test_a_row_that_cannot_be_read_goes_by_the_statement_that_recover_names(dead: Dead) -> None:
    dead.broke("pool")
    dead.sql("UPDATE entries SET prior = '{'")
    with pytest.raises(ResidueLeft) as found:
        dead.recover()
    (line,) = [line for line in str(found.value).splitlines() if "as it should be: " in line]
    program, file, statement = shlex.split(line.partition("as it should be: ")[2])
    assert (program, file) == ("sqlite3", str(dead.path))
    dead.sql(statement)
    assert dead.recover() == ["nothing to recover on target 'staging'"]


def test_what_was_undone_is_told_though_something_is_left(dead: Dead) -> None:
    dead.broke("first")
    dead.broke("second")
    dead.sql("UPDATE entries SET state = 'x' WHERE sequence = 2")
    lines = recover_target(dead.root, "staging")
    assert next(lines) == "undone and verified: regional on settings of first"
    with pytest.raises(ResidueLeft):
        next(lines)


@pytest.mark.parametrize(
    ("until", "error", "told"),
    [
        ("2999-01-01T00:00:00Z", Refused, "goes on elsewhere, or it died"),
        ("2020-01-01T00:00:00Z", ResidueLeft, "That run died"),
    ],
)
def test_a_lock_beside_an_emptied_ledger_is_told(
    dead: Dead, aws: Answers, until: str, error: type[Exception], told: str
) -> None:
    file = dead.broke("pool")
    aws.parameters[PARAMETER] = [dead.locked(until)]
    dead.path.write_bytes(b"")
    with pytest.raises(error, match=r"found that of orders-1a2b3c on laptop, .*before that was emptied") as found:
        dead.recover()
    assert told in str(found.value)
    assert aws.parameters[PARAMETER] == [dead.locked(until)]
    assert settings(file) == BROKEN


EMPTIED = {
    "its entries deleted": "DELETE FROM entries",
    "and their numbers": "DELETE FROM entries; DELETE FROM sqlite_sequence",
    "and what was noted of them": "DELETE FROM entries; DELETE FROM written",
    "their table dropped": "DROP TABLE entries",
}


@pytest.mark.parametrize("how", EMPTIED)
def test_an_emptied_ledger_beside_the_lock_of_its_dead_drill_is_told_until_somebody_has_looked(
    dead: Dead, aws: Answers, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dead.root)
    dead.died_locked()
    file, lock = dead.broke("pool"), list(aws.parameters[PARAMETER])
    dead.sql(EMPTIED[how])
    for _ in range(2):
        answer = dead.command()
        assert answer.exit_code == 5, answer.output
        assert "found 2 still in place" in answer.output
        assert "found that of dead-1 on" in answer.output
        assert "row 1 (" in answer.output
        assert ("regional on settings of pool, of drill dead-1" in answer.output) == ("written" not in EMPTIED[how])
        assert "tocsin recover --checked-by-hand" in answer.output
        assert aws.parameters[PARAMETER] == lock
    assert settings(file) == BROKEN
    assert any("gone from the ledger" in line for line in ledger_lines(dead.root, "staging", everything=False))
    answer = dead.command("--checked-by-hand")
    assert answer.exit_code == 0, answer.output
    assert "forgotten, as somebody has looked after it: row 1 (" in answer.output
    assert "the lock that a dead run left in the account is gone" in answer.output
    assert aws.parameters == {}
    assert dead.command().output == "nothing to recover on target 'staging'\n"


def test_a_row_that_is_gone_is_told_and_the_others_are_undone(dead: Dead, aws: Answers) -> None:
    dead.died_locked()
    files = [dead.broke(name) for name in ("first", "second", "third")]
    dead.sql("DELETE FROM entries WHERE sequence = 2")
    with pytest.raises(
        ResidueLeft, match=r"row 2 \(regional on settings of second, of drill dead-1\): gone from the led"
    ):
        dead.recover()
    assert [settings(file) for file in files] == [BEFORE, BROKEN, BEFORE]
    assert PARAMETER in aws.parameters
    assert len(dead.recover(checked=True)) == 2
    assert aws.parameters == {}


def test_rows_that_were_seen_undone_are_not_missed(dead: Dead) -> None:
    dead.broke("first")
    dead.recover()
    dead.sql("DELETE FROM entries")
    assert dead.recover() == ["nothing to recover on target 'staging'"]
    dead.broke("second")
    assert len(dead.recover()) == 1


def test_a_drill_that_died_before_its_first_change_left_nothing_but_its_lock(dead: Dead, aws: Answers) -> None:
    dead.broke("earlier")
    dead.recover()
    dead.died_locked("dead-2")
    assert dead.recover() == ["the lock that a dead run left in the account is gone"]
    assert aws.parameters == {}


@pytest.mark.parametrize("also", ["", "an entry"])
def test_an_older_copy_of_the_ledger_does_not_know_of_the_lock(dead: Dead, aws: Answers, also: str) -> None:
    if also:
        dead.broke("earlier")
    with closing(Ledger(dead.path, "staging")) as ledger:
        assert ledger.runner  # as every ledger that has held a lock
    shutil.copy(dead.path, dead.root / "copy")
    dead.died_locked()
    file = dead.broke("pool")
    shutil.copy(dead.root / "copy", dead.path)
    with pytest.raises(ResidueLeft, match=r"found that of dead-1 on .*`tocsin recover --checked-by-hand`"):
        dead.recover()
    assert PARAMETER in aws.parameters
    assert settings(file) == BROKEN
    assert dead.recover(checked=True)[-1] == "the lock that a dead run left in the account is gone"
    assert aws.parameters == {}


@pytest.mark.parametrize("anew", [False, True])
def test_a_ledger_that_is_missing_or_was_made_anew_is_not_that_of_the_lock(
    dead: Dead, aws: Answers, anew: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dead.root)
    dead.died_locked()
    dead.broke("pool")
    dead.path.unlink()
    if anew:
        dead.broke("later")
    for options in ((), ("--checked-by-hand",)):  # whether that run is dead, nobody here knows
        answer = dead.command(*options)
        assert answer.exit_code == 4, answer.output
        assert "dead-1 on" in answer.output
        assert "aws ssm delete-parameter --name /tocsin/lock" in answer.output
        assert PARAMETER in aws.parameters


def test_a_lock_of_another_ledger_that_ended_is_kept_while_ours_is_mended(dead: Dead, aws: Answers) -> None:
    file, theirs = dead.broke("pool"), dead.locked("2020-01-01T00:00:00Z")
    aws.parameters[PARAMETER] = [theirs]
    with pytest.raises(
        ResidueLeft, match=r"found 1 still .*\n.*kept: .*that of orders-1a2b3c on laptop.*another ledger"
    ):
        dead.recover()
    assert (settings(file), aws.parameters[PARAMETER]) == (BEFORE, [theirs])
    assert dead.recover(checked=True) == ["the lock that a dead run left in the account is gone"]
    assert aws.parameters == {}


def test_an_empty_ledger_beside_an_account_that_does_not_answer_is_no_all_clear(dead: Dead, aws: Answers) -> None:
    del aws.answers["GetParameter"]
    with pytest.raises(TargetError, match="AccessDenied"):
        dead.recover()


def test_locks_of_several_regions_are_remembered_and_removed(dead: Dead, aws: Answers) -> None:
    with closing(Ledger(dead.path, "staging")) as ledger:
        ledger.set_note("account_lock", "ap-southeast-2 eu-west-1")
    put: list[Any] = []
    aws.answers["PutParameter"] = lambda request: (put.append(request["Name"]), aws.put(request))[1]
    assert dead.recover() == ["the lock that a dead run left in the account is gone"]
    assert len(put) >= 2
    assert dead.recover() == ["nothing to recover on target 'staging'"]

"""Rollbacks that a dead drill owed: named by `tocsin recover`, and run with `--rollbacks`; without a sandbox."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.commands.test_recover import Dead
from tests.commands.test_recover import dead as dead
from tests.guards.conftest import ACCOUNT
from tests.guards.conftest import Aws as Answers
from tests.guards.conftest import aws as aws

from tocsin.commands.doctor import readiness
from tocsin.commands.recover import ledger_lines, recover_target
from tocsin.commands.session import close_entries_of_a_gone_sandbox
from tocsin.drill.owed import digest_of
from tocsin.errors import Refused, ResidueLeft
from tocsin.guards.lock import PARAMETER, AccountLock
from tocsin.project.documents import load_experiment
from tocsin.project.targets import load_target
from tocsin.record.ledger import Debt, Ledger

NOTHING = ["nothing to recover on target 'staging'"]


def shell(name: str, command: str) -> dict[str, Any]:
    provider = {"type": "process", "path": "sh", "arguments": ["-c", command]}
    return {"type": "action", "name": name, "provider": provider}


class Owing:
    """A drill that died after it broke something by a program; its experiment knows the way back."""

    def __init__(self, dead: Dead) -> None:
        self.dead, self.root = dead, dead.root
        self.mark = dead.root / "broken"
        self.mark.write_text("")
        (dead.root / "systems").mkdir()
        system = {"system": "shop", "title": "Shop", "region": "eu-west-1", "endpoint": {"url": "http://127.0.0.1:9"}}
        (dead.root / "systems" / "shop.yaml").write_text(yaml.safe_dump(system))
        self.write([shell("mend", f"rm {self.mark}"), shell("sweep up", "true")])
        self.owe()

    def write(self, rollbacks: list[dict[str, Any]]) -> None:
        expect = {"gap": "nobody watches", "recovery": {"within": "10m"}}
        document = {
            "title": "Broken by a program",
            "description": "What dies.",
            "method": [shell("break", f"touch {self.mark}")],
            "rollbacks": rollbacks,
            "extensions": [{"name": "tocsin", "system": "shop", "load": None, "expect": expect}],
        }
        (self.root / "break.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    def owe(self, drill: str = "break-1a2b") -> None:
        toolkit = load_experiment(self.root / "break.yaml").toolkit
        debt = Debt(
            drill=drill,
            experiment="break.yaml",
            rollbacks=("mend", "sweep up"),
            digest=digest_of(toolkit),
            region="eu-west-1",
            created_at=time.time(),
        )
        with closing(Ledger(self.dead.path, "staging")) as ledger:
            ledger.owe(debt)

    def owed(self) -> list[str]:
        with closing(Ledger(self.dead.path, "staging")) as ledger:
            return [debt.drill for debt in ledger.owed()]

    def recover(self, *, rollbacks: bool = False, checked: bool = False) -> list[str]:
        return list(recover_target(self.root, "staging", rollbacks=rollbacks, checked=checked))


@pytest.fixture
def owing(dead: Dead) -> Owing:
    return Owing(dead)


def test_what_a_dead_drill_owes_is_named_and_not_run(owing: Owing) -> None:
    named = r"rollbacks of break-1a2b \(break.yaml\): mend, sweep up: .*`tocsin recover --rollbacks`"
    with pytest.raises(ResidueLeft, match=named):
        owing.recover()
    assert owing.mark.exists()
    assert list(ledger_lines(owing.root, "staging", everything=False)) == [
        "owed: rollbacks of break-1a2b (break.yaml): mend, sweep up"
    ]


def test_it_is_run_when_that_is_asked_for_and_then_owed_no_more(owing: Owing) -> None:
    assert owing.recover(rollbacks=True) == ["rolled back: mend, of break-1a2b", "rolled back: sweep up, of break-1a2b"]
    assert not owing.mark.exists()
    assert owing.recover() == NOTHING


def test_faults_are_undone_also_where_rollbacks_are_owed(owing: Owing) -> None:
    file = owing.dead.broke("pool")
    with pytest.raises(ResidueLeft, match="found 1 still in place"):
        owing.recover()
    assert '"limit":100' in file.read_text()


def test_one_that_fails_stays_owed_and_is_tried_again(owing: Owing) -> None:
    owing.mark.rename(owing.root / "elsewhere")
    with pytest.raises(ResidueLeft, match="mend: exited with 1"):
        owing.recover(rollbacks=True)
    (owing.root / "elsewhere").rename(owing.mark)
    assert len(owing.recover(rollbacks=True)) == 2
    assert owing.recover() == NOTHING


def test_others_than_those_that_were_owed_are_not_run(owing: Owing) -> None:
    owing.write([shell("mend", "touch /nowhere/at/all")])
    with pytest.raises(ResidueLeft, match=r"expected break.yaml with the rollbacks that were owed, found others"):
        owing.recover(rollbacks=True)
    assert owing.mark.exists()


def test_an_experiment_that_is_gone_is_said_and_its_debt_goes_when_somebody_has_looked(owing: Owing) -> None:
    owing.owe("it's-3c4d")
    (owing.root / "break.yaml").unlink()
    with pytest.raises(ResidueLeft) as left:
        owing.recover(rollbacks=True)
    for drill in ("break-1a2b", "it's-3c4d"):
        (line,) = [line for line in str(left.value).splitlines() if f"of {drill} " in line]
        assert "break.yaml" in line
        assert "rolled back by hand: `tocsin recover --checked-by-hand`" in line
    assert owing.recover(checked=True) == [
        f"forgotten, as somebody has looked after it: rollbacks of {drill} (break.yaml): mend, sweep up"
        for drill in ("break-1a2b", "it's-3c4d")
    ]
    assert owing.recover() == NOTHING


def test_what_is_run_and_fails_is_not_forgotten(owing: Owing) -> None:
    owing.mark.unlink()
    with pytest.raises(ResidueLeft, match="mend: exited with 1"):
        owing.recover(rollbacks=True, checked=True)
    assert owing.owed() == ["break-1a2b"]


# --- the lock, and a debt that somebody deleted --------------------------------------------------------------

DELETED = {
    "the debts": "DELETE FROM owed",
    "debts and entries": "DELETE FROM owed; DELETE FROM entries",
    "their table": "DROP TABLE owed",
    "and what was noted of them": "DELETE FROM owed; DELETE FROM promised",
}


@pytest.mark.parametrize("how", DELETED)
@pytest.mark.parametrize("named_before", [False, True], ids=["at once", "after a first look"])
def test_a_debt_that_was_deleted_is_named_and_the_lock_is_kept_until_somebody_has_looked(
    owing: Owing, aws: Answers, monkeypatch: pytest.MonkeyPatch, how: str, named_before: bool
) -> None:
    monkeypatch.chdir(owing.root)
    owing.dead.died_locked("break-1a2b")
    file = owing.dead.broke("pool")
    if named_before:
        assert owing.dead.command().exit_code == 5
    owing.dead.sql(DELETED[how])
    lock = list(aws.parameters[PARAMETER])
    for _ in range(2):
        answer = owing.dead.command()
        assert answer.exit_code == 5, answer.output
        assert "debt 1 (" in answer.output
        named = "rollbacks of break-1a2b (break.yaml): mend, sweep up" in answer.output
        assert named == ("promised" not in DELETED[how])
        assert "tocsin recover --checked-by-hand" in answer.output
        assert aws.parameters[PARAMETER] == lock
    assert ('"limit":100' in file.read_text()) == (named_before or "entries" not in DELETED[how])
    answer = owing.dead.command("--checked-by-hand")
    assert answer.exit_code == 0, answer.output
    assert "forgotten, as somebody has looked after it: debt 1 (" in answer.output
    assert aws.parameters == {}
    assert owing.recover() == NOTHING


def test_an_empty_ledger_says_that_a_debt_was_deleted_from_it(owing: Owing) -> None:
    owing.dead.sql("DELETE FROM owed")
    with pytest.raises(ResidueLeft, match=r"debt 1 \(rollbacks of break-1a2b"):
        owing.recover()
    (line,) = ledger_lines(owing.root, "staging", everything=False)
    assert "gone from the ledger" in line


@pytest.mark.parametrize("way", ["paid", "checked"])
def test_the_lock_of_a_dead_drill_keeps_others_away_until_what_it_owes_is_settled(
    owing: Owing, aws: Answers, tmp_path: Path, way: str
) -> None:
    owing.dead.died_locked("break-1a2b")
    elsewhere = tmp_path / "elsewhere" / "staging.sqlite"
    for _ in range(2):
        told: list[str] = []
        with pytest.raises(ResidueLeft, match="rollbacks of break-1a2b"):
            told.extend(recover_target(owing.root, "staging"))
        assert told == [f"{PARAMETER} in eu-west-1 stays, and keeps others away, until that is settled"]
        with closing(Ledger(elsewhere, "staging")) as other:
            kept_away = AccountLock(aws.target(), other, "other-1", 60.0)
            with pytest.raises(Refused, match="in use by tocsin recover after break-1a2b on"):
                kept_away.take()
    gone = owing.recover(rollbacks=way == "paid", checked=way == "checked")
    assert gone.count("the lock that a dead run left in the account is gone") == 1
    assert aws.parameters == {}
    with closing(Ledger(elsewhere, "staging")) as other:
        AccountLock(aws.target(), other, "other-1", 60.0).take()


def test_they_are_not_run_in_another_account(owing: Owing) -> None:
    with closing(sqlite3.connect(owing.dead.path)) as db:
        changed = 'json_set(debt, "$.account", "999999999999")'
        db.executescript(f"UPDATE owed SET debt = {changed}")
    with pytest.raises(ResidueLeft, match="owed in account 999999999999, and target 'staging' is account 123456789012"):
        owing.recover(rollbacks=True)
    assert owing.mark.exists()


def test_several_deaths_of_one_experiment_are_paid_at_once(owing: Owing) -> None:
    owing.owe("break-3c4d")
    with pytest.raises(ResidueLeft, match="found 2 still in place"):
        owing.recover()
    assert owing.recover(rollbacks=True)[-1] == "rolled back with the same ones of break-1a2b: what break-3c4d owed"
    assert owing.owed() == []


def test_an_edited_file_pays_for_what_it_is_now_and_for_nothing_else(owing: Owing) -> None:
    owing.write([shell("sweep up", "true")])
    owing.owe("break-3c4d")
    with pytest.raises(ResidueLeft, match="found 1 still in place") as left:
        owing.recover(rollbacks=True)
    assert "rollbacks of break-1a2b (break.yaml): mend, sweep up: expected break.yaml with" in str(left.value)
    assert "edited since" in str(left.value)
    assert (owing.owed(), owing.mark.exists()) == (["break-1a2b"], True)
    owing.write([shell("mend", f"rm {owing.mark}"), shell("sweep up", "true")])
    assert len(owing.recover(rollbacks=True)) == 2
    assert (owing.owed(), owing.mark.exists()) == ([], False)


@pytest.mark.parametrize(
    ("changes", "paid"),
    [
        ({}, True),
        ({"account": ACCOUNT}, True),
        ({"digest": "of others"}, False),
        ({"region": "us-east-1"}, False),
        ({"experiment": "other.yaml"}, False),
    ],
)
def test_a_drill_pays_for_the_same_rollbacks_in_the_same_place(
    owing: Owing, changes: dict[str, Any], paid: bool
) -> None:
    with closing(Ledger(owing.dead.path, "staging")) as ledger:
        (debt,) = ledger.owed()
        ledger.pay(debt.model_copy(update={"drill": "later", **changes}))
    assert owing.owed() == ([] if paid else ["break-1a2b"])


def test_what_cannot_be_read_is_paid_by_nobody_else(owing: Owing) -> None:
    owing.owe("break-3c4d")
    with closing(sqlite3.connect(owing.dead.path)) as db:
        db.executescript("UPDATE owed SET debt = '{'")
    with closing(Ledger(owing.dead.path, "staging")) as ledger:
        ledger.pay(ledger.owed()[0])
    assert owing.owed() == ["break-3c4d"]


def test_a_debt_that_cannot_be_read_is_still_one(owing: Owing) -> None:
    with closing(sqlite3.connect(owing.dead.path)) as db:
        db.executescript("UPDATE owed SET debt = '{'")
    with pytest.raises(ResidueLeft, match=r"rollbacks of break-1a2b \(break.yaml\): which ones cannot be read"):
        owing.recover()


def test_what_was_owed_in_a_sandbox_that_is_gone_is_gone_with_it(owing: Owing, tmp_path: Path) -> None:
    home = tmp_path / ".tocsin" / "ledger"
    (home / "staging.sqlite").rename(home / "sandbox.sqlite")
    close_entries_of_a_gone_sandbox(tmp_path)
    with closing(Ledger(home / "sandbox.sqlite", "sandbox")) as ledger:
        assert ledger.owed() == []


def test_the_doctor_knows_of_it(owing: Owing) -> None:
    place = readiness.Place(owing.root, load_target(owing.root, "staging"))
    found = readiness.residue(place)
    assert (found.level.value, found.mend) == ("gap", "Call `tocsin recover --rollbacks --target staging`.")
    assert "break-1a2b (break.yaml): mend, sweep up" in found.found
    owing.recover(rollbacks=True)
    assert readiness.residue(place).level.value == "ok"

"""Other ends than a kill: signals, full disks, two recoveries, somebody else's change. The engine is the real one."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing

import pytest
from tests.sweep.account import Snapshot, differences
from tests.sweep.drill_child import FULL_AT_BYTES
from tests.sweep.harness import LEAVES, Range

from tocsin.guards.lock import PARAMETER
from tocsin.model.events import FaultChanged, FaultStage
from tocsin.project.histories import read_history
from tocsin.project.places import ledger_path
from tocsin.record.ledger import Ledger

pytestmark = [pytest.mark.sweep, pytest.mark.takes(150), pytest.mark.xdist_group("sweep"), pytest.mark.timeout(600)]

PROXY = "rds_proxy_throttle"
ENVIRONMENT = "lambda_environment_credential"
_LONGEST_PAGE = 2**16
"""The longest that SQLite has: https://sqlite.org/limits.html"""


@pytest.fixture
def long_pages(shooting: Range) -> None:
    """A ledger whose pages are longer than what `full disk` lets anybody write.

    So whatever is to be written meets the full disk in SQLite's journal, as on a real one: nothing of the file is
    touched, and it can be read. (Where only some pages lie behind the limit, those before it are overwritten, and
    cannot be put back: on a real disk what is there can always be overwritten.)
    """
    path = ledger_path(shooting.root, "sandbox")
    Ledger(path, "sandbox").close()
    with closing(sqlite3.connect(path)) as ledger:
        ledger.execute(f"PRAGMA page_size = {_LONGEST_PAGE}")
        ledger.execute("VACUUM")
        assert ledger.execute("PRAGMA page_size").fetchone() == (_LONGEST_PAGE,)
    assert _LONGEST_PAGE > FULL_AT_BYTES


def stages(shooting: Range, kind: str) -> list[FaultStage]:
    events = read_history(shooting.out / kind / "history.jsonl")
    return [event.stage for event in events if isinstance(event, FaultChanged)]


def printed(shooting: Range) -> str:
    text = shooting.log.read_text()
    assert "Traceback" not in text, text
    return text


def of_proxies(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("rds")]


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_the_drill_and_a_second_one_changes_nothing(
    shooting: Range, before: Snapshot, number: str
) -> None:
    signals = {"after advance injected": number, "before undo": number, "after undo": "SIGINT"}
    ended = shooting.drill(ENVIRONMENT, at=signals)
    assert ended.code == 4, printed(shooting)
    assert shooting.differs(before) == []
    assert shooting.open_entries() == []
    assert stages(shooting, ENVIRONMENT)[-1] is FaultStage.VERIFIED
    assert (shooting.out / ENVIRONMENT / "report.html").exists()
    assert f"stopped by {number}" in printed(shooting)


@pytest.mark.parametrize("moment", ["before inject", "after advance injected", "before undo"])
def test_signals_that_go_on_until_the_process_is_gone_cut_no_undo_short(
    shooting: Range, before: Snapshot, moment: str
) -> None:
    ended = shooting.drill(ENVIRONMENT, at={moment: "signals without an end"})
    assert ended.code == 4, printed(shooting)
    assert (shooting.differs(before), shooting.open_entries()) == ([], [])
    assert stages(shooting, ENVIRONMENT)[-1] is FaultStage.VERIFIED
    assert (shooting.out / ENVIRONMENT / "report.html").exists()


def test_an_emptied_ledger_of_a_killed_drill_is_told_and_its_lock_is_kept(shooting: Range, before: Snapshot) -> None:
    assert shooting.drill(PROXY, at={"after inject": "SIGKILL"}).code == -signal.SIGKILL
    held, path = _lock(shooting), ledger_path(shooting.root, "sandbox")
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE kept AS SELECT * FROM entries; DELETE FROM entries")
    for _ in range(2):
        told = shooting.recover()
        assert (told.returncode, _lock(shooting)) == (5, held), told.stderr
        assert f"({PROXY} on " in told.stderr
        assert "gone from the ledger" in told.stderr
        assert f"that of {PROXY}" in told.stderr
    assert shooting.drill(PROXY).code == 4, printed(shooting)
    assert "gone from the ledger. Call `tocsin recover`" in printed(shooting)
    assert _lock(shooting) == held
    with closing(sqlite3.connect(path)) as db:
        db.executescript("INSERT INTO entries SELECT * FROM kept; DROP TABLE kept")
    mended = shooting.recover()
    assert mended.returncode == 0, mended.stderr
    assert (shooting.differs(before), shooting.open_entries()) == ([], [])


def _lock(shooting: Range) -> str:
    return str(shooting.target.client("ssm").get_parameter(Name=PARAMETER)["Parameter"]["Value"])


@pytest.mark.usefixtures("long_pages")
def test_a_full_disk_before_the_injection_means_no_injection(shooting: Range, before: Snapshot) -> None:
    ended = shooting.drill(PROXY, at={"before intend": "full disk"})
    assert ended.code == 4, printed(shooting)
    assert stages(shooting, PROXY) == []
    assert "Without a ledger nothing is injected" in printed(shooting)
    assert shooting.recover().returncode == 0
    assert shooting.differs(before) == []


@pytest.mark.usefixtures("long_pages")
def test_a_full_disk_after_the_injection_keeps_no_undo_from_being_made(shooting: Range, before: Snapshot) -> None:
    ended = shooting.drill(PROXY, at={"after inject": "full disk"})
    assert ended.code == 5, printed(shooting)
    assert FaultStage.UNDONE in stages(shooting, PROXY)
    assert "the ledger cannot be written: the entry stays open" in printed(shooting)
    assert (of_proxies(differences(before, shooting.account())), len(shooting.open_entries())) == ([], 1)
    assert shooting.recover().returncode == 0
    assert (shooting.differs(before), shooting.open_entries()) == ([], [])


@pytest.mark.usefixtures("long_pages")
def test_recover_mends_on_a_full_disk_and_finishes_on_a_mended_one(shooting: Range, before: Snapshot) -> None:
    shooting.drill(PROXY, at={"after inject": "SIGKILL"})
    assert shooting.command("recover", at={"before call 1": "full disk"}).code == 5, printed(shooting)
    assert of_proxies(differences(before, shooting.account())) == []
    assert "call `tocsin recover` again" in printed(shooting)
    assert shooting.recover().returncode == 0
    assert (shooting.differs(before), shooting.open_entries()) == ([], [])


def test_a_history_that_cannot_be_written_ends_the_drill_undone_with_one_message(
    shooting: Range, before: Snapshot
) -> None:
    ended = shooting.drill(PROXY, at={"after inject": "full history"})
    assert ended.code == 3, printed(shooting)
    assert printed(shooting).count("expected to write the history") == 1
    assert (shooting.differs(before), shooting.open_entries()) == ([], [])


@pytest.mark.parametrize(
    ("output", "moment"),
    [
        ("full stdout", "before intend"),
        ("closed reader", "before inject"),
        ("full stdout", "after inject"),
        ("closed reader", "before undo"),
        ("full stdout", "after undo"),
        ("closed reader", "after advance verified"),
    ],
)
def test_an_output_that_goes_away_at_any_moment_changes_nothing(
    shooting: Range, before: Snapshot, output: str, moment: str
) -> None:
    # 1 or 3: it ran through all acts, and without traffic there is nothing to pass.
    assert shooting.drill(PROXY, at={moment: output}).code in (1, 3), printed(shooting)
    assert stages(shooting, PROXY)[-1] is FaultStage.VERIFIED
    assert (shooting.out / PROXY / "report.html").exists()
    assert (shooting.differs(before), shooting.open_entries()) == ([], [])


def test_a_process_that_somebody_elses_code_ended_is_named_and_undone(shooting: Range, before: Snapshot) -> None:
    # Not by the command, which does not let it: as by code in C, or under another face.
    assert shooting.drill(PROXY, LEAVES).code == 0
    told = shooting.tocsin("report", str(shooting.out))
    assert (told.returncode, "A fault is still in place: call `tocsin recover`" in told.stdout) == (5, True)
    assert len(shooting.open_entries()) == 1
    assert shooting.drill(ENVIRONMENT).code == 4
    assert f"expected no fault left from earlier runs, found {PROXY} on " in printed(shooting)
    recovered = shooting.recover()
    assert (recovered.returncode, recovered.stderr) == (0, "")
    assert f"undone and verified: {PROXY}" in recovered.stdout
    assert (shooting.differs(before), shooting.open_entries()) == ([], [])


def test_of_two_recoveries_at_once_one_works(shooting: Range, before: Snapshot) -> None:
    shooting.drill(ENVIRONMENT, at={"after inject": "SIGKILL"})
    both = [shooting.start_recover() for _ in range(2)]
    answers = sorted((process.communicate(timeout=120)[0], process.returncode) for process in both)
    texts = "".join(text for text, _ in answers)
    assert texts.count("undone and verified") == 1, texts
    assert "Traceback" not in texts
    assert sorted(code for _, code in answers) in ([0, 0], [0, 4]), texts
    assert (shooting.differs(before), shooting.open_entries()) == ([], [])


def test_a_recovery_that_runs_keeps_another_one_out(shooting: Range, before: Snapshot) -> None:
    shooting.drill(PROXY, at={"after inject": "SIGKILL"})
    ledger = Ledger(ledger_path(shooting.root, "sandbox"), "sandbox")
    with ledger.lock("tocsin recover"):
        refused = shooting.recover()
    ledger.close()
    assert refused.returncode == 4
    assert "in use by tocsin recover (process" in refused.stderr
    assert shooting.recover().returncode == 0
    assert (shooting.differs(before), shooting.open_entries()) == ([], [])


def test_what_somebody_else_changed_is_reported_and_never_overwritten(shooting: Range, before: Snapshot) -> None:
    shooting.drill(PROXY, at={"after inject": "SIGKILL"})

    def set_pool(percent: int) -> None:
        shooting.target.client("rds").modify_db_proxy_target_group(
            DBProxyName="itcenter-dev-proxy",
            TargetGroupName="default",
            ConnectionPoolConfig={"MaxConnectionsPercent": percent},
        )

    set_pool(55)
    drifted = shooting.recover()
    assert drifted.returncode == 5
    assert "was changed by somebody else: max_connections_percent is 55" in drifted.stderr
    assert any("MaxConnectionsPercent: 100 -> 55" in line for line in differences(before, shooting.account()))
    set_pool(100)
    assert shooting.recover().returncode == 0
    assert (shooting.differs(before), shooting.open_entries()) == ([], [])

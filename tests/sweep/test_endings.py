"""Other ends than a kill: signals, full disks, two recoveries, somebody else's change. The engine is the real one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.sweep.account import Snapshot, differences
from tests.sweep.drill_child import FULL_AT_BYTES
from tests.sweep.harness import Range

from tocsin.history import read_history
from tocsin.ledger import EntryState, Ledger
from tocsin.model.base import Model
from tocsin.model.events import FaultChanged, FaultStage
from tocsin.project import ledger_path

pytestmark = [pytest.mark.drill, pytest.mark.timeout(120)]

PROXY = "rds_proxy_throttle"
ENVIRONMENT = "lambda_environment_credential"


class Filler(Model):
    text: str = "x" * 4000


@pytest.fixture
def long_ledger(shooting: Range) -> Path:
    """A ledger with a past, which cannot grow on what `full disk` leaves."""
    path = ledger_path(shooting.root, "sandbox")
    ledger = Ledger(path, "sandbox")
    while path.stat().st_size < 2 * FULL_AT_BYTES:
        ledger.advance(ledger.intend("earlier", PROXY, "a proxy", Filler(), Filler()).id, EntryState.VERIFIED)
    ledger.close()
    return path


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


@pytest.mark.usefixtures("long_ledger")
def test_a_full_disk_before_the_injection_means_no_injection(shooting: Range, before: Snapshot) -> None:
    ended = shooting.drill(PROXY, at={"before intend": "full disk"})
    assert ended.code == 4, printed(shooting)
    assert stages(shooting, PROXY) == []
    assert "Without a ledger nothing is injected" in printed(shooting)
    assert shooting.recover().returncode == 0
    assert shooting.differs(before) == []


@pytest.mark.usefixtures("long_ledger")
def test_a_full_disk_after_the_injection_keeps_no_undo_from_being_made(shooting: Range, before: Snapshot) -> None:
    ended = shooting.drill(PROXY, at={"after inject": "full disk"})
    assert ended.code == 5, printed(shooting)
    assert FaultStage.UNDONE in stages(shooting, PROXY)
    assert "the ledger cannot be written: the entry stays open" in printed(shooting)
    assert (of_proxies(differences(before, shooting.account())), len(shooting.open_entries())) == ([], 1)
    assert shooting.recover().returncode == 0
    assert (shooting.differs(before), shooting.open_entries()) == ([], [])


@pytest.mark.usefixtures("long_ledger")
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


def test_of_two_recoveries_at_once_one_works(shooting: Range, before: Snapshot) -> None:
    shooting.drill(ENVIRONMENT, at={"after inject": "SIGKILL"})
    both = [shooting.start_recover() for _ in range(2)]
    answers = sorted((process.communicate(timeout=60)[0], process.returncode) for process in both)
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

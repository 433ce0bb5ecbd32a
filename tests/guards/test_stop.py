"""`tocsin stop`: set here and in the account, cleared in both, and honest about where it could not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.guards.conftest import ACCOUNT, Aws

from tocsin.commands.stop import clear_target, stop_target
from tocsin.errors import InvalidInput, Refused, TargetError
from tocsin.guards.kill_switch import PARAMETER, KillSwitch, stop_file
from tocsin.project.targets import load_target


@pytest.fixture
def project(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    (tmp_path / "tocsin.toml").write_text(
        f'[targets.staging]\naccount = "{ACCOUNT}"\nregion = "eu-west-1"\nendpoint_url = "{aws.url}"\n'
    )
    return tmp_path


def test_set_in_both_places_with_the_reason_and_cleared_in_both(aws: Aws, project: Path) -> None:
    switch = KillSwitch(project, load_target(project, "staging"))
    assert len(list(stop_target(project, "staging", "the release looks bad"))) == 3
    assert "the release looks bad" in stop_file(project, "staging").read_text()
    assert "the release looks bad" in aws.parameters[PARAMETER][-1]
    with pytest.raises(Refused, match="the release looks bad"):
        switch.check()
    assert list(clear_target(project, "staging")) == ["cleared on this machine", "cleared in the account"]
    assert (aws.parameters, switch.check()) == ({}, f"neither here nor as {PARAMETER}")
    assert list(clear_target(project, "staging")) == ["was not set on this machine", "was not set in the account"]


def test_set_twice_is_set_once(aws: Aws, project: Path) -> None:
    list(stop_target(project, "staging", "first"))
    list(stop_target(project, "staging", None))
    assert "no reason given" in aws.parameters[PARAMETER][-1]
    list(clear_target(project, "staging"))
    assert aws.parameters == {}


def test_a_secure_string_stops_without_any_right_to_its_key(aws: Aws, project: Path) -> None:
    aws.parameters[PARAMETER], aws.secure = ["paying customers are on this"], {PARAMETER}
    switch = KillSwitch(project, load_target(project, "staging"))
    with pytest.raises(Refused, match="set: 'encrypted, a SecureString: whoever set it knows why'"):
        switch.check()
    # Its type cannot be changed, and it need not be: it is set.
    assert "set in the account" in next(stop_target(project, "staging", "the release looks bad"))
    assert aws.parameters[PARAMETER] == ["paying customers are on this"]
    assert "cleared in the account" in list(clear_target(project, "staging"))
    assert aws.parameters == {}


def test_it_is_never_set_in_another_account(aws: Aws, project: Path) -> None:
    aws.account = "999999999999"
    with pytest.raises(Refused, match="credentials of 999999999999"):
        list(stop_target(project, "staging", "x"))
    assert aws.asked == ["GetCallerIdentity"]
    assert stop_file(project, "staging").exists()


def test_an_account_that_does_not_answer_stops_what_runs_here_and_says_so(aws: Aws, project: Path) -> None:
    del aws.answers["PutParameter"]
    with pytest.raises(TargetError, match=r"AccessDenied.* drills of this machine end; those of others do not"):
        list(stop_target(project, "staging", "x"))
    assert stop_file(project, "staging").exists()


def test_without_a_running_sandbox_it_is_set_on_this_machine_only(project: Path) -> None:
    assert next(stop_target(project, "sandbox", "x")) == "not in an account: no sandbox is running"
    assert stop_file(project, "sandbox").exists()
    here, _ = clear_target(project, "sandbox")
    assert here == "cleared on this machine"


@pytest.mark.parametrize("spoil", ["[targets.staging", "[targets.staging]\naccount = 7\n", "\0"])
def test_while_somebody_edits_the_targets_what_runs_here_ends(project: Path, spoil: str) -> None:
    switch = KillSwitch(project, load_target(project, "staging"))
    (project / "tocsin.toml").write_text(spoil)
    with pytest.raises(TargetError, match=r"aws ssm put-parameter .*of this machine end; those of others do not"):
        list(stop_target(project, "staging", "the release looks bad"))
    with pytest.raises(Refused, match="the release looks bad"):
        switch.check_here()
    with pytest.raises(InvalidInput, match=r"tocsin\.toml"):
        list(stop_target(project, "../staging", "x"))
    assert [path.name for path in project.rglob("staging")] == ["staging"]


def test_a_target_that_is_not_there_is_invalid(project: Path) -> None:
    with pytest.raises(InvalidInput, match="Did you mean 'staging'"):
        list(stop_target(project, "stagin", "x"))


# --- each place has a try of its own ------------------------------------------------------------------------


def spoil(project: Path) -> None:
    """Nothing can be written below `.tocsin`, by nobody, not even by root."""
    (project / ".tocsin").write_text("a file, where a directory should be")


def test_the_account_is_told_where_nothing_can_be_written_here(aws: Aws, project: Path) -> None:
    spoil(project)
    told = []
    with pytest.raises(TargetError, match=r"on this machine: .*So far drills end when they next ask the account"):
        told.extend(stop_target(project, "staging", "the release looks bad"))
    assert "the release looks bad" in aws.parameters[PARAMETER][-1]


def test_it_is_cleared_in_the_account_where_nothing_can_be_written_here(aws: Aws, project: Path) -> None:
    aws.parameters[PARAMETER] = ["x"]
    spoil(project)
    with pytest.raises(TargetError, match=r"on this machine: .*So far it is cleared in the account only"):
        list(clear_target(project, "staging"))
    assert aws.parameters == {}


def test_where_no_place_can_be_reached_both_are_named(aws: Aws, project: Path) -> None:
    spoil(project)
    del aws.answers["PutParameter"]
    with pytest.raises(TargetError, match=r"AccessDenied.*; on this machine: .*So far no drill was told to end"):
        list(stop_target(project, "staging", "x"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_reason_that_has_no_room_on_the_disk_stops_all_the_same(aws: Aws, project: Path) -> None:
    file = stop_file(project, "staging")
    file.parent.mkdir(parents=True)
    file.symlink_to("/dev/full")
    assert f"set on this machine: {file}" in list(stop_target(project, "staging", "x"))
    with pytest.raises(Refused, match="kill switch"):
        KillSwitch(project, load_target(project, "staging")).check_here()


def test_nobody_waits_for_an_account_that_does_not_answer(aws: Aws, project: Path) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slowly(request: dict[str, Any]) -> Any:
        asked.set()
        assert answer.wait(60)
        return aws.put(request)

    aws.answers["PutParameter"] = slowly
    told: list[str] = []
    stopping = threading.Thread(target=lambda: told.extend(stop_target(project, "staging", "x")))
    stopping.start()
    try:
        assert asked.wait(60)
        until = time.monotonic() + 60
        while not stop_file(project, "staging").exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert stop_file(project, "staging").exists()
    finally:
        answer.set()
        stopping.join(60)
    assert told[0] == f"set in the account: {PARAMETER}"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("output", ["/dev/full", "a reader that went away", "closed"])
def test_both_places_are_told_where_nothing_can_be_shown(aws: Aws, project: Path, output: str) -> None:
    if output in ("/dev/full", "closed"):
        shown = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, shown = os.pipe()
        os.close(reader)
    command = [sys.executable, "-m", "tocsin.cli", "stop", "--target", "staging", "--reason", "nobody sees this"]
    closed = partial(os.closerange, 0, 3) if output == "closed" else None
    done = subprocess.run(command, cwd=project, stdout=shown, stderr=shown, timeout=120, check=False, preexec_fn=closed)
    os.close(shown)
    assert done.returncode == 0
    assert "nobody sees this" in aws.parameters[PARAMETER][-1]
    assert "nobody sees this" in stop_file(project, "staging").read_text()


def test_a_terminal_that_is_closed_keeps_nobody_from_being_told(aws: Aws, project: Path) -> None:
    command = [sys.executable, "-m", "tocsin.cli", "stop", "--target", "staging", "--reason", "enough"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as process:

        def hung_up(request: dict[str, Any]) -> Any:
            process.send_signal(signal.SIGHUP)
            return aws.put(request)

        aws.answers["PutParameter"] = hung_up
        told, _ = process.communicate(timeout=120)
    assert (process.returncode, len(told.splitlines())) == (0, 3)
    assert "enough" in aws.parameters[PARAMETER][-1]
    assert "enough" in stop_file(project, "staging").read_text()

"""`tocsin stop`: set here and in the account, cleared in both, and honest about where it could not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.guards.conftest import ACCOUNT, Aws

from tocsin.errors import InvalidInput, Refused, TargetError
from tocsin.guards.kill_switch import PARAMETER, KillSwitch, stop_file
from tocsin.stopping import clear_target, stop_target
from tocsin.targets import load_target


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
    assert list(stop_target(project, "sandbox", "x"))[1:] == ["not in an account: no sandbox is running"]
    assert stop_file(project, "sandbox").exists()
    here, _ = clear_target(project, "sandbox")
    assert here == "cleared on this machine"


def test_a_target_that_is_not_there_is_invalid(project: Path) -> None:
    with pytest.raises(InvalidInput, match="Did you mean 'staging'"):
        list(stop_target(project, "stagin", "x"))

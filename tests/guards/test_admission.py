"""Before anything else is asked of a target: each guard says no with its name, and yes without the planted reason."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.guards.conftest import ACCOUNT, Aws, Failure

from tocsin.commands.run import run_experiments
from tocsin.drill.options import RunOptions
from tocsin.errors import Refused
from tocsin.guards.admission import Admission
from tocsin.guards.base import ask_all
from tocsin.guards.kill_switch import PARAMETER, KillSwitch, set_file, stop_file
from tocsin.model.events import DrillStarted, FaultChanged, GuardChecked
from tocsin.model.verdict import Verdict
from tocsin.project.histories import read_history

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "experiments" / "leave-attendance" / "clock-in-throttled.yaml"
MONDAY_NOON = datetime.fromisoformat("2026-08-03T12:00:00Z").timestamp()
OFFICE = {"days": ["mon"], "from": "09:00", "to": "17:00"}


def admission(aws: Aws, root: Path, consent: str | None = None, longest_s: float = 780.0, **rules: Any) -> Admission:
    target = aws.target(**rules)
    return Admission(
        target=target,
        system="shop",
        longest_s=longest_s,
        consent=consent,
        kill_switch=KillSwitch(root, target),
        now=lambda: MONDAY_NOON,
    )


def refusal(of: Admission) -> Refused:
    checked: list[GuardChecked] = []
    with pytest.raises(Refused) as caught:
        ask_all(of.guards(), checked.append)
    assert [guard.ok for guard in checked] == [True] * (len(checked) - 1) + [False]
    assert checked[-1].guard == caught.value.guard
    assert caught.value.exit_code == 4
    return caught.value


def test_a_target_with_every_rule_lets_the_right_drill_in(aws: Aws, tmp_path: Path) -> None:
    checked: list[GuardChecked] = []
    good = admission(
        aws,
        tmp_path,
        consent=ACCOUNT,
        systems=["shop"],
        timezone="UTC",
        windows=[OFFICE],
        freeze=["2026-08-04"],
        production=True,
    )
    ask_all(good.guards(), checked.append)
    assert [guard.guard for guard in checked] == [
        "identity",
        "systems",
        "freeze",
        "window",
        "production",
        "kill-switch",
    ]
    assert all(guard.ok for guard in checked)
    assert aws.asked == ["GetCallerIdentity", f"GetParameter {PARAMETER}"]


@pytest.mark.parametrize(
    ("rules", "guard", "message"),
    [
        ({"systems": ["bank"]}, "systems", r"\(bank\), found 'shop'"),
        ({"systems": []}, "systems", r"\(none\), found 'shop'"),
        ({"timezone": "UTC", "freeze": ["2026-08-03"]}, "freeze", "found 2026-08-03"),
        (
            {"timezone": "UTC", "windows": [{**OFFICE, "from": "13:00"}]},
            "window",
            "opens on Monday 2026-08-03 at 13:00",
        ),
        ({"timezone": "UTC", "windows": [{**OFFICE, "to": "12:10"}]}, "window", "13m, found that it closes before"),
        ({"production": True}, "production", f"add `--yes-production {ACCOUNT}`"),
    ],
)
def test_a_rule_that_is_broken_refuses_and_only_the_account_was_asked(
    aws: Aws, tmp_path: Path, rules: dict[str, Any], guard: str, message: str
) -> None:
    no = refusal(admission(aws, tmp_path, **rules))
    assert no.guard == guard
    assert re.search(message, str(no))
    assert aws.asked == ["GetCallerIdentity"]


def test_consent_is_for_exactly_this_account(aws: Aws, tmp_path: Path) -> None:
    assert refusal(admission(aws, tmp_path, consent="123456789013", production=True)).guard == "production"
    assert refusal(admission(aws, tmp_path, consent="", production=True)).guard == "production"


def test_a_freeze_that_begins_while_the_fault_may_be_in_place_refuses(aws: Aws, tmp_path: Path) -> None:
    rules: dict[str, Any] = {"timezone": "UTC", "freeze": ["2026-08-04"]}
    assert refusal(admission(aws, tmp_path, longest_s=12.5 * 3600, **rules)).guard == "freeze"


def test_the_kill_switch_refuses_from_a_file_and_from_the_account(aws: Aws, tmp_path: Path) -> None:
    set_file(tmp_path, "staging", "the release looks bad")
    no = refusal(admission(aws, tmp_path))
    assert (no.guard, "the release looks bad" in str(no)) == ("kill-switch", True)
    assert "tocsin stop --clear --target staging" in str(no)
    stop_file(tmp_path, "staging").unlink()
    aws.parameters[PARAMETER] = ["customers first"]
    no = refusal(admission(aws, tmp_path))
    assert (no.guard, "customers first" in str(no)) == ("kill-switch", True)
    del aws.parameters[PARAMETER]
    ask_all(admission(aws, tmp_path).guards(), lambda _: None)


def test_a_guard_that_cannot_be_evaluated_stops_the_drill(aws: Aws, tmp_path: Path) -> None:
    for operation, guard in (("GetParameter", "kill-switch"), ("GetCallerIdentity", "identity")):
        del aws.answers[operation]
        no = refusal(admission(aws, tmp_path))
        assert (no.guard, "AccessDenied" in str(no)) == (guard, True)


def test_a_kill_switch_that_cannot_be_read_stops_the_drill(aws: Aws, tmp_path: Path) -> None:
    stop_file(tmp_path, "staging").mkdir(parents=True)
    assert refusal(admission(aws, tmp_path)).guard == "kill-switch"


# --- in a whole drill ---------------------------------------------------------------------------------------


def drill(aws: Aws, root: Path, rules: str = "") -> tuple[Verdict, list[Any]]:
    for name in ("contracts", "loadtests", "synthetics", "systems"):
        (root / name).symlink_to(ROOT / name)
    (root / "tocsin.toml").write_text(
        f'[targets.staging]\naccount = "{ACCOUNT}"\nregion = "eu-west-1"\nendpoint_url = "{aws.url}"\n{rules}'
    )
    run, out = run_experiments([EXPERIMENT], RunOptions(root=root, target="staging", out=root / "out"))
    return run.drills[0], read_history(out / EXPERIMENT.stem / "history.jsonl")


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")


def test_with_credentials_of_another_account_nothing_else_is_asked(aws: Aws, tmp_path: Path) -> None:
    aws.account = "999999999999"
    verdict, history = drill(aws, tmp_path)
    assert aws.asked == ["GetCallerIdentity"]
    assert (verdict.exit_code, verdict.stopped) == (4, "identity")
    assert "found credentials of 999999999999" in verdict.judgements[0].message
    assert not [event for event in history if isinstance(event, FaultChanged)]


def test_a_system_that_is_not_allowed_is_refused_after_the_account(aws: Aws, tmp_path: Path) -> None:
    verdict, history = drill(aws, tmp_path, 'systems = ["shop"]\n')
    assert (verdict.exit_code, verdict.stopped, aws.asked) == (4, "systems", ["GetCallerIdentity"])
    assert isinstance(history[0], DrillStarted)
    assert [event.guard for event in history if isinstance(event, GuardChecked)] == ["identity", "systems"]


def test_the_system_is_looked_up_after_the_guards_and_the_lock_is_given_back(aws: Aws, tmp_path: Path) -> None:
    verdict, _ = drill(aws, tmp_path)
    assert aws.asked[:3] == ["GetCallerIdentity", "GetParameter /tocsin/stop", "PutParameter /tocsin/lock"]
    assert len(aws.asked) > 5
    assert aws.asked[-1] == "DeleteParameter /tocsin/lock"
    assert verdict.stopped == "target"


def test_another_runner_in_the_account_is_refused_before_anything_is_touched(aws: Aws, tmp_path: Path) -> None:
    aws.parameters["/tocsin/lock"] = [
        '{"owner": "bad-release-1", "runner": "other", "host": "ci-7", "expires_at": "2999-01-01T00:00:00Z"}'
    ]
    verdict, history = drill(aws, tmp_path)
    assert (verdict.exit_code, verdict.stopped) == (4, "lock")
    message = verdict.judgements[0].message
    assert all(word in message for word in ("bad-release-1", "ci-7", "2999-01-01 00:00:00 UTC"))
    assert not [event for event in history if isinstance(event, FaultChanged)]
    assert aws.parameters["/tocsin/lock"][-1].startswith('{"owner": "bad-release-1"')


def test_a_lock_that_cannot_be_given_back_is_told_and_changes_no_verdict(aws: Aws, tmp_path: Path) -> None:
    def refuse(_: dict[str, Any]) -> Any:
        raise Failure(400, "AccessDeniedException")

    aws.answers["DeleteParameter"] = refuse
    verdict, history = drill(aws, tmp_path)
    last = [event for event in history if isinstance(event, GuardChecked)][-1]
    assert (last.guard, last.ok, "could not be released" in last.detail) == ("lock", True, True)
    assert verdict.stopped == "target"

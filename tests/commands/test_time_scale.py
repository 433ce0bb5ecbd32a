"""A time scale that the target does not have is refused in one sentence; what is reported is what was."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import yaml
from click.testing import CliRunner
from tests.planted.bench import PROJECT
from tests.planted.setups import SETUPS

from tocsin.aws.target import Target
from tocsin.cli import main
from tocsin.commands.session import settled, settled_scale
from tocsin.drill.opening import command_again
from tocsin.drill.options import RunOptions
from tocsin.errors import InvalidInput
from tocsin.sandbox.control import SandboxState
from tocsin.sandbox.drill_user import AccessKey

STAGING = '[targets.staging]\naccount = "210987654321"\nregion = "eu-west-1"\n'


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tocsin.toml").write_text(STAGING)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def running(root: Path, scale: float) -> None:
    """A sandbox runs, as far as its state tells: its daemon is this process."""
    state = SandboxState(
        pid=os.getpid(),
        created=psutil.Process().create_time(),
        endpoint_url="http://127.0.0.1:9",
        region="eu-west-1",
        account_id="123456789012",
        time_scale=scale,
        systems=("bell",),
        started_at=datetime.now(UTC),
        root=AccessKey(access_key_id="123456789012", secret_access_key="not-a-secret"),
        token="not-a-token",
    )
    home = root / ".tocsin" / "sandbox"
    home.mkdir(parents=True)
    (home / "state.json").write_text(state.model_dump_json())


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (
            RunOptions(root=Path(), time_scale=240.0),
            "expected --time-scale 60, that of the sandbox that runs, found 240",
        ),
        (RunOptions(root=Path(), parts="containers"), "expected --parts embedded, that of the sandbox that runs"),
        (RunOptions(root=Path(), target="staging", time_scale=60.0), "expected no --time-scale for target 'staging'"),
        (RunOptions(root=Path(), target="staging", parts="embedded"), "expected no --parts for target 'staging'"),
    ],
    ids=["scale", "parts", "scale of an account", "parts of an account"],
)
def test_what_would_be_ignored_is_refused(root: Path, asked: RunOptions, complaint: str) -> None:
    running(root, 60.0)
    with pytest.raises(InvalidInput, match=complaint):
        settled_scale(replace(asked, root=root))


def test_without_a_word_it_is_that_of_the_target(root: Path) -> None:
    assert settled_scale(RunOptions(root=root)) == 60
    assert settled_scale(RunOptions(root=root, time_scale=240.0)) == 240
    assert settled_scale(RunOptions(root=root, target="staging")) == 1
    running(root, 120.0)
    assert settled_scale(RunOptions(root=root)) == 120
    assert settled_scale(RunOptions(root=root, time_scale=120.0)) == 120


def test_a_run_that_starts_its_sandbox_has_the_time_scale_of_each_drill(root: Path) -> None:
    here = RunOptions(root=root)
    assert settled(here) == replace(here, auto_scale=True)
    assert settled(replace(here, time_scale=60.0)) == replace(here, time_scale=60.0)
    staging = replace(here, target="staging")
    assert settled(staging) == staging


def test_a_run_on_the_sandbox_that_runs_has_its_time_scale(root: Path) -> None:
    running(root, 120.0)
    here = RunOptions(root=root)
    assert settled(here) == here
    assert settled(replace(here, parallel=2)) == replace(here, parallel=2, auto_scale=True), "workers start their own"
    beside = replace(here, auto_scale=True)
    assert settled(beside) == replace(beside, parallel=1), "asked for: a worker starts others beside it"


def test_the_command_line_says_it_in_one_sentence_and_starts_nothing(root: Path) -> None:
    shutil.copytree(PROJECT, root, dirs_exist_ok=True)
    running(root, 60.0)
    (root / "outage.yaml").write_text(yaml.safe_dump(SETUPS["outage"].document()))
    answer = CliRunner().invoke(main, ["run", "outage.yaml", "--time-scale", "240", "--out", "out"])
    assert answer.exit_code == 2
    assert answer.stderr.splitlines() == [
        "tocsin: expected --time-scale 60, that of the sandbox that runs, found 240. Leave it out, or stop that "
        "sandbox first: `tocsin sandbox down`."
    ]
    assert not (root / "out").exists()


def test_deadlines_that_a_scale_cannot_tell_are_told_with_their_lines(root: Path) -> None:
    shutil.copytree(PROJECT, root, dirs_exist_ok=True)
    document = SETUPS["outage"].document()
    document["extensions"][0]["expect"]["recovery"] = {"within": "2m"}
    (root / "outage.yaml").write_text(yaml.safe_dump(document))
    answer = CliRunner().invoke(main, ["run", "outage.yaml", "--time-scale", "600", "--out", "out"])
    assert answer.exit_code == 2
    assert "expected `within` of the recovery to be longer than 2m40s, found 2m" in answer.stderr
    assert re.search(r"outage\.yaml:\d+", answer.stderr)
    assert not (root / "out").exists()


def test_validate_refuses_a_deadline_that_no_clock_can_tell(root: Path) -> None:
    shutil.copytree(PROJECT, root, dirs_exist_ok=True)
    document = SETUPS["outage"].document()
    document["extensions"][0]["expect"]["must"][0]["within"] = "20s"
    (root / "outage.yaml").write_text(yaml.safe_dump(document))
    answer = CliRunner().invoke(main, ["validate", "outage.yaml"])
    assert answer.exit_code == 2
    assert "`within` of api-5xx to be longer than 25s, found 20s: alarms are looked at every 15 s" in answer.stderr


@pytest.mark.parametrize(
    ("asked", "found", "told"),
    [(None, 60.0, "60"), (None, 240.0, "240"), (240.0, 240.0, "240"), (60.0, 60.0, "60")],
)
def test_the_command_to_run_it_again_tells_the_scale_that_was(asked: float | None, found: float, told: str) -> None:
    target = Target(name="sandbox", region="eu-west-1", scale=found)
    words = shlex.split(command_again("x.yaml", target, RunOptions(root=Path(), time_scale=asked), seed=7))
    assert words[:6] == ["tocsin", "run", "x.yaml", "--target", "sandbox", "--seed"]
    assert words[7:] == ["--time-scale", told]


def test_the_command_for_an_account_has_no_scale() -> None:
    target = Target(name="staging", region="eu-west-1", scale=1.0)
    again = command_again("x.yaml", target, RunOptions(root=Path(), target="staging"), seed=7)
    assert again == "tocsin run x.yaml --target staging --seed 7"

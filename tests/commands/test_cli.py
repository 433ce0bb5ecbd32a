"""The command line as a user meets it: one message, the right exit code, nothing started."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests import warm

from tocsin.commands.console import plain_console
from tocsin.commands.endings import one_message

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.yaml"))


def tocsin(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return warm.python("-m", "tocsin.cli", *arguments, cwd=cwd)


def test_version() -> None:
    answer = tocsin("--version")
    assert answer.returncode == 0
    assert answer.stdout.startswith("tocsin, version ")


def test_an_arn_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    line = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/[db]"
    plain_console().print(line)
    assert capsys.readouterr().out == f"{line}\n"


def test_help_does_not_load_the_heavy_parts() -> None:
    code = "import sys; from tocsin.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    heavy = ("boto3", "chaoslib", "http.client", "locust", "schemathesis", "rich", "pydantic")
    assert loaded(code, heavy) == []


def test_ledger_recover_and_stop_do_not_load_what_only_a_drill_needs() -> None:
    code = "import sys; import tocsin.commands.parallel.places\n"
    assert loaded(code, ("chaoslib", "schemathesis", "tocsin.actors.injector", "tocsin.drill.acts")) == []


def loaded(code: str, modules: tuple[str, ...]) -> list[str]:
    """Which of these modules are there after the code ran in a process of its own."""
    code += f"print(*[name for name in {modules} if name in sys.modules], sep='\\n')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return [line for line in answer.stdout.splitlines() if line in modules]


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "smoke",
        "validate",
        "coverage",
        "report",
        "recover",
        "stop",
        "ledger",
        "faults",
        "permissions",
        "schema",
        "sandbox",
    ],
)
def test_every_command_explains_itself(command: str) -> None:
    answer = tocsin(command, "--help")
    assert answer.returncode == 0
    assert len(answer.stdout.splitlines()) > 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a file, found none"),
        ("title: [unclosed\n", "expected YAML"),
        (
            "title: x\ndescription: x\nmethod: []\n"
            "extensions: [{name: tocsin, system: nowhere, expect: {gap: x, recovery: {within: 5m}}}]\n",
            "nowhere",
        ),
    ],
)
def test_bad_input_exits_2_with_one_message_and_starts_nothing(
    tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "experiment.yaml"
    if content is not None:
        path.write_text(content)
    (tmp_path / "systems").mkdir()
    answer = tocsin("run", str(path), cwd=tmp_path)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert answer.stderr.startswith(f"tocsin: {path}")
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / ".tocsin").exists()


def test_an_unknown_target_exits_2(tmp_path: Path) -> None:
    (tmp_path / "tocsin.toml").write_text('[targets.staging]\naccount = "123456789012"\nregion = "eu-west-1"\n')
    answer = tocsin("run", str(EXPERIMENTS[0]), "--target", "stagin", cwd=tmp_path)
    assert answer.returncode == 2
    assert "Did you mean 'staging'?" in answer.stderr


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[targets.staging\n", "expected TOML"),
        ('[targets.staging]\naccount = "12"\nregion = "eu-west-1"\n', "targets.staging.account"),
        (
            '[targets.staging]\naccount = "123456789012"\nregion = "x"\nregon = "y"\n',
            "unknown name 'regon' in targets.staging",
        ),
    ],
)
def test_a_bad_project_file_exits_2(tmp_path: Path, toml: str, message: str) -> None:
    (tmp_path / "tocsin.toml").write_text(toml)
    answer = tocsin("ledger", "--target", "staging", cwd=tmp_path)
    assert answer.returncode == 2
    assert message in answer.stderr


def test_validate_lists_every_problem(tmp_path: Path) -> None:
    (tmp_path / "systems").mkdir()
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("title: x\n")
    answer = tocsin("validate", str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml"), cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.count("expected a block named 'tocsin'") == 2
    assert "0 of 2 experiments are valid" in answer.stdout


def test_the_experiments_of_this_repository_are_valid() -> None:
    answer = tocsin("validate", "experiments")
    assert (answer.returncode, answer.stderr) == (0, "")


def test_faults_can_be_listed_and_explained() -> None:
    assert "rds_proxy_throttle" in tocsin("faults").stdout
    explained = tocsin("faults", "rds_proxy_throttle").stdout
    assert "rds:ModifyDBProxyTargetGroup" in explained
    assert "max_connections_percent" in explained
    unknown = tocsin("faults", "rds_throttle")
    assert unknown.returncode == 2
    assert "Did you mean 'rds_proxy_throttle'?" in unknown.stderr


def test_nothing_to_recover(tmp_path: Path) -> None:
    answer = tocsin("recover", cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (0, "nothing to recover on target 'sandbox'\n")


def test_a_report_needs_a_history(tmp_path: Path) -> None:
    assert tocsin("report", str(tmp_path)).returncode == 2
    (tmp_path / "history.jsonl").write_text('{"kind": "nonsense"}\n')
    answer = tocsin("report", str(tmp_path))
    assert answer.returncode == 2
    assert "history.jsonl:1: expected an event of a drill" in answer.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected a file, found none"),
        ("{", "policy.json:1: expected JSON: a name in double quotes"),
        ("[]", "expected an IAM policy, found JSON without a Statement"),
        ('{"Statement": "Allow"}', "policy.json:1: Statement: expected a list, found 'Allow'"),
    ],
)
def test_a_file_that_is_no_policy_starts_no_sandbox(tmp_path: Path, text: str | None, message: str) -> None:
    for name in ("contracts", "loadtests", "replicas", "synthetics", "systems"):
        (tmp_path / name).symlink_to(ROOT / name)
    if text is not None:
        (tmp_path / "policy.json").write_text(text)
    answer = tocsin("sandbox", "up", "leave-attendance", "--policy", "policy.json", cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert message in answer.stderr
    assert not (tmp_path / ".tocsin" / "sandbox").exists()


def test_permissions_of_nothing_is_bad_input() -> None:
    answer = tocsin("permissions")
    assert answer.returncode == 2
    assert "expected experiments, or a run with --observed" in answer.stderr


@pytest.mark.parametrize("code", [0, None, 1, "bye"])
def test_code_that_was_called_and_ends_the_process_is_never_a_pass(
    code: int | str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    def ends() -> int:
        sys.exit(code)

    with pytest.raises(SystemExit) as left:
        one_message(ends)()
    assert left.value.code == 3
    assert f"sys.exit({code!r})" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOSPC, errno.EACCES])
def test_what_the_machine_does_not_let_us_do_is_one_line(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    def writes() -> int:
        raise OSError(number, os.strerror(number), "/checkout/.tocsin")

    with pytest.raises(SystemExit) as left:
        one_message(writes)()
    assert left.value.code == 3
    told = capsys.readouterr().err
    assert told.startswith(f"tocsin: expected to open or write /checkout/.tocsin, found: {os.strerror(number)}. ")
    assert told.count("\n") == 1


def test_a_file_in_the_place_of_our_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / ".tocsin").touch()
    answer = tocsin("sandbox", "down", cwd=tmp_path)
    assert (answer.returncode, answer.stderr.count("\n")) == (3, 1)
    assert f"{tmp_path / '.tocsin'}, found: " in answer.stderr

"""One drill is told more than ninety forms of secrets, by activities, a canary and AWS: none is in what it leaves."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from tests.commands.test_modes import others_may
from tests.masking import leaks
from tests.planted.bench import Bench
from tests.planted.test_ends import Drill
from tests.secret_scan import HOLDS_SECRETS, Secret, files_below
from tests.secret_scan import leaks as found_in

from tocsin.sandbox import control

pytestmark = [pytest.mark.planted, pytest.mark.timeout(900)]

SAID = {name: leaks.nasty(name) for name in ("declared", "in the account")}
SENT = leaks.plain("sent by a canary")
CANARY = """

from pathlib import Path


def canary_key(api: Journey) -> None:
    with api.step("ask"):
        api.get("/healthz", headers={{"x-api-key": {key!r}}})
        if Path({broken!r}).exists():
            raise AssertionError("no key {key}, and not in base64: {coded}")
"""


ALOUD = """
import sys
from pathlib import Path


def say(files):
    for file in files:
        print(Path(file).read_text())
        print(Path(file).read_text(), file=sys.stderr)
    print("all was said aloud")
"""
"""Code of others that prints in the process of the drill."""


def says(kind: str, name: str, file: Path, code: int) -> dict[str, Any]:
    """An activity that prints a file on both streams."""
    line = f"cat {file}; cat {file} >&2; exit {code}"
    return {"type": kind, "name": name, "provider": {"type": "process", "path": "sh", "arguments": ["-c", line]}}


@pytest.fixture
def told(tmp_path: Path) -> Iterator[list[Path]]:
    """A file for each form, away from what is scanned here, and gone before the scan of the session."""
    texts = [write(value) for value in SAID.values() for write in leaks.KNOWN.values()]
    texts += [write(leaks.nasty(form)) for form, write in leaks.NAMED.items()]
    files = [tmp_path / f"form-{index}" for index in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    yield files
    for file in files:
        file.unlink()


@pytest.fixture
def secret(bench: Bench) -> Iterator[None]:
    """One that nobody but the account knows."""
    vault = bench.client("secretsmanager")
    vault.create_secret(Name="bell/till", SecretString=SAID["in the account"])
    yield
    vault.delete_secret(SecretId="bell/till", ForceDeleteWithoutRecovery=True)


@pytest.mark.usefixtures("secret")
def test_none_of_ninety_forms_is_in_any_file_or_line(bench: Bench, told: list[Path]) -> None:
    assert len(leaks.KNOWN) + len(leaks.NAMED) >= 90
    coded = leaks.KNOWN["in base64 after a user"](SENT)
    broken = told[0].with_name("broken")
    with bench.set_up("poison"):
        canaries = bench.root / "synthetics" / "bell.py"
        canaries.write_text(canaries.read_text() + CANARY.format(key=SENT, coded=coded, broken=str(broken)))
        bench.document["secrets"] = {"till": {"token": {"type": "env", "key": "KIOSK_TOKEN"}}}
        method, rollbacks = bench.document["method"], bench.document["rollbacks"]
        touch = {"type": "process", "path": "touch", "arguments": [str(broken)]}
        method.append({"type": "probe", "name": "break the canary", "provider": touch})
        method += [says("probe", f"say {file.name}", file, 0) for file in told[::10]]
        rollbacks += [says("action", f"fail {file.name}", file, 1) for file in told]
        aloud = {"type": "python", "module": "said_aloud", "func": "say", "arguments": {"files": [*map(str, told)]}}
        method.append({"type": "probe", "name": "say all aloud", "provider": aloud})
        (told[0].parent / "said_aloud.py").write_text(ALOUD)
        drill = Drill(bench)
        environment = {**os.environ, "KIOSK_TOKEN": SAID["declared"], "PYTHONPATH": str(told[0].parent)}
        done = subprocess.run(
            drill.command,
            cwd=bench.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            umask=0,
        )
        canaries.unlink()
    drill.is_undone()
    home = control.directory(bench.root)
    assert others_may(drill.out) == {}
    modes = [oct(path.stat().st_mode & 0o777) for path in (home, home / "state.json", home / "daemon.log")]
    assert modes == ["0o700", "0o600", "0o600"]
    (drill.out / "printed.txt").write_text(done.stdout + done.stderr)
    assert "all was said aloud" in done.stdout
    assert done.stdout.count("activity fail form-") == len(told)
    assert "canary key fails: ask: AssertionError: no key" in done.stdout
    files = [
        file
        for file in (*files_below(drill.out), *files_below(home.parent))
        if not any(fnmatch(str(file.relative_to(home)), one) for one in HOLDS_SECRETS if file.is_relative_to(home))
    ]
    assert {"history.jsonl", "journal.json", "report.html", "verdict.json", "junit.xml", "sandbox.sqlite"} <= {
        file.name for file in files
    }
    known = [Secret(name, value) for name, value in SAID.items()] + [Secret("sent by a canary", SENT)]
    assert found_in(known, files) == []
    ends = [mark.encode() for mark in (leaks.FRONT, leaks.BACK)]
    assert [file.name for file in files if any(mark in file.read_bytes() for mark in ends)] == []

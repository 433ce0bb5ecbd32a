"""The scan for secrets is proved by planted ones: with a leak a session fails and names it, without it passes."""

from __future__ import annotations

import base64
import os
import re
import secrets
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.secret_scan import Secret, files_below, leaks

ROOT = Path(__file__).parents[1]

SANDBOX = """
import json
from pathlib import Path
from tests.secret_scan import watched
from tocsin.sandbox import control

DEPLOY = '''
import json
from pathlib import Path
def deploy(account):
    login = json.dumps({{"username": "owner", "password": Path(__file__).with_name("word").read_text()}})
    account.client("secretsmanager").create_secret(Name="shop/db", SecretString=login)
'''

def test_a_system_logs(tmp_path):
    replica = tmp_path / "replicas" / "shop"
    replica.mkdir(parents=True)
    (replica / "deploy.py").write_text(DEPLOY)
    (replica / "word").write_text("{word}")  # not in the source: Python may keep that compiled, and that is scanned
    account = control.up("shop", tmp_path).account
    (replica / "word").unlink()
    try:
        with watched(tmp_path):
            logs, stream = account.client("logs"), dict(logGroupName="/shop", logStreamName="one")
            logs.create_log_group(logGroupName="/shop")
            logs.create_log_stream(**stream)
            logs.put_log_events(**stream, logEvents=[dict(timestamp=1_790_000_000_000, message="as owner, {said}")])
    finally:
        control.down(tmp_path)
"""

PLANTED = """
import os
from pathlib import Path
from tests.secret_scan import REGISTRY, Secret, write_down

def test_that_plants(tmp_path):
    write_down([Secret("secret shop/db: password", "{word}")], Path(os.environ[REGISTRY]))

def test_that_leaves_a_file(tmp_path):
    (tmp_path / "report.html").write_text("as owner, {said}")

def test_that_prints():
    print("as owner, {printed}")
"""

LEAK = re.compile(r"(\S+) holds secret shop/db: password$", re.MULTILINE)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's base directory: what is left there on purpose is nobody else's leak."""
    with tempfile.TemporaryDirectory(prefix="tocsin-scan-") as name:
        yield Path(name)


def session(folder: Path, test: str, *arguments: str, **words: str) -> tuple[int, str]:
    """A session of pytest with nothing but one file of tests and the conftest.py of our own tests."""
    (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (folder / "test_tiny.py").write_text(test.format(**words))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--basetemp={folder / 'base'}", *arguments]
    # Plugins that are only installed would take longer to import than the session to run.
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert words["word"] not in done.stdout + done.stderr
    return done.returncode, done.stdout


def leaking(output: str) -> list[str]:
    """Names of the files that a session said hold the password."""
    return [Path(path).name for path in LEAK.findall(output)]


@pytest.mark.parametrize("leaks_it", [True, False])
def test_a_secret_of_a_sandbox_in_a_log_of_it_fails_the_session(folder: Path, leaks_it: bool) -> None:
    word = secrets.token_urlsafe(18)
    code, output = session(folder, SANDBOX, word=word, said=word if leaks_it else "logged in")
    assert "1 passed" in output, output
    assert (code, leaking(output)) == ((1, ["cloudwatch.log"]) if leaks_it else (0, []))


def test_with_workers_the_files_and_the_output_of_all_of_them_are_scanned(folder: Path) -> None:
    word = secrets.token_urlsafe(18)
    code, output = session(folder, PLANTED, "-p", "xdist", "-n", "2", word=word, said=word, printed=word)
    assert "3 passed" in output, output
    assert (code, sorted(leaking(output))) == (1, ["captured.txt", "report.html"])


PASSWORD = 'a/b"c+d;e'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('pass: a/b"c+d;e', True),
        (r"pass: a/b\"c+d;e", True),
        ("pass=a%2Fb%22c%2Bd%3Be", True),
        (r"pass: {\"login\": \"a/b\\\"c+d;e\"}", True),
        ("pass: a/b&quot;c+d;e", True),
        ("hex 612f6222632b643b65", True),
        (f"authorization: Basic {base64.b64encode(PASSWORD.encode()).decode()}", True),
        (f"authorization: Basic {base64.b64encode(f'user:{PASSWORD}'.encode()).decode()}", True),
        (f"state={base64.urlsafe_b64encode(f'xy{PASSWORD}z'.encode()).decode()}", True),
        (f"state={base64.encodebytes(f'{PASSWORD * 20}'.encode()).decode()}", True),
        (f"state={base64.b64encode(base64.b64encode(f'xy{PASSWORD}'.encode())).decode()}", True),
        ("a&#47;b&#x22;c&#43;d;e", True),
        ("61:2f:62:22:63:2b:64:3b:65", True),
        ("x" * (1 << 18) + "&#97;/b&quot;c+d;e", True),
        (f"state={base64.encodebytes(b'nothing of it' * 20).decode()}", False),
        ("61:2f:62:22:63:2b:64:3b:66", False),
        (f"authorization: Basic {base64.b64encode(b'user:none').decode()}", False),
        ("pass: ***", False),
        ("authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln", True),
        ("authorization: Bearer ***", False),
    ],
)
def test_it_is_found_however_it_is_written(folder: Path, text: str, found: bool) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "a.log").write_text(text)
    assert bool(leaks([Secret("password", PASSWORD)], files_below(folder))) == found


PLANTS_NOTHING = {
    "tests/sandbox/test_control.py": "its systems are a queue each",
    "tests/sandbox/aws/test_isolation.py": "its systems are empty, or that of the shop",
    "tests/commands/test_cli.py": "what it starts is refused",
    "tests/root/test_umask.py": "its password is not-a-secret",
    "tests/root/test_doors.py": "looks itself where the keys are",
    "tests/root/test_users.py": "its password is not-a-secret",
}


def test_every_file_with_the_same_content_is_named(folder: Path) -> None:
    for name in ("one.log", "other.log", "well.log"):
        (folder / name).write_text("nothing here" if name == "well.log" else f"as owner, {PASSWORD}")
    said = leaks([Secret("password", PASSWORD)], files_below(folder))
    assert said == [f"{folder / name} holds password" for name in ("one.log", "other.log")]


def test_it_is_found_in_what_a_long_session_left(folder: Path) -> None:
    """That is looked through by several processes."""
    for number in range(40):
        (folder / f"{number}.log").write_text(f"run {number}: " + "nothing here. " * 5000)
    for number in (3, 17, 39):
        with (folder / f"{number}.log").open("a") as log:
            log.write("as owner, a&#47;b&#x22;c&#43;d;e")
    said = leaks([Secret("password", PASSWORD)], files_below(folder))
    assert said == [f"{folder / name} holds password" for name in ("17.log", "3.log", "39.log")]


@pytest.mark.parametrize("leaks_it", [True, False])
def test_it_is_found_in_a_page_of_a_database(folder: Path, leaks_it: bool) -> None:
    """Most of which is empty."""
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as database, database:
        database.execute("CREATE TABLE entries (said TEXT)")
        database.executemany("INSERT INTO entries VALUES (?)", [("x" * 3000,)] * 40)
        database.execute("INSERT INTO entries VALUES (?)", [f"as {PASSWORD if leaks_it else 'owner'}"])
    assert b"\0" * 64 in (folder / "ledger.sqlite").read_bytes()
    assert bool(leaks([Secret("password", PASSWORD)], files_below(folder))) == leaks_it


def test_every_sandbox_of_the_tests_is_watched() -> None:
    starts = re.compile(r'control\.up\(|"sandbox", "up"')
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    unwatched = {name for name, text in texts.items() if starts.search(text) and "with watched(" not in text}
    assert unwatched == PLANTS_NOTHING.keys()

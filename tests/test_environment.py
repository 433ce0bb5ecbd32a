"""What is exported, kept at home or set in a shell reaches no test: shown by a session that has all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.environment import KEPT, SET

ROOT = Path(__file__).parents[1]

HOSTILE = {
    "AWS_PROFILE": "production",
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_CA_BUNDLE": "/nonexistent",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONWARNINGS": "error",
    "PYTHONUNBUFFERED": "1",
    "TOCSIN_TARGET": "production",
    "TOCSIN_YES_PRODUCTION": "yes",
    "LC_ALL": "de_DE.ISO-8859-1",
    "LANG": "tr_TR",
    "TZ": "Pacific/Kiritimati",
    "TERM": "xterm-256color",
    "COLUMNS": "20",
    "NO_COLOR": "1",
    "FORCE_COLOR": "1",
    "PGPASSWORD": "somebody's",
    "GIT_DIR": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
    "LOCUST_HEADLESS": "1",
    "CI": "true",
}

LOOK = """
import json, os, subprocess, sys, time
from pathlib import Path

SEEN = "import os; m = os.umask(0); print(__import__('json').dumps([dict(os.environ), m]))"

def deaf(name):
    say = "import signal; print(signal.getsignal(signal." + name + ") is signal.SIG_IGN)"
    return subprocess.check_output([sys.executable, "-c", say]) == b"True\\n"

def test_look(tmp_path):
    environment, umask = json.loads(subprocess.check_output([sys.executable, "-c", SEEN]))
    import boto3
    found = {
        "environment": environment,
        "umask": umask,
        "here": dict(os.environ),
        "home": sorted(path.name for path in Path.home().rglob("*")),
        "profiles": boto3.Session().available_profiles,
        "utc_offset_s": time.localtime().tm_gmtoff,
        "deaf": [name for name in ("SIGINT", "SIGQUIT", "SIGHUP") if deaf(name)],
        "compiles": not sys.dont_write_bytecode,
    }
    (Path(__file__).parent / "seen.json").write_text(json.dumps(found))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file of tests with the conftest.py of our own tests, and somebody's home."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_look.py").write_text(LOOK)
    (tmp_path / "home" / ".aws").mkdir(parents=True)
    (tmp_path / "home" / ".aws" / "config").write_text("[profile production]\nregion = eu-west-1\n")
    (tmp_path / "home" / ".locust.conf").write_text("users = 5000\n")
    return tmp_path


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "1")], ids=["here", "in a worker"])
def test_nothing_of_whoever_runs_the_tests_reaches_them(folder: Path, workers: tuple[str, ...]) -> None:
    environment = {
        **os.environ,
        **HOSTILE,
        "HOME": str(folder / "home"),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", f"--basetemp={folder / 'base'}", *workers, "test_look.py"]
    ignoring = ["bash", "-c", 'trap "" INT QUIT HUP; exec "$@"', "background"]
    done = subprocess.run(
        [*ignoring, *command],
        cwd=folder,
        env=environment,
        umask=0o077,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads((folder / "seen.json").read_text())
    ours = {*SET, "HOME", "XDG_CACHE_HOME"}
    assert {name for name in seen["here"] if not KEPT.fullmatch(name)} == ours
    for name in HOSTILE:
        assert seen["environment"].get(name) == SET.get(name), name
    assert (seen["umask"], seen["utc_offset_s"], seen["compiles"]) == (0o022, 20_700, True)
    assert (seen["home"], seen["profiles"], seen["deaf"]) == ([], [], [])

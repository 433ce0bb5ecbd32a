"""What a folder's tests share ends with the last of them, and not with the session."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]

CONFTEST = """
import pytest

@pytest.fixture(scope="session")
def shared():
    print("begins", {name!r})
    yield
    print("ends", {name!r})

@pytest.fixture(scope="session")
def built_on(shared):
    print("builds", {name!r})
    yield
    print("razes", {name!r})
"""
TEST = """
import pytest

@pytest.fixture(scope="session")
def of_the_file():
    print("opens", __name__)
    yield
    print("closes", __name__)

def test_one(built_on, of_the_file):
    print("first", __name__)

def test_between():
    pass

@pytest.mark.parametrize("path", ["a/b", "::"])
def test_two(shared, of_the_file, path):
    print("last", __name__)
"""


def test_it_ends_before_the_tests_of_another_folder_begin(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text("from tests.shared import pytest_runtest_teardown\n")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "conftest.py").write_text(CONFTEST.format(name=folder))
        (tmp_path / folder / f"test_{folder}.py").write_text(TEST)
    (tmp_path / "a" / "test_after.py").write_text("def test_after():\n    print('still', __name__)\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-s",
        "-p",
        "no:cacheprovider",
        "a/test_a.py",
        "a/test_after.py",
        "b",
    ]
    environment = {"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line.lstrip(".") for line in done.stdout.splitlines() if line.lstrip(".").count(" ") == 1]
    alone = ["begins a", "builds a", "opens test_a", "first test_a", "last test_a", "last test_a", "closes test_a"]
    assert told[: len(alone)] == alone
    assert told[len(alone) :] == [
        *("still test_after", "razes a", "ends a"),
        *(line.replace("test_a", "test_b").replace(" a", " b") for line in alone),
        *("razes b", "ends b"),
    ]


GROUPED = """
import pytest

@pytest.fixture(scope="module")
def of_the_module():
    pass

def test_folder(shared): pass
def test_both(built_on, of_the_module): pass
def test_module(of_the_module): pass
def test_alone(tmp_path): pass
@pytest.mark.xdist_group("own")
def test_own(shared): pass
@pytest.mark.planted
def test_shelf(shared): pass
@pytest.mark.takes(2)
def test_long(): pass
@pytest.mark.takes(3)
def test_longest(): pass
"""


def test_one_worker_gets_all_that_share_something(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  xdist_group\n  planted\n  takes\n")
    (tmp_path / "conftest.py").write_text(
        "from tests.shared import pytest_collection_modifyitems\n"
        "def pytest_runtest_setup(item):\n"
        "    group = item.get_closest_marker('xdist_group')\n"
        "    print(item.name, group and group.args[0])\n"
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "conftest.py").write_text(CONFTEST.format(name="a"))
    (tmp_path / "a" / "test_a.py").write_text(GROUPED)
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "a"]
    environment = {"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = dict(line.lstrip(".").split() for line in done.stdout.splitlines() if "test_" in line)
    groups = {"test_folder": "a", "test_both": "a", "test_module": "a/test_a.py", "test_alone": "None"}
    free = {"test_shelf": "None", "test_long": "None", "test_longest": "None"}
    assert told == {**groups, "test_own": "own", **free}
    assert list(told)[:3] == ["test_longest", "test_long", "test_folder"]


SPREAD = """
import time
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(24))
{mark}def test_where(number, worker_id):
    time.sleep(0.01)
    with Path("workers").open("a") as workers:
        workers.write(worker_id + "\\n")
"""


@pytest.mark.parametrize(("mark", "alone"), [("@pytest.mark.xdist_group('own')\n", True), ("", False)])
def test_a_group_is_one_workers(tmp_path: Path, mark: str, alone: bool) -> None:
    """pytest-xdist 3.8 under pytest 9.2 spreads it over all, for no mark is seen: pytest is held below."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  xdist_group\n")
    (tmp_path / "test_a.py").write_text(SPREAD.format(mark=mark))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadgroup"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    workers = (tmp_path / "workers").read_text().split()
    assert len(workers) == 24
    assert (len(set(workers)) == 1) is alone

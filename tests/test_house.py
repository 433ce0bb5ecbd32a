"""The limits of the house are kept, and each would be noticed: a planted one is counted, its healthy twin is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests import counts, house


def written(directory: Path, text: str) -> Path:
    path = directory / "planted.py"
    path.write_text(text)
    return path


def test_the_limits_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    code = house.main(["--counts"])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "patches of our own: " in printed


PATCHES = {
    "a text": 'def test_a(monkeypatch):\n    monkeypatch.setattr("tocsin.aws.sqs.queue_url", None)\n',
    "a module": "from tocsin.aws import sqs\ndef test_a(patch):\n    patch.setattr(sqs, 'queue_url', None)\n",
    "an object": "def test_a(patch, lifecycle):\n    patch.setattr(lifecycle, 'inject', None)\n",
    "a table": "from tocsin.faults.registry import FAULTS\ndef test_a(patch):\n    patch.setitem(FAULTS, 'x', None)\n",
    "an assignment": "import tocsin.aws.sqs\ndef test_a():\n    tocsin.aws.sqs.queue_url = None\n",
    "a mock": "from unittest.mock import MagicMock\ndef test_a():\n    MagicMock()\n",
    "a patcher": "from unittest import mock\ndef test_a():\n    mock.patch('tocsin.aws.sqs.queue_url')\n",
}
NO_PATCHES = {
    "a module of another package": "import time\ndef test_a(patch):\n    patch.setattr(time, 'time', None)\n",
    "a text of another package": "def test_a(monkeypatch):\n    monkeypatch.setattr('time.time', None)\n",
    "the environment": "def test_a(monkeypatch):\n    monkeypatch.setenv('TOCSIN_TARGET', 'x')\n",
    "a class of the tests": "class Own:\n    x = 1\ndef test_a(patch):\n    patch.setattr(Own, 'x', 2)\n",
    "a field of one's own": "def test_a(bench):\n    bench.account = None\n",
}


@pytest.mark.parametrize("text", PATCHES.values(), ids=PATCHES)
def test_a_patch_of_ours_is_counted(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    assert (len(list(counts.patches_in(path))), counts.tests_in(path)) == (1, 1)


@pytest.mark.parametrize("text", NO_PATCHES.values(), ids=NO_PATCHES)
def test_what_is_not_ours_is_not_counted(text: str, tmp_path: Path) -> None:
    assert list(counts.patches_in(written(tmp_path, text))) == []


def test_more_patches_than_three_in_a_hundred_tests_break_the_limit(tmp_path: Path) -> None:
    patch = counts.Found(tmp_path, 1, "setattr")
    assert counts.Counts(100, (patch,) * 3, (), (), ()).kept
    assert not counts.Counts(100, (patch,) * 4, (), (), ()).kept


def test_a_long_file_and_a_long_function_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path, "def f():\n" + "    x = 1\n" * 60)
    assert [found.what for found in counts.long_functions(path)] == ["f: 61 lines"]
    assert list(counts.long_functions(path, most=61)) == []
    assert [found.what for found in counts.long_files(tmp_path, most=60)] == ["61 lines"]
    assert list(counts.long_files(tmp_path, most=61)) == []


TRY = "try:\n    work()\n"
SWALLOWED = {
    "a pass": f"{TRY}except KeyError:\n    pass\n",
    "a continue": "for one in many:\n    try:\n        work()\n    except KeyError:\n        continue\n",
    "dots": f"{TRY}except KeyError:\n    ...\n",
    "anything, bare": f"{TRY}except:\n    told = False\n",
    "anything, by name": f"{TRY}except Exception:\n    told = False\n",
    "anything, unlooked at": f"{TRY}except Exception as error:\n    told = False\n",
    "anything, among others": f"{TRY}except (KeyError, Exception):\n    told = False\n",
    "suppressed": "with contextlib.suppress(Exception):\n    work()\n",
}
KEPT = {
    "with a reason": f"{TRY}except KeyError:\n    pass  # nobody asked\n",
    "with a reason above": f"{TRY}# nobody asked\nexcept KeyError:\n    pass\n",
    "answered": f"{TRY}except KeyError:\n    told = False\n",
    "looked at": f"{TRY}except Exception as error:\n    told = str(error)\n",
    "raised again": f"{TRY}except Exception:\n    clear()\n    raise\n",
    "logged": f"{TRY}except Exception:\n    logger.exception('it stumbled')\n",
    "one kind suppressed": "with contextlib.suppress(KeyError):\n    work()\n",
}


@pytest.mark.parametrize("text", SWALLOWED.values(), ids=SWALLOWED)
def test_a_swallowed_exception_is_counted(text: str, tmp_path: Path) -> None:
    assert len(list(counts.swallowed(written(tmp_path, text)))) == 1


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_an_exception_that_somebody_hears_of_is_not_counted(text: str, tmp_path: Path) -> None:
    assert list(counts.swallowed(written(tmp_path, text))) == []


def unrun(makefile: str, files: dict[str, str]) -> list[str]:
    """`FILE MARK` for each mark by which a run is chosen, in a file that no run of it collects."""
    chosen = re.findall(r"-m '([^']*)'([^\n]*)", makefile)
    places: dict[str, list[str]] = {}
    for marks, directories in chosen:
        for mark in re.findall(r"\w+", marks):
            places.setdefault(mark, []).extend(directories.split())
    return [
        f"{file} {mark}"
        for file, text in files.items()
        for mark, below in places.items()
        if f"pytest.mark.{mark}" in text and not any(f"{file}/".startswith(f"{place}/") for place in below)
    ]


def test_every_test_that_is_left_out_of_one_run_is_in_another() -> None:
    # Two files write tests with marks, and root's are run by a target that chooses by none.
    others = ("tests/test_house.py", "tests/test_shared.py", "tests/root/")
    paths = {str(path.relative_to(house.ROOT)): path for path in house.ROOT.glob("tests/**/test_*.py")}
    files = {name: path.read_text() for name, path in paths.items() if not name.startswith(others)}
    assert unrun((house.ROOT / "Makefile").read_text(), files) == []


def test_a_mark_where_no_run_looks_for_it_is_found() -> None:
    makefile = "test:\n\tpytest -m 'not slow and not drill'\n\tpytest -m 'slow or drill' tests/slow tests/both\n"
    files = {
        "tests/slow/test_a.py": "@pytest.mark.slow\n",
        "tests/fast/test_b.py": "@pytest.mark.drill\n",
        "tests/c.py": "def test_c",
    }
    assert unrun(makefile, files) == ["tests/fast/test_b.py drill"]

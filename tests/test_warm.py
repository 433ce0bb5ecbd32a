"""A warm process is what a fresh one is, for whoever waits for it: the same code in both."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests import warm

ENDS = {
    "at its end": "print('said'); print('complained', file=sys.stderr)",
    "with a code": "sys.exit(7)",
    "with a large code": "sys.exit(259)",
    "with words": "sys.exit('bye')",
    "with nothing": "sys.exit()",
    "with an error": "raise ValueError('wrong')",
    "killed": "os.kill(os.getpid(), 9)",
    "interrupted": "os.kill(os.getpid(), 2); time.sleep(60)",
    "after a thread": "threading.Thread(target=lambda: (time.sleep(0.1), print('later'))).start()",
    "with what was registered": "atexit.register(print, 'registered')",
    "without a flush": "sys.stdout.write('half a line')",
    "where it was told": "print(os.getcwd(), sorted(os.environ.items()), sys.argv, sys.path[0], time.tzname)",
    "as a main program": "print(__name__, sys.modules['__main__'].__dict__ is globals())",
    "with its signals": "print(signal.getsignal(2) is signal.default_int_handler, signal.getsignal(15).name)",
    "with its streams": "print(sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors, sys.stdout.seekable())",
}
BEGIN = "import atexit, os, signal, sys, threading, time\n"


@pytest.mark.parametrize("end", ENDS)
def test_it_ends_as_a_fresh_one(tmp_path: Path, end: str) -> None:
    command = ("-c", BEGIN + ENDS[end], "one", "two")
    env = {"HOME": "/nowhere", "LANG": "C.UTF-8", "LC_CTYPE": "C.UTF-8", "TZ": "<+0300>-3"}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        code = subprocess.run([sys.executable, *command], cwd=tmp_path, env=env, stdout=out, stderr=err).returncode
        out.seek(0)
        err.seek(0)
        fresh = (code, out.read(), err.read())
    found = warm.python(*command, cwd=tmp_path, env=env)
    assert (found.returncode, found.stdout, found.stderr) == fresh


def test_what_cannot_be_written_at_its_end_is_told(tmp_path: Path) -> None:
    with Path(os.devnull).open("rb") as unwritable, tempfile.TemporaryFile() as err:
        code = warm.into(unwritable, err, "-c", "print('lost')", cwd=tmp_path)
        err.seek(0)
        assert b"Exception ignored in" in err.read()
    assert code == 120


@pytest.mark.parametrize(("number", "name"), [(0, "stdout"), (1, "stderr")])
def test_a_closed_stream_is_none(tmp_path: Path, number: int, name: str) -> None:
    code = f"import os, sys\ntry: os.fstat({number + 1})\nexcept OSError: sys.exit(5 if sys.{name} is None else 6)"
    with tempfile.TemporaryFile() as stream:
        streams = [stream, stream]
        streams[number] = warm.CLOSED
        assert warm.into(*streams, "-c", code, cwd=tmp_path) == 5


def test_a_module_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "tale.py").write_text("import sys; print(__name__, sys.argv[0], sys.argv[1:])")
    command = ("-m", "tale", "one")
    fresh = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True)
    assert warm.python(*command, cwd=tmp_path).stdout == fresh.stdout

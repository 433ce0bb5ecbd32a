"""Signals before anything was begun, and when all is told, and code that ends its process: real processes, and more
signals than anybody would send."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.commands.conftest import EXPERIMENT, Folder

ROOT = Path(__file__).parents[2]
SHOWER = f"""
import atexit, os, signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
from tocsin.cli import main
moment, kinds = sys.argv[1], sys.argv[2].split(",")
del sys.argv[1:3]

def shower():
    "From now on, until we are gone, somebody sends us signals: some have come when this returns."
    ours, (told, tell) = os.getpid(), os.pipe()
    if os.fork() == 0:
        sent = 0
        while os.getppid() == ours:
            os.kill(ours, signal.Signals[kinds[sent % len(kinds)]])
            sent += 1
            if sent == 30:
                os.write(tell, b"x")
            time.sleep(0.0005)
        os._exit(0)
    os.read(told, 1)

atexit.register(time.sleep, 0.1)
"""
AT_AN_IMPORT = f"""{SHOWER}
class Importing:
    def find_spec(self, name, path=None, target=None):
        if name == moment:
            sys.meta_path.remove(self)
            shower()

sys.meta_path.insert(0, Importing())
main()
"""
"""`tocsin`, which gets signals when it imports a module for the first time."""
IN_A_RUN = f"""{SHOWER}
from tests.checkers.histories import Scene, write_history
from tocsin.commands import run
from tocsin.commands.progress import Progress
from tocsin.project.histories import read_history

def drill(plan, target, options, out, first=None):
    slug = plan.loaded.experiment.slug
    if moment == "drill":
        shower()
    elif moment == "leave":
        os._exit(0)
    write_history(out / slug / run.HISTORY, Scene(slug=slug).history())
    return read_history(out / slug / run.HISTORY), out / slug

def verdict(self, of, told=Progress.verdict):
    told(self, of)
    if moment == "verdict":
        shower()

run._run_one, Progress.verdict = drill, verdict
main()
"""
"""`tocsin` whose drill passes, and which gets signals while it runs, or when its verdict is told."""
ALL = "SIGINT,SIGTERM,SIGHUP"


@pytest.fixture
def two(folder: Folder) -> Folder:
    """Two experiments that can be run."""
    for file in (folder.root / "experiments" / "shop").iterdir():
        file.unlink()
    for name in ("first", "second"):
        text = EXPERIMENT.replace("SYSTEM", "shop").replace("Nothing", name.capitalize())
        (folder.root / "experiments" / "shop" / f"{name}.yaml").write_text(text)
    return folder


def showered(two: Folder, child: str, moment: str, kinds: str = ALL) -> subprocess.CompletedProcess[str]:
    return two.python("-c", child, moment, kinds, "run", "experiments", "--target", "staging", "--out", "out")


@pytest.mark.parametrize(
    ("module", "first"),
    [("tocsin.project.proxies", "SIGINT"), ("tocsin.actors.attended", "SIGTERM"), ("tocsin.drill.plan", "SIGHUP")],
)
def test_before_anything_was_begun_a_signal_ends_the_command(two: Folder, module: str, first: str) -> None:
    answer = showered(two, AT_AN_IMPORT, module, f"{first},{ALL}")
    assert (answer.returncode, answer.stderr) == (4, "tocsin: interrupted\n")
    assert not (two.root / "out").exists()
    assert two.requests == []


@pytest.mark.parametrize("command", ["recover", "stop"])
def test_a_hangup_is_ignored_by_what_mends_from_its_first_import_on(two: Folder, command: str) -> None:
    answer = two.python("-c", AT_AN_IMPORT, f"tocsin.commands.{command}", "SIGHUP", command)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "nothing to recover" in answer.stdout or "set on this machine" in answer.stdout


def test_a_hangup_right_after_a_recovery_changes_nothing(two: Folder) -> None:
    child = """
import os, signal
from tocsin.commands.signals import no_hangup, process_of_a_command
with process_of_a_command():
    with no_hangup():
        pass
    os.kill(os.getpid(), signal.SIGHUP)
    print("done")
"""
    answer = two.python("-c", child)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "done\n", "")


LOST = """
import os, signal, weakref
from tocsin.actors.context import StopRequest
from tocsin.commands.signals import process_of_a_command, signals_that_end, signals_to

class Anything: pass

def kill_in_a_callback():
    anything = Anything()
    known = weakref.ref(anything, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    del anything

try:
    with process_of_a_command():
        BODY
        print("went on")
except KeyboardInterrupt:
    print("ended")
"""
"""A signal that comes while Python can raise nothing: it drops what a callback of a weak reference raises."""


@pytest.mark.parametrize(
    "body",
    [
        "kill_in_a_callback()\n        with signals_to(StopRequest()): print('a drill begins')",
        "kill_in_a_callback()\n        with signals_that_end(): print('a plan is made')",
        "with signals_that_end(): kill_in_a_callback()",
    ],
    ids=["before a drill", "before a plan", "in a plan"],
)
def test_a_signal_that_python_loses_ends_the_command(two: Folder, body: str) -> None:
    answer = two.python("-c", LOST.replace("BODY", body))
    assert (answer.stdout, answer.stderr) == ("ended\n", "")


def test_when_the_verdict_is_told_no_signal_changes_the_exit_code(two: Folder) -> None:
    answer = showered(two, IN_A_RUN, "verdict")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "verdict   pass  (exit code 0)" in answer.stdout


def test_signals_from_a_drill_to_the_end_of_the_process_are_one(two: Folder) -> None:
    answer = showered(two, IN_A_RUN, "drill")
    assert (answer.returncode, answer.stderr) == (4, "")
    assert "verdict   unknown  (exit code 4)" in answer.stdout


def test_a_hangup_that_whoever_began_it_ignores_is_ignored(two: Folder) -> None:
    """`nohup tocsin run ... &`."""
    deaf = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\nmain()\n"
    answer = showered(two, IN_A_RUN.replace("main()\n", deaf), "drill", "SIGHUP")
    assert (answer.returncode, answer.stderr) == (0, "")


def test_code_that_ends_the_process_is_no_pass(two: Folder) -> None:
    answer = showered(two, IN_A_RUN, "leave")
    assert answer.returncode == 3
    assert "code which was called ended with sys.exit(0)" in answer.stderr
    assert '"outcome": "unknown"' in (two.root / "out" / "verdict.json").read_text()

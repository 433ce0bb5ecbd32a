"""The process that looks at spoilt files: `python -m tests.fuzz.worker SEED FIRST LAST`, a line of JSON a case.

It works under a limit of memory in a copy of the project, in which one file at a time is spoilt and put right again.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import click
from click.testing import CliRunner
from tests.checkers.histories import passing, write_history
from tests.fuzz.cases import PROJECT, Case, case

from tocsin.checkers import judge
from tocsin.cli import main as tocsin
from tocsin.errors import InvalidInput
from tocsin.project.histories import read_history
from tocsin.project.policies import read_policy
from tocsin.report import write_drill

MEMORY_BYTES = 512 * 2**20
LONGEST_S = 5.0
"""Seconds of processor time of one case."""
_LONGEST_LINE = 1500
_PLACE = re.compile(r"(tocsin: )?[^\n:]*\w[^\n:]*(:\d+)?: ")
_LINELESS = (
    "ends the process",
    "expected a file of at most",
    "expected the file",
    "expected a page of /metrics",
    "expected a target, found",
    "expected a history that holds",
)
"""What is no matter of a line."""


def make_project(root: Path) -> None:
    """The project of the cases, with the results of a drill."""
    shutil.copytree(PROJECT, root, dirs_exist_ok=True)
    # What `report` writes must not change the files of other cases.
    drill, told = root / "run" / "passing", root / "told" / "passing"
    for place in (drill, told):
        place.mkdir(parents=True)
        write_history(place / "history.jsonl", passing())
    events = read_history(drill / "history.jsonl")
    write_drill(drill, events, judge(events))
    for name in ("report.html", "junit.xml", "summary.md"):
        (drill / name).unlink(missing_ok=True)


def look(one: Case, root: Path, program: click.Command = tocsin) -> str:
    """Put the spoilt file in its place and run the command: what is wrong with the answer; empty when all is well."""
    file = root / one.kind.file
    before = file.read_bytes()
    file.write_bytes(one.content)
    started = time.process_time()
    try:
        code, said, problem = _answer(one.command, program)
    finally:
        file.write_bytes(before)
    if problem:
        return problem
    if time.process_time() - started > LONGEST_S:
        return f"took {time.process_time() - started:.1f} s of processor time"
    if one.command[:1] == ("report",) and not said:
        return ""  # the exit code is the verdict's, and each of them may be
    return complaint(code, said)


def _answer(command: tuple[str, ...], program: click.Command) -> tuple[int, str, str]:
    """Exit code, what was said on stderr, and a traceback's last line where there is one."""
    readers = {"policy": read_policy, "history": read_history}
    try:
        if command and command[0] in readers:
            readers[command[0]](Path(command[1]))
            return 0, "", ""
    except InvalidInput as error:
        return 2, "".join(f"tocsin: {problem}\n" for problem in error.problems), ""
    answer = CliRunner().invoke(program, list(command))
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        return 0, "", f"raised {type(answer.exception).__name__}: {answer.exception}"[:400]
    if "Traceback" in answer.stderr or (answer.exit_code == 3 and answer.stderr):
        return 0, "", f"exit code {answer.exit_code}: {answer.stderr[-600:]}"
    return answer.exit_code, answer.stderr, ""


def complaint(code: int, said: str) -> str:
    """What is wrong with an answer that is none; empty when it is one."""
    if code in (0, 1):
        return ""
    if code != 2:
        return f"exit code {code}: {said[:300]}"
    lines = [line for line in said.splitlines() if line.strip()]
    if not lines:
        return "exit code 2 without a word"
    for line in lines:
        if len(line) > _LONGEST_LINE:
            return f"a message of {len(line)} characters: {line[:200]}"
    first = _PLACE.match(lines[0])
    if first is None or (first[2] is None and not any(known in lines[0] for known in _LINELESS)):
        return f"a message without file and line: {lines[0][:300]}"
    return ""


def _peak_bytes() -> int:
    """The most memory that this process held.

    On Linux `ru_maxrss` would be that of whoever started it, where that was more: it outlives exec.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (held,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        return int(held) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(seed: int, first: int, last: int) -> None:
    """Look at the cases from `first` up to, not including, `last`."""
    tell = os.fdopen(os.dup(1), "w", buffering=1)
    resource.setrlimit(resource.RLIMIT_DATA, (2 * MEMORY_BYTES, 2 * MEMORY_BYTES))
    with tempfile.TemporaryDirectory(prefix="tocsin-fuzz-") as directory:
        root = Path(directory)
        make_project(root)
        os.chdir(root)
        for number in range(first, last):
            one = case(seed, number, root)
            about = {"number": number, "kind": one.kind.name, "well_formed": one.well_formed}
            print(json.dumps({"begins": number, **about}), file=tell)
            problem = look(one, root)
            if not problem and _peak_bytes() > MEMORY_BYTES:
                problem = f"the process holds {_peak_bytes() / 2**20:.0f} MiB"
            print(json.dumps({**about, "problem": problem, "mib": _peak_bytes() // 2**20}), file=tell)
        os.chdir("/")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:4]))

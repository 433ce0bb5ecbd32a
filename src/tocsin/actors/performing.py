"""Performs one activity as Chaos Toolkit does, and is strict about what it calls done.

Chaos Toolkit only warns of an action by `process` that exits with another code than 0, and of one by `http` that is
answered with an error. Here both have failed. What a probe answers is judged by its tolerance, and by nothing else.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from chaoslib import decode_bytes
from chaoslib.activity import run_activity
from chaoslib.exceptions import ActivityFailed
from chaoslib.hypothesis import within_tolerance

from tocsin.actors.variables import Variables
from tocsin.masking import mask, mask_document
from tocsin.model.toolkit import Activity, HttpProvider, ProcessProvider

Run = dict[str, Any]
"""Chaos Toolkit's record of an activity, as it stands in its journal."""
_LOOK_WALL_S = 0.05
_LAST_LINES, _LAST_CHARACTERS = 3, 400
_READ = 100_000
"""Characters of an answer that are looked at. It is masked before it is cut: half a secret is one, too."""
_MERCY_WALL_S = 2.0
"""Time for a process to end itself when it is asked to."""


def perform(activity: Activity, variables: Variables, ended: Callable[[], bool]) -> Run:
    """Perform one activity and ask its tolerance: `status` says whether it did what it should.

    `ended` is asked while a process runs; once it says yes, the process is ended and has failed. A probe outside of its
    tolerance has `succeeded`, and `tolerance_met` is false.
    """
    began = datetime.now(UTC)
    run: Run = {"activity": activity.document(), "output": None, "start": began.isoformat(), "status": "succeeded"}
    try:
        run["output"] = _answer(activity, variables, ended)
        _check_action(activity, run["output"])
        if activity.is_proof:
            run["tolerance_met"] = _tolerated(activity, run["output"], variables)
    # An activity is anybody's code: whatever it raises is that it failed. So is sys.exit, which would end the drill
    # with an exit code of its own; Ctrl-C does not come as an exception here.
    except BaseException as error:
        _fail(run, error)
    ending = datetime.now(UTC)
    return run | {"end": ending.isoformat(), "duration": (ending - began).total_seconds()}


def not_performed(activity: Activity, why: str) -> Run:
    """The record of an activity that was not begun."""
    now = datetime.now(UTC).isoformat()
    return {
        "activity": activity.document(),
        "output": None,
        "start": now,
        "status": "failed",
        "exception": [why],
        "end": now,
        "duration": 0.0,
    }


def succeeded(run: Run) -> bool:
    """Whether an activity did what it should, and met its tolerance if it has one."""
    return run["status"] == "succeeded" and bool(run.get("tolerance_met", True))


def outcome(run: Run) -> str:
    """What came of it, in words."""
    if run["status"] == "succeeded":
        return mask(f"answered {mask_document(run['output'])!r}"[:_READ])[:300]
    told = str((run.get("exception") or ["failed without a message"])[-1]).strip()
    return mask(told[-_READ:]).removeprefix("chaoslib.exceptions.ActivityFailed: ")[-600:]


def _fail(run: Run, error: BaseException) -> None:
    run["status"] = "failed"
    run["exception"] = traceback.format_exception(type(error), error, None)


def _answer(activity: Activity, variables: Variables, ended: Callable[[], bool]) -> Any:
    if isinstance(activity.provider, ProcessProvider):
        return _run_process(activity.provider, variables, ended)
    return run_activity(activity.document(), variables.configuration, variables.secrets)


def _check_action(activity: Activity, answer: Any) -> None:
    if not activity.is_action:
        return
    if isinstance(activity.provider, ProcessProvider) and answer["status"] != 0:
        raise ActivityFailed(f"{_exit(answer['status'])}{_last_lines(answer['stderr'])}")
    if isinstance(activity.provider, HttpProvider) and answer["status"] >= 400:
        raise ActivityFailed(f"was answered {answer['status']}{_last_lines(str(answer['body']))}")


def _exit(status: int) -> str:
    if status > 0:
        return f"exited with {status}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"


def _last_lines(text: str) -> str:
    told = "; ".join(mask(text.strip()[-_READ:]).splitlines()[-_LAST_LINES:])[-_LAST_CHARACTERS:]
    return f": {told}" if told else ""


def _tolerated(activity: Activity, answer: Any, variables: Variables) -> bool:
    tolerance = activity.document()["tolerance"]
    if isinstance(tolerance, dict):  # those fill in their own values
        if tolerance["type"] == "probe":
            tolerance["provider"].setdefault("arguments", {})
    else:
        tolerance = variables.fill(tolerance)
    try:
        met = within_tolerance(tolerance, answer, configuration=variables.configuration, secrets=variables.secrets)
    except Exception as error:  # whatever an extension's tolerance raises says nothing about the system
        raise ActivityFailed(f"its tolerance cannot be asked: {error}") from error
    if met is None:
        raise ActivityFailed(f"its tolerance cannot be asked: {tolerance!r} is nothing that an answer can be held to")
    return bool(met)


# --- processes ----------------------------------------------------------------------------------------------


def _run_process(provider: ProcessProvider, variables: Variables, ended: Callable[[], bool]) -> dict[str, Any]:
    """As chaoslib.provider.process does it, in a process group of its own, so that all of it can be ended."""
    path = shutil.which(os.path.expanduser(provider.path))  # noqa: PTH111 - Path drops the `./` that `which` obeys
    if path is None:
        raise ActivityFailed(f"expected the program '{provider.path}', found none")
    arguments = variables.fill(provider.arguments)
    command = f"{path} {arguments}" if isinstance(arguments, str) else [path, *_words(arguments)]
    with subprocess.Popen(
        command,
        shell=isinstance(command, str),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        out, err = _await(process, provider.timeout, ended)
    return {"status": process.returncode, "stdout": decode_bytes(out), "stderr": decode_bytes(err)}


def _words(arguments: list[Any] | dict[str, Any]) -> list[str]:
    words = chain.from_iterable(arguments.items()) if isinstance(arguments, dict) else arguments
    return [str(word) for word in words if word not in (None, "")]


def _await(process: subprocess.Popen[bytes], timeout_s: float | None, ended: Callable[[], bool]) -> tuple[bytes, bytes]:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_LOOK_WALL_S)
        if ended():
            _end(process)
            raise ActivityFailed("was ended, because what it belongs to was over")
        if deadline is not None and time.monotonic() > deadline:
            _end(process)
            raise ActivityFailed(f"took longer than its timeout of {timeout_s:g} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, how)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_MERCY_WALL_S)
            return

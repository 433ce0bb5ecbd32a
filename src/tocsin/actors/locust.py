"""Load: Locust in a child process, and one `LoadSecond` for every second of it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

from pydantic import ValidationError

from tocsin.actors.base import Child, ThreadActor
from tocsin.actors.context import RunContext
from tocsin.actors.identities import Identities
from tocsin.errors import InvalidInput, TocsinError
from tocsin.model.events import LoadSecond
from tocsin.model.experiment import LoadPlan
from tocsin.model.synthetic import carries
from tocsin.project.python_files import IMPORT_WITHIN_S, try_import

_RENEW_TOKENS_EVERY_S = 5.0


_IN_LOCUST = "tocsin.actors.load_child:try_load"


def try_load_file(file: Path, root: Path, within_s: float = IMPORT_WITHIN_S) -> None:
    """Import a load file in a process of Locust's own, in the directory in which a drill starts it.

    Raises:
        InvalidInput: everything that is wrong: its import fails, hangs or ends the process, or requests of its users
            would not be in the record of a drill.
    """
    try_import(file, within_s, how=_IN_LOCUST, directory=root)


class LoadActor(ThreadActor):
    """Open-loop traffic from `start` to `stop`.

    The load file is the one of the system file, users and arrival rate are those of the experiment. Locust's
    own exit code says nothing: under a fault, requests fail.
    """

    def __init__(self, ctx: RunContext, identities: Identities | None = None) -> None:
        super().__init__("load", ctx.history)
        plan = ctx.experiment.extension.load
        if ctx.system.load is None or plan is None:
            raise InvalidInput(
                f"expected a load file in systems/{ctx.system.system}.yaml and a load plan in the experiment"
            )
        self._ctx = ctx
        self._plan = plan
        self._file = ctx.root / ctx.system.load
        self._identities = identities or Identities(ctx.target, ctx.system)
        self._child: Child | None = None

    def start(self) -> None:
        """Start Locust; the first second follows as soon as it is up (about a second of wall time).

        Raises:
            InvalidInput: the load file does not exist.
        """
        if not self._file.is_file():
            raise InvalidInput("expected a Locust file, found none", file=self._file)
        super().start()

    def stop(self) -> None:
        """End Locust and record its last seconds."""
        self._stopping.set()
        if self._child is not None:
            self._child.stop()
        super().stop()

    def run(self) -> None:
        """Start the child and record what it reports until it ends."""
        reading, writing = os.pipe()
        try:
            tokens, marking = self._tokens(), self._marking()
            self._child = Child(
                _locust_argv(self._file, self._plan, self._ctx.base_url, self._ctx.seed, writing, marking),
                cwd=self._ctx.root,
                log=self._ctx.directory / "load.log",
                env={"PYTHONUNBUFFERED": "1"},
                first_line=tokens,
                pass_fds=[writing],
            )
        finally:
            os.close(writing)
        if self._stopping.is_set():
            self._child.stop()
        self._record(reading, self._child)
        code = self._child.wait(1.0)
        if not self._stopping.is_set():
            self.died(f"Locust ended with exit code {code}: {self._child.log_tail()}")

    def _record(self, reading: int, child: Child) -> None:
        """Follow the child's lines to their end; hand it new tokens before the old ones end."""
        renewed = time.monotonic()
        with os.fdopen(reading, "r", encoding="utf-8") as lines:
            for line in lines:
                self._record_line(line)
                if not self._stopping.is_set() and time.monotonic() - renewed > _RENEW_TOKENS_EVERY_S:
                    renewed = time.monotonic()
                    # A fault may keep people from signing in: the load goes on with what it has, and tries again.
                    with contextlib.suppress(TocsinError):
                        child.send(self._tokens())

    def _record_line(self, line: str) -> None:
        try:
            message = json.loads(line)
            if "broken" in message:
                self.died(f"the load file is at fault: {message['broken']}")
                self._stopping.set()
                return
            self._ctx.history.record(LoadSecond.model_validate(message["second"]))
        except (ValidationError, ValueError, KeyError):
            # The child was killed in the middle of a line: the rest of it is lost, and so is the child.
            return

    def _marking(self) -> str:
        """What every request that may change something must carry, and the identities whose users do, as JSON."""
        marks, users = self._ctx.system.marks("load"), self._plan.users
        names = self._identities.names if marks else ()
        marked = [one for one in names if all(carries(marks, user) for user in self._identities.users(one)[:users])]
        return json.dumps({"marks": marks, "identities": marked})

    def _tokens(self) -> str:
        names = self._identities.names
        users = self._plan.users
        return json.dumps({name: [token.value for token in self._identities.tokens(name, users)] for name in names})


def _locust_argv(
    file: os.PathLike[str], plan: LoadPlan, host: str, seed: int, descriptor: int, marking: str
) -> list[str]:
    # All users at once, no web port, no statistics on the terminal, and failed requests are no error of ours.
    return [
        *(sys.executable, "-m", "locust", "-f", os.fspath(file), "--headless", "--only-summary"),
        *("--host", host, "--users", str(plan.users), "--spawn-rate", str(plan.users)),
        *("--exit-code-on-error", "0", "--stop-timeout", "0", "--loglevel", "WARNING"),
        *("--arrivals-per-s", str(plan.arrivals_per_s), "--load-seed", str(seed)),
        *("--seconds-fd", str(descriptor), "--tokens", "stdin", "--must-carry", marking),
    ]

"""One worker of a run side by side: a process with a sandbox of its own, that drills what it is told to.

It reads jobs from its standard input and answers on another pipe. When the input ends without a word, whoever began it
is gone: it undoes, reports, takes its sandbox down and ends, as at a signal.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import IO

from tocsin.actors.attended import anything_left
from tocsin.actors.context import StopRequest
from tocsin.actors.injector import quiet_chaos_toolkit
from tocsin.commands.endings import leave, nobody_leaves
from tocsin.commands.modes import private_files
from tocsin.commands.parallel.messages import TO_WORKER, Done, Failed, FromWorker, Halt, Job, Orders, Seen, Told
from tocsin.commands.run import drill_once, wait_until_quiet
from tocsin.commands.session import running_target, start_sandbox, the_only_run
from tocsin.commands.signals import process_of_a_command, signals_to
from tocsin.commands.streams import Aside, lasting_streams
from tocsin.commands.terminal import say
from tocsin.drill.options import RunOptions
from tocsin.drill.plan import Plan, Planner
from tocsin.errors import Interrupted, InvalidInput, TocsinError
from tocsin.model.verdict import Outcome
from tocsin.project.places import worker_here
from tocsin.project.targets import in_region
from tocsin.sandbox import control

OWNER = "tocsin run --parallel"
_ORPHANED = "the end of the run that began it"
_LAST_WORDS_WALL_S = 10.0

Tell = Callable[[FromWorker], None]


def main(answers: int) -> int:
    """Work until there is nothing to do; `answers` is the file descriptor on which it is told.

    Returns:
        0 at the end of the work, 3 when it could not be done.
    """
    with os.fdopen(answers, "w", encoding="utf-8") as pipe:
        aside: Aside[FromWorker] = Aside(partial(_write, pipe))
        try:
            _work(aside.see)
        except TocsinError as error:
            aside.see(Failed(error=str(error), invalid=isinstance(error, InvalidInput)))
            return 3
        finally:
            aside.close(_LAST_WORDS_WALL_S)
    return 0


def _write(pipe: IO[str], message: FromWorker) -> None:
    pipe.write(f"{message.model_dump_json()}\n")
    pipe.flush()


def _work(tell: Tell) -> None:
    orders = Orders.model_validate_json(sys.stdin.readline())
    stop = StopRequest()
    jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs, stop), name="orders", daemon=True).start()

    options = RunOptions(
        root=orders.root,
        parts=orders.parts,
        policy=orders.policy,
        seed=orders.seed,
        listener=lambda event: tell(Seen(event=event)),
        note=lambda text: tell(Told(text=text)),
        stop=stop,
    )
    quiet_chaos_toolkit()
    with signals_to(stop), the_only_run(options, OWNER), _Sandbox(options) as sandbox:
        while (job := jobs.get()) is not None and not stop.is_set():
            if sandbox.drill(job):
                tell(Done(slug=job.path.stem))


def _listen(jobs: queue.SimpleQueue[Job | None], stop: StopRequest) -> None:
    """Hear what is to be done, beside the drill; the end of the input, too."""
    for line in sys.stdin:
        match TO_WORKER.validate_json(line):
            case Job() as job:
                jobs.put(job)
            case Halt(why=why):
                stop.ask(Interrupted(why))
                break
            case _:
                break
    else:
        stop.ask(Interrupted(_ORPHANED))
    jobs.put(None)


class _Sandbox:
    """The sandbox of this worker: started for the first drill, and anew for one at another time scale, for a second
    try, and where what a drill left would refuse the next one."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._planner = Planner(options.root)
        self._kept = ExitStack()
        self._scale: float | None = None
        self._all_passed = True
        """on this sandbox: one that did not may have left alarms ringing, which would refuse the next"""

    def __enter__(self) -> _Sandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self._kept.close()

    def drill(self, job: Job) -> bool:
        """Drill, judge and report; whether it began, which it does not when the end is asked for before.

        Raises:
            TocsinError: as a run of one drill does.
        """
        options = replace(self._options, time_scale=job.scale, scale_because=job.because, try_again=job.first is None)
        plan = self._planner.plan(job.path)
        # A second try begins where the first one began: messages that it left in a queue would ring, or be worked on.
        renewed = self._scale != job.scale or job.first is not None or not self._gets_quiet(plan, options)
        if options.stop.is_set():
            return False
        if renewed:
            self._kept.close()
            self._start(plan, options)
            self._scale, self._all_passed = job.scale, True
        with running_target({plan.system.system}, options, alone=True) as target:
            if options.stop.is_set():
                return False
            _, verdict = drill_once(plan, target, options, job.out, job.first)
            self._all_passed = self._all_passed and verdict.outcome is Outcome.PASS
        return True

    def _gets_quiet(self, plan: Plan, options: RunOptions) -> bool:
        """Whether nothing rings any more that the drills before left ringing."""
        if self._all_passed:
            return True
        with running_target({plan.system.system}, options, alone=True) as target:
            quiet = wait_until_quiet(plan, in_region(target, plan.system), options)
        if not quiet and not options.stop.is_set():
            options.note(f"what drills before it left still rings: {plan.loaded.experiment.slug} gets a new sandbox")
        return quiet

    def _start(self, plan: Plan, options: RunOptions) -> None:
        """Start it, for longer than one drill; before it is there, so that whatever ends us takes it down."""
        starter = uuid.uuid4().hex
        self._kept.callback(control.down, options.root, starter)
        start_sandbox(
            plan.system.system,
            options.root,
            options.time_scale,
            options.note,
            parts=options.parts,
            starter=starter,
        )


if __name__ == "__main__":
    if worker_here() is None:
        say("tocsin: expected to be begun by `tocsin run --parallel`, found nobody who did", err=True)
        sys.exit(2)
    # What code of others prints here is kept in a log.
    with process_of_a_command(), nobody_leaves(), lasting_streams(), private_files():
        ended = main(int(sys.argv[1]))
        if anything_left():
            leave(ended)
        sys.exit(ended)

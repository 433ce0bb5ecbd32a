"""A run with its drills side by side: who begins when, and what becomes of each."""

from __future__ import annotations

import os
import queue
from collections import Counter
from collections.abc import Iterable, MutableMapping, Sequence
from pathlib import Path

from tocsin.checkers.timeline import Timeline
from tocsin.commands.parallel.crew import Ears, Heard, Worker
from tocsin.commands.parallel.messages import Done, Failed, Job, Orders, Seen, Told
from tocsin.commands.parallel.places import make_room_for
from tocsin.commands.parallel.room import Room
from tocsin.commands.run import HISTORY, Drilled, drill_again, failed, first_try
from tocsin.drill.options import DEFAULT_SCALE, RunOptions
from tocsin.drill.plan import Plan, faults
from tocsin.drill.scales import choice_of
from tocsin.errors import InvalidInput, SandboxError
from tocsin.model.events import DrillStarted, Event, FirstTry, MachineLagged
from tocsin.model.verdict import Verdict
from tocsin.project.histories import stream_history

_LOOK_WALL_S = 0.2


def side_by_side(plans: Sequence[Plan], options: RunOptions, out: Path, done: MutableMapping[str, Drilled]) -> None:
    """Drill all, until the end is asked for; `done` has those that came to a verdict, by their slug.

    Raises:
        Refused: workers of another run are there, or one of them left a fault in place.
        SandboxError: no worker is left that could drill the rest, or something of a sandbox could not be ended.
    """
    names = [str(number + 1) for number in range(how_many(options, len(plans)))]
    make_room_for(names, options)
    with Room() as room:
        run = _Run(plans, options, out, done, room)
        try:
            run.begin(names)
            run.to_the_end()
        finally:
            run.close()


def how_many(options: RunOptions, drills: int) -> int:
    """Workers: as many as asked for, and no more than drills.

    With `auto` one more than there are processors: drills mostly wait. It works only while that is easy.
    """
    asked = processors() + 1 if options.parallel in ("auto", None) else int(options.parallel)
    return max(1, min(asked, drills))


def processors() -> int:
    """Those that this process may have."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def burns_processor(plan: Plan) -> bool:
    """Whether a drill takes processors on purpose, so that another one beside it would measure that."""
    return any(fault.burns_processor for fault in faults(plan))


class _Run:
    """The state of one run: what waits, who works, what is done."""

    def __init__(
        self, plans: Sequence[Plan], options: RunOptions, out: Path, done: MutableMapping[str, Drilled], room: Room
    ) -> None:
        self._options, self._out, self._done, self._room = options, out, done, room
        self._plans = {plan.loaded.experiment.slug: plan for plan in plans}
        self._alone = {slug for slug, plan in self._plans.items() if burns_processor(plan)}
        jobs = [self._job(slug) for slug in self._plans]
        self._waiting = [job for job in jobs if job.path.stem not in self._alone]
        self._waiting_alone = [job for job in jobs if job.path.stem in self._alone]
        self._ears: Ears = queue.SimpleQueue()
        self._workers: list[Worker] = []
        self._there: dict[str, tuple[float, frozenset[str]]] = {}
        """time scale and systems of each worker's sandbox"""
        self._gone: list[str] = []
        self._wrong: str | None = None
        self._halted = False
        self._processors = processors()
        self._anybody_drilled = False
        """whether anything is measured by anybody yet: before, sandboxes start"""

    def _job(self, slug: str) -> Job:
        path = Path(self._plans[slug].loaded.experiment.path)  # as it was given: workers are where we are
        chosen = choice_of(self._plans[slug], self._options, self._options.time_scale or DEFAULT_SCALE)
        return Job(path=path, out=self._out, scale=chosen.scale, because=chosen.because)

    def _second(self, slug: str, first: FirstTry) -> Job:
        """The second try of a drill; slower where its time scale was chosen: a late timer is less of a minute then."""
        job = self._job(slug)
        if not self._options.auto_scale or job.scale <= DEFAULT_SCALE:
            return job.model_copy(update={"first": first})
        because = f"not {job.scale:g}: this machine did not keep up with the first try"
        return job.model_copy(update={"first": first, "scale": DEFAULT_SCALE, "because": because})

    @property
    def _busy(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.job is not None]

    def begin(self, names: Iterable[str]) -> None:
        """Start the workers; their sandboxes start with their first drill."""
        given = self._options
        orders = Orders(root=given.root.resolve(), parts=given.parts, policy=given.policy, seed=given.seed)
        for name in names:
            self._workers.append(Worker(name, orders, self._ears))
            self._there[name] = (0.0, frozenset())

    def to_the_end(self) -> None:
        """Give out drills and hear of them until none is left.

        Raises:
            InvalidInput: no worker could begin anything, because of what the user gave.
            SandboxError: no worker is left.
        """
        while True:
            if self._options.stop.is_set() and not self._halted:
                self._halt()
            self._give_out()
            if not self._busy and not (self._workers and self._left):
                break
            try:
                self._hear(self._ears.get(timeout=_LOOK_WALL_S))
            except queue.Empty:  # nobody has said anything: look whether there is room now, or an end
                continue
        if self._left and self._wrong is not None and not self._done:
            raise InvalidInput(self._wrong)
        if self._left and not self._options.stop.is_set():
            raise SandboxError(
                f"expected a worker for {len(self._left)} more drills, found none left: {'; '.join(self._gone)}"
            )

    @property
    def _left(self) -> list[Job]:
        return [*self._waiting, *self._waiting_alone]

    def _halt(self) -> None:
        """Let everybody undo and report; what has not begun does not begin."""
        self._halted = True
        self._forget_the_rest()
        reason = str(self._options.stop.reason)
        for worker in self._workers:
            worker.halt(reason.removeprefix("stopped by "))

    def _forget_the_rest(self) -> None:
        self._waiting.clear()
        self._waiting_alone.clear()

    def _give_out(self) -> None:
        """Begin what may begin now."""
        for worker in self._workers:
            if worker.job is not None:
                continue
            if self._waiting and self._may_begin():
                self._begin(worker, self._waiting, self._best_for(worker))
        if not self._waiting and self._waiting_alone and self._workers and not self._busy:
            job = self._waiting_alone[0]
            self._begin(self._at_home(job), self._waiting_alone, job)

    def _may_begin(self) -> bool:
        """Whether there is room for one more. The first ones, one a processor, start their sandboxes together."""
        busy = self._busy
        if any(worker.job is not None and worker.job.path.stem in self._alone for worker in busy):
            return False
        easily = self._options.parallel == "auto" and len(busy) >= self._processors
        starting = not self._anybody_drilled and len(busy) < self._processors
        return not busy or starting or self._room.why_not(easily=easily) is None

    def _best_for(self, worker: Worker) -> Job:
        """The longest that waits at the time scale of its sandbox, of a system that is there.

        Where none does, its sandbox will be another: at the time scale of which most wait for each worker that has it.
        """
        scale, systems = self._there[worker.name]
        same = [job for job in self._waiting if job.scale == scale]
        there = [job for job in same if self._system(job) in systems]
        return (there or same or self._most_missed())[0]

    def _most_missed(self) -> list[Job]:
        """Those that wait at one time scale, the longest first."""
        had = Counter(scale for scale, _ in self._there.values())
        waiting = Counter(job.scale for job in self._waiting)
        scale = max(waiting, key=lambda scale: waiting[scale] / (1 + had[scale]))
        return [job for job in self._waiting if job.scale == scale]

    def _at_home(self, job: Job) -> Worker:
        """Of idle workers the one whose sandbox would do, if there is one."""
        home = (job.scale, True)
        return max(
            self._workers,
            key=lambda worker: (self._there[worker.name][0], self._system(job) in self._there[worker.name][1]) == home,
        )

    def _system(self, job: Job) -> str:
        return self._plans[job.path.stem].system.system

    def _note_sandbox(self, worker: Worker, job: Job) -> None:
        """What its sandbox will be: another time scale, or a second try, is another sandbox."""
        scale, systems = self._there[worker.name]
        kept = systems if scale == job.scale and job.first is None else frozenset()
        self._there[worker.name] = (job.scale, kept | {self._system(job)})

    def _begin(self, worker: Worker, waiting: list[Job], job: Job) -> None:
        waiting.remove(job)
        self._note_sandbox(worker, job)
        self._room.taken()
        worker.begin(job)

    # ------------------------------------------------------------------------------------------------ hearing

    def _hear(self, heard: Heard) -> None:
        worker = heard.worker
        slug = worker.job.path.stem if worker.job is not None else ""
        match heard.message:
            case Told(text=text):
                self._options.note(f"worker {worker.name}: {text}")
            case Seen(event=event):
                self._see(worker, slug, event)
            case Done(slug=slug):
                worker.job = None
                self._finished(slug, _read(self._out / slug))
            case Failed(error=error, invalid=invalid):
                worker.failure = f"worker {worker.name}: {error}"
                self._wrong = error if invalid else self._wrong
            case None:
                self._lost(worker)

    def _see(self, worker: Worker, slug: str, event: Event) -> None:
        self._anybody_drilled = self._anybody_drilled or isinstance(event, DrillStarted)
        if isinstance(event, MachineLagged):
            self._room.note(event.longest_s)
        self._options.watch(slug)(event)

    def _finished(self, slug: str, drilled: Drilled) -> None:
        again = first_try(drilled[1]) if slug not in self._done else None
        self._done[slug] = drilled
        self._options.note(f"{len(self._done)} of {len(self._plans)} done: {slug} is {drilled[1].outcome.value}")
        if again is not None and not self._options.stop.is_set():
            self._options.note(f"this machine did not keep up with {slug}: once more at the end, alone")
            self._waiting_alone.append(self._second(slug, again))
            self._alone.add(slug)
        if self._options.exit_first and failed(drilled[1]):
            self._forget_the_rest()

    def _lost(self, worker: Worker) -> None:
        """A worker has ended. What it had begun is judged as far as it came; it has no successor in this run, so that
        its ledger stays as it is for `tocsin recover`."""
        self._workers.remove(worker)
        job, worker.job = worker.job, None
        why = worker.ended()
        if why or not self._halted:
            self._gone.append(why or f"worker {worker.name} was asked to end")
            self._options.note(self._gone[-1])
        if job is None:
            return
        slug = job.path.stem
        cut = _cut(self._out / slug)
        if cut is not None:
            self._finished(slug, cut)
        elif not self._options.stop.is_set() and not job.first:
            self._waiting.insert(0, job)  # it had not begun

    def close(self) -> None:
        """Let everybody end, and wait for it: nothing of the run is left.

        Raises:
            SandboxError: something is.
        """
        for worker in self._workers:
            if worker.job is None:
                worker.finish()
            else:
                worker.halt(str(self._options.stop.reason or "the end of the run").removeprefix("stopped by "))
        left = [error for worker in self._workers if (error := _not_ended(worker)) is not None]
        self._workers.clear()
        if left:
            raise left[0]


def _not_ended(worker: Worker) -> SandboxError | None:
    """Wait for its end; what of its sandbox is still there."""
    try:
        worker.ended()
    except SandboxError as error:
        return error
    return None


def _read(place: Path) -> Drilled:
    """A drill that a worker judged."""
    verdict = Verdict.model_validate_json((place / "verdict.json").read_text(encoding="utf-8"))
    return Timeline.of(stream_history(place / HISTORY)), verdict


def _cut(place: Path) -> Drilled | None:
    """A drill of which nobody has written the verdict; None where it had not begun."""
    try:
        timeline, verdict, _ = drill_again(place / HISTORY)
    except InvalidInput:
        return None
    return timeline, verdict

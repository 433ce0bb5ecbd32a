"""Runs the canaries of a system side by side, each at its own pace, for as long as a drill lasts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from tocsin.actors.attended import attended
from tocsin.actors.base import STOP_WITHIN_S
from tocsin.actors.context import RunContext
from tocsin.actors.identities import Identities
from tocsin.actors.work import json_line
from tocsin.aws.database import login_of
from tocsin.aws.doors import ask_door
from tocsin.aws.logs import log_lines
from tocsin.aws.target import Target
from tocsin.canary import Canary, Surroundings, load_canaries, run_canary
from tocsin.errors import NotFound, TargetError
from tocsin.model.events import ActorDied, CanaryRan, Event, FaultChanged, FaultStage
from tocsin.project.openapi import OpenApiDocument

_ANSWER_WITHIN_S = 5.0
_LEAST_PERIOD_WALL_S = 0.5
"""Canaries ask a real system: on a fast clock they may not become its load."""


def canary_period_s(every: float, scale: float) -> float:
    """Production seconds between two runs of a canary that is planned `every` so many of them."""
    return max(every, _LEAST_PERIOD_WALL_S * scale)


def canaries_of(ctx: RunContext) -> dict[str, Canary]:
    """The canaries of the system, by name; importing their file is running it.

    Raises:
        InvalidInput: the file cannot be imported, not in time, or holds none.
        Refused: the end was asked for meanwhile.
    """
    plan = ctx.system.canaries
    if plan is None:
        return {}
    return attended(lambda: load_canaries(ctx.root / plan.file), ctx.stop, "import of the canaries")


class CanaryActor:
    """Every canary of the system file, each in a thread of its own.

    Each runs once more as soon as an undo was verified: when the system is well again is asked of the system, and not
    of how often a canary happens to look.
    """

    name = "canaries"

    def __init__(self, ctx: RunContext) -> None:
        assert ctx.system.canaries is not None
        self._ctx = ctx
        self._canaries = canaries_of(ctx)
        self._period = ctx.wall(canary_period_s(ctx.system.canaries.every, ctx.scale))
        self._around = surroundings(ctx)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._wakes: list[threading.Event] = []

    @property
    def names(self) -> tuple[str, ...]:
        """The canaries that will run, in the order of their file."""
        return tuple(self._canaries)

    def run_once(self) -> list[CanaryRan]:
        """Run every canary once, side by side; nothing is recorded.

        Returns:
            One result a canary, in the order of the file.
        """
        results: dict[str, CanaryRan] = {}

        def run(name: str, canary: Canary) -> None:
            try:
                results[name] = run_canary(name, canary, self._around)
            except BaseException as error:  # also what ends a thread without a word: nobody may be missing below
                results[name] = _broken(name, error)

        threads = [threading.Thread(target=run, args=item, daemon=True) for item in self._canaries.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
                self._ctx.stop.wait(0)
        return [results[name] for name in self._canaries]

    def start(self) -> None:
        """Start all canaries, spread over one period so that they do not march in step."""
        self._ctx.history.listen(self._see, "canaries")
        for index, (name, canary) in enumerate(self._canaries.items()):
            offset, wake = index * self._period / len(self._canaries), threading.Event()
            thread = threading.Thread(
                target=self._live, args=(name, canary, offset, wake), name=f"canary {name}", daemon=True
            )
            self._wakes.append(wake)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End after the runs in flight; one that hangs longer is left to die with the process, unrecorded."""
        self._stopping.set()
        self._wake_all()
        deadline = time.monotonic() + STOP_WITHIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _see(self, event: Event) -> None:
        if isinstance(event, FaultChanged) and event.stage is FaultStage.VERIFIED:
            self._wake_all()

    def _wake_all(self) -> None:
        for wake in self._wakes:
            wake.set()

    def _live(self, name: str, canary: Canary, offset: float, wake: threading.Event) -> None:
        try:
            self._repeat(name, canary, offset, wake)
        except BaseException as error:  # also SystemExit, which ends a thread without a word
            detail = f"{type(error).__name__}: {error}"
            self._ctx.history.record(ActorDied(at=time.time(), actor=f"canary {name}", detail=detail))

    def _repeat(self, name: str, canary: Canary, offset: float, wake: threading.Event) -> None:
        due = time.monotonic() + offset
        while True:
            wake.wait(max(0.0, due - time.monotonic()))
            if self._stopping.is_set():
                return
            wake.clear()
            ran = run_canary(name, canary, self._around)
            if not self._stopping.is_set():
                self._ctx.history.record(ran)
            # A run that took longer than the period does not make the next ones crowd.
            if time.monotonic() >= due:
                due = max(due + self._period, time.monotonic())


def _broken(name: str, error: BaseException) -> CanaryRan:
    detail = f"the canary itself is broken: {type(error).__name__}: {error}"
    return CanaryRan(at=time.time(), canary=name, ok=False, ok_after_retry=False, ms=0, detail=detail, broken=True)


def surroundings(ctx: RunContext, *, removing: bool = False) -> Surroundings:
    """What the journeys of one drill share: URL, tokens, contract, logs and databases.

    `removing`: they only remove, whatever part of a drill wrote it, and what they send needs no mark.

    Raises:
        InvalidInput: the contract cannot be read.
    """
    identities = Identities(ctx.target, ctx.system)
    contract = OpenApiDocument.load(ctx.root / ctx.system.contract) if ctx.system.contract else None
    return Surroundings(
        base_url=ctx.base_url,
        token=lambda name: identities.token(name).value,
        contract=contract,
        marks=ctx.system.marks(None if removing else "canaries"),
        removing=removing,
        user=lambda name: identities.users(name)[0],
        logs=CloudWatchLogs(ctx.target),
        mails=EmulatedOutbox(ctx.target) if ctx.target.door_token else None,
        pages=EmulatedPages(ctx.target) if ctx.target.door_token else None,
        database=lambda secret: login_of(ctx.target, secret).session(),
    )


class CloudWatchLogs:
    """Finds lines in CloudWatch Logs that were written after it was asked for them, or shortly before."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def find(self, log_group: str, fields: Mapping[str, str], within_s: float) -> bool:
        """Whether a JSON line with these fields appears within production seconds.

        Raises:
            TargetError: CloudWatch Logs answers with an error until the end.
        """
        return _found(self._target, within_s, lambda since: self._look(log_group, fields, since))

    def _look(self, log_group: str, fields: Mapping[str, str], since: float) -> bool:
        try:
            return any(_matches(line, fields) for line in log_lines(self._target, log_group, fields.values(), since))
        except NotFound:
            return False  # nobody has written anything yet: the group of a function is made by its first invocation


class EmulatedOutbox:
    """Finds mails that the sandbox accepted after it was asked for them, or shortly before."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def find(self, to: str, containing: str, within_s: float) -> bool:
        """Whether a mail to this address, with this in its subject or text, appears within production seconds.

        Raises:
            TargetError: the sandbox does not tell until the end.
        """

        def is_it(mail: Mapping[str, Any]) -> bool:
            written = (mail["subject"], mail["text"], mail["html"])
            return to in (*mail["to"], *mail["cc"], *mail["bcc"]) and any(containing in one for one in written)

        return _found(self._target, within_s, lambda since: any(map(is_it, self._mails(since))))

    def _mails(self, since: float) -> list[Mapping[str, Any]]:
        asked = {"account": self._target.account, "region": self._target.region, "since": since}
        return _told(self._target, "mails", asked)


class EmulatedPages:
    """Finds what stubs of Slack and PagerDuty were told after it was asked for, or shortly before."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def find(self, by: str, containing: str, within_s: float) -> bool:
        """Whether a stub of this kind was told a text with this in it within production seconds.

        Raises:
            TargetError: the sandbox does not tell until the end.
        """

        def look(since: float) -> bool:
            told = _told(self._target, "received", {"since": since})
            return any(one["stub"] == by and containing in one["text"] for one in told)

        return _found(self._target, within_s, look)


def _told(target: Target, door: str, asked: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a door of the sandbox lists under its own name. Raises TargetError."""
    try:
        answer = ask_door(target.endpoint_url or "", target.door_token, door, asked, _ANSWER_WITHIN_S)
        listed: list[Mapping[str, Any]] = answer[door]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TargetError(f"expected the sandbox to tell its {door}, found: {error}") from error
    return listed


def _found(target: Target, within_s: float, look: Callable[[float], bool]) -> bool:
    """Look until it is there, or production seconds are over; `look` is told from when on (wall-clock epoch seconds).

    Raises:
        TargetError: of `look`, where it raises until the end.
    """
    wall_s = within_s / target.scale
    since = time.time() - max(wall_s, 60.0)
    deadline = time.monotonic() + max(wall_s, 2.0)
    while True:
        try:
            if look(since):
                return True
        except TargetError:
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def _matches(message: str, fields: Mapping[str, str]) -> bool:
    line = json_line(message)
    return all(str(line.get(name)) == value for name, value in fields.items())

"""Runs the canaries of a system side by side, each at its own pace, for as long as a drill lasts."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from tocsin.actors.base import STOP_WITHIN_S
from tocsin.actors.work import json_line
from tocsin.canary import Canary, Surroundings, load_canaries, run_canary
from tocsin.context import RunContext
from tocsin.errors import TargetError
from tocsin.identity import Identities
from tocsin.model.events import ActorDied, CanaryRan
from tocsin.openapi import OpenApiDocument
from tocsin.target import Target, aws_errors

_LEAST_PERIOD_WALL_S = 0.5
"""Canaries ask a real system: on a fast clock they may not become its load."""


def canary_period_s(every: float, scale: float) -> float:
    """Production seconds between two runs of a canary that is planned `every` so many of them."""
    return max(every, _LEAST_PERIOD_WALL_S * scale)


class CanaryActor:
    """Every canary of the system file, each in a thread of its own."""

    name = "canaries"

    def __init__(self, ctx: RunContext) -> None:
        assert ctx.system.canaries is not None
        self._ctx = ctx
        self._canaries = load_canaries(ctx.root / ctx.system.canaries.file)
        self._period = ctx.wall(canary_period_s(ctx.system.canaries.every, ctx.scale))
        self._around = surroundings(ctx)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def run_once(self) -> list[CanaryRan]:
        """Run every canary once, side by side; nothing is recorded.

        Returns:
            One result a canary, in the order of the file.
        """
        results: dict[str, CanaryRan] = {}

        def run(name: str, canary: Canary) -> None:
            results[name] = run_canary(name, canary, self._around)

        threads = [threading.Thread(target=run, args=item, daemon=True) for item in self._canaries.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
                self._ctx.stop.wait(0)
        return [results[name] for name in self._canaries if name in results]

    def start(self) -> None:
        """Start all canaries, spread over one period so that they do not march in step."""
        for index, (name, canary) in enumerate(self._canaries.items()):
            offset = index * self._period / len(self._canaries)
            thread = threading.Thread(
                target=self._live, args=(name, canary, offset), name=f"canary {name}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End after the runs in flight; one that hangs longer is left to die with the process, unrecorded."""
        self._stopping.set()
        deadline = time.monotonic() + STOP_WITHIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _live(self, name: str, canary: Canary, offset: float) -> None:
        try:
            self._repeat(name, canary, offset)
        except BaseException as error:  # also SystemExit, which ends a thread without a word
            detail = f"{type(error).__name__}: {error}"
            self._ctx.history.record(ActorDied(at=time.time(), actor=f"canary {name}", detail=detail))

    def _repeat(self, name: str, canary: Canary, offset: float) -> None:
        due = time.monotonic() + offset
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            ran = run_canary(name, canary, self._around)
            if not self._stopping.is_set():
                self._ctx.history.record(ran)
            # A run that took longer than the period does not make the next ones crowd.
            due = max(due + self._period, time.monotonic())


def surroundings(ctx: RunContext) -> Surroundings:
    """What the journeys of one drill share: URL, tokens, contract and logs.

    Raises:
        InvalidInput: the contract cannot be read.
    """
    identities = Identities(ctx.target, ctx.system)
    contract = OpenApiDocument.load(ctx.root / ctx.system.contract) if ctx.system.contract else None
    return Surroundings(
        base_url=ctx.base_url,
        token=lambda name: identities.token(name).value,
        contract=contract,
        logs=CloudWatchLogs(ctx.target),
    )


class CloudWatchLogs:
    """Finds lines in CloudWatch Logs that were written after it was asked for them, or shortly before."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._client = target.client("logs")

    def find(self, log_group: str, fields: Mapping[str, str], within_s: float) -> bool:
        """Whether a JSON line with these fields appears within production seconds.

        Raises:
            TargetError: CloudWatch Logs answers with an error until the end.
        """
        wall_s = within_s / self._target.scale
        since = time.time() - max(wall_s, 60.0)
        deadline = time.monotonic() + max(wall_s, 2.0)
        while True:
            if self._look(log_group, fields, since):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)

    def _look(self, log_group: str, fields: Mapping[str, str], since: float) -> bool:
        pattern = " ".join(f'"{value}"' for value in fields.values())
        try:
            with aws_errors(f"reading the log group {log_group}"):
                answer = self._client.filter_log_events(
                    logGroupName=log_group, filterPattern=pattern, startTime=int(since * 1000)
                )
        except TargetError:
            return False
        return any(_matches(event["message"], fields) for event in answer["events"])


def _matches(message: str, fields: Mapping[str, str]) -> bool:
    line = json_line(message)
    return all(str(line.get(name)) == value for name, value in fields.items())

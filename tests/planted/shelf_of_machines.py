"""The shelf of machines that cannot keep up: something that a drill needs does not run for a while."""

from __future__ import annotations

import ctypes
import time

import psutil
from tests.planted.bench import Bench
from tests.planted.shelf import begins, message_lost, planted, reaches

from tocsin.model.events import Act, FaultStage
from tocsin.model.verdict import Reason
from tocsin.sandbox import control

STOPPED_S = 3
"""Wall seconds: at the shelf's scale longer than what an alarm or a canary has."""


def stop_harness() -> None:
    """Let nothing of this process run for a while: the call keeps the interpreter's lock."""
    ctypes.PyDLL(None).sleep(STOPPED_S)


def stop_sandbox(bench: Bench) -> None:
    """Let the sandbox's daemon not run for a while."""
    state = control.status(bench.root)
    assert state is not None
    daemon = psutil.Process(state.pid)
    daemon.suspend()
    try:
        time.sleep(STOPPED_S)
    finally:
        daemon.resume()


@planted("a harness that cannot keep up", "outage", "canary:order", Reason.MACHINE_BUSY, "its own timers.*[3-9]")
def harness_stops(bench: Bench) -> None:
    bench.when(reaches(FaultStage.ACCEPTED), stop_harness)


@planted(
    "a sandbox that cannot keep up",
    "poison",
    "must:dead-letters",
    Reason.MACHINE_BUSY,
    "timers of the sandbox.*[3-9]",
)
def sandbox_stops(bench: Bench) -> None:
    bench.when(reaches(FaultStage.ACCEPTED), lambda: stop_sandbox(bench))


@planted(
    "a machine that cannot keep up from the beginning",
    "poison",
    "guard:machine",
    Reason.MACHINE_BUSY,
    "in the baseline",
)
def never_keeps_up(bench: Bench) -> None:
    bench.when(begins(Act.BASELINE), stop_harness)


@planted(
    "a message lost while the machine cannot keep up",
    "stopped worker",
    "conserved:orders",
    Reason.WORK_LOST,
    "1 of .* never processed",
)
def message_lost_meanwhile(bench: Bench) -> None:
    message_lost(bench)
    bench.when(reaches(FaultStage.ACCEPTED), stop_harness)

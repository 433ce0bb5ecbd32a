"""What a person sees while a drill runs: a line for everything that matters, and on a terminal a live footer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from tocsin.commands.console import footer
from tocsin.model.duration import format_duration
from tocsin.model.events import (
    Act,
    ActivityRan,
    ActorDied,
    ActStarted,
    AlarmChanged,
    AlarmNotified,
    AlarmsAwaited,
    AlarmSeen,
    AlarmsPolled,
    CanaryRan,
    ContractRan,
    DrillStarted,
    Event,
    FaultChanged,
    FaultStage,
    GuardChecked,
    LoadSecond,
    Stopped,
    WorkCounted,
)
from tocsin.model.verdict import Outcome, Reason, Verdict

_STATE_STYLE = {"OK": "green", "ALARM": "bold red", "INSUFFICIENT_DATA": "yellow"}
_OUTCOME_STYLE = {Outcome.PASS: "bold green", Outcome.FAIL: "bold red", Outcome.UNKNOWN: "bold yellow"}
_TOLD_WHEN_STOPPED = {Reason.REFUSED, Reason.INTERRUPTED, Reason.UNDO_FAILED, Reason.DRIFTED, Reason.RESIDUE}
_TURNS = {FaultStage.REQUESTED, FaultStage.ACCEPTED, FaultStage.UNDO_REQUESTED, FaultStage.UNDONE, FaultStage.VERIFIED}
"""Stages at which the world becomes another one."""
_LOUD_STAGES = {FaultStage.DRIFTED, FaultStage.UNDO_FAILED, FaultStage.NO_EFFECT, FaultStage.NOT_SEEN}


class Progress:
    """Prints events as they come. On a terminal the footer shows act, time, rates and alarms; elsewhere only lines."""

    def __init__(self, console: Console, name: str = "") -> None:
        """`name`: of the drill, for each line, where others are shown beside it."""
        self._console = console
        self._name = name
        self._lock = threading.Lock()
        self._scale = 1.0
        self._drill_at = time.time()
        self._act = "starting"
        self._alarms: dict[str, str] = {}
        self._canaries: dict[str, bool] = {}
        self._turned_at = 0.0
        self._second: LoadSecond | None = None

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Keep the footer on the terminal while the run lasts."""
        with footer(self._console, self.footer):
            yield

    def note(self, text: str) -> None:
        """One line that is not an event: starting the sandbox, for example."""
        self._console.print(Text(f"  {text}", style="dim"))

    def verdict(self, verdict: Verdict) -> None:
        """The result of one drill, with what was not as expected."""
        line = Text("  ")
        line.append(f" {verdict.outcome.value.upper()} ", style=f"reverse {_OUTCOME_STYLE[verdict.outcome]}")
        line.append(f" {verdict.title}", style="bold")
        self._console.print(line)
        for judgement in verdict.judgements:
            # What a drill that was stopped did not get to see is in its report; here it would bury why it stopped.
            told = verdict.stopped is None or judgement.reason in _TOLD_WHEN_STOPPED
            if told and judgement.outcome is not Outcome.PASS:
                style = _OUTCOME_STYLE[judgement.outcome]
                self._console.print(Text(f"    {judgement.question}: {judgement.reason.value}", style=style))
                self._console.print(Text(f"      {judgement.message}"))
        for finding in verdict.findings:
            self._console.print(Text(f"    finding: {finding.kind} {finding.subject}: {finding.message}", style="cyan"))

    def see(self, event: Event) -> None:
        """A listener of the history."""
        with self._lock:
            self._note_state(event)
            line = self._line(event)
        if line is not None:
            stamp = Text(f"  {format_duration(self._production(_known_at(event))):>7}  ", style="dim")
            self._console.print(Text(f"  {self._name}", style="bold") + stamp + line if self._name else stamp + line)

    def _production(self, at: float) -> float:
        return max(0.0, (at - self._drill_at) * self._scale)

    def _note_state(self, event: Event) -> None:
        match event:
            case DrillStarted():
                self._scale, self._drill_at = event.scale, event.at
                self._alarms, self._canaries, self._second = {}, {}, None
            case ActStarted():
                self._act = event.act.value
            case FaultChanged(stage=stage) if stage in _TURNS:
                self._turned_at = event.at
            case AlarmSeen(alarm=alarm, state=state):
                self._alarms[alarm] = state
            case AlarmsPolled(states=states):
                self._alarms.update(states)
            case LoadSecond():
                self._second = event

    def _line(self, event: Event) -> Text | None:
        match event:
            case DrillStarted():
                title = Text(event.experiment.title, style="bold")
                return title + Text(f"  ({event.experiment.path})", style="dim")
            case ActStarted():
                return Text(event.act.value, style="bold cyan")
            case GuardChecked():
                return Text(f"guard {event.guard}: {event.detail}", style="" if event.ok else "bold red")
            case AlarmsAwaited(states=states, until=until):
                longest = format_duration(round(self._production(until) - self._production(event.at)))
                told = ", ".join(f"{name} {state}" for name, state in states.items())
                return Text(f"waits for alarms to settle, at most {longest}: {told}", style="yellow")
            case FaultChanged():
                style = "bold red" if event.stage in _LOUD_STAGES else "magenta"
                return Text(f"fault {event.fault} {event.stage.value}  {event.detail}", style=style)
            case ActivityRan(ok=False):
                return Text(f"activity {event.name} failed: {event.detail}", style="bold red")
            case Stopped():
                return Text(f"stopped by {event.guard}: {event.detail}", style="bold yellow")
        return self._watcher_line(event)

    def _watcher_line(self, event: Event) -> Text | None:
        match event:
            case AlarmChanged():
                before = Text(f"alarm {event.alarm}: {event.before} -> ")
                return before + Text(event.after, style=_STATE_STYLE[event.after])
            case AlarmNotified():
                return Text(f"notified {event.alarm} {event.state} via {event.via}", style="dim")
            case CanaryRan():
                return self._canary_line(event)
            case ContractRan():
                return self._contract_line(event)
            case WorkCounted():
                counts = f"{event.accepted} accepted, {event.processed} processed"
                bad = event.lost_count or event.duplicated_count
                text = f"{event.rule}: {counts}, {event.lost_count} lost, {event.duplicated_count} twice"
                return Text(text, style="bold red" if bad else "")
            case ActorDied():
                return Text(f"{event.actor} died: {event.detail}", style="bold red")
        return None

    def _canary_line(self, event: CanaryRan) -> Text | None:
        """Only changes: a canary runs every few seconds.

        A run that began before an injection or an undo tells nothing of the world after it.
        """
        if event.at <= self._turned_at:
            return None
        before = self._canaries.get(event.canary)
        self._canaries[event.canary] = event.ok_after_retry
        if before == event.ok_after_retry or (before is None and event.ok_after_retry):
            return None
        if event.ok_after_retry:
            return Text(f"canary {event.canary} passes again", style="green")
        return Text(f"canary {event.canary} fails: {event.detail}", style="red")

    def _contract_line(self, event: ContractRan) -> Text:
        text = f"contract ({event.act.value}): {event.cases} cases, {len(event.failures)} failures"
        if event.act is Act.FAULT and event.degraded:
            text += f", {event.degraded} degraded answers as documented"
        return Text(text, style="bold red" if event.failures else "")

    def footer(self) -> Text:
        """How it stands now: act, time, rates and alarms."""
        with self._lock:
            line = Text(f"  {format_duration(self._production(time.time())):>7}  ", style="dim")
            line.append(f"{self._act:<9}", style="bold cyan")
            if self._second is not None:
                line.append_text(_rates(self._second))
            for name, state in self._alarms.items():
                line.append(f"  {name} ", style="dim")
                line.append(state if state != "INSUFFICIENT_DATA" else "no data", style=_STATE_STYLE.get(state, ""))
            return line


def _known_at(event: Event) -> float:
    """When what an event tells was known: a run is told of when it ended."""
    match event:
        case CanaryRan():
            return event.known_at
        case ContractRan():
            return event.ended_at
    return event.at


def _rates(second: LoadSecond) -> Text:
    total, bad = second.answered, second.failed
    text = Text(f" {total}/{second.offered} req/s", style="")
    share = 100 * bad / total if total else 0.0
    text.append(f"  {share:.0f}% errors", style="red" if bad else "dim")
    text.append(f"  p95 {second.latency_ms.get('p95', 0):.0f} ms", style="dim")
    return text

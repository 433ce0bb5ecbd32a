"""What whoever waits is shown: a line for each step. Showing it never stops a step, and no deletion."""

from __future__ import annotations

from collections.abc import Callable

from tocsin.model.events import Event, FaultChanged, FaultStage

_WORDS = {
    FaultStage.UNDO_REQUESTED: "deleting",
    FaultStage.UNDO_RETRIED: "deleting again",
    FaultStage.UNDO_FAILED: "NOT deleted:",
    FaultStage.DRIFTED: "NOT deleted:",
    FaultStage.VERIFIED: "gone:",
}
_WITH_THE_REASON = {FaultStage.UNDO_RETRIED, FaultStage.UNDO_FAILED, FaultStage.DRIFTED}


class Telling:
    """Shows lines by `show`, until that fails once."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._fails = False
        self._named: dict[str, str] = {}
        self.last = ""
        """What was found at the last stage of a resource."""

    def say(self, line: str) -> None:
        """Show a line."""
        if self._fails:
            return
        try:
            self._show(line)
        except (Exception, SystemExit):  # nobody can be told that nobody can be told
            self._fails = True

    def hear(self, event: Event) -> None:
        """Show a stage of a deletion."""
        if not isinstance(event, FaultChanged):
            return
        self.last = event.detail
        if event.stage is FaultStage.UNDO_REQUESTED:
            self._named[event.entry] = event.detail
        if event.stage in _WORDS:
            why = f": {event.detail}" if event.stage in _WITH_THE_REASON else ""
            self.say(f"{_WORDS[event.stage]} {self._named.get(event.entry, event.entry)}{why}")

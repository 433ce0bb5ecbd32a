"""What one drill may be told by its command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tocsin.actors.context import StopRequest
from tocsin.model.events import Event
from tocsin.model.parts import PartsChoice
from tocsin.project.targets import SANDBOX

DEFAULT_SCALE = 60.0
"""How much faster the clock of a sandbox runs that is not started for one drill: watchers look as often as on AWS."""
DEFAULT_PARTS: PartsChoice = "embedded"

Listener = Callable[[Event], None]


def _silent(event: Event) -> None:
    """Nobody watches."""


def _nobody(slug: str) -> Listener:
    """Nobody watches that drill."""
    return _silent


def _no_note(text: str) -> None:
    """Nobody reads."""


@dataclass(frozen=True)
class RunOptions:
    """How to run: all the user's choices, once."""

    root: Path
    target: str = SANDBOX
    out: Path | None = None
    seed: int | None = None
    time_scale: float | None = None
    """of the sandbox; None: that of the one that runs, or `DEFAULT_SCALE` for one that is started"""
    auto_scale: bool = False
    """choose one for each drill, on sandboxes of their own"""
    scale_because: str = ""
    """of one drill: why it has the time scale that it has"""
    parts: PartsChoice | None = None
    """the same for where its parts come from"""
    policy: str | None = None
    """IAM policy (a JSON document) of the user that drills of the sandbox run as; None: as the sandbox says"""
    yes_production: str | None = None
    tags: tuple[str, ...] = ()
    """only experiments that have one of these; empty: all"""
    not_tags: tuple[str, ...] = ()
    """none that has one of these"""
    parallel: int | Literal["auto"] | None = None
    """how many drills at most side by side, each on a sandbox of its own; None: one at a time"""
    exit_first: bool = False
    """begin no other drill after one that failed"""
    try_again: bool = False
    """drill once more where the machine did not keep up"""
    listener: Listener = _silent
    watch: Callable[[str], Listener] = _nobody
    """who hears the drill of that slug, where several run side by side"""
    note: Callable[[str], None] = _no_note
    stop: StopRequest = field(default_factory=StopRequest)

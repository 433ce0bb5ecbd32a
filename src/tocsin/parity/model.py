"""What parity is about: assumptions, what was found of each on a target, and the report that is kept of it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

from tocsin.model.base import Model

Unit = Literal["s", "share", "words"]
"""Production seconds; a part of 1; or nothing that is counted."""
Value = float | str


class Key(StrEnum):
    """The assumptions, by the names that `parity.json` and the terminal show."""

    ANSWERED = "answered"
    ACCOUNT = "account"
    ROLE = "role"
    CLOCK = "clock"
    SESSION = "session"
    UNIQUE_NAMES = "unique-names"
    UNDO = "undo"
    METRIC_LAG = "metric-lag"
    HISTORY_LAG = "history-lag"
    NOTIFICATION_LAG = "notification-lag"
    TIMESTAMPS = "timestamps"
    EMPTY_POLLS = "empty-polls"
    IAM_PROPAGATION = "iam-propagation"
    SCHEDULE = "schedule"
    FUNCTION_UPDATE = "function-update"
    FUNCTION_CONFLICT = "function-conflict"
    RDS_REBOOT = "rds-reboot"
    RDS_STOP = "rds-stop"
    RDS_START = "rds-start"
    RDS_SNAPSHOT = "rds-snapshot"
    RDS_RESTORE = "rds-restore"
    ECS_LAUNCH = "ecs-launch"
    ECS_THROTTLE = "ecs-throttle"
    CACHE_PROMOTION = "cache-promotion"
    CACHE_REBUILD = "cache-rebuild"
    CACHE_REBOOT = "cache-reboot"


class Told(StrEnum):
    """Who finds out whether an assumption holds."""

    BY_READS = "reads"
    BY_THROWAWAY = "throwaway"
    BY_NOBODY = "nobody"
    """it would take something that costs too much, or harms"""


class Assumption(Model):
    """One thing that is taken to be so."""

    key: Key
    sentence: str
    """what is taken to be so"""
    unit: Unit
    sandbox: Value
    """what it is in the sandbox: of a figure the sandbox's own constant"""
    source: str
    """address of AWS's page about it"""
    used: str
    """where it matters in a drill"""
    told: Told
    limit: float | None = None
    """of a figure: the most with which drills still work, and their forecasts are right; None for no figure"""

    def holds(self, here: float) -> bool:
        """Whether a measured figure is one with which drills work."""
        return self.limit is None or here <= self.limit


class Measured(Model):
    """What was found of one assumption on a target."""

    key: Key
    about: str
    """what was looked at: a read, a fault, a name"""
    here: Value | None
    """a figure in the unit of the assumption, or words; None when it could not be seen"""
    holds: bool | None
    """None when it could not be seen"""
    detail: str = ""
    """why it does not hold or was not seen, and the next move"""
    source: str | None = None
    """address of the page about it; None for that of the assumption, empty for none: nothing of AWS was asked"""
    looks: int = 1
    """how often it was looked at: of a figure, how many measurements it is the worst of"""


class ParityReport(Model):
    """`parity.json`: one look at a target."""

    target: str
    account: str
    region: str
    at: float
    """epoch seconds at which it began"""
    version: str
    systems: tuple[str, ...]
    throwaway_at: float | None = None
    """when resources of its own were measured; None: never"""
    rows: tuple[Measured, ...]
    left: tuple[str, ...] = ()
    """a line for each throwaway resource that could not be deleted, or not be seen to be gone"""

    @property
    def exit_code(self) -> int:
        """0 all hold, 1 one does not, 3 one could not be seen, or nothing was looked at; 5 something was left."""
        return 5 if self.left else exit_code_of(self.rows)

    def figure(self, key: Key) -> float | None:
        """The largest figure that was measured of an assumption; None where there is none."""
        found = [row.here for row in self.rows if row.key is key and isinstance(row.here, float | int)]
        return max(map(float, found), default=None)


def exit_code_of(rows: Iterable[Measured]) -> int:
    """As `ParityReport.exit_code`, of rows."""
    held = [row.holds for row in rows]
    if False in held:
        return 1
    return 3 if None in held or not held else 0

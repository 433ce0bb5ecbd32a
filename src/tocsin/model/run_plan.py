"""What a run means to do, written down before it does anything."""

from __future__ import annotations

from tocsin.model.base import Model


class PlannedDrill(Model):
    """One drill of a run."""

    experiment: str
    """slug; the name of its directory in that of the run"""
    title: str
    path: str
    system: str
    tags: tuple[str, ...] = ()
    """of its file, and `long` where it is"""
    scale: float | None = None
    """its own, where each drill has one"""
    scale_because: str | None = None
    """why it is no faster"""


class RunPlan(Model):
    """`plan.json`: which drills, in which order. What of it has no history did not run."""

    schema_version: int = 1
    version: str
    at: float
    """wall-clock epoch seconds at which the run began"""
    target: str
    scale: float
    drills: tuple[PlannedDrill, ...]

"""Reports, all of them made from the history and the verdict: never from live state."""

from __future__ import annotations

from tocsin.report.files import write_drill, write_gone, write_plan, write_run

__all__ = ["write_drill", "write_gone", "write_plan", "write_run"]

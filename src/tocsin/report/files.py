"""Which files a run leaves behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tocsin.checkers.timeline import Timeline
from tocsin.model.events import Event
from tocsin.model.run_plan import RunPlan
from tocsin.model.verdict import RunVerdict, Verdict
from tocsin.report.junit import junit_xml
from tocsin.report.page import drill_page, run_page
from tocsin.report.summary import summary_md


def write_drill(directory: Path, events: Iterable[Event] | Timeline, verdict: Verdict) -> None:
    """Write `verdict.json` and `report.html` of one drill."""
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / "verdict.json", verdict.model_dump_json(indent=2) + "\n")
    _write(directory / "report.html", drill_page(events, verdict))


def write_plan(file: Path, plan: RunPlan) -> None:
    """Write what a run means to do, before it does anything."""
    _write(file, plan.model_dump_json(indent=2) + "\n")


def write_gone(directory: Path, verdict: Verdict) -> None:
    """Write the verdict on a drill without a history; a page that was made from one tells what nobody can look up."""
    _write(directory / "verdict.json", verdict.model_dump_json(indent=2) + "\n")
    (directory / "report.html").unlink(missing_ok=True)


def write_run(
    directory: Path, run: RunVerdict, histories: Mapping[str, Iterable[Event] | Timeline] | None = None
) -> None:
    """Write `verdict.json`, `junit.xml`, `summary.md` and `index.html` of a whole run.

    Args:
        directory: holds one directory an experiment, named by its slug.
        run: the verdict on all drills.
        histories: slug -> history, for the small timelines of the overview.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / "verdict.json", run.model_dump_json(indent=2) + "\n")
    _write(directory / "junit.xml", junit_xml(run))
    _write(directory / "summary.md", summary_md(run))
    _write(directory / "index.html", run_page(run, histories or {}))


def _write(path: Path, text: str) -> None:
    """Replace a file in one step: a reader never sees half of a report."""
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)

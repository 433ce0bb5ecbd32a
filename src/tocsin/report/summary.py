"""`summary.md`: what a pull request or a chat needs to know, in GitHub's Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from tocsin.model.duration import format_duration
from tocsin.model.verdict import Outcome, RunVerdict, Verdict
from tocsin.report.words import (
    by_severity,
    detection_time,
    estimate,
    headline,
    or_dash,
    run_headline,
    run_sentence,
    since_accepted,
)
from tocsin.shown import for_markdown, for_markdown_code

MAX_BYTES = 1_000_000
"""GitHub refuses a job summary of more than 1 MiB."""
MAX_TEXT = 300
MAX_TROUBLES = 12
MARK = {Outcome.PASS: "✅", Outcome.FAIL: "❌", Outcome.UNKNOWN: "❔"}


def summary_md(run: RunVerdict) -> str:
    """A heading, a table of drills, then only what somebody has to read."""
    text = ""
    for block in _blocks(run):
        if len((text + block).encode()) > MAX_BYTES - 200:
            return f"{text}\n\nCut here: the rest is in `verdict.json`.\n"
        text += block
    return text


def _blocks(run: RunVerdict) -> Iterator[str]:
    yield f"# Tocsin: {run_headline(run)}\n\n{run_sentence(run)}\n\n"
    if run.drills:
        yield "| | drill | system | first alarm | rolled back in | recovered in |\n|---|---|---|---|---|---|\n"
    for drill in run.drills:
        yield _row(drill)
    for drill in run.drills:
        yield _troubles(drill)
    findings = [(drill, finding) for drill in run.drills for finding in drill.findings]
    if findings:
        yield "\n## Findings\n\n"
    for drill, finding in findings:
        yield f"- **{_text(finding.kind.replace('_', ' '))}** ({_text(drill.experiment)}): {_text(finding.message)}\n"
    detections = [(drill, found) for drill in run.drills for found in drill.detections]
    if detections:
        yield "\n## Time to detect\n\n| alarm | drill | rang after | told after | allowed | estimate for AWS | "
        yield "cleared after the undo |\n|---|---|---|---|---|---|---|\n"
    for drill, found in detections:
        cells = (
            _text(found.alarm),
            _text(drill.experiment),
            or_dash(since_accepted(found, found.alarm_s)),
            or_dash(since_accepted(found, found.notified_s)),
            format_duration(found.within_s),
            estimate(found),
            or_dash(found.cleared_s),
        )
        yield f"| {' | '.join(cells)} |\n"
    yield "\nTimes are production time.\n"


def _row(drill: Verdict) -> str:
    cells = (
        f"{MARK[drill.outcome]} {headline(drill)}",
        f"[{_text(drill.title)}]({quote(drill.experiment)}/report.html)" if drill.has_report else _text(drill.title),
        _text(drill.system),
        detection_time(drill),
        or_dash(drill.time_to_roll_back_s),
        or_dash(drill.time_to_recover_s),
    )
    return f"| {' | '.join(cells)} |\n"


def _troubles(drill: Verdict) -> str:
    troubles = [judgement for judgement in by_severity(drill) if judgement.outcome != Outcome.PASS]
    if not troubles:
        return ""
    lines = [
        f"- {MARK[j.outcome]} {_text(j.question)}: {_text(j.message)} (`{j.reason.value}`)"
        for j in troubles[:MAX_TROUBLES]
    ]
    if len(troubles) > MAX_TROUBLES:
        lines.append(f"- and {len(troubles) - MAX_TROUBLES} more")
    again = f"\nRun it again: {for_markdown_code(drill.command)}\n" if drill.command else ""
    return f"\n## {_text(drill.title)}\n\n" + "\n".join(lines) + "\n" + again


def _text(text: str) -> str:
    return for_markdown(text, MAX_TEXT)

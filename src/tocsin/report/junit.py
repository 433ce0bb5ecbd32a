"""`junit.xml`: one test case an expectation, for every CI that knows the format."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from tocsin.model.verdict import Judgement, Outcome, RunVerdict, Verdict
from tocsin.shown import for_ci_log

ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 does not allow (https://www.w3.org/TR/xml/#charsets): one such character spoils the file."""


def junit_xml(run: RunVerdict) -> str:
    """The whole file. `fail` is a failure, `unknown` an error: neither is ever skipped."""
    root = ET.Element("testsuites", name="tocsin", time=_seconds(run.started_at, run.ended_at))
    for drill in run.drills:
        root.append(_suite(drill))
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ET.indent(root)
    text: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _suite(drill: Verdict) -> ET.Element:
    outcomes = [judgement.outcome for judgement in drill.judgements]
    suite = ET.Element(
        "testsuite",
        name=_clean(f"{drill.system}.{drill.experiment}"),
        tests=str(len(outcomes)),
        failures=str(outcomes.count(Outcome.FAIL)),
        errors=str(outcomes.count(Outcome.UNKNOWN)),
        skipped="0",
        time=_seconds(drill.started_at, drill.ended_at),
        timestamp=datetime.fromtimestamp(drill.started_at, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in (("drill", drill.drill), ("target", drill.target), ("command", drill.command)):
        ET.SubElement(properties, "property", name=name, value=_clean(value))
    for judgement in drill.judgements:
        suite.append(_case(drill, judgement))
    return suite


def _case(drill: Verdict, judgement: Judgement) -> ET.Element:
    case = ET.Element(
        "testcase",
        classname=_clean(f"{drill.system}.{drill.experiment}"),
        name=_clean(judgement.id),
        time="0",
    )
    if judgement.outcome != Outcome.PASS:
        tag = "failure" if judgement.outcome == Outcome.FAIL else "error"
        told = ET.SubElement(case, tag, type=judgement.reason.value, message=_clean(judgement.message))
        told.text = _clean(f"{judgement.question}: {judgement.message}")
    return case


def _clean(text: str) -> str:
    return for_ci_log(ILLEGAL.sub("", text))


def _seconds(start: float, end: float) -> str:
    return f"{max(0.0, end - start):.3f}"

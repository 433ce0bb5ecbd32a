"""Reports say what the verdict says, whatever is in it, and stay small."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from tests.checkers.histories import (
    START,
    Scene,
    failing,
    gap,
    in_state,
    passing,
    refused,
    tweak,
    without,
    write_history,
)
from tests.checkers.spoiled import SCENE, blind_polls

from tocsin.checkers import judge
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import AlarmSeen, AlarmsPolled, CanaryRan, Event, FaultChanged, LoadSecond
from tocsin.model.verdict import Judgement, Outcome, Reason, RunVerdict, Verdict, merge
from tocsin.project.histories import read_history
from tocsin.report import write_drill, write_run
from tocsin.report.axis import Axis
from tocsin.report.lanes import alarm_lanes
from tocsin.report.summary import MAX_BYTES
from tocsin.report.traffic import bins, traffic_lanes
from tocsin.report.words import DASH

EXIT = {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.UNKNOWN: 3}


def run_of(*verdicts: Verdict) -> RunVerdict:
    outcome = merge(verdict.outcome for verdict in verdicts)
    return RunVerdict(
        version="0.1.0",
        started_at=1_790_000_000.0,
        ended_at=1_790_000_130.0,
        outcome=outcome,
        exit_code=EXIT[outcome],
        drills=verdicts,
    )


def report(directory: Path, history: list[Event]) -> str:
    write_drill(directory, history, judge(history))
    return (directory / "report.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a browser would have to fetch, and the words of the page in their order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.headings: list[str] = []
        self.lanes: list[str] = []
        self.unlabelled = 0
        self._heading = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._heading = tag in ("h1", "h2", "h3")
        for name in ("src", "href", "data", "poster", "action"):
            value = given.get(name)
            if value and not value.startswith("data:"):
                self.fetched.append(value)
        if "data-lane" in given:
            self.lanes.append(given["data-lane"] or "")
        if tag == "svg" and not given.get("aria-label") and given.get("aria-hidden") != "true":
            self.unlabelled += 1

    def handle_data(self, data: str) -> None:
        if self._heading and data.strip():
            self.headings.append(data.strip())
            self._heading = False


@pytest.mark.parametrize("history", [passing(), failing(), gap(), refused(), Scene().interrupted()])
def test_page_needs_nothing_from_anywhere(tmp_path: Path, history: list[Event]) -> None:
    html = report(tmp_path, history)
    page = Page(html)
    assert page.fetched == []
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


@pytest.mark.parametrize(
    ("history", "headline"),
    [
        (passing(), "Pass"),
        (failing(), "Fail"),
        (gap(), "Pass"),
        (refused(), "Refused"),
        (Scene().interrupted(), "Stopped"),
        ([e for e in passing() if e.at < Scene().accepted + 2], "Fault left behind"),
    ],
)
def test_verdict_first_then_what_was_not_observed(tmp_path: Path, history: list[Event], headline: str) -> None:
    page = Page(report(tmp_path, history))
    assert page.headings[:2] == [headline, "Not observed"]
    assert page.unlabelled == 0


def test_every_alarm_and_canary_has_a_lane(tmp_path: Path) -> None:
    scene = Scene()
    lanes = Page(report(tmp_path, scene.history())).lanes
    assert set(scene.system.alarms) <= set(lanes)
    assert {"health", "create_parcel", "track_parcel", "print_label"} <= set(lanes)
    assert {"Acts", scene.fault, "Latency", "Answers by class", "Error share", "Schemathesis"} <= set(lanes)


def test_of_very_many_canary_runs_the_worst_of_each_column_is_drawn(tmp_path: Path) -> None:
    runs = [
        CanaryRan(at=START + 30 + second, canary="health", ok=second != 3333, ok_after_retry=second != 3333, ms=5)
        for second in range(5000)
    ]
    few = report(tmp_path / "few", [*Scene().history(), *runs[:900]])
    many = report(tmp_path / "many", [*Scene().history(), *runs])
    assert few.count('class="tick-ok"') >= 900
    assert 900 < many.count('class="tick-ok"') < 1200
    assert many.count('class="tick-failed"') > len(Scene().failing_canaries)
    assert "failed +" in many
    assert "drawn are the first of each kind in each of 1,000 columns" in many
    assert "drawn are" not in few


def test_a_bad_second_is_seen_among_a_thousand_good_ones(tmp_path: Path) -> None:
    def second(number: int) -> LoadSecond:
        latency_ms = {"p50": 20.0, "p95": 9000.0 if number == 700 else 40.0}
        counts = {"offered": 10, "sent": 10, "dropped": 0, "lag_ms": 1}
        return LoadSecond(at=START + number, statuses={"200": 10}, latency_ms=latency_ms, **counts)

    timeline = Timeline.of([Scene().started(), *(second(number) for number in range(1200))])
    columns = bins(timeline)
    assert len(columns) == 400
    assert [column.p95_ms for column in columns if column.at <= START + 700 < column.end] == [(40.0, 9000.0)]
    assert {column.p95_ms for column in columns if not column.at <= START + 700 < column.end} == {(40.0, 40.0)}
    picture = str(next(iter(traffic_lanes(timeline, Axis.of(timeline), columns))).picture)
    assert 'class="reach"' in picture


def test_every_judgement_and_the_command_are_told(tmp_path: Path) -> None:
    history = failing()
    html = report(tmp_path, history)
    for judgement in judge(history).judgements:
        assert judgement.id in html
    assert "tocsin run experiments/parcel-desk/break-label-printer.yaml --target sandbox --seed 7" in html
    assert "lbl-18" in html


def test_words_of_the_system_cannot_become_markup(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    scene = Scene(title=evil, effect=evil, slug="evil")
    html = report(tmp_path, scene.history())
    assert "<script>alert" not in html
    assert "<img" not in html
    assert "&lt;/script&gt;" in html


def test_thousands_of_seconds_stay_below_a_megabyte(tmp_path: Path) -> None:
    long = Scene(scale=1.0, hold_s=9000.0, recovery_s=3000.0)
    html = report(tmp_path, long.history())
    assert len(html.encode()) < 1_000_000


@pytest.mark.parametrize("cut", [1, 2, 5, 20, 100])
def test_a_history_cut_anywhere_can_be_shown(tmp_path: Path, cut: int) -> None:
    assert "Tocsin" in report(tmp_path, passing()[:cut])


def test_a_drill_without_load_canaries_contract_and_alarms_can_be_shown(tmp_path: Path) -> None:
    bare = Scene().system.model_copy(update={"contract": None, "canaries": None, "alarms": {}})
    assert "Timeline" in report(tmp_path, Scene(system=bare, load=None, rings={}).history())


def test_verdict_json_reads_back_as_it_was(tmp_path: Path) -> None:
    verdict = judge(failing())
    write_drill(tmp_path, failing(), verdict)
    assert Verdict.model_validate_json((tmp_path / "verdict.json").read_text()) == verdict


def test_the_same_history_makes_the_same_report(tmp_path: Path) -> None:
    first = report(tmp_path / "one", passing())
    write_history(tmp_path / "history.jsonl", passing())
    assert report(tmp_path / "two", read_history(tmp_path / "history.jsonl")) == first


def test_junit_has_one_case_an_expectation(tmp_path: Path) -> None:
    run = run_of(judge(passing()), judge(failing()), judge(refused()))
    write_run(tmp_path, run)
    root = ET.parse(tmp_path / "junit.xml").getroot()
    for suite, drill in zip(root, run.drills, strict=True):
        cases = {case.get("name"): case for case in suite.iter("testcase")}
        assert set(cases) == {judgement.id for judgement in drill.judgements}
        assert all(case.get("classname") == f"parcel-desk.{drill.experiment}" for case in cases.values())
        for judgement in drill.judgements:
            told = [(child.tag, child.get("type")) for child in cases[judgement.id]]
            expected = {
                Outcome.PASS: [],
                Outcome.FAIL: [("failure", judgement.reason.value)],
                Outcome.UNKNOWN: [("error", judgement.reason.value)],
            }
            assert told == expected[judgement.outcome]
    assert root.get("tests") == str(sum(len(drill.judgements) for drill in run.drills))
    assert root.get("skipped") is None


def test_junit_survives_characters_that_xml_forbids(tmp_path: Path) -> None:
    judgement = Judgement(
        id="must:x\x00",
        question="a \x1b[31mred\x1b[0m question \ufffe",
        outcome=Outcome.FAIL,
        reason=Reason.DID_NOT_RING,
        message="\x08 <&> \uffff",
    )
    verdict = judge(passing()).model_copy(update={"judgements": (judgement,)})
    write_run(tmp_path, run_of(verdict))
    case = next(ET.parse(tmp_path / "junit.xml").getroot().iter("testcase"))
    assert case.get("name") == "must:x"
    assert case[0].get("message") == " <&> "


def test_summary_tells_troubles_findings_and_times(tmp_path: Path) -> None:
    run = run_of(judge(passing()), judge(failing()), judge(gap()), judge(refused()))
    write_run(tmp_path, run)
    text = (tmp_path / "summary.md").read_text()
    assert "| ✅ Pass | [Database proxy throttled" in text
    assert "(throttle-database-proxy/report.html)" in text
    assert "rang_but_quiet" in text
    assert "**gap**" in text
    assert f"| api-5xx | throttle-database-proxy | 6m12s | 6m20s | 11m | {DASH} | 6m01s |" in text
    assert "<html>" not in text


def test_summary_fits_where_github_shows_it(tmp_path: Path) -> None:
    verdict = judge(failing())
    write_run(tmp_path, run_of(*[verdict] * 2000))
    text = (tmp_path / "summary.md").read_bytes()
    assert len(text) < MAX_BYTES
    assert "verdict.json" in text.decode()[-200:]


def test_overview_links_every_drill(tmp_path: Path) -> None:
    histories = {judge(history).experiment: history for history in (passing(), failing(), refused())}
    run = run_of(*(judge(history) for history in histories.values()))
    write_run(tmp_path, run, histories)
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert page.fetched == [f"{slug}/report.html" for slug in histories]
    assert json.loads((tmp_path / "verdict.json").read_text())["exit_code"] == 1


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    report(tmp_path, passing())
    write_run(tmp_path, run_of(judge(passing())))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["index.html", "junit.xml", "report.html", "summary.md", "verdict.json"]


def test_colours_of_text_have_contrast() -> None:
    """WCAG AA (4.5 to 1) for every colour that carries words, on every ground it stands on, in both schemes."""
    template = Path(__file__).parents[2] / "src/tocsin/report/templates/base.css.j2"
    light, dark = template.read_text().split("prefers-color-scheme: dark")
    for scheme in (light, dark):
        colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", scheme))
        for word in ("ink", "muted", "pass", "fail", "unknown", "accent"):
            for ground in ("paper", "surface", "faint"):
                assert contrast(colours[word], colours[ground]) >= 4.5, (word, ground)
        for word in ("pass", "fail", "unknown"):
            assert contrast(colours[word], colours[f"{word}-soft"]) >= 4.5, word


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_stage_without_detail_is_shown(tmp_path: Path) -> None:
    assert "rds_proxy_throttle" in report(tmp_path, tweak(passing(), lambda e: isinstance(e, FaultChanged), detail=""))


def notes(events: list[Event]) -> dict[str, str]:
    """What is written beside the lane of each alarm."""
    timeline = Timeline.of(events)
    return {lane.name: lane.note for lane in alarm_lanes(timeline, Axis.of(timeline), judge(events))}


def test_silent_is_only_an_alarm_that_was_watched_while_there_was_a_fault() -> None:
    assert set(notes(without(refused(), AlarmSeen, AlarmsPolled)).values()) == {"not watched"}
    assert set(notes(refused()).values()) == {"already in ALARM", "not watched: nothing was injected"}
    before_fault = [event for event in passing() if event.at < SCENE.requested]
    assert set(notes(before_fault).values()) == {"not watched: nothing was injected"}
    assert notes(blind_polls(passing(), SCENE.accepted, SCENE.verified))["label-dlq"] == "not watched all the time"
    assert notes(passing())["label-dlq"] == "silent"


def test_an_alarm_that_was_not_evaluated_or_had_no_data_is_not_called_silent() -> None:
    history = passing()
    polls = [event for event in history if isinstance(event, AlarmsPolled) and event.at > SCENE.accepted]
    error = tweak(history, lambda event: event is polls[0], not_evaluated={"label-dlq": "EVALUATION_ERROR: gone"})
    assert notes(error)["label-dlq"] == "not evaluated"
    assert notes(in_state(passing(), "label-dlq", "INSUFFICIENT_DATA"))["label-dlq"] == "no data"

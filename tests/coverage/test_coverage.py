"""Which promise is proven by which drill: derived from what people wrote and what drills saw, and never talked up."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from tests.checkers.histories import Scene, passing, without
from tests.checkers.spoiled import bare, interrupted

from tocsin.checkers import judge
from tocsin.cli import main
from tocsin.coverage.results import latest, read_latest
from tocsin.coverage.table import Coverage, Row, State, complaints, coverage_of, experiments_of, read_coverage
from tocsin.coverage.words import as_json, markdown, summary
from tocsin.drill.plan import Planner
from tocsin.errors import InvalidInput
from tocsin.model.events import AlarmNotified, DrillEnded, Event
from tocsin.model.verdict import Detection, Judgement, Outcome, Reason, Verdict
from tocsin.project.documents import load_system
from tocsin.project.places import kept_runs, note_run

HOUR = 3600.0


def alarm(title: str, **more: str) -> dict[str, Any]:
    definition = {
        "AlarmName": title,
        "Namespace": "Shop",
        "MetricName": title,
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    }
    return {"title": title, "cloudwatch": definition, **more}


def promise(kind: str = "procedure", **more: Any) -> dict[str, Any]:
    return {"title": "A promise", "kind": kind, "runbook": "page 1", **more}


SYSTEM: dict[str, Any] = {
    "system": "shop",
    "title": "Shop",
    "runbook": "The runbook",
    "endpoint": {"url": "http://shop.example"},
    "canaries": {"file": "canaries.py"},
    "alarms": {
        "errors": alarm("errors"),
        "latency": alarm("latency", untested="nothing is slow here"),
        "misnamed": alarm("misnamed"),
    },
    "promises": {
        "restart": promise(),
        "health": promise("check", canaries=["home"]),
        "p95": promise("figure", judgements=["baseline:latency"]),
        "backup": promise(untested="no drill takes one"),
        "kill": promise(wrong="it kills the victims"),
    },
}
EXPECT: dict[str, dict[str, Any]] = {
    "broken": {
        "must": [{"alarm": "errors", "within": "5m"}],
        "quiet": ["latency"],
        "blind": [{"alarm": "misnamed", "because": "no such metric"}],
    },
    "vanished": {"quiet": ["errors"], "gap": "nobody counts what is not there"},
}
COVERS = {"broken": ["restart", "kill"], "vanished": []}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project whose every promise is covered or explained."""
    write(tmp_path, SYSTEM)
    (tmp_path / "canaries.py").write_text("def canary_home(api):\n    pass\n")
    for slug, expect in EXPECT.items():
        write_experiment(tmp_path, slug, expect, COVERS[slug])
    return tmp_path


def write(root: Path, system: Mapping[str, Any]) -> None:
    (root / "systems").mkdir(exist_ok=True)
    (root / "systems" / "shop.yaml").write_text(yaml.safe_dump(system, sort_keys=False))


def write_experiment(root: Path, slug: str, expect: Mapping[str, Any], covers: list[str]) -> Path:
    block = {"name": "tocsin", "system": "shop", "covers": covers, "expect": {**expect, "recovery": {"within": "5m"}}}
    python = {"type": "python", "module": "tocsin.faults"}
    throttle = {"func": "rds_proxy_throttle", "arguments": {"proxy": "shop", "max_connections_percent": 1}}
    document = {
        "title": slug,
        "description": slug,
        "method": [{"type": "action", "name": "break", "provider": python | throttle}],
        "rollbacks": [{"type": "action", "name": "undo", "provider": python | {"func": "undo"}}],
        "extensions": [block],
    }
    (root / "experiments").mkdir(exist_ok=True)
    path = root / "experiments" / f"{slug}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def changed(**promises: Any) -> dict[str, Any]:
    """The system with some promises changed, added, or, as None, without them."""
    merged = {**SYSTEM["promises"], **promises}
    return {**SYSTEM, "promises": {name: promise for name, promise in merged.items() if promise is not None}}


def verdict(slug: str, at: float = HOUR, stopped: str | None = None, **outcomes: Outcome) -> Verdict:
    """A drill of `slug`; `must__errors=...` is the outcome of `must:errors`."""
    judgements = tuple(
        Judgement(id=name.replace("__", ":"), question="?", outcome=o, reason=Reason.AS_EXPECTED, message="")
        for name, o in outcomes.items()
    )
    detection = Detection(
        alarm="errors", requested_at=at, accepted_s=2.0, alarm_s=132.0, notified_s=140.0, within_s=300.0
    )
    worst = Outcome.FAIL if Outcome.FAIL in outcomes.values() else Outcome.PASS
    return Verdict(
        drill=f"{slug}-1",
        experiment=slug,
        title=slug,
        path=f"experiments/{slug}.yaml",
        system="shop",
        target="sandbox",
        scale=60.0,
        started_at=at,
        ended_at=at + 60,
        outcome=Outcome.UNKNOWN if stopped else worst,
        stopped=stopped,
        judgements=judgements,
        detections=(detection,),
    )


def table(root: Path, *verdicts: Verdict) -> Coverage:
    return coverage_of(load_system(root, "shop"), experiments_of(root, "shop"), latest(verdicts))


def row(root: Path, name: str, *verdicts: Verdict) -> Row:
    return next(row for row in table(root, *verdicts).rows if row.id == name)


def states(coverage: Coverage) -> dict[str, State]:
    return {row.id: row.state for row in coverage.rows}


# ------------------------------------------------------------------------------------------------ derived


def test_rows_are_derived_from_what_is_written(shop: Path) -> None:
    coverage = table(shop)
    assert states(coverage) == {
        "errors": State.NOT_DRILLED,
        "latency": State.UNTESTED,
        "misnamed": State.WRONG,
        "restart": State.NOT_DRILLED,
        "health": State.NOT_DRILLED,
        "p95": State.NOT_DRILLED,
        "backup": State.UNTESTED,
        "kill": State.WRONG,
    }
    assert [(w.role, w.name) for w in row(shop, "errors").witnesses] == [("rings", "broken"), ("silent", "vanished")]
    assert [(w.role, w.name) for w in row(shop, "kill").witnesses] == [("covers", "broken")]
    assert row(shop, "misnamed").why == "no such metric"
    assert [(gap.experiment, gap.says) for gap in coverage.gaps] == [("vanished", "nobody counts what is not there")]
    assert summary(coverage) == (
        "4 of 8 promises have a drill or a canary, 2 untested with a reason, 2 wrong in the runbook"
    )


def test_an_alarm_that_is_only_ever_silent_is_open(shop: Path) -> None:
    write_experiment(shop, "broken", {"quiet": ["errors", "latency"]}, COVERS["broken"])
    assert row(shop, "errors").state is State.OPEN


def test_experiments_of_other_systems_are_passed_over(shop: Path) -> None:
    path = write_experiment(shop, "elsewhere", EXPECT["broken"], ["restart"])
    path.write_text(path.read_text().replace("system: shop", "system: other"))
    assert [w.name for w in row(shop, "restart").witnesses] == ["broken"]


# ------------------------------------------------------------------------------------------------ results


PASSED = verdict("broken", must__errors=Outcome.PASS, canaries__after=Outcome.PASS, baseline__latency=Outcome.PASS)


def test_what_the_last_drill_saw_is_proven(shop: Path) -> None:
    coverage = table(shop, PASSED)
    proven = {name for name, state in states(coverage).items() if state is State.PROVEN}
    assert proven == {"errors", "restart", "health", "p95"}
    seen = row(shop, "errors", PASSED).last
    assert seen is not None
    assert (seen.experiment, seen.target, seen.at, seen.rang_s) == ("broken", "sandbox", HOUR, 130.0)
    assert summary(coverage) == "4 of 8 promises proven, 2 untested with a reason, 2 wrong in the runbook"


def unseen(verdict: Verdict, judgement: str, reason: Reason) -> Verdict:
    """The same, with a reason of one judgement."""
    judged = tuple(
        found.model_copy(update={"reason": reason}) if found.id == judgement else found for found in verdict.judgements
    )
    return verdict.model_copy(update={"judgements": judged})


def test_an_alarm_of_which_nobody_saw_whether_it_tells_is_not_proven(shop: Path) -> None:
    (detection,) = PASSED.detections
    silent = PASSED.model_copy(update={"detections": (detection.model_copy(update={"notified_s": None}),)})
    coverage = table(shop, silent)
    assert states(coverage)["errors"] is State.RANG
    assert states(coverage)["restart"] is State.PROVEN
    assert summary(coverage).startswith("3 of 8 promises proven, 1 rang only")
    assert "| rang only | errors" in markdown([coverage])
    assert "rang after 2m10s; telling not observed |" in markdown([coverage])


def test_an_alarm_that_was_not_seen_to_clear_is_not_proven_by_a_drill_that_failed(shop: Path) -> None:
    asked = {"must__errors": Outcome.PASS, "clears__errors": Outcome.UNKNOWN, "recovery": Outcome.FAIL}
    coverage = table(shop, unseen(verdict("broken", **asked), "clears:errors", Reason.NO_EVIDENCE))
    assert states(coverage)["errors"] is State.RANG
    assert "rang after 2m10s; clears: no evidence; the drill failed otherwise |" in markdown([coverage])
    cleared = table(shop, verdict("broken", **{**asked, "clears__errors": Outcome.PASS}))
    assert states(cleared)["errors"] is State.PROVEN
    assert "rang after 2m10s; the drill failed otherwise |" in markdown([cleared])


@pytest.mark.parametrize("state", [State.PROVEN, State.RANG])
def test_what_a_drill_saw_of_telling_is_what_coverage_says(state: State) -> None:
    scene, history = Scene(), passing()
    if state is State.RANG:
        scene = bare(scene, notifications=None)
        history = without(scene.history(), AlarmNotified)
    seen, started = judge(history), scene.started()
    assert seen.outcome is Outcome.PASS
    coverage = coverage_of(started.system, [started.experiment], latest([seen]))
    must = {entry.alarm for entry in started.experiment.extension.expect.must_alarms}
    assert must
    assert {states(coverage)[alarm] for alarm in must} == {state}


@pytest.mark.parametrize("kind", ["clears", "all-clear"])
def test_an_alarm_that_does_not_clear_or_say_so_is_refuted(shop: Path, kind: str) -> None:
    stuck = verdict("broken", must__errors=Outcome.PASS, **{f"{kind}__errors": Outcome.FAIL})
    coverage = table(shop, unseen(stuck, f"{kind}:errors", Reason.DID_NOT_CLEAR))
    assert states(coverage)["errors"] is State.FAILED
    assert f"rang after 2m10s; {kind}: did not clear |" in markdown([coverage])


def test_that_an_alarm_which_did_not_ring_was_not_seen_to_clear_is_no_news(shop: Path) -> None:
    mute = verdict("broken", must__errors=Outcome.FAIL, clears__errors=Outcome.UNKNOWN)
    (seen,) = [one.seen for one in row(shop, "errors", mute).witnesses if one.role == "rings"]
    assert seen is not None
    assert (seen.outcome, seen.not_shown) == (Outcome.FAIL, ())


def test_what_a_whole_drill_showed_counts_more_than_what_half_of_one_did(shop: Path) -> None:
    write_experiment(shop, "again", {"must": [{"alarm": "errors", "within": "5m"}]}, [])
    half = verdict("again", at=2 * HOUR, must__errors=Outcome.PASS, clears__errors=Outcome.UNKNOWN)
    assert row(shop, "errors", half).state is State.RANG
    assert row(shop, "errors", PASSED, half).state is State.PROVEN


def test_a_later_drill_that_failed_takes_the_proof_away(shop: Path) -> None:
    failed = verdict("broken", at=2 * HOUR, must__errors=Outcome.FAIL)
    for order in ((PASSED, failed), (failed, PASSED)):
        assert row(shop, "errors", *order).state is State.FAILED
        assert row(shop, "restart", *order).state is State.FAILED
    assert row(shop, "errors", failed, verdict("broken", at=3 * HOUR, must__errors=Outcome.PASS)).state is State.PROVEN


def test_a_bell_that_rings_for_somebody_else_is_not_proven(shop: Path) -> None:
    assert row(shop, "errors", PASSED, verdict("vanished", quiet__errors=Outcome.FAIL)).state is State.FAILED


def test_silence_alone_proves_nothing(shop: Path) -> None:
    assert row(shop, "errors", verdict("vanished", quiet__errors=Outcome.PASS)).state is State.NOT_DRILLED


def test_a_refuted_blindness_is_not_talked_away(shop: Path) -> None:
    assert row(shop, "misnamed", verdict("broken", blind__misnamed=Outcome.FAIL)).state is State.FAILED


def test_nobody_can_say(shop: Path) -> None:
    assert row(shop, "errors", verdict("broken", must__errors=Outcome.UNKNOWN)).state is State.UNKNOWN


def test_what_nobody_watched_is_told_as_that(shop: Path) -> None:
    unwatched = verdict("vanished", quiet__errors=Outcome.UNKNOWN)
    (judgement,) = unwatched.judgements
    judged = (judgement.model_copy(update={"reason": Reason.NOT_WATCHED}),)
    coverage = table(shop, unwatched.model_copy(update={"judgements": judged}))
    assert "| unknown, not watched: vanished on sandbox" in markdown([coverage])


def test_a_drill_that_was_stopped_is_no_result(shop: Path) -> None:
    refused = verdict("broken", at=2 * HOUR, stopped="window", must__errors=Outcome.UNKNOWN)
    assert row(shop, "errors", refused).state is State.NOT_DRILLED
    assert row(shop, "errors", PASSED, refused).state is State.PROVEN


@pytest.mark.parametrize(
    ("cut", "stopped"),
    [(interrupted, "interrupted"), (lambda: without(passing(), DrillEnded), None)],
    ids=["SIGINT", "kill -9"],
)
def test_a_drill_that_somebody_ended_is_no_result(cut: Callable[[], list[Event]], stopped: str | None) -> None:
    whole = judge(passing())
    ended = judge(cut()).model_copy(update={"started_at": whole.started_at + HOUR})
    assert ended.stopped == stopped
    assert latest([ended]) == {}
    assert latest([whole, ended]) == {(whole.system, whole.experiment): whole}
    again = whole.model_copy(update={"started_at": whole.started_at + HOUR})
    assert latest([whole, again]) == {(whole.system, whole.experiment): again}


def test_a_drill_of_another_system_proves_nothing(shop: Path) -> None:
    assert row(shop, "errors", PASSED.model_copy(update={"system": "other"})).state is State.NOT_DRILLED


def test_results_are_found_in_runs_and_beside_them(tmp_path: Path) -> None:
    for name, at in (("first", HOUR), ("second", 2 * HOUR)):
        directory = tmp_path / name / "broken"
        directory.mkdir(parents=True)
        (directory / "verdict.json").write_text(verdict("broken", at=at).model_dump_json())
    run = {"schema_version": 1, "drills": [verdict("vanished").model_dump(mode="json")]}
    (tmp_path / "first" / "verdict.json").write_text(json.dumps(run))
    found = read_latest(tmp_path)
    assert {slug: v.started_at for (_, slug), v in found.items()} == {"broken": 2 * HOUR, "vanished": HOUR}


@pytest.mark.parametrize("text", ["{", "[]", '{"drill": "x"}', '{"drills": [{}]}'])
def test_a_result_that_is_none_gets_one_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "verdict.json").write_text(text)
    with pytest.raises(InvalidInput, match=r"verdict.json:1: expected the verdict of a drill.*`tocsin report"):
        read_latest(tmp_path)


def test_a_directory_that_is_not_there_gets_one_message(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected a directory with the results"):
        read_latest(tmp_path / "none")


# ------------------------------------------------------------------------------------------------ changed since


def bound(root: Path) -> Verdict:
    """A drill that proved what it does, bound to what is written now."""
    return PASSED.model_copy(update={"definitions": Planner(root).plan(root / "experiments/broken.yaml").definitions})


def states_now(root: Path, *verdicts: Verdict) -> dict[str, State]:
    return states(read_coverage(root, "shop", latest(verdicts)))


def looser(root: Path) -> None:
    definition = alarm("errors")
    definition["cloudwatch"]["Threshold"] = 5000
    write(root, {**SYSTEM, "alarms": {**SYSTEM["alarms"], "errors": definition}})


def longer(root: Path) -> None:
    write_experiment(root, "broken", {**EXPECT["broken"], "must": [{"alarm": "errors", "within": "9m"}]}, ["restart"])


def elsewhere(root: Path) -> None:
    write(root, {**SYSTEM, "endpoint": {"url": "http://another.example"}})


@pytest.mark.parametrize(
    ("change", "what"),
    [(looser, "alarm errors"), (longer, "experiment"), (elsewhere, "system")],
    ids=["alarm", "experiment", "system"],
)
def test_a_proof_of_what_was_changed_since_is_none(shop: Path, change: Callable[[Path], None], what: str) -> None:
    drilled = bound(shop)
    assert states_now(shop, drilled)["errors"] is State.PROVEN
    change(shop)
    found = read_coverage(shop, "shop", latest([drilled]))
    changed = {name for name, state in states(found).items() if state is State.CHANGED}
    assert changed == {"errors", "restart", "health", "p95"}
    assert "4 changed since they were proven" in summary(found)
    assert f"; changed since: {what} |" in markdown([found])


def test_what_is_no_part_of_the_drill_may_change(shop: Path) -> None:
    drilled = bound(shop)
    write(shop, {**SYSTEM, "title": "The shop", "alarms": {**SYSTEM["alarms"], "new": alarm("new", untested="later")}})
    for file in (shop / "systems/shop.yaml", shop / "experiments/broken.yaml"):
        file.write_text(f"# a comment\n{file.read_text()}")
    assert states_now(shop, drilled)["errors"] is State.PROVEN


def test_a_drill_again_proves_what_was_changed(shop: Path) -> None:
    drilled = bound(shop)
    looser(shop)
    again = bound(shop).model_copy(update={"started_at": 2 * HOUR})
    assert states_now(shop, drilled, again)["errors"] is State.PROVEN


def test_a_change_makes_no_failure_better(shop: Path) -> None:
    failed = bound(shop).model_copy(update={"judgements": verdict("broken", must__errors=Outcome.FAIL).judgements})
    looser(shop)
    assert states_now(shop, failed)["errors"] is State.FAILED


def test_a_proof_of_an_older_version_is_labelled(shop: Path) -> None:
    found = read_coverage(shop, "shop", latest([PASSED]))
    assert states(found)["errors"] is State.PROVEN
    assert "by an older version, which did not record of what" in markdown([found])
    assert "definitions" not in PASSED.model_dump_json()
    assert Verdict.model_validate_json(bound(shop).model_dump_json()) == bound(shop)


def test_runs_that_are_kept_elsewhere_are_not_overlooked(
    shop: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, gone = tmp_path_factory.mktemp("game day"), tmp_path_factory.mktemp("gone")
    (out / "verdict.json").write_text(bound(shop).model_dump_json())
    (shop / ".tocsin").mkdir()
    for directory in (out, gone, out, shop / ".tocsin" / "runs" / "1"):
        note_run(shop, directory)
    gone.rmdir()
    assert kept_runs(shop) == [out]
    _, text = tocsin(shop, monkeypatch, "coverage", "shop")
    assert "4 of 8 promises proven" in text


def test_several_results_can_be_named(
    shop: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    for place, one in zip(places, (verdict("vanished", gap=Outcome.PASS), bound(shop)), strict=True):
        (place / "verdict.json").write_text(one.model_dump_json())
    _, text = tocsin(shop, monkeypatch, "coverage", "shop", *(f"--results={place}" for place in places))
    assert "4 of 8 promises proven" in text


# ------------------------------------------------------------------------------------------------ what is left unsaid


def complaints_of(root: Path) -> list[str]:
    return [str(complaint) for complaint in complaints(root, load_system(root, "shop"))]


def test_what_is_covered_or_explained_gets_no_complaint(shop: Path) -> None:
    assert complaints_of(shop) == []


def test_a_promise_that_nobody_covers_or_explains_is_told(shop: Path) -> None:
    write(shop, changed(forgotten=promise()))
    (told,) = complaints_of(shop)
    assert "promises.forgotten: expected an experiment that names it in `covers`" in told
    line = (shop / "systems/shop.yaml").read_text().splitlines().index("  forgotten:") + 1
    assert f"shop.yaml:{line}: " in told


def test_an_alarm_that_nobody_makes_ring_is_told(shop: Path) -> None:
    write(shop, {**SYSTEM, "alarms": {**SYSTEM["alarms"], "latency": alarm("latency")}})
    (told,) = complaints_of(shop)
    assert "alarms.latency: expected an experiment that makes it ring, or `untested` with the reason" in told


def test_untested_and_covered_contradict_each_other(shop: Path) -> None:
    write_experiment(shop, "broken", EXPECT["broken"], [*COVERS["broken"], "backup"])
    (told,) = complaints_of(shop)
    assert "promises.backup: expected no `untested` where there is a drill, found broken" in told


def test_a_system_without_promises_claims_nothing(shop: Path) -> None:
    write(shop, {**SYSTEM, "promises": {}})
    assert complaints_of(shop) == []


def test_an_experiment_that_covers_an_unknown_promise_is_refused(shop: Path) -> None:
    path = write_experiment(shop, "broken", EXPECT["broken"], ["restat", "kill"])
    with pytest.raises(InvalidInput, match=r"broken.yaml:\d+: expected a known promise, found 'restat'.*'restart'"):
        Planner(shop).plan(path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (promise(canaries=["hom"]), "promises.health: expected a known canary, found 'hom'. Did you mean 'home'?"),
        (promise(judgements=["baseline:latancy"]), "promises.health.judgements.0"),
        (promise(canaries=["home"], untested="no"), "expected either `untested` or what shows it"),
        (promise("alarm"), "promises.health.kind"),
    ],
)
def test_a_promise_that_cannot_be_is_refused(shop: Path, wrong: dict[str, Any], message: str) -> None:
    write(shop, changed(health=wrong))
    with pytest.raises(InvalidInput) as told:
        Planner(shop).plan(shop / "experiments" / "broken.yaml")
    assert message in str(told.value)


# ------------------------------------------------------------------------------------------------ the command


def tocsin(root: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    monkeypatch.chdir(root)
    answer = CliRunner().invoke(main, list(arguments))
    return answer.exit_code, answer.output


def test_validate_refuses_what_is_left_unsaid(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tocsin(shop, monkeypatch, "validate", "experiments") == (0, "2 of 2 experiments are valid\n")
    write(shop, changed(forgotten=promise()))
    code, told = tocsin(shop, monkeypatch, "validate", "experiments")
    assert code == 2
    assert told.count("promises.forgotten") == 1


def test_the_command_prints_the_table_and_its_sum(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shop / ".tocsin" / "runs" / "1" / "broken"
    run.mkdir(parents=True)
    (run / "verdict.json").write_text(PASSED.model_dump_json())
    code, text = tocsin(shop, monkeypatch, "coverage", "shop")
    assert code == 0
    assert text.splitlines()[-1] == summary(table(shop, PASSED))
    assert "pass: broken on sandbox" in text
    written = tocsin(shop, monkeypatch, "coverage", "--written")[1]
    assert written.splitlines()[-1] == summary(table(shop))
    assert tocsin(shop, monkeypatch, "coverage", "--written", "--results", "x")[0] == 2
    assert tocsin(shop, monkeypatch, "coverage", "shopp")[0] == 2


def test_for_programs_and_for_markdown(shop: Path) -> None:
    coverage = table(shop, PASSED)
    (read,) = json.loads(as_json([coverage]))["systems"]
    assert {row["id"]: row["state"] for row in read["rows"]} == {k: v.value for k, v in states(coverage).items()}
    text = markdown([coverage])
    assert (
        "| proven | errors (`errors`) | not in it | rings in `broken`; silent in `vanished` | pass: broken on" in text
    )
    assert "1970-01-01 01:00 UTC, rang after 2m10s |" in text
    assert "- `vanished`: nobody counts what is not there" in text

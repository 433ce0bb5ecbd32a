"""`make bench`: measures what the documents promise, and prints one table.

Everything runs in a temporary root with links to the checkout's own systems, replicas and experiments, so a sandbox
that is already running in the checkout is not touched. Whatever is started is stopped, also on Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
from benchmarks import against, evaluations
from benchmarks.day import BEGAN, SECONDS, write_day
from benchmarks.processors import Processors
from benchmarks.project import LINKED, copies

from tocsin.actors.alarm_watcher import AlarmWatcher
from tocsin.actors.context import RunContext
from tocsin.actors.identities import Identities
from tocsin.alarms.cloudwatch import metric_key
from tocsin.alarms.recorded import Recorded, past_states
from tocsin.aws.cloudwatch import put_alarms
from tocsin.aws.lookups import resolve_base_url
from tocsin.checkers.timeline import LONGEST_SILENCE_S, LONGEST_SILENCE_WALL_S, Timeline
from tocsin.drill.answers import enough_before
from tocsin.model.events import Act, ActEnded, ActStarted, ContractRan, DrillEnded, DrillStarted, Event, LoadSecond
from tocsin.model.experiment import Experiment
from tocsin.model.system import MetricAlarm, System
from tocsin.model.verdict import Outcome, RunVerdict, Verdict
from tocsin.project.documents import load_system
from tocsin.project.histories import read_history
from tocsin.project.places import commit_of
from tocsin.project.targets import load_target
from tocsin.record.history import History
from tocsin.sandbox import control

CHECKOUT = Path(__file__).resolve().parents[1]
TOCSIN = str(Path(sys.executable).with_name("tocsin"))
SYSTEM = "leave-attendance"
EXPERIMENT = "throttle-rds-proxy"
PATH = "/api/v1/leave/balance"
"""A request that goes through the HTTP API, a Lambda function, the RDS Proxy and PostgreSQL."""
CROWDS = (10, 1000, 5000)
"""Alarms that systems have, the largest ones too."""
POLLS = 12
"""Three rounds, in each of which every alarm is asked for."""
WATCHED_S = 20.0
"""Wall seconds for which they are watched."""
STAY_CLEAR_S = 60.0
"""Production seconds a drill waits at its end to see that everything stays quiet."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    figure: float
    unit: str
    target: str = ""
    met: bool | None = None
    note: str = ""


def at_most(what: str, figure: float, unit: str, limit: float, note: str = "") -> Row:
    """A row with a target that must not be exceeded."""
    return Row(what, figure, unit, f"<= {limit:g} {unit}", figure <= limit, note)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-sandbox", action="store_true", help="only what needs no sandbox")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each short command; the median counts")
    parser.add_argument("--day", type=int, default=SECONDS, metavar="SECONDS", help="of the day that is reported")
    parser.add_argument("--year", type=int, default=YEAR_MIN, metavar="MINUTES", help="of the recording")
    parser.add_argument("--against", metavar="REVISION", help="beside the figures of that revision, and nothing else")
    parser.add_argument("--all-drills", action="store_true", help="every experiment, too: takes minutes")
    arguments = parser.parse_args()
    # A benchmark that is told to stop leaves through the same `finally` as one that ends.
    signal.signal(signal.SIGTERM, _leave)
    print(f"{_machine()}\nload average before: {os.getloadavg()[0]:.2f}\n")
    if arguments.against:
        beside(arguments.against, arguments.repeat, arguments.day)
        return
    with temporary_root() as root:
        print(HEAD)
        for row in measured(root, arguments.repeat, arguments.day, arguments.year, sandbox=not arguments.no_sandbox):
            print(line(row), flush=True)
        if arguments.all_drills:
            print(line(all_drills(root)), flush=True)


def beside(revision: str, repeat: int, day: int) -> None:
    """Print what both take, and the ratio."""
    print(f"| measured | now | {revision} | now / {revision} |\n|---|---:|---:|---:|")
    with against.tree_of(CHECKOUT, revision) as then:
        for one in against.compared(CHECKOUT, then, SYSTEM, repeat, day):
            figures = [f"{figure:,.2f} {one.unit}" if figure is not None else "" for figure in (one.now, one.then)]
            ratio = f"{one.times:.2f}" if one.times is not None else f"not in both: {one.why_not}"
            print(f"| {one.what} | {figures[0]} | {figures[1]} | {ratio} |", flush=True)


def measured(root: Path, repeat: int, day: int, year: int, *, sandbox: bool) -> Iterator[Row]:
    """Every row, as soon as it is known."""
    yield from commands(root, repeat)
    yield from evaluator()
    yield from a_year(year)
    yield from report_of_a_day(root, day)
    if sandbox:
        yield from in_the_sandbox(root)


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{cores} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"commit {commit_of(CHECKOUT) or 'unknown'}"
    )


@contextmanager
def temporary_root() -> Iterator[Path]:
    """A project of its own with links to the checkout's files; any sandbox in it is stopped at the end."""
    root = Path(tempfile.mkdtemp(prefix="tocsin-bench-"))
    try:
        for name in LINKED:
            if (CHECKOUT / name).is_dir():
                (root / name).symlink_to(CHECKOUT / name)
        # All of the system's: `tocsin validate` also asks which of its promises no experiment covers.
        shutil.copytree(CHECKOUT / "experiments" / SYSTEM, root / "experiments" / SYSTEM)
        yield root
    finally:
        control.down(root)
        shutil.rmtree(root, ignore_errors=True)


# ------------------------------------------------------------------------------------------------ commands


def commands(root: Path, repeat: int) -> Iterator[Row]:
    """Start-up of the command line, and the check of a hundred experiments."""
    bare = median(lambda: run(root, sys.executable, "-c", "pass"), repeat)
    started = median(lambda: run(root, TOCSIN, "--help"), repeat)
    yield at_most("tocsin --help", started, "s", 0.4, f"{started / bare:.1f} times a bare interpreter")
    text = (CHECKOUT / f"experiments/{SYSTEM}/{EXPERIMENT}.yaml").read_text(encoding="utf-8")
    files = copies(root, text, 100)
    checked = median(lambda: run(root, TOCSIN, "validate", str(files)), min(repeat, 3))
    one = median(lambda: run(root, TOCSIN, "validate", str(files / "000.yaml")), min(repeat, 3))
    yield at_most("tocsin validate, 100 files", checked, "s", 2.0, f"{checked / one:.1f} times one file")


def run(root: Path, *command: str, codes: tuple[int, ...] = (0,)) -> None:
    """A command that must end with one of these exit codes."""
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode not in codes:
        tail = "\n".join(f"{done.stdout}\n{done.stderr}".splitlines()[-20:])
        sys.exit(f"{' '.join(command)} ended with exit code {done.returncode}:\n{tail}")


def median(work: Callable[[], object], repeat: int) -> float:
    """Median wall seconds of several runs."""
    return statistics.median(seconds(work) for _ in range(repeat))


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one run."""
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


# ------------------------------------------------------------------------------------------------ the evaluator


def evaluator() -> Iterator[Row]:
    """Evaluations a second of the pure functions, by kind: each period summed once, beside anew."""
    for kind in evaluations.KINDS:
        once, anew = evaluations.once(kind), evaluations.anew(kind)
        note = f"each period summed once: {once / anew:.1f} times the {anew:,.0f} 1/s of anew"
        yield Row(f"alarm evaluations, {kind}", once, "1/s", note=note)


YEAR_MIN = 365 * 24 * 60
BACKTESTED = 100


def a_year(minutes: int) -> Iterator[Row]:
    """Many alarms over a year of minutes, every evaluation at once: on plain statistics, and on percentiles."""
    metric = {"Namespace": "N", "MetricName": "M"}
    base = {**metric, "AlarmName": "a", "ComparisonOperator": "GreaterThanThreshold"}
    plain, percentiles = ("Sum", "Average", "Maximum", "Minimum", "SampleCount"), ("p50", "p90", "p95", "p99", "p99.9")
    year = recorded_year(minutes)
    for what, field, of, threshold in (
        ("alarms", "Statistic", plain, 1.0),
        ("alarms on percentiles", "ExtendedStatistic", percentiles, 100.0),
    ):
        alarms = [
            {**base, field: of[number % 5], "Period": (60, 300)[number % 2], "Threshold": threshold + number}
            | {"EvaluationPeriods": 1 + number % 5, "TreatMissingData": ("missing", "notBreaching")[number % 3 == 0]}
            for number in range(BACKTESTED)
        ]
        first = _past(alarms[:1], year)
        note = f"processor; {minutes:,} evaluations each; the first one alone {first:.2f} s"
        yield at_most(f"a year of minutes, {BACKTESTED} {what}", _past(alarms, year), "s", 60.0, note)


def recorded_year(minutes: int) -> Recorded:
    """Minutes of five different values of two hundred; one in fifty has no samples."""
    rng = random.Random(1)
    values = [
        {float(value): float(rng.randrange(1, 9)) for value in rng.sample(range(200), 5)}
        if rng.random() > 0.02
        else None
        for _ in range(minutes)
    ]
    counts = array("d", [sum(minute.values()) if minute else 0.0 for minute in values])
    totals = array("d", [sum(value * often for value, often in (minute or {}).items()) for minute in values])
    least, most = (array("d", [of(minute or (0.0,)) for minute in values]) for of in (min, max))
    return Recorded(BEGAN // 3600 * 3600, counts, totals, least, most, values)


def _past(definitions: Sequence[dict[str, Any]], year: Recorded) -> float:
    """Seconds of a processor."""
    alarms = [MetricAlarm.model_validate(definition) for definition in definitions]
    began = time.process_time()
    for alarm in alarms:
        past_states(alarm, {metric_key("N", "M", {}): year})
    return time.process_time() - began


# ------------------------------------------------------------------------------------------------ reports


def report_of_a_day(root: Path, seconds: int) -> Iterator[Row]:
    """`tocsin report` on a drill that went on for a day: its time, the most memory it takes, and the page."""
    run = root / "day"
    lines = write_day(run / "drill" / "history.jsonl", seconds)
    child = subprocess.Popen((TOCSIN, "report", str(run)), cwd=root, stdout=subprocess.DEVNULL)
    began = time.perf_counter()
    _, status, used = os.wait4(child.pid, 0)
    took, child.returncode = time.perf_counter() - began, os.waitstatus_to_exitcode(status)
    page = (run / "drill" / "report.html").stat().st_size / 2**20
    # The unit of the largest resident size is kibibytes, on macOS bytes.
    memory = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    note = f"{lines:,} events; {used.ru_utime + used.ru_stime:.1f} s of a processor"
    yield at_most("report of a day", took, "s", 15.0, note)
    yield at_most("report of a day, most memory", memory, "MiB", 500.0)
    yield at_most("report of a day, the page", page, "MiB", 5.0)
    shutil.rmtree(run)


# ------------------------------------------------------------------------------------------------ the sandbox


def in_the_sandbox(root: Path) -> Iterator[Row]:
    """Start, throughput, and one whole drill."""
    yield from sandbox_start(root)
    run(root, TOCSIN, "sandbox", "up", SYSTEM)
    state = control.status(root)
    assert state is not None
    yield at_most("sandbox memory, idle (PSS)", state.pss_bytes / 2**20, "MiB", 700)
    yield from throughput(root)
    yield from many_alarms(root)
    yield from drill(root)
    state = control.status(root)
    assert state is not None
    yield at_most("sandbox memory, after a drill (PSS)", state.pss_bytes / 2**20, "MiB", 700)


def sandbox_start(root: Path) -> Iterator[Row]:
    """From no process at all to each system deployed, and back."""
    for system in sorted(file.parent.name for file in (root / "replicas").glob("*/deploy.py")):
        ups, downs = [], []
        for _ in range(3):
            ups.append(seconds(lambda name=system: run(root, TOCSIN, "sandbox", "up", name)))
            downs.append(seconds(lambda: run(root, TOCSIN, "sandbox", "down")))
        note = f"slowest {max(ups):.2f} s"
        yield at_most(f"sandbox up with {system}, cold process to ready", statistics.median(ups), "s", 4.0, note)
        yield Row(f"sandbox down with {system}, nothing left", statistics.median(downs), "s")


def throughput(root: Path) -> Iterator[Row]:
    """Closed-loop requests of one and of eight callers: how much the sandbox can carry."""
    target, system = load_target(root, "sandbox"), load_system(root, SYSTEM)
    url = resolve_base_url(system.endpoint, target) + PATH
    headers = {"Authorization": f"Bearer {Identities(target, system).token('employee').value}"}
    call(url, headers, 1.0)
    alone = call(url, headers, 4.0)
    with ThreadPoolExecutor(8) as pool:
        together = [ms for found in pool.map(lambda _: call(url, headers, 4.0), range(8)) for ms in found]
    rates = len(alone) / 4.0, len(together) / 4.0
    yield Row("API -> Lambda -> PostgreSQL, 1 caller", rates[0], "1/s", note=f"p50 {statistics.median(alone):.0f} ms")
    p95 = statistics.quantiles(together, n=20)[-1]
    note = f"p50 {statistics.median(together):.0f} ms, p95 {p95:.0f} ms; {rates[1] / rates[0]:.1f} times one caller"
    yield Row("API -> Lambda -> PostgreSQL, 8 callers", rates[1], "1/s", note=note)


def call(url: str, headers: dict[str, str], wall_s: float) -> list[float]:
    """Milliseconds of each request of one caller; all must be answered with 200."""
    found, end = [], time.perf_counter() + wall_s
    with httpx.Client(headers=headers, timeout=10) as client:
        while time.perf_counter() < end:
            began = time.perf_counter()
            client.get(url).raise_for_status()
            found.append((time.perf_counter() - began) * 1000)
    return found


def many_alarms(root: Path) -> Iterator[Row]:
    """A watcher of many alarms: how long a poll takes, how long none of them is left alone, and what that costs."""
    for count in CROWDS:
        yield from a_crowd(root, [f"crowd-{number:04d}" for number in range(count)])


def a_crowd(root: Path, names: list[str]) -> Iterator[Row]:
    """The same of some alarms."""
    ctx, what = _watching(root / f"crowd-{len(names)}", root, names), f"{len(names)} alarms watched"
    try:
        put_alarms(ctx.system, ctx.target)
        watcher = AlarmWatcher(ctx)
        watcher.look()
        polls = [seconds(watcher.poll) for _ in range(POLLS)]
        yield at_most(f"{what}: a poll", statistics.median(polls), "s", 1.0, f"slowest {max(polls):.2f} s")
        before = (ctx.directory / "history.jsonl").stat().st_size
        processor, began = time.process_time(), time.time()
        watcher.start()
        time.sleep(WATCHED_S)
        watcher.stop()
        busy, took = time.process_time() - processor, time.time() - began
        timeline = Timeline.of(read_history(ctx.directory / "history.jsonl"))
        gap_s = max(timeline.watch_gap(name, began, timeline.end) for name in names) / ctx.scale
        allowed_s = LONGEST_SILENCE_WALL_S + LONGEST_SILENCE_S / ctx.scale
        yield at_most(f"{what}: longest time without a look", gap_s, "s", allowed_s)
        yield Row(f"{what}: share of a processor", 100 * busy / took, "%")
        written = (ctx.directory / "history.jsonl").stat().st_size - before
        yield Row(f"{what}: written a second", written / took / 1024, "KiB/s")
    finally:
        ctx.history.close()
        for first in range(0, len(names), 100):
            ctx.target.client("cloudwatch").delete_alarms(AlarmNames=names[first : first + 100])


def _watching(directory: Path, root: Path, names: list[str]) -> RunContext:
    """A drill of a system of alarms of which its experiment names one."""
    directory.mkdir()
    definition = {"Namespace": "Crowd", "MetricName": "M", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1}
    definition |= {"Threshold": 1, "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching"}
    alarms = {name: {"title": name, "cloudwatch": {"AlarmName": name, **definition}} for name in names}
    nowhere = "http://127.0.0.1:9"
    system = System.model_validate({"system": "crowd", "title": "C", "endpoint": {"url": nowhere}, "alarms": alarms})
    block = {"name": "tocsin", "system": "crowd", "expect": {"quiet": names[:1], "recovery": {"within": "1m"}}}
    whole = {"slug": "crowd", "path": "crowd.yaml", "title": "C", "method": [], "rollbacks": [], "extension": block}
    experiment, target = Experiment.model_validate(whole), load_target(root, "sandbox")
    history = History(directory / "history.jsonl")
    began = DrillStarted(
        at=time.time(),
        drill="crowd",
        experiment=experiment,
        system=system,
        target="sandbox",
        scale=target.scale,
        seed=1,
        version="",
        command="",
    )
    history.record(began)
    return RunContext("crowd", root, directory, experiment, system, target, history, nowhere, 1)


def drill(root: Path) -> Iterator[Row]:
    """One drill: its overhead beyond what it has to wait for, what it takes of the processors, and its load."""
    file = root / "experiments" / f"{EXPERIMENT}.yaml"
    shutil.copy(CHECKOUT / "experiments" / SYSTEM / file.name, file)
    # On a busy machine a drill may well end with another verdict: it is told beside the figures.
    state = control.status(root)
    assert state is not None
    with Processors((state.pid,)) as processors:
        # The scale of the sandbox that is up: what it takes is counted.
        run(root, TOCSIN, "run", str(file), "--time-scale", "60", "--out", "bench", codes=(0, 1, 3))
    events = read_history(root / "bench" / EXPERIMENT / "history.jsonl")
    verdict = RunVerdict.model_validate_json((root / "bench" / "verdict.json").read_text(encoding="utf-8")).drills[0]
    wall, waits = duration(events), configured_waits(events, verdict)
    yield Row(f"drill {EXPERIMENT}, wall", wall, "s", note=f"verdict {verdict.outcome.value}; {waits:.1f} s are waits")
    contract = sum(event.ended_at - event.at for event in events if isinstance(event, ContractRan))
    note = (
        f"{(wall - waits) / wall:.0%} of the drill; three contract runs took {contract:.1f} s, partly beside the waits"
    )
    yield at_most("drill overhead beyond its waits", wall - waits, "s", 2.0, note)
    taken = processors.taken
    note = ", ".join(f"{name} {took:.1f}" for name, took in taken.items())
    yield at_most("drill, seconds of a processor", sum(taken.values()), "s", 8.0, note)
    yield load(events)


def all_drills(root: Path) -> Row:
    """Every experiment of every system side by side, those that are long apart."""
    shutil.copytree(CHECKOUT / "experiments", root / "every", dirs_exist_ok=True)
    out = root / "all-drills"
    parallel = (TOCSIN, "run", "every", "--parallel", "auto", "--not-tag", "long", "--out", str(out))
    wall = seconds(lambda: run(root, *parallel, codes=(0, 1, 3)))
    told = RunVerdict.model_validate_json((out / "verdict.json").read_text(encoding="utf-8"))
    return of_all_drills(wall, told, len(list(out.glob("*/first-try"))))


def of_all_drills(wall: float, told: RunVerdict, again: int) -> Row:
    """What a run of all drills took for each, which counts only where each passed at its first try."""
    others = [f"{one.experiment} {one.outcome.value}" for one in told.drills if one.outcome is not Outcome.PASS]
    note = f"{len(told.drills)} drills in {wall:.0f} s, {again} once more; {', '.join(others) or 'all of them pass'}"
    row = at_most("all drills, seconds a drill", wall / len(told.drills), "s", 8, note)
    return replace(row, met=bool(row.met) and not others and not again)


def duration(events: list[Event]) -> float:
    """Wall seconds from the first line to the last."""
    return _at(events, DrillEnded) - _at(events, DrillStarted)


def configured_waits(events: list[Event], verdict: Verdict) -> float:
    """Wall seconds a drill cannot do without: baseline with enough answers, longest window, slowest alarm to clear, and
    staying clear."""
    started = next(event for event in events if isinstance(event, DrillStarted))
    block = started.experiment.extension
    windows = [block.expect.quiet_window(entry) for entry in block.expect.quiet]
    cleared = [found.cleared_s or 0.0 for found in verdict.detections]
    production = max(windows, default=0.0) + max(cleared, default=0.0) + STAY_CLEAR_S
    enough = enough_before(started.experiment, started.system, started.scale)
    answers = 0.0 if block.load is None else enough / block.load.arrivals_per_s
    return max(block.baseline / started.scale, answers) + production / started.scale


def load(events: list[Event]) -> Row:
    """Answered against offered arrivals in the baseline act."""
    began = next(e.at for e in events if isinstance(e, ActStarted) and e.act is Act.BASELINE)
    ended = next(e.at for e in events if isinstance(e, ActEnded) and e.act is Act.BASELINE)
    found = [e for e in events if isinstance(e, LoadSecond) and began <= e.at and e.at + 1 <= ended]
    offered = sum(second.offered for second in found)
    answered = sum(count for s in found for status, count in s.statuses.items() if status != "error")
    note = f"{offered / max(1, len(found)):.1f}/s offered, {answered / max(1, len(found)):.1f}/s answered"
    return Row("load answered of offered, baseline", answered / max(1, offered), "", note=note)


def _at(events: list[Event], kind: type[DrillStarted | DrillEnded]) -> float:
    return next(event.at for event in events if isinstance(event, kind))


# ------------------------------------------------------------------------------------------------ the table


HEAD = "| measured | figure | target | note |\n|---|---:|---|---|"


def line(row: Row) -> str:
    """One row of a Markdown table."""
    verdict = "" if row.met is None else " (met)" if row.met else " (MISSED)"
    figure = f"{row.figure:,.0f}" if row.figure >= 100 else f"{row.figure:.2f}"
    return f"| {row.what} | {figure} {row.unit} | {row.target}{verdict} | {row.note} |"


if __name__ == "__main__":
    main()

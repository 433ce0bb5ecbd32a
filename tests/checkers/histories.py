"""Histories of drills, made by hand: one healthy story with a knob for everything that can go wrong in it.

Times of a `Scene` are production seconds; the events it makes carry wall-clock seconds, as a drill writes them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, log2
from pathlib import Path
from typing import Literal

from tocsin.model.chain import FIRST, SEAL, hash_of, linked, unlinked
from tocsin.model.events import (
    Act,
    ActEnded,
    ActivityRan,
    ActStarted,
    AlarmChanged,
    AlarmDatapoints,
    AlarmForecast,
    AlarmNotified,
    AlarmPath,
    AlarmSeen,
    AlarmsPolled,
    CanaryRan,
    CanaryStep,
    ContractFailure,
    ContractRan,
    DrillEnded,
    DrillStarted,
    Event,
    FaultChanged,
    FaultStage,
    GuardChecked,
    HypothesisChecked,
    LoadSecond,
    MachineLagged,
    MachineWatched,
    MessagesTapped,
    ProbeResult,
    ResidueChecked,
    Stopped,
    TapsOpened,
    TopicPath,
    WorkCounted,
)
from tocsin.model.experiment import (
    BlindAlarm,
    Degraded,
    Expect,
    Experiment,
    Extension,
    LoadPlan,
    MustAlarm,
    MustCanary,
    PlannedActivity,
    QuietAlarm,
    RecoveryTarget,
)
from tocsin.model.histogram import Histogram
from tocsin.model.looks import LOOKS
from tocsin.model.messages import Messages, Tap
from tocsin.model.system import (
    AlarmState,
    CanaryPlan,
    CloudWatchAlarm,
    Conservation,
    Endpoint,
    LogCount,
    MetricAlarm,
    Notifications,
    Objectives,
    System,
)
from tocsin.record.history import History

START = 1_790_000_000.0
ALARMS = ("api-5xx", "api-latency", "label-dlq", "api-5xx-legacy")
CANARIES = ("health", "create_parcel", "track_parcel", "print_label", "admin_rights", "daily_summary")
OPERATIONS = ("GET /parcels", "POST /parcels", "GET /parcels/{id}", "POST /labels")


def metric_alarm(name: str) -> CloudWatchAlarm:
    """A documented alarm whose definition does not matter to the checkers."""
    definition = MetricAlarm(
        alarm_name=name,
        namespace="AWS/ApiGateway",
        metric_name="5xx",
        statistic="Sum",
        period=300,
        evaluation_periods=1,
        threshold=5,
        comparison_operator="GreaterThanOrEqualToThreshold",
    )
    return CloudWatchAlarm(title=name, cloudwatch=definition)


SYSTEM = System(
    system="parcel-desk",
    title="Parcel desk",
    endpoint=Endpoint(http_api="parcel-desk-dev"),
    notifications=Notifications(queue="oncall"),
    contract="contracts/parcel-desk.openapi.yaml",
    messages=Messages(
        document="contracts/parcel-desk.asyncapi.yaml",
        taps={"labels": Tap(queue="label-printed-tap", topic="label-printed")},
    ),
    canaries=CanaryPlan(file="synthetics/parcel_desk.py"),
    load="loadtests/parcel_desk.py",
    objectives=Objectives(shown_in_drills=0.05),
    alarms={name: metric_alarm(name) for name in ALARMS},
    conservation={
        "labels": Conservation(
            title="Every label accepted is printed exactly once",
            accepted=(LogCount(log_group="/api", event="label.queued", key="labelId"),),
            processed=LogCount(log_group="/worker", event="label.printed", key="labelId"),
        )
    },
)

EXPECT = Expect(
    must=(
        MustAlarm(alarm="api-5xx", within=660, clears_within=480),
        MustAlarm(alarm="api-latency", within=660, clears_within=600),
        MustCanary(canary="create_parcel", within=300),
    ),
    quiet=(QuietAlarm(alarm="label-dlq"),),
    blind=(BlindAlarm(alarm="api-5xx-legacy", because="an HTTP API never publishes the metric 5XXError"),),
    degraded=Degraded(status=(503,), schema_name="Problem", max_share=1.0),
    recovery=RecoveryTarget(within=300),
    conserved=("labels",),
)

HEALTHY = {"200": 0.78, "201": 0.14, "404": 0.05, "409": 0.03}
THROTTLED = {"503": 0.86, "200": 0.09, "404": 0.05}


@dataclass(frozen=True)
class Scene:
    """One drill, in production seconds; `history()` writes it down. The defaults are a drill that passes."""

    slug: str = "throttle-database-proxy"
    title: str = "Database proxy throttled to 1 % of its connections"
    fault: str = "rds_proxy_throttle"
    effect: str = "MaxConnectionsPercent reads 1, borrow time-outs were counted"
    system: System = SYSTEM
    expect: Expect = EXPECT
    scale: float = 60.0
    load: LoadPlan | None = field(default_factory=LoadPlan)
    preflight_s: float = 110.0
    baseline_s: float = 430.0
    hold_s: float = 665.0
    undo_s: float = 14.0
    recovery_s: float = 540.0
    rings: dict[str, tuple[float, float]] = field(
        default_factory=lambda: {"api-latency": (312.0, 301.0), "api-5xx": (372.0, 361.0)}
    )
    """Alarm -> seconds after the injection to ALARM, seconds after the verified undo to OK."""
    fault_statuses: dict[str, float] = field(default_factory=lambda: dict(THROTTLED))
    fault_latency_ms: float = 1010.0
    failing_canaries: tuple[str, ...] = ("create_parcel", "track_parcel", "print_label", "daily_summary")
    degraded_cases: int = 118
    contract_failures: tuple[ContractFailure, ...] = ()
    drift: tuple[str, ...] = ()
    seed: int = 7

    @property
    def requested(self) -> float:
        """Wall clock of the injection's request."""
        return self.wall(self.preflight_s + self.baseline_s)

    @property
    def accepted(self) -> float:
        """Wall clock of the injection being accepted."""
        return self.requested + self._span(4)

    @property
    def undo_requested(self) -> float:
        """Wall clock of the undo's request."""
        return self.accepted + self._span(self.hold_s)

    @property
    def verified(self) -> float:
        """Wall clock of the verified undo."""
        return self.undo_requested + self._span(self.undo_s)

    @property
    def end(self) -> float:
        """Wall clock of the end of the recovery act."""
        return self.verified + self._span(self.recovery_s)

    def wall(self, production_s: float) -> float:
        """Wall clock of a production time since the start."""
        return START + self._span(production_s)

    def _span(self, production_s: float) -> float:
        return production_s / self.scale

    def experiment(self) -> Experiment:
        """The experiment that the drill runs."""
        return Experiment(
            path=f"experiments/{self.system.system}/{self.slug}.yaml",
            slug=self.slug,
            title=self.title,
            tags=(self.system.system, "gate"),
            method=(PlannedActivity(name="inject", type="action", provider_type="python"),),
            rollbacks=(PlannedActivity(name="undo", type="action", provider_type="python"),),
            extension=Extension(system=self.system.system, load=self.load, expect=self.expect),
        )

    def started(self) -> DrillStarted:
        """The first line."""
        return DrillStarted(
            at=START,
            drill=f"20260921-141320-{self.slug}",
            experiment=self.experiment(),
            system=self.system,
            target="sandbox",
            account="000000000000",
            region="ap-southeast-2",
            scale=self.scale,
            seed=self.seed,
            version="0.1.0",
            commit="4f0c2d9",
            command=f"tocsin run experiments/{self.system.system}/{self.slug}.yaml --target sandbox --seed {self.seed}",
            looks=LOOKS,
        )

    def history(self) -> list[Event]:
        """All events, in the order of their time."""
        events: list[Event] = [self.started(), DrillEnded(at=self.end + 0.05)]
        events += self._acts()
        events += self._preflight()
        events += self._fault()
        events += self._alarms()
        events += self._load()
        events += self._canaries()
        events += self._contracts()
        events += self._messages()
        events += self._recovery()
        return sorted((event for event in events if event.at <= self.end + 0.05), key=lambda event: event.at)

    def refused(self) -> list[Event]:
        """The same drill, stopped by a guard of preflight because an alarm is already ringing."""
        detail = "expected label-dlq in OK, found ALARM since 14:02:11. Clear it, or take it out of `quiet`."
        return [
            self.started(),
            ActStarted(at=START + 0.01, act=Act.PREFLIGHT),
            GuardChecked(at=START + 0.2, guard="identity", ok=True, detail="account 000000000000"),
            *(
                AlarmSeen(at=START + 0.4, alarm=name, state="ALARM" if name == "label-dlq" else "OK", has_data=True)
                for name in self.system.alarms
            ),
            GuardChecked(at=START + 0.5, guard="alarms_quiet", ok=False, detail=detail),
            Stopped(at=START + 0.6, guard="alarms_quiet", detail=detail),
            ResidueChecked(at=START + 0.7),
            DrillEnded(at=START + 0.8),
        ]

    def interrupted(self, after_s: float = 200.0) -> list[Event]:
        """The same drill, stopped by SIGINT in the fault act, undone and verified."""
        stop = self.accepted + self._span(after_s)
        cut = [event for event in self.history() if event.at <= stop]
        entry = f"{self.slug}-1"
        return [
            *cut,
            Stopped(at=stop, guard="interrupted", detail="stopped by SIGINT"),
            ActEnded(at=stop + 0.01, act=Act.FAULT, note="stopped by SIGINT"),
            ActStarted(at=stop + 0.02, act=Act.RECOVERY),
            *(
                FaultChanged(at=stop + at, entry=entry, fault=self.fault, stage=stage)
                for at, stage in (
                    (0.03, FaultStage.UNDO_REQUESTED),
                    (0.1, FaultStage.UNDONE),
                    (0.25, FaultStage.VERIFIED),
                )
            ),
            ResidueChecked(at=stop + 0.3),
            ActEnded(at=stop + 0.31, act=Act.RECOVERY),
            DrillEnded(at=stop + 0.32),
        ]

    def _acts(self) -> Iterator[Event]:
        marks = (START + 0.01, self.wall(self.preflight_s), self.requested - 0.01, self.undo_requested - 0.01)
        ends = (*marks[1:], self.end)
        for act, start, end in zip(Act, marks, ends, strict=True):
            yield ActStarted(at=start, act=act)
            yield ActEnded(at=end, act=act)

    def _preflight(self) -> Iterator[Event]:
        yield GuardChecked(at=START + 0.1, guard="identity", ok=True, detail="account 000000000000")
        yield GuardChecked(at=START + 0.3, guard="alarms_quiet", ok=True, detail="4 alarms, none in ALARM")
        probe = ProbeResult(name="api answers", ok=True, detail="200 in 12 ms")
        yield HypothesisChecked(at=START + 0.8, act=Act.PREFLIGHT, met=True, probes=(probe,))

    def _fault(self) -> Iterator[Event]:
        entry = f"{self.slug}-1"
        stages = (
            (self.requested, FaultStage.REQUESTED, ""),
            (self.accepted, FaultStage.ACCEPTED, ""),
            (self.accepted + self._span(18), FaultStage.EFFECTIVE, self.effect),
            (self.undo_requested, FaultStage.UNDO_REQUESTED, ""),
            (self.verified - self._span(6), FaultStage.UNDONE, ""),
            (self.verified, FaultStage.VERIFIED, "the prior state reads back"),
        )
        for at, stage, detail in stages:
            yield FaultChanged(at=at, entry=entry, fault=self.fault, stage=stage, detail=detail)
        yield ActivityRan(at=self.accepted + 0.01, act=Act.FAULT, name="inject", ok=True, duration_s=0.4)
        yield ActivityRan(at=self.verified + 0.001, act=Act.RECOVERY, name="undo", ok=True, duration_s=0.2)

    def _alarms(self) -> Iterator[Event]:
        states = {name: "INSUFFICIENT_DATA" if name.endswith("legacy") else "OK" for name in self.system.alarms}
        for name, state in states.items():
            yield AlarmSeen(
                at=START + 0.25,
                alarm=name,
                state=state,
                has_data=not name.endswith("legacy"),
                definition_drift=self.drift,
            )
        changes = dict(self._changes())
        for name, (rang, cleared) in changes.items():
            yield AlarmChanged(
                at=rang,
                alarm=name,
                before="OK",
                after="ALARM",
                breached_at=rang - self._span(90),
                evidence="datapoints",
                reason="Threshold Crossed: 1 out of the last 1 datapoints was greater than the threshold",
            )
            yield self._told(rang + self._span(8), name, "ALARM")
            yield AlarmChanged(
                at=cleared, alarm=name, before="ALARM", after="OK", evidence="datapoints", reason="Threshold Crossed"
            )
            yield self._told(cleared + self._span(8), name, "OK")
        at = START + 0.5
        while at < self.end:
            now = {
                name: "ALARM" if name in changes and changes[name][0] <= at < changes[name][1] else state
                for name, state in states.items()
            }
            yield AlarmsPolled(at=at, polls=4, states=now)
            at += max(1.0, self._span(30))

    def _told(self, at: float, alarm: str, state: AlarmState) -> AlarmNotified:
        return AlarmNotified(
            at=at, alarm=alarm, state=state, via="queue oncall", arrived_at=at, absent_at=at - self._span(15)
        )

    def _changes(self) -> Iterator[tuple[str, tuple[float, float]]]:
        for name, (ring_s, clear_s) in self.rings.items():
            yield name, (self.accepted + self._span(ring_s), self.verified + self._span(clear_s))

    def _load(self) -> Iterator[Event]:
        if self.load is None:
            return
        rng = random.Random(self.seed)
        at = float(int(self.wall(self.preflight_s)) + 1)
        while at + 1 <= self.end:
            yield self._second(rng, at)
            at += 1.0

    def _second(self, rng: random.Random, at: float) -> LoadSecond:
        assert self.load is not None
        broken = self.accepted <= at + 0.5 <= self.verified
        offered = max(1, round(rng.gauss(self.load.arrivals_per_s, self.load.arrivals_per_s**0.5 * 0.7)))
        mix = self.fault_statuses if broken else HEALTHY
        drawn = rng.choices(list(mix), weights=list(mix.values()), k=offered)
        base = self.fault_latency_ms if broken else 34.0
        p50 = base * rng.uniform(0.92, 1.1)
        p95 = p50 * rng.uniform(1.05, 1.15) if broken else p50 * rng.uniform(2.0, 3.1)
        p99 = p95 * rng.uniform(1.02, 1.5)
        second = LoadSecond(
            at=at,
            offered=offered,
            sent=offered,
            dropped=0,
            statuses={status: drawn.count(status) for status in sorted(set(drawn))},
            latency_ms={"p50": p50, "p95": p95, "p99": p99, "max": p99 * 1.1, "sum": p50 * offered},
            lag_ms=rng.uniform(2, 19),
        )
        return in_buckets(second)

    def _canaries(self) -> Iterator[Event]:
        if self.system.canaries is None:
            return
        rng = random.Random(self.seed + 1)
        step = self._span(self.system.canaries.every)
        at = self.wall(self.preflight_s) + 0.2
        while at < self.end - 0.1:
            for index, canary in enumerate(CANARIES):
                yield self._canary_run(rng, canary, at + index * step / 9)
            at += step

    def _canary_run(self, rng: random.Random, canary: str, at: float) -> CanaryRan:
        broken = self.accepted < at < self.verified - self._span(5)
        fails = broken and canary in self.failing_canaries
        ms = rng.uniform(0.6, 1.0) * 1000 * min(0.08, self._span(20)) + (20 if fails else 0)
        detail = "create: expected 201, found 503" if fails else ""
        first = not fails and not (broken and rng.random() < 0.12)
        return CanaryRan(
            at=at,
            canary=canary,
            ok=first,
            ok_after_retry=not fails,
            ms=ms,
            steps=(CanaryStep(name="create", ok=not fails, ms=ms, detail=detail),),
            detail=detail,
            ended_at=at + ms / 1000,
        )

    def _contracts(self) -> Iterator[Event]:
        if self.system.contract is None:
            return
        runs = (
            (Act.BASELINE, self.wall(self.preflight_s) + 0.5, 0, (), {"200": 210, "201": 60, "404": 142}),
            (
                Act.FAULT,
                self.accepted + self._span(60),
                self.degraded_cases,
                self.contract_failures,
                {"503": self.degraded_cases, "400": 31},
            ),
            (Act.RECOVERY, self.verified + self._span(90), 0, (), {"200": 214, "201": 58, "404": 140}),
        )
        for act, at, degraded, failures, statuses in runs:
            yield ContractRan(
                at=at,
                ended_at=at + self._span(200),
                act=act,
                complete=True,
                cases=sum(statuses.values()),
                operations=len(OPERATIONS),
                documented=len(OPERATIONS),
                answers=dict.fromkeys(OPERATIONS, statuses),
                degraded=degraded,
                statuses=statuses,
                failures=failures,
            )

    def _messages(self) -> Iterator[Event]:
        if self.system.messages is None:
            return
        baseline = self.wall(self.preflight_s)
        channels = dict.fromkeys(self.system.messages.taps, ("LabelPrinted",))
        yield TapsOpened(at=baseline - 0.01, channels=channels)
        for act, at in ((Act.BASELINE, baseline), (Act.FAULT, self.accepted), (Act.RECOVERY, self.verified)):
            for channel in channels:
                yield MessagesTapped(at=at + self._span(60), act=act, channel=channel, kept={"LabelPrinted": 12})

    def _recovery(self) -> Iterator[Event]:
        probe = ProbeResult(name="api answers", ok=True, detail="200 in 14 ms")
        yield HypothesisChecked(at=self.verified + self._span(30), act=Act.RECOVERY, met=True, probes=(probe,))
        for rule in self.expect.conserved:
            yield WorkCounted(at=self.end - 0.2, rule=rule, accepted=37, processed=37, waited_s=1.2)
        yield ResidueChecked(at=self.end - 0.1)


def measured(scene: Scene | None = None, every_s: float = 5.0) -> list[Event]:
    """What the harness tells of a machine that keeps up, in summaries of some wall seconds."""
    scene, found = scene or Scene(), list[Event]()
    at = START + 0.01
    while at < scene.end:
        since, at = at, min(at + every_s, scene.end + 0.01)
        found.append(MachineWatched(at=at, since=since, ticks=100, longest_s=0, target_longest_s=0, cpu_pressure=0.2))
    return found


def lagged(at: float, until: float, longest_s: float = 3.0, who: Literal["harness", "target"] = "target") -> Event:
    """A stretch in which timers were late."""
    return MachineLagged(at=at, until=until, who=who, longest_s=longest_s)


def on_busy_machine(history: Iterable[Event], *stretches: Event) -> list[Event]:
    """The history, on a machine that was measured and that did not keep up for some stretches."""
    promised = tweak(history, lambda event: isinstance(event, DrillStarted), measures_machine=True)
    return add(promised, *measured(), *stretches)


TOPIC = TopicPath(topic="arn:aws:sns:eu-west-1:000000000000:bells", subscribed=True, confirmed=True)
"""The queue `oncall` is subscribed, and nothing is filtered."""


def path(alarm: str, *topics: TopicPath, scene: Scene | None = None, **changes: object) -> AlarmPath:
    """How an alarm tells somebody, as read before the fault: whole, but for the changes."""
    at = (scene or Scene()).requested - 0.5
    whole = AlarmPath(
        at=at, alarm=alarm, actions_enabled=True, actions=tuple(one.topic for one in topics), topics=topics
    )
    return whole.model_copy(update=changes)


def datapoints(alarm: str, *values: float, scene: Scene | None = None, **changes: object) -> AlarmDatapoints:
    """What an alarm on `Sum >= 5` of five minutes had to look at during the fault."""
    scene = scene or Scene()
    read = AlarmDatapoints(
        at=scene.end - 0.1,
        alarm=alarm,
        since=scene.accepted,
        until=scene.undo_requested,
        values=values,
        threshold=5,
        comparison_operator="GreaterThanOrEqualToThreshold",
        datapoints_to_alarm=1,
        evaluation_periods=1,
        treat_missing_data="notBreaching",
    )
    return read.model_copy(update=changes)


def forecast(alarm: str, *, feasible: bool = True) -> AlarmForecast:
    """What preflight worked out."""
    if feasible:
        return AlarmForecast(at=START + 0.5, alarm=alarm, feasible=True, detail="", typical_s=145, worst_s=660)
    detail = "5xx Sum >= 5 in 300 s needs 5 bad requests a period; at 0.01 arrivals/s at most 2 can come"
    return AlarmForecast(at=START + 0.5, alarm=alarm, feasible=False, detail=detail)


def passing() -> list[Event]:
    """Two alarms ring and clear, one stays quiet, one is blind, nothing is lost."""
    return Scene().history()


def failing() -> list[Event]:
    """The wrong alarm rings, the right one clears too late, and the contract breaks under the fault."""
    scene = Scene(
        slug="break-label-printer",
        title="Credential of the label printer broken",
        fault="lambda_env_credential",
        effect="the new version carries another fingerprint",
        rings={"api-5xx": (372.0, 361.0), "label-dlq": (410.0, 300.0)},
        fault_statuses={"200": 0.55, "500": 0.25, "503": 0.12, "error": 0.08},
        fault_latency_ms=260.0,
        contract_failures=(
            ContractFailure(
                operation="POST /labels",
                check="not_a_server_error",
                message="expected a documented answer, found 500 with <html>Internal error & more</html>",
                status=500,
                count=52,
            ),
            ContractFailure(
                operation="GET /parcels",
                check="response_schema_conformance",
                message="'requestId' is a required property",
                status=503,
                count=9,
            ),
        ),
    )
    lost = WorkCounted(
        at=scene.end - 0.2, rule="labels", accepted=37, processed=35, lost=("lbl-18", "lbl-22"), lost_count=2
    )
    return [lost if isinstance(event, WorkCounted) else event for event in scene.history()]


def gap() -> list[Event]:
    """Users are hurt and no documented alarm rings."""
    text = "Labels are not printed and no alarm watches the age of the queue. Add one on its oldest message."
    return Scene(
        slug="label-worker-stopped",
        title="Label worker no longer reads its queue",
        fault="lambda_event_source_disabled",
        effect="the mapping reads Disabled, 37 messages wait",
        expect=Expect(
            quiet=(QuietAlarm(alarm="api-5xx"),),
            recovery=RecoveryTarget(within=300),
            gap=text,
            conserved=("labels",),
        ),
        rings={},
        fault_statuses=dict(HEALTHY),
        fault_latency_ms=36.0,
        failing_canaries=("print_label",),
        degraded_cases=0,
    ).history()


def refused() -> list[Event]:
    """A guard says no before anything is injected."""
    return Scene(slug="poison-message", title="A message nobody can read").refused()


def without(events: Iterable[Event], *kinds: type[Event]) -> list[Event]:
    """The history, as if events of some kinds had never been written."""
    return [event for event in events if not isinstance(event, kinds)]


def told_by_news(events: Iterable[Event], at_once: int = 100) -> list[Event]:
    """The history as a watcher writes it that tells of each part of the alarms only what is news."""
    told: list[Event] = []
    known: dict[str, AlarmState] = {}
    for event in events:
        if isinstance(event, AlarmsPolled):
            told += _in_parts(event, at_once, known)
        else:
            told.append(event)
    return told


def _in_parts(event: AlarmsPolled, at_once: int, known: dict[str, AlarmState]) -> Iterator[AlarmsPolled]:
    names = sorted(event.states)
    for part, first in enumerate(range(0, len(names), at_once)):
        states = {name: event.states[name] for name in names[first : first + at_once]}
        news = {name: state for name, state in states.items() if known.get(name) != state}
        same = Counter(state for name, state in states.items() if name not in news)
        known |= news
        yield event.model_copy(update={"states": news, "part": part, "same": dict(same)})


def in_state(events: Iterable[Event], alarm: str, state: AlarmState) -> list[Event]:
    """The alarm is in one state from the first look to the last."""

    def told(event: Event) -> Event:
        if isinstance(event, AlarmSeen) and event.alarm == alarm:
            return event.model_copy(update={"state": state})
        if isinstance(event, AlarmsPolled):
            return event.model_copy(update={"states": {**event.states, alarm: state}})
        return event

    return [told(event) for event in events]


def drop(events: Iterable[Event], unwanted: Callable[[Event], bool]) -> list[Event]:
    """The history without the events that the predicate names."""
    return [event for event in events if not unwanted(event)]


def tweak(events: Iterable[Event], wanted: Callable[[Event], bool], **changes: object) -> list[Event]:
    """The history with some fields of some events changed; a second of load gets the histogram that belongs to them."""
    tweaked = (event.model_copy(update=changes) if wanted(event) else event for event in events)
    fitting = "histogram" not in changes and changes.keys() & {"statuses", "latency_ms"}
    return [in_buckets(event) if fitting and isinstance(event, LoadSecond) else event for event in tweaked]


def in_buckets(second: LoadSecond) -> LoadSecond:
    """A second with the histogram of its quantiles: the slowest tenth took p95, errors as long as most answers."""
    latencies, answers = second.latency_ms, second.answered
    if not latencies:
        return second.model_copy(update={"histogram": None})
    slow = answers // 10
    good = {bucket_of(latencies["p95"]): slow}
    usual = bucket_of(latencies.get("p50", 1.0))
    good[usual] = good.get(usual, 0) + answers - slow - min(second.failed, answers - slow)
    failed = {usual: min(second.failed, answers - slow)}
    return second.model_copy(update={"histogram": Histogram(good=good, failed=failed)})


def bucket_of(latency_ms: float) -> int:
    """The bucket of a latency: bucket i is above 2^(i/32) and at most 2^((i+1)/32) ms."""
    return ceil(32 * log2(latency_ms)) - 1


def add(events: Iterable[Event], *more: Event) -> list[Event]:
    """The history with more events in it, in the order of time."""
    return sorted([*events, *more], key=lambda event: event.at)


def write_history(path: Path, events: Sequence[Event]) -> None:
    """Write a whole history at once, as a drill writes it."""
    history = History(path)
    for event in events:
        history.record(event)
    history.close()


def rechained(path: Path) -> None:
    """Let a history that was changed hang together again, as if the drill had written it so."""
    lines = [unlinked(line)[1] for line in path.read_text(encoding="utf-8").splitlines()]
    head, whole = FIRST, ""
    for event in [*(one for one in lines if one and one != SEAL), SEAL]:
        line = linked(event, head)
        head, whole = hash_of(line), f"{whole}{line}\n"
    path.write_text(whole, encoding="utf-8")

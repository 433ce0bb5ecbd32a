"""The history's vocabulary: every kind of line in `history.jsonl`.

Times named `at` are wall-clock epoch seconds. Production time is a wall-clock difference multiplied by the
scale of `DrillStarted`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from tocsin.model.alarm_fields import ComparisonOperator, TreatMissingData
from tocsin.model.base import Model
from tocsin.model.definitions import Definitions
from tocsin.model.experiment import Experiment
from tocsin.model.histogram import Histogram
from tocsin.model.lags import Lags
from tocsin.model.looks import LookPlan
from tocsin.model.moments import Act as Act
from tocsin.model.moments import Amount, Count, Time
from tocsin.model.system import AlarmState, System
from tocsin.model.tapped import MessagesTapped as MessagesTapped
from tocsin.model.tapped import TapsOpened as TapsOpened


class FirstTry(Model):
    """A drill of the same experiment right before, with which the machine did not keep up."""

    drill: str
    because: str = Field(description="what could not be known, in words")
    directory: str = Field(description="where its history and its report are, below the directory of this drill")


class DrillStarted(Model):
    """The first line: everything a judge needs to know about what was planned."""

    kind: Literal["drill_started"] = "drill_started"
    at: Time
    drill: str = Field(description="unique id of this drill")
    experiment: Experiment
    system: System = Field(description="with ${...} resolved for this target as soon as they are known")
    target: str
    account: str | None = None
    region: str | None = None
    scale: float = Field(ge=1, le=86_400, description="production seconds per wall second; 1 on a real account")
    scale_because: str | None = Field(default=None, description="why no faster; None where it was not chosen for it")
    seed: int
    version: str = Field(description="version of Tocsin")
    commit: str | None = Field(default=None, description="git commit of the working directory, `-dirty` when changed")
    command: str = Field(description="the exact command to run it again")
    first_try: FirstTry | None = Field(default=None, description="the try before this one, where there was one")
    measures_machine: bool | None = Field(
        default=None, description="whether the harness measures if this machine keeps up; None: not recorded"
    )
    tries_again: bool | None = Field(
        default=None,
        description="whether the run drills once more where this machine is busy; None: not, or by an older version",
    )
    definitions: Definitions | None = Field(
        default=None, description="hashes of what was written when it began; None: by an older version"
    )
    linked: bool | None = Field(
        default=None, description="whether each line carries the hash of the one before; None: by an older version"
    )
    looks: LookPlan | None = Field(
        default=None, description="planned looks at what callers get after the undo; None: by an older version"
    )


class ActStarted(Model):
    kind: Literal["act_started"] = "act_started"
    at: Time
    act: Act


class ActEnded(Model):
    kind: Literal["act_ended"] = "act_ended"
    at: Time
    act: Act
    note: str | None = Field(default=None, description="why it ended, in words")


class GuardChecked(Model):
    """One question of preflight, and what was found."""

    kind: Literal["guard_checked"] = "guard_checked"
    at: Time
    guard: str
    ok: bool
    detail: str


class Stopped(Model):
    """A guard or a signal ended the drill early."""

    kind: Literal["stopped"] = "stopped"
    at: Time
    guard: str = Field(description="name of the guard, or `interrupted`")
    detail: str
    came_at: Time | None = Field(
        default=None, description="when the signal reached the process, by the kernel; None: no signal, or not told"
    )
    seen_at: Time | None = Field(
        default=None, description="when the harness saw why: the undo begins from then on; None: not told"
    )


class ProbeResult(Model):
    """One probe of a steady-state hypothesis."""

    name: str
    ok: bool
    detail: str = ""


class HypothesisChecked(Model):
    kind: Literal["hypothesis_checked"] = "hypothesis_checked"
    at: Time
    act: Act
    met: bool
    probes: tuple[ProbeResult, ...] = ()


class ActivityRan(Model):
    """A Chaos Toolkit action or probe of the method or the rollbacks."""

    kind: Literal["activity_ran"] = "activity_ran"
    at: Time
    act: Act
    name: str
    ok: bool
    duration_s: Amount = Field(description="wall seconds")
    detail: str = ""


class ChangeLooked(Model):
    """A probe that shows the undo of a statement or procedure of the method, asked right before or after that."""

    kind: Literal["change_looked"] = "change_looked"
    at: Time
    activity: str = Field(description="what changes something")
    probe: str
    when: Literal["before", "after"]
    held: bool
    detail: str = ""


class FaultStage(StrEnum):
    """The life of a fault, in order."""

    REQUESTED = "requested"  # intended in the ledger, about to call the API
    ACCEPTED = "accepted"  # the API call returned
    EFFECTIVE = "effective"  # evidence of a change was seen
    NO_EFFECT = "no_effect"  # the API was satisfied and nothing changed
    NOT_SEEN = "not_seen"  # the API was satisfied, and whether anything changed could not be read
    UNDO_REQUESTED = "undo_requested"
    UNDONE = "undone"  # the undo call returned
    VERIFIED = "verified"  # read back: the prior state is in place
    DRIFTED = "drifted"  # somebody else changed it meanwhile: left alone, reported
    UNDO_RETRIED = "undo_retried"  # AWS was not available: tried again after a pause
    UNDO_FAILED = "undo_failed"


NO_ENTRY = "action "
"""How the id of what an action of another extension did begins: it stands in the history alone, and in no ledger."""


class FaultChanged(Model):
    kind: Literal["fault_changed"] = "fault_changed"
    at: Time
    entry: str = Field(description="id of the ledger entry; `action 1` of another extension's, which is in no ledger")
    fault: str
    stage: FaultStage
    detail: str = ""
    was_broken: bool | None = Field(
        default=None, description="at `undone`: whether the resource was still broken right before; None: not told"
    )


class FaultFelt(Model):
    """What callers felt of a fault, asked when it was undone; only where that can be had."""

    kind: Literal["fault_felt"] = "fault_felt"
    at: Time
    entry: str = Field(description="id of the ledger entry")
    calls: int = Field(ge=0, description="that were refused because of it")


class AlarmSeen(Model):
    """State of an alarm as first read by the watcher: not a transition."""

    kind: Literal["alarm_seen"] = "alarm_seen"
    at: Time
    alarm: str = Field(description="name in the system file")
    state: AlarmState
    since: Time | None = Field(default=None, description="when it entered this state, as told by CloudWatch")
    has_data: bool | None = Field(
        default=None, description="whether its metric has ever had a datapoint; None if not asked"
    )
    definition_drift: tuple[str, ...] = Field(default=(), description="fields that differ from the system file")
    not_evaluated: str = Field(default="", description="why it was not evaluated; empty: not told")
    definition: dict[str, Any] | None = Field(
        default=None, description="the target's own, as CloudWatch describes it, where it differs"
    )
    looks_at_time: bool = Field(
        default=False, description="of an alarm of Prometheus: whether its rules read how long something took"
    )


class AlarmsAwaited(Model):
    """Preflight waits for alarms that were just defined to tell of the system, and not of the time before them."""

    kind: Literal["alarms_awaited"] = "alarms_awaited"
    at: Time
    states: dict[str, AlarmState] = Field(description="alarm -> what it is in")
    until: Time = Field(description="no longer than this")


class AlarmNotEvaluated(Model):
    """The target does not have the alarm, because nobody there could evaluate it."""

    kind: Literal["alarm_not_evaluated"] = "alarm_not_evaluated"
    at: Time
    alarm: str
    detail: str = Field(description="why")


class AlarmForecast(Model):
    """What preflight worked out for an alarm that must ring: whether it can, and when. Production seconds."""

    kind: Literal["alarm_forecast"] = "alarm_forecast"
    at: Time
    alarm: str
    feasible: bool = Field(description="False only when it certainly cannot ring in time at the offered traffic")
    detail: str = Field(description="the arithmetic in words")
    earliest_s: Amount | None = Field(default=None, description="it cannot ring sooner after the injection")
    typical_s: Amount | None = Field(default=None, description="estimate for AWS, until somebody is told")
    worst_s: Amount | None = Field(default=None, description="estimate for AWS, until somebody is told")
    notes: tuple[str, ...] = Field(default=(), description="what makes it doubtful, but not impossible")
    lags: Lags | None = Field(default=None, description="those of the target that are in the estimates, where measured")


Evidence = Literal["datapoints", "silence", "children", "none"]
"""On what CloudWatch changed a state: datapoints, missing ones, alarms of a composite; on none: somebody set it."""


class AlarmChanged(Model):
    """A transition, with the time that CloudWatch gives it (not the time of the poll)."""

    kind: Literal["alarm_changed"] = "alarm_changed"
    at: Time = Field(description="timestamp of the StateUpdate in the alarm's history")
    alarm: str
    before: AlarmState
    after: AlarmState
    breached_at: Time | None = Field(default=None, description="start of the oldest breaching datapoint evaluated")
    evidence: Evidence | None = Field(default=None, description="what made it change; None: not recorded")
    triggered_by: tuple[str, ...] = Field(default=(), description="AlarmNames that made a composite change")
    reason: str = ""


SuppressedBy = Literal["WaitPeriod", "ExtensionPeriod", "Alarm"]
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_CompositeAlarm.html (ActionsSuppressedBy)"""


class AlarmRedefined(Model):
    """Somebody wrote an alarm anew while it was watched."""

    kind: Literal["alarm_redefined"] = "alarm_redefined"
    at: Time = Field(description="when, as CloudWatch tells it; for what it does not tell, when it was seen")
    alarm: str
    changes: tuple[str, ...] = Field(description="in words; empty when it reads as before")


class AlarmActed(Model):
    """CloudWatch executed an action of an alarm, or could not."""

    kind: Literal["alarm_acted"] = "alarm_acted"
    at: Time = Field(description="timestamp of the Action in the alarm's history")
    alarm: str
    succeeded: bool
    summary: str = Field(description="what CloudWatch says of it, with the error that it received")


class TopicPath(Model):
    """What SNS says about the way from an alarm's topic to the notification queue."""

    topic: str = Field(description="ARN of an action of the alarm")
    subscribed: bool | None = Field(default=None, description="whether the queue is; None if it cannot be read")
    confirmed: bool | None = Field(default=None, description="whether the subscription is confirmed")
    filter_policy: str | None = Field(default=None, description="JSON, as it is in the subscription")
    filter_scope: Literal["MessageAttributes", "MessageBody"] = "MessageAttributes"
    detail: str = Field(default="", description="why something could not be read")


class Mute(Model):
    """An alarm mute rule that holds the actions of an alarm back, at the time of the event or later."""

    rule: str = Field(description="its name")
    active: bool = Field(description="whether it does so at the time of the event")
    starts: Time | None = Field(default=None, description="start of the window; None if not known")
    ends: Time | None = Field(default=None, description="end of the window; None if not known")


class AlarmPath(Model):
    """How the account's alarm would tell somebody: read before the fault, when it rings, and at its end."""

    kind: Literal["alarm_path"] = "alarm_path"
    at: Time
    alarm: str
    state: AlarmState = Field(default="ALARM", description="of which it would tell")
    actions_enabled: bool
    actions: tuple[str, ...] = Field(description="ARNs of its actions for that state")
    topics: tuple[TopicPath, ...] = Field(default=(), description="those of the actions that are SNS topics")
    suppressor: str | None = Field(default=None, description="the alarm that, in ALARM, holds the actions back")
    suppressed_by: SuppressedBy | None = Field(default=None, description="what holds the actions back at this time")
    mutes: tuple[Mute, ...] = Field(default=(), description="rules that mute it, now or later in the drill")
    mutes_unknown: str = Field(default="", description="why it is not known which rules mute it")


class AlarmDatapoints(Model):
    """What the account's alarm had to look at while the fault was in place; read late, because CloudWatch is late."""

    kind: Literal["alarm_datapoints"] = "alarm_datapoints"
    at: Time
    alarm: str
    since: Time = Field(description="when the injection was accepted")
    until: Time = Field(description="when its undo was requested")
    values: tuple[float, ...] | None = Field(description="datapoints of the alarm's own period; None if not readable")
    whole: tuple[float, ...] | None = Field(
        default=None, description="those whose period began and ended in that time; None: not recorded"
    )
    threshold: float
    comparison_operator: ComparisonOperator
    datapoints_to_alarm: Count
    evaluation_periods: Count
    treat_missing_data: TreatMissingData
    always_ignored: bool = Field(default=False, description="missing data is ignored, whatever TreatMissingData says")
    detail: str = Field(default="", description="why they could not be read")


class AlarmNotified(Model):
    """The notification of a transition arrived where people are told."""

    kind: Literal["alarm_notified"] = "alarm_notified"
    at: Time = Field(description="when it was sent to the queue")
    alarm: str
    state: AlarmState
    via: str
    arrived_at: Time | None = Field(default=None, description="when it was read; None: not recorded, as if when sent")
    absent_at: Time | None = Field(default=None, description="when the queue was last read without it")


class NotificationIgnored(Model):
    """A message that names an alarm of the system, and is another alarm's."""

    kind: Literal["notification_ignored"] = "notification_ignored"
    at: Time
    alarm: str = Field(description="of that AlarmName, in the system file")
    detail: str = Field(description="whose it is, in words")


class AlarmsPolled(Model):
    """The watcher is alive: silence between two of these is silence of the alarms.

    Without `part` all that were looked at are in `states`. With it only what is news: the other alarms of the part were
    looked at too, and are as they were told before. `same` counts them, so that a lost line is noticed.
    """

    kind: Literal["alarms_polled"] = "alarms_polled"
    at: Time
    polls: Count = Field(description="successful polls since the last such line")
    states: dict[str, AlarmState]
    part: Count | None = Field(default=None, description="which part of the alarms was asked for, a call each")
    same: dict[AlarmState, Count] = Field(
        default_factory=dict, description="state -> how many more alarms of the part are still in it"
    )
    missing: tuple[str, ...] = Field(default=(), description="alarms of the part that the account does not have")
    not_evaluated: dict[str, str] = Field(
        default_factory=dict, description="alarm -> why it was not evaluated, or not from all its data"
    )


def is_error(status: str) -> bool:
    """Whether a key of `LoadSecond.statuses` stands for no service: 5xx, or no answer."""
    return status == "error" or status.startswith("5")


class LoadSecond(Model):
    """One wall second of load, keyed by the intended start of its requests."""

    kind: Literal["load_second"] = "load_second"
    at: Time = Field(description="start of the second")
    offered: Count = Field(description="arrivals scheduled in this second")
    sent: Count
    dropped: Count = Field(description="arrivals that found no free place: never silently forgotten")
    statuses: dict[str, Count] = Field(description="answers by status code; `error` for no answer at all")
    latency_ms: dict[str, Amount] = Field(description="p50, p95, p99, max and sum, from the intended start")
    lag_ms: Amount = Field(description="largest delay between intended and real send in this second")
    by_name: dict[str, dict[str, Count]] = Field(default_factory=dict, description="operation -> status -> count")
    histogram: Histogram | None = Field(default=None, description="latencies of all answers; None: an older history")

    @property
    def answered(self) -> int:
        """Requests with a result, `error` included."""
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        """Answers that are no service: 5xx, or none at all."""
        return sum(count for status, count in self.statuses.items() if is_error(status))


class CanaryStep(Model):
    name: str
    ok: bool
    ms: Amount
    detail: str = ""


class CanaryRan(Model):
    """One run of one canary: first attempt and attempt after retry are both kept."""

    kind: Literal["canary_ran"] = "canary_ran"
    at: Time = Field(description="start of the run")
    canary: str
    ok: bool = Field(description="result of the first attempt")
    ok_after_retry: bool
    ms: Amount
    steps: tuple[CanaryStep, ...] = ()
    detail: str = Field(default="", description="first failing step and why")
    broken: bool = Field(default=False, description="the canary itself raised: says nothing about the system")
    ended_at: Time | None = Field(default=None, description="when its result was known; None: not recorded")

    @property
    def known_at(self) -> float:
        """When its result was known: at its end, after the retry. Where that is not recorded, its first attempt's."""
        return self.at + self.ms / 1000 if self.ended_at is None else self.ended_at


class ContractFailure(Model):
    operation: str
    check: str
    message: str
    status: int | None = None
    count: Count = 1


class ContractRan(Model):
    """One schemathesis run: the contract in one act."""

    kind: Literal["contract_ran"] = "contract_ran"
    at: Time = Field(description="start of the run")
    ended_at: Time
    act: Act
    complete: bool = Field(description="ran to its own end; False when stopped early or crashed")
    cases: Count
    operations: Count = Field(description="operations exercised")
    documented: Count | None = Field(default=None, description="operations of the contract; None: not recorded")
    answers: dict[str, dict[str, Count]] = Field(
        default_factory=dict, description="operation -> status -> answers; empty: not recorded"
    )
    degraded: Count = Field(default=0, description="answers accepted because the act allows them")
    statuses: dict[str, Count] = Field(default_factory=dict)
    failures: tuple[ContractFailure, ...] = ()
    detail: str = ""


class WorkCounted(Model):
    """Conservation, counted after recovery from the system's own logs."""

    kind: Literal["work_counted"] = "work_counted"
    at: Time
    rule: str
    accepted: Count
    processed: Count
    lost: tuple[str, ...] = Field(default=(), description="keys accepted and not processed (at most 20)")
    lost_count: Count = 0
    duplicated: tuple[str, ...] = Field(default=(), description="keys processed more than once (at most 20)")
    duplicated_count: Count = 0
    waited_s: Amount = Field(default=0.0, description="wall seconds until the counts agreed, or the patience ended")


class ActorDied(Model):
    """Something that watches or loads stopped on its own: what it did not see, nobody saw."""

    kind: Literal["actor_died"] = "actor_died"
    at: Time
    actor: str
    detail: str


class MachineLagged(Model):
    """A stretch of time in which this machine did not keep up: timers fired late."""

    kind: Literal["machine_lagged"] = "machine_lagged"
    at: Time = Field(description="when the first late timer was due")
    until: Time = Field(description="when the last late timer had fired")
    who: Literal["harness", "target"] = Field(description="whose timers: this process's, or those of an emulator")
    longest_s: Amount = Field(description="by how much the latest of them was late, wall seconds")


class MachineWatched(Model):
    """The harness measures its own timers: between two of these, what is not told as a stretch was in time."""

    kind: Literal["machine_watched"] = "machine_watched"
    at: Time
    since: Time = Field(description="when what is summed up here began")
    ticks: Count = Field(description="timers of the harness that fired")
    longest_s: Amount = Field(description="by how much the latest was late, wall seconds; 0 for less than a tenth")
    target_longest_s: Amount | None = Field(
        default=None, description="the same of an emulator's timers; None on AWS, and where it does not say"
    )
    cpu_pressure: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of the time in which something waited for a processor: in the harness's own control group "
        "(cgroup v2), else on the machine; Linux only",
    )


class ApiCalls(Model):
    """What the harness itself asked of the account since the last such line."""

    kind: Literal["api_calls"] = "api_calls"
    at: Time
    calls: dict[str, Count] = Field(description="IAM action -> number of calls")


class SettingChanged(Model):
    """A field of a resource that is another one than before the drill."""

    resource: str = Field(description="kind and name: `function orders-api`")
    field: str = Field(description="its path in what AWS answers")
    before: str | None = Field(description="None: it was not there")
    after: str | None = Field(description="None: it is not there any more")


class SettingsCompared(Model):
    """Everything that the system file names was read before the fault and after the recovery, and compared."""

    kind: Literal["settings_compared"] = "settings_compared"
    at: Time
    resources: Count = Field(description="that were read both times")
    changed: tuple[SettingChanged, ...] = ()
    unread: dict[str, str] = Field(default_factory=dict, description="what could not be read, and why")


class ResidueChecked(Model):
    """What the ledger still holds open at the end of the drill."""

    kind: Literal["residue_checked"] = "residue_checked"
    at: Time
    open_entries: tuple[str, ...] = ()
    owed: tuple[str, ...] = Field(default=(), description="rollbacks that did not run, or failed, by name")


class DrillEnded(Model):
    kind: Literal["drill_ended"] = "drill_ended"
    at: Time


class HistoryBroken(Model):
    """The lines are not those that the drill wrote. Never a line itself: told by whoever reads them."""

    kind: Literal["history_broken"] = "history_broken"
    at: Time
    detail: str = Field(description="where, and how it shows")


Event = Annotated[
    DrillStarted
    | ActStarted
    | ActEnded
    | GuardChecked
    | Stopped
    | HypothesisChecked
    | ActivityRan
    | ChangeLooked
    | FaultChanged
    | FaultFelt
    | AlarmSeen
    | AlarmsAwaited
    | AlarmNotEvaluated
    | AlarmForecast
    | AlarmChanged
    | AlarmRedefined
    | AlarmActed
    | AlarmPath
    | AlarmDatapoints
    | AlarmNotified
    | NotificationIgnored
    | AlarmsPolled
    | LoadSecond
    | CanaryRan
    | ContractRan
    | TapsOpened
    | MessagesTapped
    | WorkCounted
    | ActorDied
    | MachineLagged
    | MachineWatched
    | ApiCalls
    | SettingsCompared
    | ResidueChecked
    | DrillEnded
    | HistoryBroken,
    Field(discriminator="kind"),
]
"""Any line of a history."""

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""Reads and writes one event as JSON."""

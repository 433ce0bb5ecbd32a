"""The history's vocabulary: every kind of line in `history.jsonl`.

Times named `at` are wall-clock epoch seconds. Production time is a wall-clock difference multiplied by the
scale of `DrillStarted`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from tocsin.model.base import Model
from tocsin.model.experiment import Experiment
from tocsin.model.system import AlarmState, ComparisonOperator, System, TreatMissingData


class Act(StrEnum):
    """The four parts of a drill."""

    PREFLIGHT = "preflight"
    BASELINE = "baseline"
    FAULT = "fault"
    RECOVERY = "recovery"


class DrillStarted(Model):
    """The first line: everything a judge needs to know about what was planned."""

    kind: Literal["drill_started"] = "drill_started"
    at: float
    drill: str = Field(description="unique id of this drill")
    experiment: Experiment
    system: System = Field(description="with ${...} resolved for this target as soon as they are known")
    target: str
    account: str | None = None
    region: str | None = None
    scale: float = Field(description="production seconds per wall second; 1 on a real account")
    seed: int
    version: str = Field(description="version of Tocsin")
    commit: str | None = Field(default=None, description="git commit of the working directory, `-dirty` when changed")
    command: str = Field(description="the exact command to run it again")


class ActStarted(Model):
    kind: Literal["act_started"] = "act_started"
    at: float
    act: Act


class ActEnded(Model):
    kind: Literal["act_ended"] = "act_ended"
    at: float
    act: Act
    note: str | None = Field(default=None, description="why it ended, in words")


class GuardChecked(Model):
    """One question of preflight, and what was found."""

    kind: Literal["guard_checked"] = "guard_checked"
    at: float
    guard: str
    ok: bool
    detail: str


class Stopped(Model):
    """A guard or a signal ended the drill early."""

    kind: Literal["stopped"] = "stopped"
    at: float
    guard: str = Field(description="name of the guard, or `interrupted`")
    detail: str


class ProbeResult(Model):
    """One probe of a steady-state hypothesis."""

    name: str
    ok: bool
    detail: str = ""


class HypothesisChecked(Model):
    kind: Literal["hypothesis_checked"] = "hypothesis_checked"
    at: float
    act: Act
    met: bool
    probes: tuple[ProbeResult, ...] = ()


class ActivityRan(Model):
    """A Chaos Toolkit action or probe of the method or the rollbacks."""

    kind: Literal["activity_ran"] = "activity_ran"
    at: float
    act: Act
    name: str
    ok: bool
    duration_s: float = Field(description="wall seconds")
    detail: str = ""


class FaultStage(StrEnum):
    """The life of a fault, in order."""

    REQUESTED = "requested"  # intended in the ledger, about to call the API
    ACCEPTED = "accepted"  # the API call returned
    EFFECTIVE = "effective"  # evidence of a change was seen
    NO_EFFECT = "no_effect"  # the API was satisfied and nothing changed
    UNDO_REQUESTED = "undo_requested"
    UNDONE = "undone"  # the undo call returned
    VERIFIED = "verified"  # read back: the prior state is in place
    DRIFTED = "drifted"  # somebody else changed it meanwhile: left alone, reported
    UNDO_RETRIED = "undo_retried"  # AWS was not available: tried again after a pause
    UNDO_FAILED = "undo_failed"


class FaultChanged(Model):
    kind: Literal["fault_changed"] = "fault_changed"
    at: float
    entry: str = Field(description="id of the ledger entry")
    fault: str
    stage: FaultStage
    detail: str = ""
    was_broken: bool | None = Field(
        default=None, description="at `undone`: whether the resource was still broken right before; None: not told"
    )


class AlarmSeen(Model):
    """State of an alarm as first read by the watcher: not a transition."""

    kind: Literal["alarm_seen"] = "alarm_seen"
    at: float
    alarm: str = Field(description="name in the system file")
    state: AlarmState
    since: float | None = Field(default=None, description="when it entered this state, as told by CloudWatch")
    has_data: bool | None = Field(
        default=None, description="whether its metric has ever had a datapoint; None if not asked"
    )
    definition_drift: tuple[str, ...] = Field(default=(), description="fields that differ from the system file")


class AlarmForecast(Model):
    """What preflight worked out for an alarm that must ring: whether it can, and when. Production seconds."""

    kind: Literal["alarm_forecast"] = "alarm_forecast"
    at: float
    alarm: str
    feasible: bool = Field(description="False only when it certainly cannot ring in time at the offered traffic")
    detail: str = Field(description="the arithmetic in words")
    earliest_s: float | None = Field(default=None, description="it cannot ring sooner after the injection")
    typical_s: float | None = Field(default=None, description="estimate for AWS, until somebody is told")
    worst_s: float | None = Field(default=None, description="estimate for AWS, until somebody is told")
    notes: tuple[str, ...] = Field(default=(), description="what makes it doubtful, but not impossible")


class AlarmChanged(Model):
    """A transition, with the time that CloudWatch gives it (not the time of the poll)."""

    kind: Literal["alarm_changed"] = "alarm_changed"
    at: float = Field(description="timestamp of the StateUpdate in the alarm's history")
    alarm: str
    before: AlarmState
    after: AlarmState
    breached_at: float | None = Field(default=None, description="start of the oldest breaching datapoint evaluated")
    reason: str = ""


class TopicPath(Model):
    """What SNS says about the way from an alarm's topic to the notification queue."""

    topic: str = Field(description="ARN of an action of the alarm")
    subscribed: bool | None = Field(default=None, description="whether the queue is; None if it cannot be read")
    confirmed: bool | None = Field(default=None, description="whether the subscription is confirmed")
    filter_policy: str | None = Field(default=None, description="JSON, as it is in the subscription")
    filter_scope: Literal["MessageAttributes", "MessageBody"] = "MessageAttributes"
    detail: str = Field(default="", description="why something could not be read")


class AlarmPath(Model):
    """How the account's alarm would tell somebody: read before the fault, and again at its end."""

    kind: Literal["alarm_path"] = "alarm_path"
    at: float
    alarm: str
    actions_enabled: bool
    actions: tuple[str, ...] = Field(description="ARNs in AlarmActions")
    topics: tuple[TopicPath, ...] = Field(default=(), description="those of the actions that are SNS topics")


class AlarmDatapoints(Model):
    """What the account's alarm had to look at while the fault was in place; read late, because CloudWatch is late."""

    kind: Literal["alarm_datapoints"] = "alarm_datapoints"
    at: float
    alarm: str
    since: float = Field(description="when the injection was accepted")
    until: float = Field(description="when its undo was requested")
    values: tuple[float, ...] | None = Field(description="datapoints of the alarm's own period; None if not readable")
    threshold: float
    comparison_operator: ComparisonOperator
    datapoints_to_alarm: int
    evaluation_periods: int
    treat_missing_data: TreatMissingData
    detail: str = Field(default="", description="why they could not be read")


class AlarmNotified(Model):
    """The notification of a transition arrived where people are told."""

    kind: Literal["alarm_notified"] = "alarm_notified"
    at: float
    alarm: str
    state: AlarmState
    via: str


class AlarmsPolled(Model):
    """The watcher is alive: silence between two of these is silence of the alarms."""

    kind: Literal["alarms_polled"] = "alarms_polled"
    at: float
    polls: int = Field(description="successful polls since the last such line")
    states: dict[str, AlarmState]


def is_error(status: str) -> bool:
    """Whether a key of `LoadSecond.statuses` stands for no service: 5xx, or no answer."""
    return status == "error" or status.startswith("5")


class LoadSecond(Model):
    """One wall second of load, keyed by the intended start of its requests."""

    kind: Literal["load_second"] = "load_second"
    at: float = Field(description="start of the second")
    offered: int = Field(description="arrivals scheduled in this second")
    sent: int
    dropped: int = Field(description="arrivals that found no free place: never silently forgotten")
    statuses: dict[str, int] = Field(description="answers by status code; `error` for no answer at all")
    latency_ms: dict[str, float] = Field(description="p50, p95, p99, max and sum, from the intended start")
    lag_ms: float = Field(description="largest delay between intended and real send in this second")
    by_name: dict[str, dict[str, int]] = Field(default_factory=dict, description="operation -> status -> count")

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
    ms: float
    detail: str = ""


class CanaryRan(Model):
    """One run of one canary: first attempt and attempt after retry are both kept."""

    kind: Literal["canary_ran"] = "canary_ran"
    at: float = Field(description="start of the run")
    canary: str
    ok: bool = Field(description="result of the first attempt")
    ok_after_retry: bool
    ms: float
    steps: tuple[CanaryStep, ...] = ()
    detail: str = Field(default="", description="first failing step and why")
    broken: bool = Field(default=False, description="the canary itself raised: says nothing about the system")


class ContractFailure(Model):
    operation: str
    check: str
    message: str
    status: int | None = None
    count: int = 1


class ContractRan(Model):
    """One schemathesis run: the contract in one act."""

    kind: Literal["contract_ran"] = "contract_ran"
    at: float = Field(description="start of the run")
    ended_at: float
    act: Act
    complete: bool = Field(description="ran to its own end; False when stopped early or crashed")
    cases: int
    operations: int = Field(description="operations exercised")
    degraded: int = Field(default=0, description="answers accepted because the act allows them")
    statuses: dict[str, int] = Field(default_factory=dict)
    failures: tuple[ContractFailure, ...] = ()
    detail: str = ""


class WorkCounted(Model):
    """Conservation, counted after recovery from the system's own logs."""

    kind: Literal["work_counted"] = "work_counted"
    at: float
    rule: str
    accepted: int
    processed: int
    lost: tuple[str, ...] = Field(default=(), description="keys accepted and not processed (at most 20)")
    lost_count: int = 0
    duplicated: tuple[str, ...] = Field(default=(), description="keys processed more than once (at most 20)")
    duplicated_count: int = 0
    waited_s: float = Field(default=0.0, description="wall seconds until the counts agreed, or the patience ended")


class ActorDied(Model):
    """Something that watches or loads stopped on its own: what it did not see, nobody saw."""

    kind: Literal["actor_died"] = "actor_died"
    at: float
    actor: str
    detail: str


class ApiCalls(Model):
    """What the harness itself asked of the account since the last such line."""

    kind: Literal["api_calls"] = "api_calls"
    at: float
    calls: dict[str, int] = Field(description="IAM action -> number of calls")


class ResidueChecked(Model):
    """What the ledger still holds open at the end of the drill."""

    kind: Literal["residue_checked"] = "residue_checked"
    at: float
    open_entries: tuple[str, ...] = ()


class DrillEnded(Model):
    kind: Literal["drill_ended"] = "drill_ended"
    at: float


Event = Annotated[
    DrillStarted
    | ActStarted
    | ActEnded
    | GuardChecked
    | Stopped
    | HypothesisChecked
    | ActivityRan
    | FaultChanged
    | AlarmSeen
    | AlarmForecast
    | AlarmChanged
    | AlarmPath
    | AlarmDatapoints
    | AlarmNotified
    | AlarmsPolled
    | LoadSecond
    | CanaryRan
    | ContractRan
    | WorkCounted
    | ActorDied
    | ApiCalls
    | ResidueChecked
    | DrillEnded,
    Field(discriminator="kind"),
]
"""Any line of a history."""

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""Reads and writes one event as JSON."""

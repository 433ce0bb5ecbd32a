"""What an experiment says beyond Chaos Toolkit: the `extensions` block named `tocsin`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from tocsin.model.base import Model
from tocsin.model.duration import Duration, Share, format_duration
from tocsin.model.toolkit import Activity

NOTIFY_GRACE_S = 120.0
"""Production seconds after an alarm's deadline in which its notification may still arrive, where none are said."""
DEFAULT_WINDOW_S = 600.0
"""How long a quiet alarm is watched when no `must` alarm sets a longer window: two 5-minute periods."""
ANSWERS_WITHIN_WALL_S = 30.0
"""Wall seconds that a drill has at least for the answers that it needs: they come at the pace of the wall clock."""
LONG = "long"
"""The tag that nobody writes: that of a drill that takes its time."""
LONG_DEADLINE_S = 1800.0
"""Production seconds: with a deadline above it a drill is long, at any scale."""
LONG_SCALE = 60.0
"""Production seconds per second: on a clock that is slower than this, as on that of AWS, every drill is long."""


class LoadPlan(Model):
    """Open-loop traffic that runs beside the drill from baseline to the end of recovery."""

    users: int = Field(default=20, ge=1, le=10_000, description="independent arrival processes")
    arrivals_per_s: float = Field(
        default=20.0, gt=0, description="requests offered per real second, by all users together"
    )


class MustAlarm(Model):
    """An alarm that must ring, by a transition after the injection, and later clear and stay clear."""

    alarm: str = Field(description="name of the alarm in the system file")
    within: Duration = Field(gt=0, description="from the injection being accepted to the alarm's transition to ALARM")
    by: Literal["ALARM", "INSUFFICIENT_DATA"] = Field(
        default="ALARM",
        description="the state in which it tells people: INSUFFICIENT_DATA where they are told that its source is gone",
    )
    notified_within: Duration | None = Field(
        default=None,
        gt=0,
        description="from the injection being accepted to its notification being read; default: `within` and 2m",
    )
    clears_within: Duration = Field(
        default=600.0, gt=0, description="from the undo being verified to the transition to OK"
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description="for an alarm of Prometheus: labels that the instance must have that rings"
    )
    all_clear: bool = Field(
        default=False, description="people are told that it is OK again, within `clears_within` and 2m of the undo"
    )

    @model_validator(mode="after")
    def _rings_before_it_tells(self) -> MustAlarm:
        if self.notified_within is not None and self.notified_within < self.within:
            raise PydanticCustomError(
                "told_too_soon",
                "expected `notified_within` of at least `within`, found {told} of {within}",
                {"told": format_duration(self.notified_within), "within": format_duration(self.within)},
            )
        return self

    @property
    def told_within(self) -> float:
        """Production seconds from the injection in which its notification must be read."""
        return self.within + NOTIFY_GRACE_S if self.notified_within is None else self.notified_within

    @property
    def over_within(self) -> float:
        """Production seconds from the undo in which it must be OK, and people must know it if they are to be told."""
        return self.clears_within + (NOTIFY_GRACE_S if self.all_clear else 0.0)


class MustCanary(Model):
    """A canary that must notice: at least one failed run in the fault act, and a success after recovery."""

    canary: str = Field(description="name of the canary function, without the prefix `canary_`")
    within: Duration = Field(gt=0, description="from the injection being accepted to the first failed run")


class QuietAlarm(Model):
    """An alarm that must not ring while the fault is in place, nor during recovery. Just its name is enough."""

    alarm: str
    window: Duration | None = Field(
        default=None, gt=0, alias="for", description="default: the longest `within` of `must`, or 10m"
    )

    @model_validator(mode="before")
    @classmethod
    def _just_its_name(cls, data: object) -> object:
        return {"alarm": data} if isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Editors must accept the short form too."""
        return {"anyOf": [{"type": "string"}, handler(core)]}


class BlindAlarm(Model):
    """An alarm that claims to see this failure and cannot: reported as a finding when it stays silent."""

    alarm: str
    because: str = Field(description="why it cannot ring")


class Degraded(Model):
    """The contract during the fault act: what callers may get instead of the healthy answer."""

    status: tuple[int, ...] = Field(description="status codes allowed beyond 2xx, 3xx and 4xx; each must be documented")
    schema_name: str | None = Field(default=None, alias="schema", description="component schema of the degraded answer")
    max_share: Share = Field(default=1.0, description="largest share of all requests of the fault act")


class RecoveryTarget(Model):
    """How soon after the verified undo (or rollback) everything must be as before."""

    within: Duration = Field(gt=0)


class Expect(Model):
    """What must be seen for the drill to pass."""

    must: tuple[MustAlarm | MustCanary, ...] = ()
    quiet: tuple[QuietAlarm, ...] = ()
    blind: tuple[BlindAlarm, ...] = ()
    degraded: Degraded | None = None
    recovery: RecoveryTarget
    conserved: tuple[str, ...] = Field(default=(), description="names of conservation rules of the system file")
    gap: str | None = Field(
        default=None,
        description="users are hurt and no documented alarm rings: say why. A finding, not a failure",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Expect:
        if not (self.must or self.quiet) and self.gap is None:
            raise ValueError(
                "expected at least one entry in `must` or `quiet`, or a `gap` that says why nothing rings although "
                "users are hurt"
            )
        return self

    @model_validator(mode="after")
    def _names_each_once(self) -> Expect:
        """What is expected of an alarm, or of a canary, is said in one place."""
        seen: dict[tuple[str, str], str] = {}
        for part in ("must", "quiet", "blind"):
            for index, entry in enumerate(getattr(self, part)):
                what = "canary" if isinstance(entry, MustCanary) else "alarm"
                name = str(getattr(entry, what))
                if (what, name) in seen:
                    raise PydanticCustomError(
                        "repeated",
                        "expected the {what} '{name}' once, found it in `{first}` and again in `{part}`",
                        {"what": what, "name": name, "first": seen[what, name], "part": part, "at": (part, index)},
                    )
                seen[what, name] = part
        return self

    @property
    def must_alarms(self) -> tuple[MustAlarm, ...]:
        """The alarms among `must`."""
        return tuple(entry for entry in self.must if isinstance(entry, MustAlarm))

    @property
    def must_canaries(self) -> tuple[MustCanary, ...]:
        """The canaries among `must`."""
        return tuple(entry for entry in self.must if isinstance(entry, MustCanary))

    @property
    def alarms(self) -> tuple[str, ...]:
        """Every alarm named, in the order of the file."""
        must = (entry.alarm for entry in self.must_alarms)
        quiet = (entry.alarm for entry in self.quiet)
        return (*must, *quiet, *(entry.alarm for entry in self.blind))

    @property
    def under_test(self) -> tuple[str, ...]:
        """The alarms whose ringing, or blindness, the drill is about: none of them may be a stop condition."""
        return (*(entry.alarm for entry in self.must_alarms), *(entry.alarm for entry in self.blind))

    @property
    def silences(self) -> tuple[float, ...]:
        """How long each alarm that must stay silent is watched, in production seconds from the injection."""
        blind = (QuietAlarm(alarm=entry.alarm) for entry in self.blind)
        return tuple(self.quiet_window(entry) for entry in (*self.quiet, *blind))

    def quiet_window(self, entry: QuietAlarm) -> float:
        """Production seconds from the injection for which `entry` is watched."""
        if entry.window is not None:
            return entry.window
        return max((m.within for m in self.must), default=DEFAULT_WINDOW_S)


class MethodChange(Model):
    """What becomes of what a statement or a procedure of the method changes: it is no fault, so no ledger undoes it."""

    activity: str = Field(description="name of the activity of the method")
    undone_by: str | None = Field(
        default=None,
        description="name of the rollback that puts it back. A probe with a tolerance after it is the look: it must "
        "hold before the activity, not after it, and again after the rollback",
    )
    leaves: str | None = Field(default=None, min_length=1, description="what stays, and why nothing has to undo it")

    @model_validator(mode="after")
    def _one_of_both(self) -> MethodChange:
        if (self.undone_by is None) == (self.leaves is None):
            found = "neither" if self.leaves is None else "both"
            raise PydanticCustomError(
                "one_of_both",
                "expected either `undone_by` (a rollback) or `leaves` (a reason) for {activity}, found {found}",
                {"activity": self.activity, "found": found},
            )
        return self


class ScaleLimit(Model):
    """How fast the sandbox's clock may run for a drill, where its author knows more than can be read from the file."""

    at_most: float = Field(ge=1, le=600, description="production seconds per second")
    because: str = Field(min_length=1, description="what takes real time; told in the report")


class Extension(Model):
    """The `tocsin` block of an experiment. Durations are those of real AWS, whatever the target."""

    name: Literal["tocsin"] = "tocsin"
    system: str = Field(description="name of a file in systems/")
    load: LoadPlan | None = Field(default_factory=LoadPlan)
    baseline: Duration = Field(
        default=240.0, description="how long the healthy system is watched before the fault, at least"
    )
    scale: ScaleLimit | None = Field(
        default=None, description="the fastest time scale of the sandbox, and why: a faster one is refused"
    )
    fault_for: Duration | None = Field(
        default=None, description="shortest time the fault stays in place, beyond what the expectations need"
    )
    stop_conditions: tuple[str, ...] = Field(
        default=(), description="alarms of the system file that end the drill when they ring: worse than what it tests"
    )
    covers: tuple[str, ...] = Field(
        default=(), description="promises of the system file that this drill exercises: it passes only if they hold"
    )
    changes: tuple[MethodChange, ...] = Field(
        default=(), description="what becomes of what statements and procedures of the method change"
    )
    expect: Expect

    @model_validator(mode="after")
    def _says_once_what_becomes_of_a_change(self) -> Extension:
        names = [change.activity for change in self.changes]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise PydanticCustomError(
                    "repeated",
                    "expected '{name}' once in `changes`, found it again",
                    {"name": name, "at": ("changes", index)},
                )
        return self

    @property
    def longest_hold_s(self) -> float:
        """Production seconds after the last injection for which the fault may be held, by the drill's own deadlines."""
        alarms = (entry.told_within for entry in self.expect.must_alarms)
        canaries = (entry.within for entry in self.expect.must_canaries)
        return max([self.fault_for or 0.0, *self.expect.silences, *alarms, *canaries])

    @property
    def recovers_within_s(self) -> float:
        """Production seconds from the verified undo in which everything must be as before, alarms too."""
        return max([self.expect.recovery.within, *(entry.over_within for entry in self.expect.must_alarms)])

    def longest_baseline_s(self, scale: float) -> float:
        """Production seconds after which the healthy system is watched no longer, though few answers came.

        Args:
            scale: production seconds per second.
        """
        return self.baseline if self.load is None else max(self.baseline, ANSWERS_WITHIN_WALL_S * scale)

    def longest_recovery_s(self, scale: float) -> float:
        """Production seconds from the verified undo after which a drill waits for nothing more.

        Too few answers are waited for twice as long as before the fault: the first look takes a third more of them than
        one look at the baseline does, and a minute that shows nothing; a stray error takes half as many again.

        Args:
            scale: production seconds per second.
        """
        return self.recovers_within_s + (0.0 if self.load is None else 2 * self.longest_baseline_s(scale))

    @property
    def longest_drill_s(self) -> float:
        """Production seconds from the baseline to the last deadline."""
        recovery = max([self.expect.recovery.within, *(entry.over_within for entry in self.expect.must_alarms)])
        return self.baseline + self.longest_hold_s + recovery


class PlannedActivity(Model):
    """What a history says of an activity before it ran: what it is, not with which arguments."""

    name: str
    type: Literal["action", "probe"]
    provider_type: str
    module: str | None = None
    func: str | None = None

    @classmethod
    def of(cls, activity: Activity) -> PlannedActivity:
        """The short form of an activity."""
        called = activity.python
        return cls(
            name=activity.name,
            type=activity.type,
            provider_type=activity.provider.type,
            module=called and called.module,
            func=called and called.func,
        )


class Experiment(Model):
    """What a drill is about, as its history records it; the whole file stays with the loader: `toolkit`."""

    path: str
    slug: str = Field(description="file name without its suffix: the name of the drill's directory")
    title: str
    tags: tuple[str, ...] = ()
    hypothesis: bool = Field(default=True, description="whether it has a steady-state hypothesis to be checked")
    method: tuple[PlannedActivity, ...]
    rollbacks: tuple[PlannedActivity, ...]
    extension: Extension

    def tags_at(self, scale: float) -> tuple[str, ...]:
        """Its tags, each once, and `long` where a deadline is above 30m or the clock slower than 60 times AWS's.

        Args:
            scale: production seconds per second of the target.
        """
        longest = max(self.extension.longest_hold_s, self.extension.recovers_within_s)
        limit = self.extension.scale
        scale = scale if limit is None else min(scale, limit.at_most)
        derived = (LONG,) if longest > LONG_DEADLINE_S or scale < LONG_SCALE else ()
        return tuple(dict.fromkeys((*self.tags, *derived)))


SystemName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]

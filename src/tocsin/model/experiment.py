"""What an experiment says beyond Chaos Toolkit: the `extensions` block named `tocsin`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tocsin.model.base import Model
from tocsin.model.duration import Duration, Share

NOTIFY_GRACE_S = 120.0
"""Production seconds after an alarm's deadline in which its notification may still arrive."""
DEFAULT_WINDOW_S = 600.0
"""How long a quiet alarm is watched when no `must` alarm sets a longer window: two 5-minute periods."""


class LoadPlan(Model):
    """Open-loop traffic that runs beside the drill from baseline to the end of recovery."""

    users: int = Field(default=20, ge=1, le=10_000, description="independent arrival processes")
    arrivals_per_s: float = Field(
        default=20.0, gt=0, description="requests offered per real second, by all users together"
    )


class MustAlarm(Model):
    """An alarm that must ring, by a transition after the injection, and later clear and stay clear."""

    alarm: str = Field(description="name of the alarm in the system file")
    within: Duration = Field(description="from the injection being accepted to the alarm's transition to ALARM")
    clears_within: Duration = Field(default=600.0, description="from the undo being verified to the transition to OK")


class MustCanary(Model):
    """A canary that must notice: at least one failed run in the fault act, and a success after recovery."""

    canary: str = Field(description="name of the canary function, without the prefix `canary_`")
    within: Duration = Field(description="from the injection being accepted to the first failed run")


class QuietAlarm(Model):
    """An alarm that must not ring while the fault is in place, nor during recovery. Just its name is enough."""

    alarm: str
    window: Duration | None = Field(
        default=None, alias="for", description="default: the longest `within` of `must`, or 10m"
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

    within: Duration


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
        both = {m.alarm for m in self.must_alarms} & {q.alarm for q in self.quiet}
        if both:
            raise ValueError(f"an alarm cannot be both in `must` and in `quiet`: {', '.join(sorted(both))}")
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


class Extension(Model):
    """The `tocsin` block of an experiment. Durations are those of real AWS, whatever the target."""

    name: Literal["tocsin"] = "tocsin"
    system: str = Field(description="name of a file in systems/")
    load: LoadPlan | None = Field(default_factory=LoadPlan)
    baseline: Duration = Field(default=240.0, description="how long the healthy system is watched before the fault")
    fault_for: Duration | None = Field(
        default=None, description="shortest time the fault stays in place, beyond what the expectations need"
    )
    stop_conditions: tuple[str, ...] = Field(
        default=(), description="alarms of the system file that end the drill when they ring: worse than what it tests"
    )
    covers: tuple[str, ...] = Field(
        default=(), description="promises of the system file that this drill exercises: it passes only if they hold"
    )
    expect: Expect

    @property
    def longest_hold_s(self) -> float:
        """Production seconds after the last injection for which the fault may be held, by the drill's own deadlines."""
        alarms = (entry.within + NOTIFY_GRACE_S for entry in self.expect.must_alarms)
        canaries = (entry.within for entry in self.expect.must_canaries)
        return max([self.fault_for or 0.0, *self.expect.silences, *alarms, *canaries])


class Activity(Model):
    """One Chaos Toolkit activity as far as Tocsin needs to know it before running it."""

    name: str
    type: Literal["action", "probe"]
    provider_type: str
    module: str | None = None
    func: str | None = None


class Experiment(Model):
    """A Chaos Toolkit experiment, parsed; the raw document stays with the loader, for Chaos Toolkit."""

    path: str
    slug: str = Field(description="file name without its suffix: the name of the drill's directory")
    title: str
    tags: tuple[str, ...] = ()
    hypothesis: bool = Field(default=True, description="whether it has a steady-state hypothesis to be checked")
    method: tuple[Activity, ...]
    rollbacks: tuple[Activity, ...]
    extension: Extension


SystemName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]

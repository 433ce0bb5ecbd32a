"""An experiment as Chaos Toolkit reads it, typed: the names that chaostoolkit-lib 1.44 obeys, and no other.

https://chaostoolkit.org/reference/api/experiment/ names more than the library reads (`expected_status`, `secrets` of an
activity), and the library takes some names without obeying them. Such a name is an error here: whoever wrote it counts
on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from tocsin.model.base import Model

Location = tuple[int | str, ...]
"""Keys and indexes that lead to a part of the file."""
Document = dict[str, Any]
"""A part of the file as Chaos Toolkit takes it: plain dicts and lists."""
Text = Annotated[StrictStr, Field(min_length=1)]
Seconds = Annotated[float, Field(strict=True, ge=0)]
_LONGEST_PAUSE_S = 86_400
_VARIABLE = re.compile(r"\$\{[^{}]+\}$")
Variable = Annotated[StrictStr, Field(pattern=_VARIABLE.pattern, description="`${name}` of configuration or secrets")]


def _refused(why: str) -> BeforeValidator:
    def refuse(value: object) -> NoReturn:
        raise ValueError(why)

    return BeforeValidator(refuse)


Dry = Annotated[
    SkipJsonSchema[None], _refused("expected a drill that acts, found `dry`. Take it out, and use `--dry-run`")
]


class Written(Model):
    """A part of an experiment file. A key with nothing after it counts as not there."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, data: object) -> object:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data

    def document(self) -> Document:
        """A copy of what was written, for Chaos Toolkit, which may change it."""
        copied = _plain(self.model_dump(by_alias=True, exclude_unset=True))
        assert isinstance(copied, dict)
        return copied


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


# --- providers ----------------------------------------------------------------------------------------------

Secrets = Annotated[tuple[Text, ...], Field(description="names in the experiment's `secrets` that it may see")]


class PythonProvider(Written):
    """A function of an importable module."""

    type: Literal["python"]
    module: Text
    func: Text
    arguments: dict[str, Any] = Field(default_factory=dict)
    secrets: Secrets = ()


class ProcessProvider(Written):
    """A program, and what its exit code, its output and its errors are."""

    type: Literal["process"]
    path: Text
    arguments: StrictStr | list[Any] | dict[str, Any] = Field(default=[], description="a text is run by a shell")
    timeout: Seconds | None = None
    secrets: Secrets = ()


def _an_address(url: str) -> str:
    if "$" in url:  # the value of a variable is not known here
        return url
    try:
        parts = urlsplit(url)
        reachable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        reachable = False
    if not reachable:
        raise ValueError(f"expected an address such as `https://host/path`, found '{url}'")
    return url


class HttpProvider(Written):
    """A request, and its status, headers and body."""

    type: Literal["http"]
    url: Annotated[Text, AfterValidator(_an_address)]
    method: Text = "GET"
    headers: dict[str, Any] = Field(default_factory=dict)
    arguments: dict[str, Any] | list[Any] | StrictStr = Field(default_factory=dict)
    timeout: Seconds | Variable | tuple[Seconds, Seconds] | None = None
    verify_tls: StrictBool | Text = True
    max_retries: StrictInt = Field(default=0, ge=0)
    secrets: Secrets = ()
    expected_status: Annotated[
        SkipJsonSchema[None],
        _refused("`expected_status` is in Chaos Toolkit's documentation only, nothing reads it. Use a `tolerance`"),
    ] = None


Provider = Annotated[PythonProvider | ProcessProvider | HttpProvider, Field(discriminator="type")]


# --- tolerances ---------------------------------------------------------------------------------------------


class ProbeTolerance(Written):
    """A probe that is given the answer as its argument `value`, and says whether it will do."""

    type: Literal["probe"]
    name: Text
    provider: Provider


class RegexTolerance(Written):
    type: Literal["regex"]
    pattern: StrictStr
    target: Text | None = None

    @model_validator(mode="after")
    def _compiles(self) -> RegexTolerance:
        try:
            re.compile(self.pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"expected a regular expression: {error}, found '{self.pattern}'") from None
        return self


class JsonPathTolerance(Written):
    type: Literal["jsonpath"]
    path: Text
    target: Text | None = None
    count: StrictInt | None = None
    expect: Any = None


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    lower, upper = bounds
    if lower > upper:
        raise ValueError(f"expected the lower bound before the upper one, found {lower:g} before {upper:g}")
    return bounds


_Bound = Annotated[float, Field(strict=True)]


class RangeTolerance(Written):
    type: Literal["range"]
    range: Annotated[tuple[_Bound, _Bound], AfterValidator(_ascending)]
    target: Text | None = None


def _a_value(value: object) -> object:
    if value == []:
        raise ValueError("expected a list of values, found an empty one: no answer would do")
    if isinstance(value, bool | int | str | list):
        return value
    raise ValueError(f"expected a whole number, a text, a boolean, or a list of values, found {value!r}")


def _kind_of_tolerance(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", "value")
    return str(kind).capitalize()


Tolerance = Annotated[
    Annotated[bool | int | str | list[Any], BeforeValidator(_a_value), Tag("Value")]
    | Annotated[ProbeTolerance, Tag("Probe")]
    | Annotated[RegexTolerance, Tag("Regex")]
    | Annotated[JsonPathTolerance, Tag("Jsonpath")]
    | Annotated[RangeTolerance, Tag("Range")],
    Discriminator(
        _kind_of_tolerance,
        custom_error_type="tolerance",
        custom_error_message="expected a value, a list of values, or a tolerance of the type probe, regex, jsonpath "
        "or range",
    ),
]
"""What an answer must be: a whole number, a text, a boolean, two bounds or a list of values, or one of the types."""


# --- activities ---------------------------------------------------------------------------------------------


class ControlProvider(Written):
    """A module with functions such as `before_activity_control`; Chaos Toolkit knows no other kind."""

    type: Literal["python"]
    module: Text
    arguments: dict[str, Any] = Field(default_factory=dict)
    secrets: Secrets = ()


class Control(Written):
    """Functions that are called before and after what they are declared on."""

    name: Text
    provider: ControlProvider
    scope: Literal["before", "after"] | None = Field(default=None, description="called only then; default: both")
    automatic: StrictBool = Field(
        default=True, description="whether a control of the experiment is that of all its activities too"
    )


Controls = tuple[Control, ...]


def _a_pause(value: object) -> object:
    if isinstance(value, str) and _VARIABLE.match(value):
        return value
    if is_pause(value):
        return value
    raise ValueError(
        f"expected real seconds, a day at most, or `${{name}}` of the configuration or secrets, found {value!r}"
    )


def is_pause(value: object) -> bool:
    """Whether a value can be waited for: seconds, a day at most."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LONGEST_PAUSE_S


Pause = Annotated[float | str, BeforeValidator(_a_pause)]


class Pauses(Written):
    """Real seconds, on every clock, in which nothing is done."""

    before: Pause = 0.0
    after: Pause = 0.0


class Activity(Written):
    """An action or a probe."""

    type: Literal["action", "probe"]
    name: Text
    provider: Provider
    tolerance: Tolerance | None = None
    pauses: Pauses = Pauses()
    background: StrictBool = False
    controls: Controls = ()
    dry: Dry = None
    timeout: Annotated[
        SkipJsonSchema[None],
        _refused("a `timeout` of an activity is not obeyed by Chaos Toolkit: put it in `provider`"),
    ] = None
    secrets: Annotated[
        SkipJsonSchema[None],
        _refused("`secrets` of an activity are not obeyed by Chaos Toolkit: put them in `provider`"),
    ] = None
    configuration: Annotated[
        SkipJsonSchema[None],
        _refused("Chaos Toolkit does not obey `configuration` of an activity: all see the experiment's"),
    ] = None

    @model_validator(mode="after")
    def _an_action_has_no_tolerance(self) -> Activity:
        if self.type == "action" and self.tolerance is not None:
            raise ValueError("expected a `tolerance` on a probe, found it on an action, where nothing asks it")
        return self

    @property
    def python(self) -> PythonProvider | None:
        """The function that it calls, where it is one."""
        return self.provider if isinstance(self.provider, PythonProvider) else None

    @property
    def is_action(self) -> bool:
        """Whether it changes something; a probe looks."""
        return self.type == "action"

    @property
    def is_proof(self) -> bool:
        """Whether it is a probe whose answer is held to something."""
        return self.type == "probe" and self.tolerance is not None

    def calls(self, module: str) -> PythonProvider | None:
        """The function of `module` that it calls, where it is one."""
        found = self.python
        return found if found is not None and found.module == module else None


class Reference(Written):
    """An activity that stands elsewhere in the experiment: everything but these names is said there."""

    ref: Text = Field(description="name of an activity of the method or of the hypothesis")
    tolerance: Tolerance | None = Field(default=None, description="of a probe in the hypothesis, where it needs one")
    background: StrictBool = False


def _kind_of_step(value: Any) -> str:
    return "Reference" if isinstance(value, Reference) or (isinstance(value, dict) and "ref" in value) else "Activity"


Step = Annotated[
    Annotated[Activity, Tag("Activity")] | Annotated[Reference, Tag("Reference")], Discriminator(_kind_of_step)
]


class Hypothesis(Written):
    """What holds as long as all is well."""

    title: Text
    probes: tuple[Step, ...] = ()
    controls: Controls = ()


def _only(*obeyed: str, why: str) -> BeforeValidator:
    def check(value: object) -> object:
        if value in obeyed:
            return value
        raise ValueError(f"expected {' or '.join(f'`{one}`' for one in obeyed)}, found {value!r}: {why}. Take it out")

    return BeforeValidator(check)


class HypothesisRuntime(Written):
    strategy: Annotated[
        Literal["default"], _only("default", why="a drill asks before the fault and after the recovery, always")
    ] = "default"
    frequency: Annotated[
        SkipJsonSchema[None], _refused("a drill does not ask the hypothesis in between: canaries do. Take it out")
    ] = None


class RollbacksRuntime(Written):
    strategy: Annotated[
        Literal["default", "always"],
        _only("default", "always", why="a drill runs its rollbacks, whatever failed before"),
    ] = "default"


class Runtime(Written):
    """When the hypothesis is asked and when rollbacks are run: in a drill, whatever failed before."""

    hypothesis: HypothesisRuntime | None = None
    rollbacks: RollbacksRuntime | None = None


class FromEnvironment(Written):
    """A value of the configuration that the environment has."""

    type: Literal["env"]
    key: Text
    default: Any = None
    env_var_type: Literal["str", "string", "int", "integer", "float", "number", "bytes", "bool", "json"] | None = None


class SecretOfEnvironment(Written):
    type: Literal["env"]
    key: Text


class FromVault(Written):
    """A value of HashiCorp Vault; `vault_addr` and the like are in the configuration."""

    type: Literal["vault"]
    path: Text
    key: Text | None = None


_KINDS = ("env", "vault", "probe")


def _is_of_unknown_type(value: object) -> bool:
    """Whether it is to be looked up, by its `key` or a `type` that is nearly one; any other mapping is a value."""
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(kind, str) or kind in _KINDS:
        return False
    return "key" in value or bool(get_close_matches(kind, _KINDS, n=1, cutoff=0.8))


def _unknown_type(value: dict[str, Any]) -> NoReturn:
    raise ValueError(
        f"expected `type: env`, or `type: vault` of a secret, found '{value['type']}': Chaos Toolkit looks nothing up"
    )


_UNKNOWN = BeforeValidator(_unknown_type)


def _kind_of_value(value: Any) -> str:
    if _is_of_unknown_type(value):
        return "Unknown"
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", "value")
    return str(kind).capitalize() if kind in _KINDS else "Value"


_DYNAMIC = _refused("a drill asks no probe for a value of its configuration. Write the value, or use `type: env`")
Value = Annotated[
    Annotated[Any, Tag("Value")]
    | Annotated[FromEnvironment, Tag("Env")]
    | Annotated[Any, Tag("Vault")]
    | Annotated[Any, _DYNAMIC, Tag("Probe")]
    | Annotated[Any, _UNKNOWN, Tag("Unknown")],
    Discriminator(_kind_of_value),
]
SecretValue = Annotated[
    Annotated[Any, Tag("Value")]
    | Annotated[SecretOfEnvironment, Tag("Env")]
    | Annotated[FromVault, Tag("Vault")]
    | Annotated[Any, Tag("Probe")]
    | Annotated[Any, _UNKNOWN, Tag("Unknown")],
    Discriminator(_kind_of_value),
]

Part = Literal["steady-state-hypothesis", "method", "rollbacks"]
PARTS: tuple[Part, ...] = ("steady-state-hypothesis", "method", "rollbacks")


class ExperimentFile(Written):
    """A whole experiment file."""

    version: StrictStr | None = None
    title: Text
    description: Text
    tags: tuple[Text, ...] = ()
    contributions: dict[str, Any] = Field(default_factory=dict)
    configuration: dict[str, Value] = Field(default_factory=dict)
    secrets: dict[str, dict[str, SecretValue]] = Field(default_factory=dict)
    hypothesis: Hypothesis | None = Field(default=None, alias="steady-state-hypothesis")
    method: tuple[Step, ...]
    rollbacks: tuple[Step, ...] = ()
    controls: Controls = ()
    runtime: Runtime | None = None
    extensions: tuple[dict[str, Any], ...] = ()
    dry: Dry = None

    def steps(self, part: Part) -> tuple[Activity | Reference, ...]:
        """One part as it was written."""
        if part == "steady-state-hypothesis":
            return self.hypothesis.probes if self.hypothesis is not None else ()
        return self.method if part == "method" else self.rollbacks

    def activities(self, part: Part) -> tuple[Activity, ...]:
        """One part with every reference in place of which the activity stands that it names.

        Raises:
            KeyError: a reference to nothing; `problems` names it.
        """
        named = self._named()
        return tuple(_resolved(step, named) for step in self.steps(part))

    def everything(self) -> Iterator[tuple[Part, Location, Activity]]:
        """Every activity with the part that it stands in and its place in the file; as in `activities`."""
        for part in PARTS:
            for index, activity in enumerate(self.activities(part)):
                yield part, location(part, index), activity

    def problems(self) -> Iterator[tuple[Location, str]]:
        """What no single activity shows: references to nothing, and what has no place in the hypothesis."""
        yield from self._secret_problems()
        named = self._named()
        for part in PARTS:
            for index, step in enumerate(self.steps(part)):
                where = location(part, index)
                if isinstance(step, Reference):
                    yield from ((where, problem) for problem in self._reference_problems(step, part, named))
                if part == "steady-state-hypothesis" and not (isinstance(step, Reference) and step.ref not in named):
                    yield from ((where, problem) for problem in _probe_problems(_resolved(step, named)))

    def every_control(self) -> Iterator[tuple[Location, Control]]:
        """Every control with its place in the file."""
        yield from ((("controls", index), control) for index, control in enumerate(self.controls))
        if self.hypothesis is not None:
            found = enumerate(self.hypothesis.controls)
            yield from ((("steady-state-hypothesis", "controls", index), control) for index, control in found)
        for part in PARTS:
            for index, step in enumerate(self.steps(part)):
                for number, control in enumerate(step.controls if isinstance(step, Activity) else ()):
                    yield (*location(part, index), "controls", number), control

    def _secret_problems(self) -> Iterator[tuple[Location, str]]:
        for name, values in self.secrets.items():
            if values.get("type") == "env":
                yield (
                    ("secrets", name),
                    "expected names with their values, found one value: Chaos Toolkit finds none there. Write "
                    f"`{name}: {{NAME: {{type: env, key: ...}}}}`",
                )
            elif values.get("type") == "vault" and "path" not in values:
                yield ("secrets", name), "expected the `path` of a secret of a vault, found none"
            elif _is_of_unknown_type(values):
                yield ("secrets", name), f"expected `type: vault`, found '{values['type']}'"

    def _named(self) -> dict[str, Activity]:
        # As chaoslib.caching does it: the method first, and a probe of the hypothesis takes the place of its namesake.
        found = (*self.steps("method"), *self.steps("steady-state-hypothesis"))
        return {step.name: step for step in found if isinstance(step, Activity)}

    def _reference_problems(self, step: Reference, part: Part, named: dict[str, Activity]) -> Iterator[str]:
        if step.ref not in named:
            known = ", ".join(f"'{name}'" for name in named) or "none"
            yield f"expected a `ref` to an activity of the method or of the hypothesis ({known}), found '{step.ref}'"
            return
        steps = (*self.method, *self.steps("steady-state-hypothesis"))
        namesakes = [one for one in steps if isinstance(one, Activity) and one.name == step.ref]
        if len(namesakes) > 1:
            yield f"expected a `ref` to one activity, found {len(namesakes)} of the name '{step.ref}'. Rename them"
        if step.tolerance is not None and part != "steady-state-hypothesis":
            yield "expected the `tolerance` on the activity that is meant, found it beside `ref`, where nothing asks it"


def location(part: Part, index: int) -> Location:
    """The place in the file of an activity."""
    return (part, "probes", index) if part == "steady-state-hypothesis" else (part, index)


def _resolved(step: Activity | Reference, named: dict[str, Activity]) -> Activity:
    if isinstance(step, Activity):
        return step
    # As chaoslib does it: whether it runs in the background, and the tolerance in the hypothesis, is said here.
    said = {"background": step.background} | ({} if step.tolerance is None else {"tolerance": step.tolerance})
    return named[step.ref].model_copy(update=said)


def _probe_problems(activity: Activity) -> Iterator[str]:
    if activity.is_action:
        yield "expected a probe in the hypothesis, found an action: it is asked before any guard"
    elif activity.tolerance is None:
        yield "expected a `tolerance` on a probe of the hypothesis, found none"
    if activity.background:
        yield "expected a probe of the hypothesis to be waited for, found `background: true`. Take it out"

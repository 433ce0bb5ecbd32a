"""Faults of AWS Lambda: configuration, concurrency and event sources."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from tocsin.aws import keys
from tocsin.aws.environments import variables_of
from tocsin.aws.iam import ANY, Arns, Grant
from tocsin.aws.pages import listed
from tocsin.aws.target import Aws, aws_errors
from tocsin.errors import Incomplete, NotFound
from tocsin.faults.base import Fault, ScheduledCall, State, not_as_assumed
from tocsin.faults.lambda_functions import (
    forget_kept,
    function_scope,
    keep_own,
    kept_version,
    versions,
    wait_updated,
)

_VERSIONS_LOOKED_AT = 5
"""How many of the newest versions are compared before another one is published."""


# --- reserved concurrency -----------------------------------------------------------------------------------


class ConcurrencyState(State):
    """Reserved concurrency (None: unreserved) and provisioned concurrency by alias or version."""

    reserved: int | None
    provisioned: dict[str, int]


class _Provisioned(NamedTuple):
    """Provisioned concurrency of one alias or version."""

    requested: int
    allocated: int


_PROVISIONED_WITHIN_S = 600.0
_ALWAYS_UNRESERVED = 100
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html"""


class LambdaReservedConcurrency(Fault[ConcurrencyState]):
    """Set a function's reserved concurrency; 0 stops it from processing any event.

    Reserved concurrency cannot be lower than what is provisioned, so provisioned concurrency above the new limit
    is removed first and put back by the undo.
    https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html

    At 0, asynchronous events (of topics, buckets, rules) do not wait for the undo: Lambda gives them to the function's
    dead-letter queue or on-failure destination, and drops them where there is none. At 1 or more they wait.
    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """

    kind: ClassVar[str] = "lambda_reserved_concurrency"
    state: ClassVar[type[State]] = ConcurrencyState
    summary: ClassVar[str] = "set a Lambda function's reserved concurrency (0 stops it)"
    aws_service: ClassVar[str] = "lambda"
    permissions: ClassVar[tuple[str, ...]] = (
        "lambda:GetFunctionConcurrency",
        "lambda:PutFunctionConcurrency",
        "lambda:DeleteFunctionConcurrency",
        "lambda:ListProvisionedConcurrencyConfigs",
        "lambda:PutProvisionedConcurrencyConfig",
        "lambda:DeleteProvisionedConcurrencyConfig",
        "lambda:GetAccountSettings",
    )

    function: str = Field(description="name of the function")
    reserved: int = Field(default=0, ge=0)

    @property
    def resource(self) -> str:
        return f"concurrency of Lambda {self.function}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("lambda", f"function:{self.function}"),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        if action == "lambda:GetAccountSettings":
            return ANY if self.reserved else ()
        return function_scope(self.function, arns)

    def observe(self, aws: Aws, prior: ConcurrencyState | None) -> ConcurrencyState:
        client = aws.client("lambda")
        with aws_errors(f"reading the {self.resource}"):
            reserved = client.get_function_concurrency(FunctionName=self.function).get("ReservedConcurrentExecutions")
        provisioned = self._provisioned(aws)
        if prior is None:
            self._check_can_be_had(aws, reserved, provisioned)
        return ConcurrencyState(
            reserved=reserved, provisioned={name: one.allocated for name, one in sorted(provisioned.items())}
        )

    def _provisioned(self, aws: Aws) -> dict[str, _Provisioned]:
        """Provisioned concurrency by alias or version."""
        with aws_errors(f"reading the provisioned concurrency of {self.function}"):
            operation, part = "list_provisioned_concurrency_configs", "ProvisionedConcurrencyConfigs"
            configs = list(listed(aws.client("lambda"), operation, part, FunctionName=self.function))
        return {
            config["FunctionArn"].rsplit(":", 1)[1]: _Provisioned(
                requested=config["RequestedProvisionedConcurrentExecutions"],
                allocated=config.get("AllocatedProvisionedConcurrentExecutions", 0),
            )
            for config in configs
        }

    def _check_can_be_had(self, aws: Aws, reserved: int | None, provisioned: Mapping[str, _Provisioned]) -> None:
        """Whether Lambda gives what the fault reserves, and gives back what it takes away.

        Raises:
            Refused: it would not.
        """
        for qualifier, one in provisioned.items():
            if one.requested != one.allocated:
                raise not_as_assumed(
                    f"the {one.requested} provisioned instances of {self.function}:{qualifier} to be there",
                    str(one.allocated),
                    "whether they come back could not be told",
                )
        more = self.reserved - (reserved or 0)
        if more > 0:
            with aws_errors("reading how much concurrency of the account is unreserved"):
                limit = aws.client("lambda").get_account_settings()["AccountLimit"]
            left = limit.get("UnreservedConcurrentExecutions", 0)
            if left - more < _ALWAYS_UNRESERVED:
                raise not_as_assumed(
                    f"{more} more that can be reserved for {self.function}",
                    f"{left} that nothing reserves",
                    f"Lambda keeps {_ALWAYS_UNRESERVED} of them for all other functions",
                )

    def effect_within(self, prior: ConcurrencyState) -> float:
        """Provisioned concurrency needs some minutes until it is there again."""
        return _PROVISIONED_WITHIN_S if prior.provisioned else self.effect_within_s

    def on_its_way(self, now: ConcurrencyState, prior: ConcurrencyState) -> bool:
        """Provisioned concurrency is taken away, and comes back, one alias after the other."""
        fits = all(count <= prior.provisioned.get(name, -1) for name, count in now.provisioned.items())
        return fits and now.reserved in (prior.reserved, self.reserved)

    def broken(self, prior: ConcurrencyState) -> ConcurrencyState:
        fits = sum(prior.provisioned.values()) <= self.reserved
        return ConcurrencyState(reserved=self.reserved, provisioned=prior.provisioned if fits else {})

    def inject(self, aws: Aws, prior: ConcurrencyState) -> None:
        client = aws.client("lambda")
        doing, of = f"limiting the {self.resource}", {"FunctionName": self.function}
        if self.broken(prior).provisioned != prior.provisioned:
            for qualifier in prior.provisioned:
                aws.ask(doing, client.delete_provisioned_concurrency_config, **of, Qualifier=qualifier)
        aws.ask(doing, client.put_function_concurrency, **of, ReservedConcurrentExecutions=self.reserved)

    def undo(self, aws: Aws, prior: ConcurrencyState) -> None:
        client = aws.client("lambda")
        doing, of = f"restoring the {self.resource}", {"FunctionName": self.function}
        if prior.reserved is None:
            aws.ask(doing, client.delete_function_concurrency, **of)
        else:
            aws.ask(doing, client.put_function_concurrency, **of, ReservedConcurrentExecutions=prior.reserved)
        asked_for = self._provisioned(aws)
        for qualifier, count in prior.provisioned.items():
            if qualifier not in asked_for or asked_for[qualifier].requested != count:
                put = client.put_provisioned_concurrency_config
                aws.ask(doing, put, **of, Qualifier=qualifier, ProvisionedConcurrentExecutions=count)

    def dead_man(self, aws: Aws, prior: ConcurrencyState) -> ScheduledCall:
        # Provisioned concurrency stays away, which makes the function slower to start and hurts no one.
        if prior.reserved is None:
            return ScheduledCall(
                service="lambda", operation="deleteFunctionConcurrency", request={"FunctionName": self.function}
            )
        return ScheduledCall(
            service="lambda",
            operation="putFunctionConcurrency",
            request={"FunctionName": self.function, "ReservedConcurrentExecutions": prior.reserved},
        )


# --- environment credential ---------------------------------------------------------------------------------


class EnvironmentState(State):
    """The environment of $LATEST, told by comparison with a published version: values stay in AWS."""

    version: str | None = Field(description="published version that holds the prior environment; None: ours will")
    variable: Literal["as_before", "broken", "other"]
    others_differ: tuple[str, ...] = Field(
        default=(), description="names of other variables that differ from the version"
    )
    names: tuple[str, ...] | None = Field(
        default=None, description="names of all variables before, never a value; None in an entry of an older version"
    )


class LambdaEnvironmentVariable(Fault[EnvironmentState], ABC):
    """One variable of a function's environment gets another value.

    The prior environment is remembered by a published version, never by value: a version's environment is locked
    (https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html). The newest version with the same
    environment is taken; a function that has none gets one of ours, which serves nothing and is deleted after the
    undo was verified. No schedule can end it: the call would carry the environment, and with it every secret in it.
    """

    state: ClassVar[type[State]] = EnvironmentState
    aws_service: ClassVar[str] = "lambda"
    permissions: ClassVar[tuple[str, ...]] = (
        "lambda:GetFunctionConfiguration",
        "lambda:UpdateFunctionConfiguration",
        "lambda:ListVersionsByFunction",
        "lambda:PublishVersion",
        "lambda:DeleteFunction",
    )
    may_be_absent: ClassVar[bool] = False
    """Whether the fault makes sense for a function that has no such variable."""

    function: str = Field(description="name of the function")
    variable: str = Field(description="name of the environment variable")

    @abstractmethod
    def _other_value(self, before: str | None) -> str:
        """What the variable is set to; it follows from the value before, so that it can be recognised."""

    @property
    def resource(self) -> str:
        return f"environment variable {self.variable} of Lambda {self.function}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("lambda", f"function:{self.function}"),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        return function_scope(self.function, arns)

    def key_grants(self, aws: Aws) -> Iterator[Grant]:
        yield from keys.of_function(aws.target, self.function, keys.CONFIGURING)

    def observe(self, aws: Aws, prior: EnvironmentState | None) -> EnvironmentState:
        if prior is None:
            return self._look_first(aws)
        version = prior.version or kept_version(aws, self.function)
        if version is None:
            # Ours is published before anything is broken and deleted after everything is seen restored.
            return prior
        before, now = self._before(aws, version, prior), self._environment(aws, None)
        others = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        return EnvironmentState(
            version=prior.version,
            variable=self._compare(before.get(self.variable), now.get(self.variable)),
            others_differ=tuple(name for name in others if name != self.variable),
            names=prior.names,
        )

    def broken(self, prior: EnvironmentState) -> EnvironmentState:
        return prior.model_copy(update={"variable": "broken"})

    def inject(self, aws: Aws, prior: EnvironmentState) -> None:
        version = prior.version or keep_own(aws, self.function)
        variables = self._before(aws, version, prior)
        self._update(aws, {**variables, self.variable: self._other_value(variables.get(self.variable))})

    def undo(self, aws: Aws, prior: EnvironmentState) -> None:
        version = prior.version or kept_version(aws, self.function)
        if version is not None:
            self._update(aws, self._before(aws, version, prior))

    def forget(self, aws: Aws, prior: EnvironmentState) -> None:
        if prior.version is None:
            forget_kept(aws, self.function)

    def _look_first(self, aws: Aws) -> EnvironmentState:
        """Which version has the present environment; the newest few are looked at."""
        # Lambda leaves an empty environment out; once may be an answer that is not whole.
        now = self._environment(aws, None) or self._environment(aws, None)
        if self.variable not in now and not self.may_be_absent:
            raise NotFound(
                f"expected {self.function} to have the environment variable {self.variable}, found "
                f"{', '.join(sorted(now)) or 'none'}"
            )
        numbers = sorted((int(version["Version"]) for version in versions(aws, self.function)), reverse=True)
        same = (str(n) for n in numbers[:_VERSIONS_LOOKED_AT] if self._environment(aws, str(n)) == now)
        before = now.get(self.variable)
        already = before is not None and before == self._other_value(before)
        return EnvironmentState(
            version=next(same, None), variable="broken" if already else "as_before", names=tuple(sorted(now))
        )

    def _before(self, aws: Aws, version: str, prior: EnvironmentState) -> dict[str, str]:
        """The environment of before, of the version that holds it.

        Lambda leaves an empty environment out of its answers: what was left out is not taken for an empty one.

        Raises:
            Incomplete: it is not what it was.
        """
        found = self._environment(aws, version)
        names = prior.names if prior.names is not None else tuple(sorted({*found, *self._always}))
        if tuple(sorted(found)) != names:
            raise Incomplete(
                f"expected version {version} of {self.function} to have the environment variables "
                f"{', '.join(names) or 'none'}, found {', '.join(sorted(found)) or 'none'}. Nothing was written"
            )
        return found

    @property
    def _always(self) -> tuple[str, ...]:
        return () if self.may_be_absent else (self.variable,)

    def _compare(self, before: str | None, now: str | None) -> Literal["as_before", "broken", "other"]:
        if now == self._other_value(before):
            return "broken"
        return "as_before" if now == before else "other"

    def _environment(self, aws: Aws, version: str | None) -> dict[str, str]:
        """In memory only: never logged, never written."""
        qualifier = {} if version is None else {"Qualifier": version}
        with aws_errors(f"reading the configuration of {self.function}"):
            answer = aws.client("lambda").get_function_configuration(FunctionName=self.function, **qualifier)
        return variables_of(self.function, answer)

    def _update(self, aws: Aws, variables: dict[str, str]) -> None:
        update = aws.client("lambda").update_function_configuration
        environment = {"Variables": variables}
        aws.ask(
            f"changing the environment of {self.function}", update, FunctionName=self.function, Environment=environment
        )
        wait_updated(aws, self.function)


class LambdaEnvironmentCredential(LambdaEnvironmentVariable):
    """Replace one credential in a function's environment with a well-formed wrong one.

    The prior environment is remembered by a published version, never by value: a version's environment is locked
    (https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html). The newest version with the same
    environment is taken; a function that has none gets one of ours, which serves nothing and is deleted after the
    undo was verified. No schedule can end it: the call would carry the environment, and with it the secret.
    """

    kind: ClassVar[str] = "lambda_environment_credential"
    summary: ClassVar[str] = "break a credential in a Lambda function's environment"

    variable: str = Field(description="environment variable that holds the credential")

    def _other_value(self, before: str | None) -> str:
        return _wrong(before or "")


def _wrong(value: str) -> str:
    """A wrong credential of the same length, derived so that it can be recognised without being stored."""
    digest = hashlib.sha256(f"tocsin broke this: {value}".encode()).hexdigest()
    return (digest * (len(value) // len(digest) + 1))[: max(len(value), 8)]


# --- event source mapping -----------------------------------------------------------------------------------


class MappingState(State):
    """Whether an event source mapping polls its source."""

    uuid: str
    enabled: bool | None = Field(description="None while it is on its way, or changed by somebody else")


_POLLS = {"Enabled": True, "Disabled": False}
"""The states that last. In the others (Creating, Enabling, Disabling, Updating, Deleting) it has not arrived yet.
https://docs.aws.amazon.com/lambda/latest/api/API_GetEventSourceMapping.html
"""


class LambdaEventSourceDisabled(Fault[MappingState]):
    """Disable an event source mapping: the queue fills, and nobody works on it.

    https://docs.aws.amazon.com/lambda/latest/api/API_UpdateEventSourceMapping.html
    """

    kind: ClassVar[str] = "lambda_event_source_disabled"
    state: ClassVar[type[State]] = MappingState
    summary: ClassVar[str] = "disable the event source mapping between a queue and a function"
    aws_service: ClassVar[str] = "lambda"
    permissions: ClassVar[tuple[str, ...]] = (
        "lambda:ListEventSourceMappings",
        "lambda:GetEventSourceMapping",
        "lambda:UpdateEventSourceMapping",
    )

    function: str = Field(description="name of the function")
    queue: str = Field(description="name of the queue, stream or other source that it reads")

    @property
    def resource(self) -> str:
        return f"event source mapping {self.queue} -> {self.function}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("lambda", f"function:{self.function}"),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        # The list cannot be limited; a mapping is named by an id that only the account knows.
        return ANY if action == "lambda:ListEventSourceMappings" else (arns("lambda", "event-source-mapping:*"),)

    def observe(self, aws: Aws, prior: MappingState | None) -> MappingState:
        uuid = self._find(aws) if prior is None else prior.uuid
        with aws_errors(f"reading the {self.resource}"):
            mapping = aws.client("lambda").get_event_source_mapping(UUID=uuid)
        enabled = _POLLS.get(mapping["State"])
        if prior is None and enabled is None:
            raise not_as_assumed(
                f"the {self.resource} to be Enabled or Disabled",
                f"it {mapping['State']}",
                "which of the two it shall be is not known yet. Wait until it is",
            )
        return MappingState(uuid=uuid, enabled=enabled)

    def on_its_way(self, now: MappingState, prior: MappingState) -> bool:
        """Lambda takes its time over each change."""
        return now.enabled is None

    def _find(self, aws: Aws) -> str:
        with aws_errors(f"looking for the {self.resource}"):
            operation, part = "list_event_source_mappings", "EventSourceMappings"
            mappings = list(listed(aws.client("lambda"), operation, part, FunctionName=self.function))
        found = [m for m in mappings if _source(m) == self.queue]
        if len(found) != 1:
            sources = ", ".join(map(_source, mappings)) or "none"
            raise NotFound(f"expected one {self.resource}, found mappings from: {sources}")
        return str(found[0]["UUID"])

    def broken(self, prior: MappingState) -> MappingState:
        return prior.model_copy(update={"enabled": False})

    def inject(self, aws: Aws, prior: MappingState) -> None:
        self._set(aws, prior.uuid, enabled=False)

    def undo(self, aws: Aws, prior: MappingState) -> None:
        self._set(aws, prior.uuid, enabled=bool(prior.enabled))

    def _set(self, aws: Aws, uuid: str, *, enabled: bool) -> None:
        update = aws.client("lambda").update_event_source_mapping
        aws.ask(f"changing the {self.resource}", update, UUID=uuid, Enabled=enabled)

    def dead_man(self, aws: Aws, prior: MappingState) -> ScheduledCall:
        return ScheduledCall(
            service="lambda",
            operation="updateEventSourceMapping",
            request={"Uuid": prior.uuid, "Enabled": prior.enabled},
        )


def _source(mapping: dict[str, Any]) -> str:
    """Name of what a mapping reads; a broker of one's own has no ARN, only a topic."""
    arn = mapping.get("EventSourceArn")
    return ", ".join(mapping.get("Topics", ("a source without an ARN",))) if arn is None else str(arn.rsplit(":", 1)[1])

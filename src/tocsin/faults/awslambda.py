"""Faults of AWS Lambda: configuration, concurrency, event sources and releases."""

from __future__ import annotations

import base64
import hashlib
import io
import time
import urllib.request
import zipfile
from typing import Any, ClassVar, Literal

from pydantic import Field

from tocsin.errors import NotFound, TargetError
from tocsin.faults.base import Aws, Fault, ScheduledCall, State
from tocsin.iam import ANY, Arns
from tocsin.target import aws_errors

_UPDATE_WITHIN_S = 300.0
"""Production seconds for an update of a function; minutes only for functions in a VPC."""
_VERSIONS_LOOKED_AT = 5
"""How many of the newest versions are compared before another one is published."""


def _wait_updated(aws: Aws, function: str) -> None:
    """Until LastUpdateStatus is Successful; the next update would be refused before."""
    client = aws.client("lambda")
    with aws_errors(f"waiting for the update of {function}"):
        delay = max(0.1, 2.0 / aws.target.scale)
        attempts = max(50, round(_UPDATE_WITHIN_S / aws.target.scale / delay))
        client.get_waiter("function_updated").wait(
            FunctionName=function, WaiterConfig={"Delay": delay, "MaxAttempts": attempts}
        )


def _versions(aws: Aws, function: str) -> list[dict[str, Any]]:
    """The published versions of a function, without $LATEST."""
    with aws_errors(f"listing the versions of {function}"):
        pages = aws.client("lambda").get_paginator("list_versions_by_function").paginate(FunctionName=function)
        return [version for page in pages for version in page["Versions"] if version["Version"] != "$LATEST"]


def _own_version(aws: Aws, function: str) -> str | None:
    """Number of the version that this ledger entry published, told by its description."""
    own = (v["Version"] for v in _versions(aws, function) if v.get("Description") == _mark(aws))
    return next(own, None)


def _publish_own(aws: Aws, function: str) -> str:
    """Publish $LATEST under the entry's name, and wait until a list shows it: the undo must find it there."""
    with aws_errors(f"publishing a version of {function}"):
        aws.client("lambda").publish_version(FunctionName=function, Description=_mark(aws))
    deadline = time.monotonic() + max(2.0, _UPDATE_WITHIN_S / aws.target.scale)
    while (version := _own_version(aws, function)) is None:
        if time.monotonic() > deadline:
            raise TargetError(
                f"expected the version just published of {function} to be listed, found it is not; nothing is broken"
            )
        time.sleep(0.2)  # lists are eventually consistent; usually the first look is enough
    return version


def _delete_own(aws: Aws, function: str) -> None:
    """Delete the version that this entry published; with a qualifier, DeleteFunction deletes nothing else."""
    version = _own_version(aws, function)
    if version is not None:
        with aws_errors(f"deleting our version {version} of {function}"):
            aws.client("lambda").delete_function(FunctionName=function, Qualifier=version)


def _mark(aws: Aws) -> str:
    return f"tocsin {aws.entry}"


def _function_scope(function: str, arns: Arns) -> tuple[str, ...]:
    """A function with its versions and aliases: which of them IAM is asked about depends on the call.

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-api-permissions-ref.html
    """
    return arns("lambda", f"function:{function}"), arns("lambda", f"function:{function}:*")


# --- reserved concurrency -----------------------------------------------------------------------------------


class ConcurrencyState(State):
    """Reserved concurrency (None: unreserved) and provisioned concurrency by alias or version."""

    reserved: int | None
    provisioned: dict[str, int]


class LambdaReservedConcurrency(Fault[ConcurrencyState]):
    """Set a function's reserved concurrency; 0 stops it from processing any event.

    Reserved concurrency cannot be lower than what is provisioned, so provisioned concurrency above the new limit
    is removed first and put back by the undo.
    https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
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
    )

    function: str = Field(description="name of the function")
    reserved: int = Field(default=0, ge=0)

    @property
    def resource(self) -> str:
        return f"concurrency of Lambda {self.function}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("lambda", f"function:{self.function}"),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        return _function_scope(self.function, arns)

    def observe(self, aws: Aws, prior: ConcurrencyState | None) -> ConcurrencyState:
        client = aws.client("lambda")
        with aws_errors(f"reading the {self.resource}"):
            reserved = client.get_function_concurrency(FunctionName=self.function)
            pages = client.get_paginator("list_provisioned_concurrency_configs").paginate(FunctionName=self.function)
            configs = [config for page in pages for config in page["ProvisionedConcurrencyConfigs"]]
        provisioned = {
            config["FunctionArn"].rsplit(":", 1)[1]: config["RequestedProvisionedConcurrentExecutions"]
            for config in configs
        }
        return ConcurrencyState(
            reserved=reserved.get("ReservedConcurrentExecutions"),
            provisioned=dict(sorted(provisioned.items())),
        )

    def broken(self, prior: ConcurrencyState) -> ConcurrencyState:
        fits = sum(prior.provisioned.values()) <= self.reserved
        return ConcurrencyState(reserved=self.reserved, provisioned=prior.provisioned if fits else {})

    def inject(self, aws: Aws, prior: ConcurrencyState) -> None:
        client = aws.client("lambda")
        with aws_errors(f"limiting the {self.resource}"):
            if self.broken(prior).provisioned != prior.provisioned:
                for qualifier in prior.provisioned:
                    client.delete_provisioned_concurrency_config(FunctionName=self.function, Qualifier=qualifier)
            client.put_function_concurrency(FunctionName=self.function, ReservedConcurrentExecutions=self.reserved)

    def undo(self, aws: Aws, prior: ConcurrencyState) -> None:
        client = aws.client("lambda")
        with aws_errors(f"restoring the {self.resource}"):
            if prior.reserved is None:
                client.delete_function_concurrency(FunctionName=self.function)
            else:
                client.put_function_concurrency(FunctionName=self.function, ReservedConcurrentExecutions=prior.reserved)
        for qualifier, count in prior.provisioned.items():
            if self.observe(aws, prior).provisioned.get(qualifier) != count:
                with aws_errors(f"restoring provisioned concurrency of {self.function}:{qualifier}"):
                    client.put_provisioned_concurrency_config(
                        FunctionName=self.function, Qualifier=qualifier, ProvisionedConcurrentExecutions=count
                    )

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


class LambdaEnvironmentCredential(Fault[EnvironmentState]):
    """Replace one credential in a function's environment with a well-formed wrong one.

    The prior environment is remembered by a published version, never by value: a version's environment is locked
    (https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html). The newest version with the same
    environment is taken; a function that has none gets one of ours, which serves nothing and is deleted after the
    undo was verified. No schedule can end it: the call would carry the environment, and with it the secret.
    """

    kind: ClassVar[str] = "lambda_environment_credential"
    state: ClassVar[type[State]] = EnvironmentState
    summary: ClassVar[str] = "break a credential in a Lambda function's environment"
    aws_service: ClassVar[str] = "lambda"
    permissions: ClassVar[tuple[str, ...]] = (
        "lambda:GetFunctionConfiguration",
        "lambda:UpdateFunctionConfiguration",
        "lambda:ListVersionsByFunction",
        "lambda:PublishVersion",
        "lambda:DeleteFunction",
    )

    function: str = Field(description="name of the function")
    variable: str = Field(description="environment variable that holds the credential")

    @property
    def resource(self) -> str:
        return f"environment variable {self.variable} of Lambda {self.function}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("lambda", f"function:{self.function}"),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        return _function_scope(self.function, arns)

    def observe(self, aws: Aws, prior: EnvironmentState | None) -> EnvironmentState:
        if prior is None:
            return self._look_first(aws)
        version = prior.version or _own_version(aws, self.function)
        if version is None:
            # Ours is published before anything is broken and deleted after everything is seen restored.
            return prior
        before, now = self._environment(aws, version), self._environment(aws, None)
        others = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        return EnvironmentState(
            version=prior.version,
            variable=self._compare(before[self.variable], now.get(self.variable)),
            others_differ=tuple(name for name in others if name != self.variable),
        )

    def broken(self, prior: EnvironmentState) -> EnvironmentState:
        return prior.model_copy(update={"variable": "broken"})

    def inject(self, aws: Aws, prior: EnvironmentState) -> None:
        version = prior.version or _publish_own(aws, self.function)
        variables = self._environment(aws, version)
        self._update(aws, {**variables, self.variable: _wrong(variables[self.variable])})

    def undo(self, aws: Aws, prior: EnvironmentState) -> None:
        version = prior.version or _own_version(aws, self.function)
        if version is not None:
            self._update(aws, self._environment(aws, version))

    def forget(self, aws: Aws, prior: EnvironmentState) -> None:
        if prior.version is None:
            _delete_own(aws, self.function)

    def _look_first(self, aws: Aws) -> EnvironmentState:
        """Which version has the present environment; the newest few are looked at."""
        now = self._environment(aws, None)
        if self.variable not in now:
            raise NotFound(
                f"expected {self.function} to have the environment variable {self.variable}, found "
                f"{', '.join(sorted(now)) or 'none'}"
            )
        numbers = sorted((int(version["Version"]) for version in _versions(aws, self.function)), reverse=True)
        same = (str(n) for n in numbers[:_VERSIONS_LOOKED_AT] if self._environment(aws, str(n)) == now)
        return EnvironmentState(version=next(same, None), variable="as_before")

    def _compare(self, before: str, now: str | None) -> Literal["as_before", "broken", "other"]:
        if now == before:
            return "as_before"
        return "broken" if now == _wrong(before) else "other"

    def _environment(self, aws: Aws, version: str | None) -> dict[str, str]:
        """In memory only: never logged, never written."""
        qualifier = {} if version is None else {"Qualifier": version}
        with aws_errors(f"reading the configuration of {self.function}"):
            answer = aws.client("lambda").get_function_configuration(FunctionName=self.function, **qualifier)
        variables: dict[str, str] = answer.get("Environment", {}).get("Variables", {})
        return variables

    def _update(self, aws: Aws, variables: dict[str, str]) -> None:
        with aws_errors(f"changing the environment of {self.function}"):
            aws.client("lambda").update_function_configuration(
                FunctionName=self.function, Environment={"Variables": variables}
            )
        _wait_updated(aws, self.function)


def _wrong(value: str) -> str:
    """A wrong credential of the same length, derived so that it can be recognised without being stored."""
    digest = hashlib.sha256(f"tocsin broke this: {value}".encode()).hexdigest()
    return (digest * (len(value) // len(digest) + 1))[: max(len(value), 8)]


# --- event source mapping -----------------------------------------------------------------------------------


class MappingState(State):
    """Whether an event source mapping polls its source."""

    uuid: str
    enabled: bool


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
        # While it is still Enabling or Disabling it has not arrived at what was asked for.
        enabled = mapping["State"] in ("Enabled", "Disabling")
        return MappingState(uuid=uuid, enabled=enabled)

    def _find(self, aws: Aws) -> str:
        with aws_errors(f"looking for the {self.resource}"):
            pages = aws.client("lambda").get_paginator("list_event_source_mappings")
            mappings = [m for page in pages.paginate(FunctionName=self.function) for m in page["EventSourceMappings"]]
        found = [m for m in mappings if m["EventSourceArn"].rsplit(":", 1)[1] == self.queue]
        if len(found) != 1:
            sources = ", ".join(m["EventSourceArn"].rsplit(":", 1)[1] for m in mappings) or "none"
            raise NotFound(f"expected one {self.resource}, found mappings from: {sources}")
        return str(found[0]["UUID"])

    def broken(self, prior: MappingState) -> MappingState:
        return prior.model_copy(update={"enabled": False})

    def inject(self, aws: Aws, prior: MappingState) -> None:
        self._set(aws, prior.uuid, enabled=False)

    def undo(self, aws: Aws, prior: MappingState) -> None:
        self._set(aws, prior.uuid, enabled=prior.enabled)

    def _set(self, aws: Aws, uuid: str, *, enabled: bool) -> None:
        with aws_errors(f"changing the {self.resource}"):
            aws.client("lambda").update_event_source_mapping(UUID=uuid, Enabled=enabled)

    def dead_man(self, aws: Aws, prior: MappingState) -> ScheduledCall:
        return ScheduledCall(
            service="lambda",
            operation="updateEventSourceMapping",
            request={"Uuid": prior.uuid, "Enabled": prior.enabled},
        )


# --- bad release --------------------------------------------------------------------------------------------


class ReleaseState(State):
    """What an alias serves, and which code `$LATEST` holds, told without version numbers that do not exist yet."""

    alias_version: str = Field(description="number of the version served before; `bad` when ours is served")
    alias_weights: dict[str, float] = Field(default_factory=dict)
    latest_sha256: str = Field(description="CodeSha256 of $LATEST; `bad` when it is ours")
    latest_version: str = Field(description="number of a version that holds the code that $LATEST had")


class LambdaBadRelease(Fault[ReleaseState]):
    """Release a version that answers every request with one status: new code, new version, alias moved.

    The undo is the documented rollback: the alias goes back to the version it served, and `$LATEST` gets its code
    again from a version that holds it. The bad version is deleted after that was verified.
    https://docs.aws.amazon.com/lambda/latest/dg/configuration-aliases.html
    """

    kind: ClassVar[str] = "lambda_bad_release"
    state: ClassVar[type[State]] = ReleaseState
    summary: ClassVar[str] = "release a version that answers with an error, through code, version and alias"
    aws_service: ClassVar[str] = "lambda"
    permissions: ClassVar[tuple[str, ...]] = (
        "lambda:GetAlias",
        "lambda:GetFunction",
        "lambda:GetFunctionConfiguration",
        "lambda:UpdateFunctionCode",
        "lambda:PublishVersion",
        "lambda:UpdateAlias",
        "lambda:ListVersionsByFunction",
        "lambda:DeleteFunction",
    )

    function: str = Field(description="name of the function")
    alias: str = Field(description="alias that callers use")
    status: int = Field(default=500, ge=400, le=599, description="status code that the bad version answers")

    @property
    def resource(self) -> str:
        return f"release of Lambda {self.function}:{self.alias}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("lambda", f"function:{self.function}"),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        return _function_scope(self.function, arns)

    def observe(self, aws: Aws, prior: ReleaseState | None) -> ReleaseState:
        client = aws.client("lambda")
        with aws_errors(f"reading the {self.resource}"):
            alias = client.get_alias(FunctionName=self.function, Name=self.alias)
            latest = client.get_function_configuration(FunctionName=self.function)
            serving = client.get_function_configuration(FunctionName=self.function, Qualifier=alias["FunctionVersion"])
        bad = _sha256(self._bad_code(latest["Handler"], latest["Runtime"]))
        return ReleaseState(
            alias_version="bad" if serving["CodeSha256"] == bad else alias["FunctionVersion"],
            alias_weights=(alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights", {}),
            latest_sha256="bad" if latest["CodeSha256"] == bad else latest["CodeSha256"],
            latest_version=self._holding(aws, latest["CodeSha256"]) if prior is None else prior.latest_version,
        )

    def _holding(self, aws: Aws, sha256: str) -> str:
        """The newest version with that code: without one, $LATEST could not be restored."""
        numbers = [int(v["Version"]) for v in _versions(aws, self.function) if v["CodeSha256"] == sha256]
        if not numbers:
            raise TargetError(
                f"expected a published version of {self.function} with the code of $LATEST, to restore it from, found "
                "none. Publish one (lambda:PublishVersion), then drill again."
            )
        return str(max(numbers))

    def broken(self, prior: ReleaseState) -> ReleaseState:
        return prior.model_copy(update={"alias_version": "bad", "alias_weights": {}, "latest_sha256": "bad"})

    def inject(self, aws: Aws, prior: ReleaseState) -> None:
        client = aws.client("lambda")
        with aws_errors(f"releasing a bad version of {self.function}"):
            latest = client.get_function_configuration(FunctionName=self.function)
            code = self._bad_code(latest["Handler"], latest["Runtime"])
            client.update_function_code(FunctionName=self.function, ZipFile=code)
        _wait_updated(aws, self.function)
        version = _publish_own(aws, self.function)
        with aws_errors(f"releasing a bad version of {self.function}"):
            self._point_alias(aws, version, {})

    def undo(self, aws: Aws, prior: ReleaseState) -> None:
        with aws_errors(f"rolling back the {self.resource}"):
            self._point_alias(aws, prior.alias_version, prior.alias_weights)
            self._restore_latest(aws, prior)
        _wait_updated(aws, self.function)

    def forget(self, aws: Aws, prior: ReleaseState) -> None:
        _delete_own(aws, self.function)

    def dead_man(self, aws: Aws, prior: ReleaseState) -> ScheduledCall:
        # The bad code stays in $LATEST, which callers of the alias do not see.
        return ScheduledCall(
            service="lambda",
            operation="updateAlias",
            request={
                "FunctionName": self.function,
                "Name": self.alias,
                "FunctionVersion": prior.alias_version,
                "RoutingConfig": {"AdditionalVersionWeights": prior.alias_weights},
            },
        )

    def _point_alias(self, aws: Aws, version: str, weights: dict[str, float]) -> None:
        aws.client("lambda").update_alias(
            FunctionName=self.function,
            Name=self.alias,
            FunctionVersion=version,
            RoutingConfig={"AdditionalVersionWeights": weights},
        )

    def _restore_latest(self, aws: Aws, prior: ReleaseState) -> None:
        client = aws.client("lambda")
        if client.get_function_configuration(FunctionName=self.function)["CodeSha256"] == prior.latest_sha256:
            return
        source = client.get_function(FunctionName=self.function, Qualifier=prior.latest_version)
        client.update_function_code(FunctionName=self.function, ZipFile=_download(source["Code"]["Location"]))

    def _bad_code(self, handler: str, runtime: str) -> bytes:
        """A deployment package of one file. The same arguments always give the same bytes."""
        module, function = handler.rsplit(".", 1)
        body = '{"error":{"code":"BAD_RELEASE","message":"released by a drill","requestId":"none"}}'
        if runtime.startswith("python"):
            name = f"{module.replace('.', '/')}.py"
            source = (
                f"def {function}(event, context):\n"
                f"    print('bad release')\n"
                f"    return {{'statusCode': {self.status}, 'headers': {{'content-type': 'application/json'}}, "
                f"'body': {body!r}}}\n"
            )
        elif runtime.startswith("nodejs"):
            name = f"{module}.js"
            source = (
                f"exports.{function} = async () => ({{ statusCode: {self.status}, "
                f"headers: {{ 'content-type': 'application/json' }}, body: {body!r} }});\n"
            )
        else:
            raise TargetError(
                f"expected a python or nodejs runtime for a bad release of {self.function}, found {runtime}"
            )
        return _zip(name, source)


def _zip(name: str, source: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0))
        info.external_attr = 0o644 << 16
        archive.writestr(info, source)
    return buffer.getvalue()


def _sha256(code: bytes) -> str:
    """CodeSha256 as Lambda gives it."""
    return base64.b64encode(hashlib.sha256(code).digest()).decode()


def _download(url: str) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise TargetError("expected a presigned HTTP(S) address for the function's code, found another kind")
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - scheme checked above
        data: bytes = answer.read()
    return data

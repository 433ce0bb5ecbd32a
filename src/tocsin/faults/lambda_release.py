"""A bad release of an AWS Lambda function: code, version and alias."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from tocsin.aws import keys
from tocsin.aws.iam import Arns, Grant
from tocsin.aws.target import Aws, aws_errors
from tocsin.errors import TargetError, Unavailable
from tocsin.faults.base import Fault, ScheduledCall, State, not_as_assumed
from tocsin.faults.lambda_functions import delete_own, function_scope, publish_own, versions, wait_updated

_LARGEST_UPLOAD = 50_000_000
"""Bytes of a package that is uploaded in the call itself."""


class ReleaseState(State):
    """What an alias serves, and which code `$LATEST` holds, told without version numbers that do not exist yet."""

    alias_version: str = Field(description="number of the version served before; `bad` when ours is served")
    alias_weights: dict[str, float] = Field(default_factory=dict)
    latest_sha256: str = Field(description="CodeSha256 of $LATEST; `bad` when it is ours")
    latest_version: str = Field(description="number of a version that holds the code that $LATEST had")
    code: dict[str, JsonValue] | None = Field(
        default=None,
        description="what else belongs to the code of $LATEST: `Architectures`, `SourceKMSKeyArn`; None in an entry "
        "of an older version",
    )


class LambdaBadRelease(Fault[ReleaseState]):
    """Release a version that answers every request alike: new code, new version, alias moved.

    What it answers is up to `status` and `body`. Without a body it has the form of no system's errors; with one in the
    form that a contract documents, callers get a documented error.

    The undo is the documented rollback: the alias goes back to the version it served, and `$LATEST` gets its code again
    from a version that holds it. The bad version is deleted after that was verified.
    https://docs.aws.amazon.com/lambda/latest/dg/configuration-aliases.html
    """

    kind: ClassVar[str] = "lambda_bad_release"
    state: ClassVar[type[State]] = ReleaseState
    summary: ClassVar[str] = "release a version that answers one status and body, through code, version and alias"
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
    status: int = Field(default=500, ge=200, le=599, description="status code that the bad version answers")
    body: JsonValue = Field(
        default="",
        description="what the bad version answers with it: text, or a JSON document; without it nothing",
    )

    @property
    def resource(self) -> str:
        return f"release of Lambda {self.function}:{self.alias}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("lambda", f"function:{self.function}"),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        return function_scope(self.function, arns)

    def key_grants(self, aws: Aws) -> Iterator[Grant]:
        yield from keys.of_function(aws.target, self.function, keys.CONFIGURING)
        yield from keys.of_package(aws.target, self.function)

    def observe(self, aws: Aws, prior: ReleaseState | None) -> ReleaseState:
        client = aws.client("lambda")
        with aws_errors(f"reading the {self.resource}"):
            alias = client.get_alias(FunctionName=self.function, Name=self.alias)
            latest = client.get_function_configuration(FunctionName=self.function)
            serving = client.get_function_configuration(FunctionName=self.function, Qualifier=alias["FunctionVersion"])
            kept = prior is None or prior.code is not None
            code = self._with_code(aws, latest) if kept else None
        if prior is None:
            self._check_can_be_put_back(latest)
        bad = _sha256(self._bad_code(latest["Handler"], latest["Runtime"]))
        return ReleaseState(
            alias_version="bad" if serving["CodeSha256"] == bad else alias["FunctionVersion"],
            alias_weights=(alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights", {}),
            latest_sha256="bad" if latest["CodeSha256"] == bad else latest["CodeSha256"],
            latest_version=self._holding(aws, latest["CodeSha256"]) if prior is None else prior.latest_version,
            code=code,
        )

    def _with_code(self, aws: Aws, latest: Mapping[str, Any]) -> dict[str, JsonValue]:
        """What UpdateFunctionCode sets to a default where it is not told.

        https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionCode.html
        """
        code = aws.client("lambda").get_function(FunctionName=self.function)["Code"]
        # Lambda always says for which processor a function is; a key it names only where there is one of one's own.
        key = {"SourceKMSKeyArn": code["SourceKMSKeyArn"]} if "SourceKMSKeyArn" in code else {}
        return {"Architectures": latest["Architectures"], **key}

    def _check_can_be_put_back(self, latest: dict[str, Any]) -> None:
        """Whether the code of $LATEST can be replaced by ours, and be uploaded again.

        https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html

        Raises:
            Refused: it cannot.
        """
        kind, size = latest.get("PackageType", "Zip"), latest.get("CodeSize", 0)
        if kind != "Zip" or "Handler" not in latest or "Runtime" not in latest:
            raise not_as_assumed(
                f"{self.function} to be a .zip archive with a handler",
                f"the package type {kind}",
                "there is no code of it that could be put back. Release a bad image by a process of your own",
            )
        if "." not in latest["Handler"]:
            raise not_as_assumed(
                f"{self.function} to have a handler of a module and a function",
                f"'{latest['Handler']}' of {latest['Runtime']}",
                "no bad version of it can be made. Release one by a process of your own",
            )
        if size > _LARGEST_UPLOAD:
            raise not_as_assumed(
                f"a package of {self.function} of at most 50 MB", f"{size} bytes", "Lambda takes no larger one back"
            )

    def _holding(self, aws: Aws, sha256: str) -> str:
        """The newest version with that code: without one, $LATEST could not be restored."""
        numbers = [int(v["Version"]) for v in versions(aws, self.function) if v["CodeSha256"] == sha256]
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
        doing = f"releasing a bad version of {self.function}"
        aws.ask(doing, client.update_function_code, FunctionName=self.function, ZipFile=code, **(prior.code or {}))
        wait_updated(aws, self.function)
        self._point_alias(aws, publish_own(aws, self.function), {})

    def undo(self, aws: Aws, prior: ReleaseState) -> None:
        self._point_alias(aws, prior.alias_version, prior.alias_weights)
        self._restore_latest(aws, prior)
        wait_updated(aws, self.function)

    def forget(self, aws: Aws, prior: ReleaseState) -> None:
        delete_own(aws, self.function)

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

    def look_ahead(self, aws: Aws, prior: ReleaseState) -> None:
        self._source(aws, prior)

    def _source(self, aws: Aws, prior: ReleaseState) -> str:
        """Where the code of before is; the address holds credentials."""
        with aws_errors(f"looking for the code of {self.function}"):
            found = aws.client("lambda").get_function(FunctionName=self.function, Qualifier=prior.latest_version)
        return str(found["Code"]["Location"])

    def _point_alias(self, aws: Aws, version: str, weights: dict[str, float]) -> None:
        aws.ask(
            f"moving the alias of the {self.resource}",
            aws.client("lambda").update_alias,
            FunctionName=self.function,
            Name=self.alias,
            FunctionVersion=version,
            RoutingConfig={"AdditionalVersionWeights": weights},
        )

    def _restore_latest(self, aws: Aws, prior: ReleaseState) -> None:
        client, doing = aws.client("lambda"), f"putting back the code of {self.function}"
        with aws_errors(doing):
            latest = client.get_function_configuration(FunctionName=self.function)
            same = prior.code is None or self._with_code(aws, latest) == prior.code
            if latest["CodeSha256"] == prior.latest_sha256 and same:
                return
        code = _download(self._source(aws, prior))
        aws.ask(doing, client.update_function_code, FunctionName=self.function, ZipFile=code, **(prior.code or {}))

    def _answer(self) -> dict[str, JsonValue]:
        """What API Gateway and load balancers make an answer of; `body` is always text there.

        https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
        """
        text = self.body if isinstance(self.body, str) else json.dumps(self.body, separators=(",", ":"))
        kind = "text/plain; charset=utf-8" if isinstance(self.body, str) else "application/json"
        headers: dict[str, JsonValue] = {"content-type": kind} if text else {}
        return {"statusCode": self.status, "headers": headers, "body": text}

    def _bad_code(self, handler: str, runtime: str) -> bytes:
        """A deployment package of one file. The same arguments always give the same bytes."""
        module, function = handler.rsplit(".", 1)
        # As JSON, which both languages read: whatever is in the body, it is no code.
        answer = json.dumps(json.dumps(self._answer(), sort_keys=True))
        if runtime.startswith("python"):
            name = f"{module.replace('.', '/')}.py"
            source = (
                f"import json\n\n\ndef {function}(event, context):\n"
                f"    print('bad release')\n    return json.loads({answer})\n"
            )
        elif runtime.startswith("nodejs"):
            name = f"{module}.js"
            source = f"exports.{function} = async () => JSON.parse({answer});\n"
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
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - scheme checked above
            data: bytes = answer.read()
    except (OSError, http.client.HTTPException) as error:
        # The address holds credentials: it is not repeated.
        raise Unavailable(f"downloading the code of before: {type(error).__name__}") from None
    return data

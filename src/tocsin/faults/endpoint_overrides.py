"""A function's base URL of a third party, or of an AWS service, pointed at a fault server."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from tocsin.aws.target import Aws
from tocsin.errors import Refused
from tocsin.faults.awslambda import EnvironmentState, LambdaEnvironmentVariable


class EndpointOverride(LambdaEnvironmentVariable):
    """Point a base URL in a function's environment at a fault server that you name.

    For third parties on a real account, where no stub has a fault door: `OPENAI_BASE_URL`, or for any AWS service
    `AWS_ENDPOINT_URL_<SERVICE>` (https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html), which is
    set where it is not there. The server answers 429, 500, late or not at all: that is up to you.

    The function sends it what it sends the third party, with its API key: name only a server that you own. On a real
    account its URL must be `https`, or the key could be read on the way.

    New execution environments have the new URL, and the update makes all of them new. What was before is remembered
    by a published version, as for `lambda_environment_credential`. No schedule can end it: the call would carry the
    environment, and with it every secret in it.
    """

    kind: ClassVar[str] = "endpoint_override"
    summary: ClassVar[str] = "point a base URL in a Lambda function's environment at a fault server"
    may_be_absent: ClassVar[bool] = True

    variable: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="environment variable of the base URL")
    url: str = Field(description="base URL of your fault server: no credentials, no query; `https` on a real account")

    @field_validator("url")
    @classmethod
    def _is_a_base_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected a URL that begins with https:// or http:// and names a host")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError("expected a URL without credentials, query and fragment: it is written to the ledger")
        return url

    def observe(self, aws: Aws, prior: EnvironmentState | None) -> EnvironmentState:
        if prior is None and aws.target.endpoint_url is None and not self.url.startswith("https://"):
            raise Refused(
                "endpoint-override",
                f"expected an https URL on a real account, found {self.url}: {self.function} sends its credentials "
                "there, and anybody on the way could read them. Give the fault server a certificate.",
            )
        return super().observe(aws, prior)

    def _other_value(self, before: str | None) -> str:
        return self.url

"""A function that is thrown away, and never invoked."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from tocsin.aws.iam import Arns
from tocsin.aws.target import Aws, aws_errors
from tocsin.parity.throwaway.kinds.base import PREFIX, Throwaway, asked_with_a_new_role

_CODE = "def handler(event, context):\n    return None\n"
_WRITTEN = (2026, 1, 1, 0, 0, 0)
RUNTIME = "python3.12"


class ParityFunction(Throwaway):
    """A function of two lines. Nobody invokes it, so that it makes no log group."""

    kind: ClassVar[str] = "parity_function"
    noun: ClassVar[str] = "function"
    summary: ClassVar[str] = "a function of `tocsin parity --throwaway`"
    aws_service: ClassVar[str] = "lambda"
    permissions: ClassVar[tuple[str, ...]] = (
        "lambda:CreateFunction",
        "lambda:DeleteFunction",
        "lambda:GetFunction",
        "lambda:ListTags",
        "lambda:TagResource",
    )

    role: str = Field(description="ARN of its role")

    @classmethod
    def pattern(cls, arns: Arns) -> str:
        return arns("lambda", f"function:{PREFIX}*")

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("lambda", f"function:{self.name}"),)

    def marks(self, aws: Aws) -> Mapping[str, str]:
        with aws_errors(f"reading {self.resource}"):
            found = aws.client("lambda").get_function(FunctionName=self.name)
        tags: Mapping[str, str] = found.get("Tags", {})
        return tags

    def make(self, aws: Aws) -> None:
        asked_with_a_new_role(
            aws,
            f"creating {self.resource}",
            aws.client("lambda").create_function,
            FunctionName=self.name,
            Description="Thrown away by `tocsin parity`.",
            Runtime=RUNTIME,
            Handler="nothing.handler",
            Role=self.role,
            Code={"ZipFile": _package()},
            Tags=dict(self.tag),
        )

    def delete(self, aws: Aws) -> None:
        aws.ask(f"deleting {self.resource}", aws.client("lambda").delete_function, FunctionName=self.name)


def _package() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("nothing.py", _WRITTEN), _CODE)
    return packed.getvalue()

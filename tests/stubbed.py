"""An AWS API whose answers are written down: for what no emulator answers, and AWS's pages say.

    api = Stubbed(target)
    api.answers("cloudwatch", "DescribeAlarms", lambda asked: {"MetricAlarms": [...]})
    api.answers("sts", "GetCallerIdentity", refused("ExpiredToken"))

Requests are checked by botocore itself, and answers here, against the same model: a field that AWS does not have cannot
be asked for, nor be answered. What nobody wrote down is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.validate import validate_parameters

from tocsin.aws.target import Target

Request = Mapping[str, Any]
Answer = Callable[[Request], Mapping[str, Any]]
"""From the parameters of a call to its answer; raises Error for one of AWS's."""


class Error(Exception):
    """An error as AWS gives it."""

    def __init__(self, code: str, message: str = "said the stub", status: int = 400) -> None:
        super().__init__(code)
        self.code, self.message, self.status = code, message, status


def refused(code: str, message: str = "said the stub", status: int = 400) -> Answer:
    """The answer that is always this error."""

    def answer(asked: Request) -> Mapping[str, Any]:
        raise Error(code, message, status)

    return answer


class Stubbed:
    """Answers all calls of the clients that a target makes, from now on. Nothing leaves the process."""

    def __init__(self, target: Target) -> None:
        self._answers: dict[tuple[str, str], Answer] = {}
        self.asked: list[tuple[str, Request]] = []
        """(operation, parameters) of every call, in their order."""
        self.attach(target)

    def attach(self, target: Target) -> None:
        """Answer this target too, or again after it has renewed its session."""
        target.session.events.register("before-parameter-build", self._keep_parameters)
        target.session.events.register_last("before-call", self._answer)

    def answers(self, service: str, operation: str, answer: Answer | Mapping[str, Any]) -> None:
        """Write down how an operation is answered: always so, or as a function says."""
        if not callable(answer):
            said = answer
            self._answers[service, operation] = lambda asked: said
        else:
            self._answers[service, operation] = answer

    def answer_of(self, service: str, operation: str) -> Answer:
        """How it is answered now."""
        return self._answers[service, operation]

    def calls(self, operation: str) -> list[Request]:
        """The parameters of each call of an operation."""
        return [asked for name, asked in self.asked if name == operation]

    def _keep_parameters(self, params: Request, context: dict[str, Any], **_: Any) -> None:
        context["stubbed"] = dict(params)

    def _answer(self, model: Any, context: Mapping[str, Any], **_: Any) -> tuple[AWSResponse, dict[str, Any]]:
        service, asked = model.service_model.service_name, context["stubbed"]
        self.asked.append((model.name, asked))
        if (service, model.name) not in self._answers:
            raise AssertionError(f"nobody wrote down what {service}:{model.name} answers")
        try:
            found = dict(self._answers[service, model.name](asked))
        except Error as error:
            return _answered(error.status, {"Error": {"Code": error.code, "Message": error.message}})
        if model.output_shape is not None:
            validate_parameters({name: one for name, one in found.items() if one is not None}, model.output_shape)
        return _answered(200, found)


def _answered(status: int, parsed: dict[str, Any]) -> tuple[AWSResponse, dict[str, Any]]:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0}
    return AWSResponse("https://stubbed", status, {}, None), {**parsed, "ResponseMetadata": metadata}

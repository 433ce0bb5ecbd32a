"""What a bad release answers is up to the experiment; by itself it has the form of no system's errors."""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

import pytest
from pydantic import ValidationError

from tocsin.errors import TargetError
from tocsin.faults.lambda_release import LambdaBadRelease

HANDLER = "shop.desk.handle"


def release(**answer: Any) -> LambdaBadRelease:
    return LambdaBadRelease(function="desk", alias="live", **answer)


def file_of(package: bytes) -> tuple[str, str]:
    """Name and text of the only file of a deployment package."""
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        (name,) = archive.namelist()
        return name, archive.read(name).decode()


def answered(fault: LambdaBadRelease) -> dict[str, Any]:
    """What the code of the release answers, run as Lambda would run it."""
    name, source = file_of(fault._bad_code(HANDLER, "python3.12"))
    assert name == "shop/desk.py"
    module: dict[str, Any] = {}
    exec(source, module)
    found: dict[str, Any] = module["handle"]({}, None)
    return found


def test_without_a_word_it_has_no_form() -> None:
    assert answered(release()) == {"statusCode": 500, "headers": {}, "body": ""}


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("the till is closed", "text/plain; charset=utf-8", "the till is closed"),
        ({"error": {"code": "CLOSED"}}, "application/json", '{"error":{"code":"CLOSED"}}'),
        ([1, None, True], "application/json", "[1,null,true]"),
        ("'\"\\\n${x} ö \N{BELL}", "text/plain; charset=utf-8", "'\"\\\n${x} ö \N{BELL}"),
        ({"title": "ö '\" \N{BELL}"}, "application/json", None),
    ],
)
def test_status_and_body_are_those_of_the_experiment(body: Any, kind: str, text: str | None) -> None:
    found = answered(release(status=503, body=body))
    assert found["statusCode"] == 503
    assert found["headers"] == {"content-type": kind}
    assert found["body"] == text if text is not None else json.loads(found["body"]) == body


def test_both_languages_answer_the_same() -> None:
    fault = release(status=502, body={"title": "ö '\" ${x}"})
    name, source = file_of(fault._bad_code(HANDLER, "nodejs22.x"))
    literal = re.fullmatch(r"exports\.handle = async \(\) => JSON\.parse\((\".*\")\);\n", source)
    assert name == "shop.desk.js"
    assert literal is not None
    assert json.loads(json.loads(literal[1])) == answered(fault)


def test_the_same_arguments_give_the_same_code_and_others_another() -> None:
    codes = [release(body=body)._bad_code(HANDLER, "python3.12") for body in ("a", "a", "b")]
    assert codes[0] == codes[1] != codes[2]


def test_what_cannot_be_answered_is_refused() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 599"):
        release(status=600)
    with pytest.raises(TargetError, match=r"expected a python or nodejs runtime .* found java21"):
        release()._bad_code(HANDLER, "java21")

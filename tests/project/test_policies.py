"""A policy is one that IAM takes, or everything that is wrong with it is told at its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tocsin.errors import InvalidInput
from tocsin.project.policies import read_policy

LINES = """{
"Version": "2012-10-17",
"Statement": [{
"Effect": "Allow",
"Action": ["sqs:ListQueues", "sns:*"],
"Resource": "*"
}]
}"""


def written(directory: Path, text: str) -> Path:
    path = directory / "policy.json"
    path.write_text(text)
    return path


ONE: dict[str, Any] = {"Effect": "Allow", "Action": "*", "Resource": "*"}


@pytest.mark.parametrize(
    "policy",
    [
        {"Statement": ONE},
        {"Statement": [ONE, {"Effect": "Deny", "NotAction": ["s3:*"], "NotResource": ["arn:aws:s3:::a"], "Sid": "No"}]},
        {
            "Version": "2008-10-17",
            "Id": "x",
            "Statement": [{**ONE, "Condition": {"Bool": {"aws:ViaAWSService": True}}}],
        },
    ],
)
def test_what_iam_takes_is_taken_as_it_is(tmp_path: Path, policy: dict[str, Any]) -> None:
    text = json.dumps(policy)
    assert read_policy(written(tmp_path, text)) == text


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('"Allow"', '"Alow"', ["4: Statement.0.Effect: expected 'Allow' or 'Deny', found 'Alow'"]),
        ('"Action"', '"Acton"', ["5: unknown name 'Acton' in Statement.0. Did you mean 'Action'?"]),
        ('"Action"', '"NotResource"', ["3: Statement.0: expected either 'Action' or 'NotAction', found neither"]),
        ('"Resource"', '"Principal"', ["6: unknown name 'Principal' in Statement.0. "]),
        ('"sns:*"', "7", ["5: Statement.0.Action.1: expected a text, found 7"]),
        ("2012-10-17", "2012-10-18", ["2: Version: expected '2012-10-17' or '2008-10-17', found '2012-10-18'"]),
        ("[{", '["Allow", {', ["3: Statement.0: expected a mapping, found 'Allow'"]),
        ("[{", '[{"Effct": 1}, {', ["3: unknown name 'Effct' in Statement.0. Did you mean 'Effect'?"]),
    ],
)
def test_what_iam_does_not_take_is_told_at_its_line(tmp_path: Path, before: str, after: str, told: list[str]) -> None:
    assert LINES.count(before) == 1
    path = written(tmp_path, LINES.replace(before, after))
    with pytest.raises(InvalidInput) as caught:
        read_policy(path)
    found = [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]
    assert len(found) == len(told)
    assert all(one.startswith(start) for one, start in zip(found, told, strict=True)), found


@pytest.mark.parametrize("statement", ['"Allow"', "7", "[[]]", "[null]"])
def test_statements_are_a_list_of_statements(tmp_path: Path, statement: str) -> None:
    with pytest.raises(InvalidInput, match=r"policy\.json:2: Statement(\.0)?: expected a (list|mapping), found"):
        read_policy(written(tmp_path, f'{{\n"Statement": {statement}\n}}'))

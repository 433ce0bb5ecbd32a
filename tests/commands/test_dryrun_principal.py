"""As whom IAM is asked what is allowed: the role of a session has a path that no session tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.stubbed import Error, Request, Stubbed

from tocsin.aws.iam import Grant
from tocsin.aws.target import Target
from tocsin.commands.dryrun import _permissions
from tocsin.errors import NotFound

ACCOUNT = "123456789012"
SSO = "AWSReservedSSO_Chaos_0123456789abcdef"
ROLES = {
    "chaos": f"arn:aws:iam::{ACCOUNT}:role/chaos",
    "deployer": f"arn:aws:iam::{ACCOUNT}:role/team/shop/deployer",
    SSO: f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/eu-west-1/{SSO}",
}


TARGET = Target("t", "eu-west-1", account=ACCOUNT, access_key_id="x", secret_access_key="x")


@pytest.fixture(autouse=True)
def api() -> Stubbed:
    api = Stubbed(TARGET)
    api.answers("iam", "GetRole", _role)
    api.answers("iam", "SimulatePrincipalPolicy", _decisions)
    return api


def _role(asked: Request) -> Mapping[str, Any]:
    name = asked["RoleName"]
    if name not in ROLES:
        raise Error("NoSuchEntity", f"The role with name {name} cannot be found.", 404)
    path = ROLES[name].split(":role")[1].removesuffix(name)
    return {"Role": {"Path": path, "RoleName": name, "RoleId": "AROA" + "0" * 17, "Arn": ROLES[name], "CreateDate": 0}}


def _decisions(asked: Request) -> Mapping[str, Any]:
    """As IAM: it knows a role only by its whole ARN."""
    if asked["PolicySourceArn"] not in (*ROLES.values(), f"arn:aws:iam::{ACCOUNT}:user/me"):
        raise Error("NoSuchEntity", f"{asked['PolicySourceArn']} cannot be found", 404)
    results = [{"EvalActionName": name, "EvalDecision": "allowed"} for name in asked["ActionNames"]]
    return {"EvaluationResults": results, "IsTruncated": False}


def said(caller: str) -> list[tuple[bool, str]]:
    """What a dry run says of one declared action to this caller."""
    grants = [Grant(sid="Read", actions=("sqs:GetQueueUrl",), resources=("*",))]
    return list(_permissions(grants, TARGET, f"arn:aws:{caller}"))


@pytest.mark.parametrize("role", ROLES)
def test_a_session_is_asked_about_as_its_role_with_its_path(role: str) -> None:
    assert said(f"sts::{ACCOUNT}:assumed-role/{role}/me@example.com") == [
        (True, "1 actions on the resources of 1 statements")
    ]


def test_a_user_is_asked_about_as_what_it_is(api: Stubbed) -> None:
    assert said(f"iam::{ACCOUNT}:user/me")[-1][0]
    assert "GetRole" not in {name for name, _ in api.asked}


def test_a_role_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound, match="asking IAM for the path of the role gone: AWS answered NoSuchEntity"):
        said(f"sts::{ACCOUNT}:assumed-role/gone/me")

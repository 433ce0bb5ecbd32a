"""Keys of one's own stand in the policy by their ARN, with what each call needs of them; the keys of AWS do not."""

from __future__ import annotations

from typing import Any

import pytest
from tests.faults.stub.account import TARGET, StubAws
from tests.faults.stub.clock import Clock
from tests.faults.stub.faults import ARGUMENTS, furnish
from tests.faults.stub.kms import KEY

from tocsin.aws import keys
from tocsin.aws.lookups import resolve_system
from tocsin.aws.target import Aws
from tocsin.errors import TargetError
from tocsin.faults.registry import fault_class
from tocsin.model.system import System
from tocsin.probes import PROBES
from tocsin.procedures import PROCEDURES


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> StubAws:
    stub = StubAws(Clock(monkeypatch))
    stub.install(monkeypatch)
    furnish(stub)
    stub.services["lambda"].source_key = None
    return stub


def encrypted(account: StubAws, key: str) -> None:
    account.services["lambda"].latest["KMSKeyArn"] = key
    account.services["lambda"].source_key = key
    account.services["secretsmanager"].described["KmsKeyId"] = key
    account.services["rds"].keys["orders"] = key
    for queue in account.services["sqs"].queues.values():
        queue.attributes["KmsMasterKeyId"] = key


def granted(kind: str) -> dict[str, set[str]]:
    """Key -> actions."""
    found: dict[str, set[str]] = {}
    fault: Any = fault_class(kind).model_validate(ARGUMENTS[kind])
    for grant in fault.key_grants(Aws(TARGET, entry="")):
        for resource in grant.resources:
            found.setdefault(resource, set()).update(grant.actions)
    return found


NEEDED = {
    "sqs_poison_message": {"kms:Decrypt", "kms:GenerateDataKey"},
    "lambda_environment_credential": {"kms:CreateGrant", "kms:Decrypt", "kms:Encrypt"},
    "endpoint_override": {"kms:CreateGrant", "kms:Decrypt", "kms:Encrypt"},
    "lambda_bad_release": {"kms:CreateGrant", "kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"},
    "postgres_lock": {"kms:Decrypt"},
    "rds_restore_rehearsal": {"kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey"},
}


@pytest.mark.parametrize("kind", NEEDED)
@pytest.mark.parametrize("key", [KEY, "alias/shop"])
def test_a_key_of_ones_own_is_granted_by_its_arn(account: StubAws, kind: str, key: str) -> None:
    encrypted(account, key)
    assert granted(kind) == {KEY: NEEDED[kind]}


@pytest.mark.parametrize("kind", NEEDED)
def test_without_a_key_and_with_one_of_aws_nothing_is_granted(account: StubAws, kind: str) -> None:
    assert granted(kind) == {}
    encrypted(account, "alias/aws/service")
    assert granted(kind) == {}
    account.services["kms"].manager = "AWS"
    encrypted(account, KEY)
    assert granted(kind) == {}


@pytest.mark.parametrize(
    ("kind", "calls"),
    [
        ("sqs_poison_message", ["kms:DescribeKey"]),
        ("endpoint_override", ["lambda:GetFunctionConfiguration"]),
        ("postgres_lock", ["secretsmanager:DescribeSecret"]),
        ("rds_restore_rehearsal", ["secretsmanager:DescribeSecret", "rds:DescribeDBInstances"]),
    ],
)
def test_whoever_may_not_look_needs_no_more_rights_for_a_dry_run(account: StubAws, kind: str, calls: list[str]) -> None:
    encrypted(account, KEY)
    for call in calls:
        account.fails(call, "AccessDeniedException")
    assert granted(kind) == {}


DECLARED = {
    "sqs_redrive": (PROCEDURES, {"queue": "orders"}, {"kms:Decrypt", "kms:GenerateDataKey"}),
    "postgres_query": (PROCEDURES, {"secret": "orders", "sql": "SELECT 1"}, {"kms:Decrypt"}),
    "postgres_value": (PROBES, {"secret": "orders", "sql": "SELECT 1"}, {"kms:Decrypt"}),
    "rows_restored": (PROBES, {"secret": "orders", "restored": "copy", "tables": ["items"]}, {"kms:Decrypt"}),
}


@pytest.mark.parametrize("name", DECLARED)
def test_a_procedure_and_a_probe_have_the_keys_of_what_they_work_on(account: StubAws, name: str) -> None:
    declared, arguments, actions = DECLARED[name]
    asked = declared[name].key_grants
    assert asked is not None
    assert list(asked(arguments, Aws(TARGET, entry=""))) == []
    encrypted(account, KEY)
    found = list(asked(arguments, Aws(TARGET, entry="")))
    assert {resource for grant in found for resource in grant.resources} == {KEY}
    assert {action for grant in found for action in grant.actions} == actions


NAMED = "/shop/api"
SHOP = System.model_validate(
    {
        "system": "shop",
        "title": "Shop",
        "region": "eu-west-1",
        "endpoint": {"url": "https://${api}"},
        "lookups": {"api": {"parameter": NAMED}},
        "alarms": {},
    }
)


@pytest.mark.parametrize(
    ("key", "granted_key"), [(None, None), ("alias/aws/ssm", None), (KEY, KEY), ("alias/shop", KEY)]
)
def test_a_parameter_that_names_something_is_read_in_plain(
    account: StubAws, key: str | None, granted_key: str | None
) -> None:
    parameters = account.services["ssm"]
    parameters.values[NAMED] = "shop.example.com"
    if key is not None:
        parameters.keys[NAMED] = key
    assert resolve_system(SHOP, TARGET).endpoint.url == "https://shop.example.com"
    found = [(grant.actions, grant.resources) for grant in keys.grants(TARGET, SHOP)]
    assert found == ([] if granted_key is None else [(("kms:Decrypt",), (granted_key,))])


def test_a_parameter_that_may_not_be_decrypted_says_what_is_missing(account: StubAws) -> None:
    account.services["ssm"].values[NAMED] = "shop.example.com"
    account.fails("ssm:GetParameter", "AccessDeniedException")
    with pytest.raises(
        TargetError, match="SecureString, kms:Decrypt with its key must be allowed: AWS answered Access"
    ):
        resolve_system(SHOP, TARGET)


DESK = System.model_validate(
    {
        "system": "desk",
        "title": "Desk",
        "endpoint": {"url": "https://desk.example.com"},
        "notifications": {"queue": "orders"},
        "messages": {"document": "desk.asyncapi.yaml", "taps": {"done": {"queue": "orders-dlq"}}},
        "identities": {"clerk": {"secret": "orders", "login": "/login"}},
    }
)


@pytest.mark.parametrize("what", ["queue of the pager", "queue of a tap", "secret of an identity"])
def test_what_a_system_lets_drills_read_is_read_with_its_key(account: StubAws, what: str) -> None:
    assert list(keys.grants(TARGET, DESK)) == []
    if what == "secret of an identity":
        account.services["secretsmanager"].described["KmsKeyId"] = KEY
    else:
        queue = "orders" if what == "queue of the pager" else "orders-dlq"
        account.services["sqs"].queues[queue].attributes["KmsMasterKeyId"] = KEY
    (grant,) = keys.grants(TARGET, DESK)
    assert (grant.actions, grant.resources) == (("kms:Decrypt",), (KEY,))

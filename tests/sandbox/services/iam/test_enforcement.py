"""Policies of roles and of resources are obeyed in every sandbox, without an option."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.sandbox.aws.shop import Shop, eventually
from tests.secret_scan import watched

from tocsin.aws.enforcement import answers_strangers
from tocsin.aws.target import Aws
from tocsin.commands.session import running_target
from tocsin.drill.options import RunOptions
from tocsin.errors import InvalidInput, Refused
from tocsin.faults.base import AnyFault
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.registry import fault_class
from tocsin.model.events import Event, FaultFelt, FaultStage
from tocsin.record.ledger import Ledger
from tocsin.sandbox import control
from tocsin.sandbox.drill_user import user_of_a_run

CALLER = """
import boto3
from botocore.exceptions import ClientError


def handler(event, context):
    try:
        getattr(boto3.client(event["service"]), event["operation"])(**event["arguments"])
    except ClientError as error:
        return [error.response["Error"]["Code"], error.response["Error"]["Message"]]
    return ["", ""]
"""
MAY = {"Effect": "Allow", "Action": ["sqs:SendMessage", "dynamodb:*", "s3:*"], "Resource": "*"}


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("enforced")
    home = root / "replicas" / "enforced"
    home.mkdir(parents=True)
    (home / "deploy.py").write_text("def deploy(account):\n    pass\n")
    try:
        with watched(root):
            shop = Shop(control.up("enforced", root).account, root)
            make_caller(shop)
            yield shop
    finally:
        control.down(root)


def make_caller(shop: Shop) -> None:
    """A function that calls what it is told to, and what it calls."""
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = shop.client("iam").create_role(RoleName="caller", AssumeRolePolicyDocument=policy(trust))["Role"]["Arn"]
    shop.client("iam").put_role_policy(RoleName="caller", PolicyName="may", PolicyDocument=policy(MAY))
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", CALLER)
    shop.client("lambda").create_function(
        FunctionName="caller",
        Runtime="python3.11",
        Role=role,
        Handler="app.handler",
        Code={"ZipFile": code.getvalue()},
        Timeout=20,
    )
    shop.client("sqs").create_queue(QueueName="letters")
    shop.client("s3").create_bucket(Bucket="things")
    shop.client("dynamodb").create_table(
        TableName="items",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def call(shop: Shop, service: str, operation: str, **arguments: Any) -> tuple[str, str]:
    """What a function in the role `caller` is answered: error code and message, both empty for a success."""
    event = json.dumps({"service": service, "operation": operation, "arguments": arguments})
    payload = json.loads(shop.client("lambda").invoke(FunctionName="caller", Payload=event)["Payload"].read())
    assert isinstance(payload, list), payload
    return payload[0], payload[1]


def send(shop: Shop) -> tuple[str, str]:
    return call(shop, "sqs", "send_message", QueueUrl=shop.url("letters"), MessageBody="dear")


def put(shop: Shop) -> tuple[str, str]:
    return call(shop, "dynamodb", "put_item", TableName="items", Item={"id": {"S": "1"}})


def upload(shop: Shop) -> tuple[str, str]:
    return call(shop, "s3", "put_object", Bucket="things", Key="one", Body="1")


# --- roles --------------------------------------------------------------------------------------------------


def test_a_function_may_do_what_its_role_may_and_nothing_else(account: Shop) -> None:
    assert send(account) == ("", "")
    code, message = call(account, "sqs", "purge_queue", QueueUrl=account.url("letters"))
    assert code == "AccessDenied"
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    assert message == (
        "User: arn:aws:sts::123456789012:assumed-role/caller/caller is not authorized to perform: sqs:PurgeQueue on "
        f"resource: {account.arn('letters')} because no identity-based policy allows the sqs:PurgeQueue action"
    )


def test_a_boundary_limits_what_a_role_may(account: Shop) -> None:
    iam = account.client("iam")
    bound = iam.create_policy(PolicyName="bound", PolicyDocument=policy({**MAY, "Action": "s3:*"}))["Policy"]["Arn"]
    iam.put_role_permissions_boundary(RoleName="caller", PermissionsBoundary=bound)
    try:
        assert send(account)[0] == "AccessDenied"
        assert upload(account) == ("", "")
    finally:
        iam.delete_role_permissions_boundary(RoleName="caller")


def test_the_root_of_the_account_may_do_everything(account: Shop) -> None:
    account.client("sqs").get_queue_attributes(QueueUrl=account.url("letters"), AttributeNames=["All"])
    assert not answers_strangers(account.account.target)


def test_a_role_without_the_right_to_write_logs_writes_none(account: Shop) -> None:
    send(account)
    groups = account.client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/caller")["logGroups"]
    assert groups == []


# --- policies of resources ----------------------------------------------------------------------------------

ROLE = "arn:aws:iam::123456789012:role/caller"
SOMEBODY = "arn:aws:iam::123456789012:role/somebody"
ROOT = "arn:aws:iam::123456789012:root"


@dataclass(frozen=True)
class Guarded:
    """Something with a policy of its own, and what is called of it."""

    service: str
    operation: str
    arguments: dict[str, Any]
    action: str
    """as policies name the operation"""
    refused: str
    """AWS's error code"""
    put_policy: Callable[[str], object]
    resource: str = "*"
    """as its policy names it; `*` where that is of this one only"""

    def statement(self, effect: str, who: str = ROLE, **more: Any) -> dict[str, Any]:
        named = {"Effect": effect, "Principal": {"AWS": who}, "Action": self.action, "Resource": self.resource}
        return {**named, **more}


@contextmanager
def a_topic(shop: Shop) -> Iterator[Guarded]:
    sns = shop.client("sns")
    arn = sns.create_topic(Name="bulletins")["TopicArn"]

    def put_policy(document: str) -> None:
        sns.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=document)

    said = {"TopicArn": arn, "Message": "news"}
    yield Guarded("sns", "publish", said, "sns:Publish", "AuthorizationError", put_policy, arn)
    sns.delete_topic(TopicArn=arn)


@contextmanager
def a_secret(shop: Shop) -> Iterator[Guarded]:
    secrets, which = shop.client("secretsmanager"), {"SecretId": "letterbox"}
    secrets.create_secret(Name="letterbox", SecretString=json.dumps({"key": "under the mat"}))

    def put_policy(document: str) -> None:
        secrets.put_resource_policy(**which, ResourcePolicy=document)

    action, refused = "secretsmanager:GetSecretValue", "AccessDeniedException"
    yield Guarded("secretsmanager", "get_secret_value", which, action, refused, put_policy)
    secrets.delete_secret(**which, ForceDeleteWithoutRecovery=True)


@contextmanager
def a_key(shop: Shop) -> Iterator[Guarded]:
    kms = shop.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]

    def put_policy(document: str) -> None:
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=document)

    asked = {"KeyId": key, "KeySpec": "AES_256"}
    yield Guarded("kms", "generate_data_key", asked, "kms:GenerateDataKey", "AccessDeniedException", put_policy)
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)


@contextmanager
def granted(shop: Shop, action: str) -> Iterator[None]:
    """The role itself may do it."""
    may = policy({"Effect": "Allow", "Action": action, "Resource": "*"})
    shop.client("iam").put_role_policy(RoleName="caller", PolicyName="granted", PolicyDocument=may)
    yield
    shop.client("iam").delete_role_policy(RoleName="caller", PolicyName="granted")


Make = Callable[[Shop], AbstractContextManager[Guarded]]
OVER = {"Condition": {"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}}


@pytest.mark.parametrize("make", [a_topic, a_secret, a_key], ids=["SNS", "Secrets Manager", "KMS"])
def test_the_policy_of_a_resource_allows_and_denies(account: Shop, make: Make) -> None:
    with ExitStack() as things:
        one = things.enter_context(make(account))

        def answered(*statements: dict[str, Any]) -> tuple[str, str]:
            # Without a statement of the account a key could not be changed any more.
            own = one.statement("Allow", ROOT, Action=f"{one.service}:*")
            one.put_policy(policy(own if one.service != "kms" else {**own, "Action": "kms:Put*"}, *statements))
            return call(account, one.service, one.operation, **one.arguments)

        allowed = one.statement("Allow")
        # The role may nothing: only its resource can let it in, and within one account that is enough.
        assert answered(allowed) == ("", "")
        assert answered(one.statement("Allow", SOMEBODY))[0] == one.refused
        assert answered({**allowed, "Action": f"{one.service}:Describe*"})[0] == one.refused
        assert answered({**allowed, **OVER})[0] == one.refused
        things.enter_context(granted(account, one.action))
        # An explicit Deny counts for more than both; one whose time is over, or of somebody else, for nothing.
        code, message = answered(allowed, one.statement("Deny"))
        assert code == one.refused
        assert "with an explicit deny in a resource-based policy" in message
        assert answered(allowed, one.statement("Deny", **OVER)) == ("", "")
        assert answered(allowed, one.statement("Deny", SOMEBODY)) == ("", "")


def test_a_role_may_use_a_key_only_where_the_key_lets_its_account_decide(account: Shop) -> None:
    # https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
    with a_key(account) as key, granted(account, key.action):
        admin = key.statement("Allow", ROOT, Action="kms:Put*")
        for statements, code in ((admin,), key.refused), ((admin, key.statement("Allow", ROOT)), ""):
            key.put_policy(policy(*statements))
            assert call(account, key.service, key.operation, **key.arguments)[0] == code


def test_a_permission_of_a_function_lets_in_whom_it_names(account: Shop) -> None:
    functions, which = account.client("lambda"), {"FunctionName": "caller"}
    asked = {**which, "InvocationType": "DryRun"}

    def answered(who: str, action: str = "lambda:InvokeFunction") -> str:
        functions.add_permission(**which, StatementId="door", Principal=who, Action=action)
        code, _ = call(account, "lambda", "invoke", **asked)
        functions.remove_permission(**which, StatementId="door")
        return code

    assert call(account, "lambda", "invoke", **asked)[0] == "AccessDeniedException"
    assert answered(ROLE) == ""
    assert answered("123456789012") == "AccessDeniedException", "the account lets its own policies decide"
    assert answered("events.amazonaws.com") == "AccessDeniedException"
    assert answered(ROLE, "lambda:GetFunction") == "AccessDeniedException"
    assert call(account, "lambda", "invoke", **asked)[0] == "AccessDeniedException"


# --- what cannot be evaluated -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"Condition": {"StringAlmost": {"aws:username": "a"}}}, "the condition operator 'StringAlmost'"),
        ({"Resource": "arn:aws:s3:::home/${aws:username}/*"}, "the policy variable '${aws:username}' in Resource"),
    ],
)
def test_a_policy_that_nobody_here_can_evaluate_is_refused_by_name(
    account: Shop, more: dict[str, Any], named: str
) -> None:
    with pytest.raises(ClientError) as refused:
        account.client("iam").put_role_policy(
            RoleName="caller", PolicyName="odd", PolicyDocument=policy({**MAY, **more})
        )
    assert refused.value.response["Error"]["Code"] == "MalformedPolicyDocument"
    assert named in refused.value.response["Error"]["Message"]


def test_a_resource_policy_with_an_unknown_operator_refuses_the_request_and_names_it(account: Shop) -> None:
    odd = {"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": "*", "Condition": {"Strange": {"a": "b"}}}
    sqs, url = account.client("sqs"), account.url("letters")
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy(odd)})
    try:
        code, message = send(account)
        assert code.startswith("AccessDenied")
        assert "the condition operator 'Strange'" in message
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})


# --- deny faults --------------------------------------------------------------------------------------------


@contextmanager
def injected(shop: Shop, fault: AnyFault, directory: Path) -> Iterator[list[Event]]:
    """A fault in force, undone at the end; the events of its life."""
    events: list[Event] = []
    ledger = Ledger(directory / "ledger.sqlite", "sandbox")
    lifecycle = FaultLifecycle(target=shop.account.target, ledger=ledger, drill="d", record=events.append)
    try:
        assert lifecycle.inject(fault) is FaultStage.EFFECTIVE
        yield events
    finally:
        assert lifecycle.undo_all() == []
        ledger.close()


def felt(events: list[Event]) -> list[int]:
    return [event.calls for event in events if isinstance(event, FaultFelt)]


DENIALS = {
    "iam_role_deny": ({"role": "caller", "actions": ["sqs:SendMessage"]}, send),
    "dynamodb_table_deny": ({"table": "items", "actions": ["dynamodb:PutItem"]}, put),
    "s3_bucket_deny": ({"bucket": "things", "actions": ["s3:PutObject"]}, upload),
}


@pytest.mark.parametrize("kind", DENIALS)
def test_callers_feel_what_is_denied_and_only_as_long_as_it_is(account: Shop, tmp_path: Path, kind: str) -> None:
    arguments, act = DENIALS[kind]
    assert act(account) == ("", "")
    with injected(account, fault_class(kind).model_validate(arguments), tmp_path) as events:
        code, message = act(account)
        assert code.startswith("AccessDenied")
        assert "with an explicit deny in a" in message
    assert felt(events) == [1]
    assert eventually(lambda: act(account) == ("", ""))


def test_a_deny_that_no_call_meets_is_told_as_felt_by_nobody(account: Shop, tmp_path: Path) -> None:
    fault = fault_class("iam_role_deny").model_validate({"role": "caller", "actions": ["dynamodb:DeleteItem"]})
    with injected(account, fault, tmp_path) as events:
        assert put(account) == ("", "")
    assert felt(events) == [0]


def test_a_deny_of_what_a_role_may_not_do_anyway_is_refused(account: Shop) -> None:
    fault = fault_class("iam_role_deny").model_validate({"role": "caller", "actions": ["sns:Publish"]})
    with pytest.raises(Refused, match=r"no policy of it that allows any of sns:Publish on \*: nothing would change"):
        fault.check_bites(Aws(account.account.target, entry=""))


# --- the user of a drill ------------------------------------------------------------------------------------


def test_the_user_of_a_run_may_do_what_its_policy_says_as_long_as_the_run_lasts(account: Shop) -> None:
    may = policy({"Effect": "Allow", "Action": "sqs:ListQueues", "Resource": "*"})
    with user_of_a_run(account.account, may) as key:
        keys = {"access_key_id": key.access_key_id, "secret_access_key": key.secret_access_key}
        restricted = dataclasses.replace(account.account.target, **keys)
        restricted.client("sqs").list_queues()
        with pytest.raises(ClientError, match=r"user/tocsin-run is not authorized to perform: sns:ListTopics"):
            restricted.client("sns").list_topics()
    assert [user["UserName"] for user in account.client("iam").list_users()["Users"]] == []
    with pytest.raises(ClientError, match="security token included in the request is invalid"):
        restricted.client("sqs").list_queues()


def test_a_policy_for_a_target_that_is_not_the_sandbox_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tocsin.toml").write_text('[targets.staging]\nregion = "eu-west-1"\naccount = "123456789012"\n')
    options = RunOptions(root=tmp_path, target="staging", policy=policy(MAY))
    with (
        pytest.raises(
            InvalidInput, match="expected --policy with the sandbox only, found it with the target 'staging'"
        ),
        running_target(set(), options),
    ):
        pass

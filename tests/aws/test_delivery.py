"""Whether CloudWatch may publish and SNS may write to the queue of the pager, told from what the account answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.faults.stub.account import TARGET, StubAws
from tests.faults.stub.clock import Clock
from tests.faults.stub.kms import KEY

from tocsin.aws.delivery import hindrances, topic_hindrances

TOPIC = "arn:aws:sns:eu-west-1:123456789012:alerts"
QUEUE = "arn:aws:sqs:eu-west-1:123456789012:oncall"
SNS = {"Service": "sns.amazonaws.com"}
FROM_TOPIC = {"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:*:alerts"}}


def allow(**changes: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": SNS, "Action": "sqs:SendMessage", "Resource": QUEUE, **changes}


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> StubAws:
    stub = StubAws(Clock(monkeypatch))
    stub.install(monkeypatch)
    return stub


def told(account: StubAws, **attributes: str) -> list[tuple[bool, str]]:
    account.services["sqs"].make("oncall", QueueArn=QUEUE, **attributes)
    return [(one.certain, one.words) for one in hindrances(TARGET, "oncall", [TOPIC])]


@pytest.mark.parametrize(
    ("statements", "certain"),
    [
        ([allow()], None),
        ([allow(Condition=FROM_TOPIC)], None),
        ([allow(Principal="*", Action="SQS:*", Resource="*")], None),
        ([allow(Principal={"AWS": "*"}, Condition={"StringEquals": {"aws:SourceAccount": "123456789012"}})], None),
        ([], True),
        ([allow(Action="sqs:ReceiveMessage")], True),
        ([allow(Principal={"AWS": "arn:aws:iam::123456789012:root"})], True),
        ([allow(Resource=f"{QUEUE}-2")], True),
        ([allow(Condition={"ArnEquals": {"aws:SourceArn": f"{TOPIC}-2"}})], True),
        ([allow(Condition={"StringEquals": {"aws:SourceAccount": "210987654321"}})], True),
        ([allow(), allow(Effect="Deny", Principal="*")], True),
        ([allow(), allow(Effect="Deny", Principal="*", Condition={"Bool": {"aws:SecureTransport": "false"}})], False),
        ([allow(Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}})], False),
    ],
)
def test_the_policy_of_the_queue(account: StubAws, statements: list[dict[str, Any]], certain: bool | None) -> None:
    found = told(account, **({"Policy": policy(*statements)} if statements else {}))
    assert [sure for sure, _ in found] == ([] if certain is None else [certain])
    assert all("the policy of the queue oncall" in words and TOPIC in words for _, words in found)


OF_KEY = allow(Action=["kms:GenerateDataKey*", "kms:Decrypt"], Resource="*")


@pytest.mark.parametrize(
    ("key", "state", "statements", "words"),
    [
        (KEY, "Enabled", [OF_KEY], []),
        ("alias/pager", "Enabled", [OF_KEY], []),
        ("alias/aws/sqs", "Enabled", [OF_KEY], ["encrypted with alias/aws/sqs, whose policy nobody can change"]),
        (KEY, "Disabled", [OF_KEY], ["the key of the queue oncall is Disabled"]),
        (KEY, "Enabled", [allow(Action="kms:Decrypt", Resource="*")], ["allow sns.amazonaws.com kms:GenerateDataKey"]),
        (KEY, "Enabled", [], ["cannot be told: reading the policy of the key"]),
    ],
)
def test_the_key_of_the_queue(
    account: StubAws, key: str, state: str, statements: list[dict[str, Any]], words: list[str]
) -> None:
    account.services["kms"].state = state
    account.services["kms"].policy = policy(*statements) if statements else ""
    found = told(account, Policy=policy(allow()), KmsMasterKeyId=key)
    assert len(found) == len(words)
    assert all(wanted in words_found for wanted, (_, words_found) in zip(words, found, strict=True))
    assert all(certain == ("cannot be told" not in words_found) for certain, words_found in found)


ALARM = "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:dead-letters"
CLOUDWATCH = {"Service": "cloudwatch.amazonaws.com"}
DEFAULT = allow(
    Principal={"AWS": "*"},
    Action=["SNS:GetTopicAttributes", "SNS:Publish"],
    Resource=TOPIC,
    Condition={"StringEquals": {"AWS:SourceOwner": "123456789012"}},
)
"""As SNS gives it to each new topic.
https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
"""
OF_TOPIC_KEY = allow(Principal=CLOUDWATCH, Action=["kms:Decrypt", "kms:GenerateDataKey*"], Resource="*")


def of_topic(account: StubAws, **attributes: str) -> list[tuple[bool, str, str]]:
    account.services["sns"].attributes[TOPIC] = attributes
    return [(one.certain, one.words, one.mend) for one in topic_hindrances(TARGET, TOPIC, [ALARM])]


@pytest.mark.parametrize(
    ("statements", "certain"),
    [
        ([DEFAULT], None),
        ([allow(Principal=CLOUDWATCH, Action="sns:Publish", Resource=TOPIC)], None),
        (
            [
                allow(
                    Principal=CLOUDWATCH,
                    Action="sns:Publish",
                    Resource=TOPIC,
                    Condition={"ArnLike": {"aws:SourceArn": f"{ALARM}-2"}},
                )
            ],
            True,
        ),
        ([allow(Principal={"AWS": "arn:aws:iam::123456789012:root"}, Action="sns:*", Resource="*")], True),
        ([allow(Action="sns:Publish", Resource="*")], True),
        ([{**DEFAULT, "Condition": {"StringEquals": {"AWS:SourceOwner": "210987654321"}}}], True),
        ([{**DEFAULT, "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}], False),
    ],
)
def test_the_policy_of_the_topic(account: StubAws, statements: list[dict[str, Any]], certain: bool | None) -> None:
    found = of_topic(account, Policy=policy(*statements))
    assert [sure for sure, _, _ in found] == ([] if certain is None else [certain])
    for _, words, mend in found:
        assert "the policy of the topic alerts" in words
        assert mend == "Allow cloudwatch.amazonaws.com sns:Publish in the policy of the topic alerts."


@pytest.mark.parametrize(
    ("key", "state", "statements", "words"),
    [
        (KEY, "Enabled", [OF_TOPIC_KEY], []),
        ("alias/alerts", "Enabled", [OF_TOPIC_KEY], []),
        (KEY, "Enabled", [{**OF_TOPIC_KEY, "Condition": {"ArnLike": {"aws:SourceArn": f"{ALARM[:-7]}*"}}}], []),
        ("alias/aws/sns", "Enabled", [OF_TOPIC_KEY], ["encrypted with alias/aws/sns, whose policy nobody can change"]),
        (KEY, "PendingDeletion", [OF_TOPIC_KEY], ["the key of the topic alerts is PendingDeletion"]),
        # The key of the pager's queue lets SNS; that is another service.
        (KEY, "Enabled", [OF_KEY], ["com kms:GenerateDataKey", "com kms:Decrypt"]),
        (KEY, "Enabled", [{**OF_TOPIC_KEY, "Action": "kms:Decrypt"}], ["cloudwatch.amazonaws.com kms:GenerateDataKey"]),
        (KEY, "Enabled", [], ["cannot be told: reading the policy of the key"]),
    ],
)
def test_the_key_of_the_topic(
    account: StubAws, key: str, state: str, statements: list[dict[str, Any]], words: list[str]
) -> None:
    account.services["kms"].state = state
    account.services["kms"].policy = policy(*statements) if statements else ""
    found = of_topic(account, Policy=policy(DEFAULT), KmsMasterKeyId=key)
    assert len(found) == len(words)
    for wanted, (certain, words_found, mend) in zip(words, found, strict=True):
        assert wanted in words_found
        assert certain == ("cannot be told" not in words_found)
        assert mend.endswith(".")
        if "does not allow" in words_found:
            assert "cloudwatch.amazonaws.com kms:GenerateDataKey* and kms:Decrypt in the policy of the key" in mend


def test_a_topic_that_may_not_be_read_is_told_as_not_known(account: StubAws) -> None:
    account.fails("sns:GetTopicAttributes", "AuthorizationError")
    ((certain, words, mend),) = of_topic(account)
    assert not certain
    assert "cannot be told" in words
    assert "sns:GetTopicAttributes" in mend

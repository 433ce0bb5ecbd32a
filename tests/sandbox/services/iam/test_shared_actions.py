"""Batches are allowed and denied as what is in them; a policy that names one by itself allows nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.sandbox.test_service import ACCOUNT, REGION, SCALE, started

from tocsin.sandbox.account import Account
from tocsin.sandbox.keys import Keys

BATCHES = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sns:PublishBatch": "sns:Publish",
}
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html"""


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with started(tmp_path_factory.mktemp("shared")) as (_, answer):
        found = Account(answer["endpoint_url"], REGION, ACCOUNT, SCALE, Keys(**answer["keys"]))
        found.client("sqs").create_queue(QueueName="letters")
        found.client("sns").create_topic(Name="news")
        found.client("iam").create_user(UserName="clerk")
        yield found


def called(account: Account, batch: str, *statements: Mapping[str, str]) -> str:
    """The action that a user with these statements lacks for a batch, in the words of IAM; empty when it is let in."""
    iam = account.client("iam")
    document = json.dumps({"Version": "2012-10-17", "Statement": [{**one, "Resource": "*"} for one in statements]})
    iam.put_user_policy(UserName="clerk", PolicyName="may", PolicyDocument=document)
    key = iam.create_access_key(UserName="clerk")["AccessKey"]
    clerk = dataclasses.replace(
        account.target, access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"]
    )
    service, _, operation = batch.partition(":")
    try:
        _call(clerk.client(service), operation, account)
    except ClientError as error:
        return str(error.response["Error"]["Message"])
    finally:
        iam.delete_access_key(UserName="clerk", AccessKeyId=key["AccessKeyId"])
    return ""


def _call(client: Any, operation: str, account: Account) -> None:
    url = account.client("sqs").get_queue_url(QueueName="letters")["QueueUrl"]
    if operation == "SendMessageBatch":
        client.send_message_batch(QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "dear"}])
    elif operation == "DeleteMessageBatch":
        client.delete_message_batch(QueueUrl=url, Entries=[{"Id": "1", "ReceiptHandle": "none"}])
    elif operation == "ChangeMessageVisibilityBatch":
        entries = [{"Id": "1", "ReceiptHandle": "none", "VisibilityTimeout": 1}]
        client.change_message_visibility_batch(QueueUrl=url, Entries=entries)
    else:
        topic = account.client("sns").list_topics()["Topics"][0]["TopicArn"]
        client.publish_batch(TopicArn=topic, PublishBatchRequestEntries=[{"Id": "1", "Message": "extra"}])


def statement(effect: str, action: str) -> Mapping[str, str]:
    return {"Effect": effect, "Action": action}


@pytest.mark.parametrize("batch", BATCHES)
def test_a_batch_is_allowed_and_denied_as_what_is_in_it(account: Account, batch: str) -> None:
    action = BATCHES[batch]
    assert called(account, batch, statement("Allow", action)) == ""
    by_itself = called(account, batch, statement("Allow", batch))
    assert f"is not authorized to perform: {action} on" in by_itself
    denied = called(account, batch, statement("Allow", "*"), statement("Deny", action))
    assert "with an explicit deny" in denied
    assert called(account, batch, statement("Allow", action), statement("Deny", batch)) == ""

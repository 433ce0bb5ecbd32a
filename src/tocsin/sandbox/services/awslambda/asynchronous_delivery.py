"""Sends invocation records and dead letters of Lambda as AWS does: by requests in the name of the execution role.

They come in through the front door of the sandbox, so that policies, metrics and whatever follows from a message are
those of any other request.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html#destinations-permissions
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tocsin.sandbox.services.awslambda.asynchronous_queue import Condition
from tocsin.sandbox.services.awslambda.asynchronous_records import Ended, qualified

_CONNECT_S = 5
_READ_S = 30


class NotDeliveredError(Exception):
    """A destination did not take what Lambda sent."""


@dataclass(frozen=True)
class Letter:
    """What is sent about one event."""

    event: Ended
    body: Any
    """the record, or the event itself"""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    """of the object, in a bucket"""


@dataclass(frozen=True)
class Role:
    """The credentials of a function's execution role, and where they are used."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None
    region: str


class Deliveries:
    """Sends to queues, topics, functions, event buses and buckets. May be called in many threads."""

    def __init__(self, endpoint_url: str) -> None:
        self._endpoint_url = endpoint_url
        self._clients: dict[tuple[Role, str], Any] = {}
        self._lock = threading.Lock()
        self._senders: Mapping[str, Callable[[Any, str, Letter], None]] = {
            "sqs": self._to_queue,
            "sns": self._to_topic,
            "lambda": self._to_function,
            "events": self._to_bus,
            "s3": self._to_bucket,
        }

    def send(self, role: Role, arn: str, letter: Letter) -> None:
        """Send once; AWS does not try again.

        Raises:
            NotDeliveredError: says why.
        """
        service = arn.split(":")[2]
        try:
            self._senders[service](self._client(role, service), arn, letter)
        except (ClientError, BotoCoreError) as error:
            raise NotDeliveredError(str(error)) from error

    def _client(self, role: Role, service: str) -> Any:
        with self._lock:  # a session of boto3 is not made for threads, its clients are
            client = self._clients.get((role, service))
            if client is None:
                session = boto3.Session(
                    aws_access_key_id=role.access_key_id,
                    aws_secret_access_key=role.secret_access_key,
                    aws_session_token=role.session_token,
                    region_name=role.region,
                )
                config = Config(connect_timeout=_CONNECT_S, read_timeout=_READ_S, retries={"total_max_attempts": 1})
                client = session.client(service, endpoint_url=self._endpoint_url, config=config)
                self._clients[role, service] = client
        return client

    def _to_queue(self, client: Any, arn: str, letter: Letter) -> None:
        account, name = arn.split(":")[4:6]
        url = f"{self._endpoint_url}/{account}/{name}"
        client.send_message(QueueUrl=url, MessageBody=json.dumps(letter.body), MessageAttributes=letter.attributes)

    def _to_topic(self, client: Any, arn: str, letter: Letter) -> None:
        client.publish(TopicArn=arn, Message=json.dumps(letter.body), MessageAttributes=letter.attributes)

    def _to_function(self, client: Any, arn: str, letter: Letter) -> None:
        client.invoke(FunctionName=arn, InvocationType="Event", Payload=json.dumps(letter.body))

    def _to_bus(self, client: Any, arn: str, letter: Letter) -> None:
        kind = "Success" if letter.event.condition is Condition.SUCCESS else "Failure"
        entry = {
            "EventBusName": arn,
            "Source": "lambda",
            "DetailType": f"Lambda Function Invocation Result - {kind}",
            "Resources": [arn, qualified(letter.event.function_arn)],
            "Detail": json.dumps(letter.body),
        }
        answer = client.put_events(Entries=[entry])
        if answer["FailedEntryCount"]:
            (refused,) = answer["Entries"]
            raise NotDeliveredError(f"{refused.get('ErrorCode')}: {refused.get('ErrorMessage')}")

    def _to_bucket(self, client: Any, arn: str, letter: Letter) -> None:
        client.put_object(Bucket=arn.split(":")[5], Key=letter.key, Body=json.dumps(letter.body))

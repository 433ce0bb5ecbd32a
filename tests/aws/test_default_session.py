"""boto3's one default session, where several activities run at once."""

from __future__ import annotations

from contextlib import ExitStack

import boto3

from tocsin.aws.target import Target


def test_what_was_there_comes_back_when_the_last_is_done() -> None:
    target = Target(name="test", region="eu-west-1")
    before = boto3.DEFAULT_SESSION
    first, second = ExitStack(), ExitStack()
    first.enter_context(target.as_default())
    second.enter_context(target.as_default())
    first.close()
    assert boto3.client("sqs").meta.region_name == "eu-west-1"
    assert boto3.DEFAULT_SESSION is not before
    second.close()
    assert boto3.DEFAULT_SESSION is before

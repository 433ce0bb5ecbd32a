"""The bodies that Lambda sends about an event, as AWS documents them."""

from __future__ import annotations

from dataclasses import replace

from tocsin.sandbox.services.awslambda.asynchronous_queue import Condition
from tocsin.sandbox.services.awslambda.asynchronous_records import (
    Ended,
    Response,
    dead_letter_attributes,
    invocation_record,
    object_key,
    qualified,
)

ARN = "arn:aws:lambda:us-east-1:123456789012:function:my-function"
REQUEST_ID = "e4b46cbf-b738-4ae9-8880-a18cdf61200e"
MESSAGE = f"RequestId: {REQUEST_ID} Process exited before completing request"
SENT = 1573755365.568
FAILED = Ended(
    request_id=REQUEST_ID,
    function_arn=ARN,
    payload={"ORDER_IDS": ["9e07af03", "637de236"]},
    condition=Condition.RETRIES_EXHAUSTED,
    runs=3,
    response=Response("$LATEST", {"errorMessage": MESSAGE}, failed=True),
)


def test_the_record_of_a_failure_is_that_of_the_documentation() -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html#destination-example-record"""
    assert invocation_record(FAILED, SENT) == {
        "version": "1.0",
        "timestamp": "2019-11-14T18:16:05.568Z",
        "requestContext": {
            "requestId": REQUEST_ID,
            "functionArn": f"{ARN}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": {"ORDER_IDS": ["9e07af03", "637de236"]},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": MESSAGE},
    }


def test_a_success_has_no_function_error() -> None:
    record = invocation_record(
        replace(FAILED, condition=Condition.SUCCESS, runs=1, response=Response("3", None, failed=False)), SENT
    )
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "3"}
    assert record["responsePayload"] is None
    assert record["requestContext"]["condition"] == "Success"


def test_an_event_that_never_ran_has_no_response() -> None:
    never = replace(FAILED, condition=Condition.EVENT_AGE_EXCEEDED, runs=0, response=None)
    record = invocation_record(never, SENT)
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert not record.keys() & {"responseContext", "responsePayload"}
    attributes = dead_letter_attributes(never)
    assert attributes["ErrorCode"] == {"DataType": "Number", "StringValue": "429"}
    assert attributes["ErrorMessage"]["StringValue"] == "Rate Exceeded."


def test_attributes_of_a_dead_letter() -> None:
    assert dead_letter_attributes(FAILED) == {
        "RequestID": {"DataType": "String", "StringValue": REQUEST_ID},
        "ErrorCode": {"DataType": "Number", "StringValue": "200"},
        "ErrorMessage": {"DataType": "String", "StringValue": MESSAGE},
    }


def test_an_error_message_is_cut_at_a_kibibyte() -> None:
    long = replace(FAILED, response=Response("1", {"errorMessage": "ä" * 700}, failed=True))
    assert dead_letter_attributes(long)["ErrorMessage"]["StringValue"] == "ä" * 512
    silent = replace(FAILED, response=Response("1", {"errorMessage": ""}, failed=True))
    assert dead_letter_attributes(silent)["ErrorMessage"]["StringValue"]


def test_a_qualifier_stays() -> None:
    assert qualified(f"{ARN}:live") == f"{ARN}:live"


def test_where_a_record_lies_in_a_bucket() -> None:
    assert object_key(FAILED, SENT, "n") == "aws/lambda/async/my-function/2019/11/14/2019-11-14T18.16.05-n"

"""Who is answered by a proxy or a server in place of AWS reads one line, not its page."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError
from botocore.parsers import PROTOCOL_PARSERS, ResponseParserError

from tocsin.aws.target import aws_errors
from tocsin.errors import TargetError, Unavailable

PAGE = (
    "<!doctype html>\n<html lang=en>\n<title>502 Bad\n  Gateway &amp; more</title>\n<h1>Bad Gateway</h1>\n"
    "<p>The server could not answer.</p>"
)
TITLE = "a page of HTML called '502 Bad Gateway & more'"


def test_an_error_that_is_a_page_is_told_by_its_title() -> None:
    answer = {"Error": {"Code": "502", "Message": PAGE}, "ResponseMetadata": {"HTTPStatusCode": 502}}
    with pytest.raises(Unavailable) as told, aws_errors("asking for the alarms"):
        raise ClientError(answer, "DescribeAlarms")  # type: ignore[arg-type]
    assert str(told.value) == f"asking for the alarms: AWS answered 502: {TITLE}"


def test_a_page_where_an_answer_is_expected_is_told_by_its_title() -> None:
    response = {"body": PAGE.encode(), "headers": {}, "status_code": 200, "context": {"operation_name": "X"}}
    with pytest.raises(ResponseParserError) as raised:
        PROTOCOL_PARSERS["query"]().parse(response, None)
    with pytest.raises(Unavailable) as told, aws_errors("asking who we are"):
        raise raised.value
    assert str(told.value).endswith(f"Further retries may succeed: {TITLE}")
    assert "<" not in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("<html><body>no</body></html>", "a page of HTML"),
        ("expected <htmlish>, found 2 < 3", "expected <htmlish>, found 2 < 3"),
    ],
)
def test_a_page_without_a_title_is_called_one_and_what_only_looks_like_one_stays(message: str, shown: str) -> None:
    answer = {"Error": {"Code": "Odd", "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    with pytest.raises(TargetError) as told, aws_errors("asking"):
        raise ClientError(answer, "GetThing")  # type: ignore[arg-type]
    assert str(told.value) == f"asking: AWS answered Odd: {shown}"

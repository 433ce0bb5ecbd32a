"""Log lines are read to the last page, whoever looks for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from botocore.stub import ANY, Stubber

from tocsin.actors.canaries import CloudWatchLogs
from tocsin.aws.logs import log_lines
from tocsin.aws.target import Target
from tocsin.errors import TargetError

GROUP = "/aws/lambda/worker"
REQUEST = {"logGroupName": GROUP, "filterPattern": '"done" "17"', "startTime": 5000}
DONE = '{"event": "done", "id": "17"}'


@pytest.fixture
def fast(target: Target) -> Target:
    """Of a clock so fast that nobody waits for long."""
    return replace(target, scale=1000.0)


def events(*lines: str) -> dict[str, object]:
    return {"events": [{"message": line} for line in lines]}


def test_an_empty_page_is_not_the_last(target: Target) -> None:
    with Stubber(target.client("logs")) as logs:
        logs.add_response("filter_log_events", {**events(), "nextToken": "more"}, REQUEST)
        logs.add_response("filter_log_events", events(DONE), {**REQUEST, "nextToken": "more"})
        assert list(log_lines(target, GROUP, ["done", "17"], 5.0)) == [DONE]


def test_a_canary_finds_what_is_on_the_second_page(fast: Target) -> None:
    with Stubber(fast.client("logs")) as logs:
        request = {**REQUEST, "startTime": ANY}
        logs.add_response("filter_log_events", {**events('{"id": "done 17"}'), "nextToken": "more"}, request)
        logs.add_response("filter_log_events", events(DONE), {**request, "nextToken": "more"})
        assert CloudWatchLogs(fast).find(GROUP, {"event": "done", "id": "17"}, within_s=0)


def test_a_canary_that_may_not_read_the_log_says_so(fast: Target) -> None:
    with Stubber(fast.client("logs")) as logs:
        for _ in range(100):
            logs.add_client_error("filter_log_events", "AccessDeniedException", "no", http_status_code=400)
        with pytest.raises(TargetError, match=f"reading the log group {GROUP}: AWS answered AccessDeniedException"):
            CloudWatchLogs(fast).find(GROUP, {"event": "done"}, within_s=0)


def test_a_group_that_nobody_has_written_to_holds_nothing(fast: Target) -> None:
    with Stubber(fast.client("logs")) as logs:
        for _ in range(100):
            logs.add_client_error("filter_log_events", "ResourceNotFoundException", "none", http_status_code=400)
        assert not CloudWatchLogs(fast).find(GROUP, {"event": "done"}, within_s=0)

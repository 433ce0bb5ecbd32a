"""Log groups of CloudWatch Logs, read to the last page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tocsin.aws.pages import listed
from tocsin.aws.target import Target, aws_errors


def log_lines(target: Target, log_group: str, terms: Iterable[str], since: float) -> Iterator[str]:
    """Lines of a log group that hold every one of `terms`, from the epoch second `since` on.

    A page may be empty and not be the last:
    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html

    Raises:
        NotFound: there is no such log group: that of a function is made by its first invocation.
        TargetError: CloudWatch Logs did not answer.
    """
    # A quoted term only narrows the search: in which field it stands is seen on the parsed line.
    pattern = " ".join(f'"{term}"' for term in terms)
    with aws_errors(f"reading the log group {log_group}"):
        found = {"logGroupName": log_group, "filterPattern": pattern, "startTime": int(since * 1000)}
        for event in listed(target.client("logs"), "filter_log_events", "events", **found):
            yield event["message"]

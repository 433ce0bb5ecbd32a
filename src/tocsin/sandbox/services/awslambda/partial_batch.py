"""What the answer of a function says of the messages of a batch, with `ReportBatchItemFailures`.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

REPORTS = "ReportBatchItemFailures"
_FAILURES = "batchItemFailures"
_IDENTIFIER = "itemIdentifier"


def failed_messages(answer: Any, batch: Collection[str]) -> frozenset[str]:
    """The ids of those messages of a batch that the function failed to process.

    None of them where the answer is null, or its list of failures is missing, null or empty; another key beside it
    says nothing. All of them where the answer is no object, its list is no list, or an entry of it does not name a
    message of the batch: an identifier that is empty, null, unknown, or under another key. AWS says so of an invalid
    JSON response; that a text, a number or a list is one is taken so.

    Args:
        answer: what the handler returned, as its JSON reads
        batch: ids of the messages that Lambda took from the queue
    """
    if answer is None:
        return frozenset()
    if not isinstance(answer, dict):
        return frozenset(batch)
    entries = answer.get(_FAILURES)
    if entries is None:
        return frozenset()
    if not isinstance(entries, list):
        return frozenset(batch)
    named = [entry.get(_IDENTIFIER) if isinstance(entry, dict) else None for entry in entries]
    known = [identifier for identifier in named if isinstance(identifier, str) and identifier in batch]
    return frozenset(known if len(known) == len(named) else batch)

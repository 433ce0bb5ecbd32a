"""The one door to what AWS lists: a list is read to its last page, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def pages(client: Any, operation: str, **request: Any) -> Iterator[Mapping[str, Any]]:
    """The pages of an operation, each asked for when the one before is used up; call it in `aws_errors`.

    `operation` is named as the method of the client. `PaginationConfig={"PageSize": ...}` is for services that,
    unasked, answer less than they could or do not say that there is more.
    """
    yield from client.get_paginator(operation).paginate(**request)


def listed(client: Any, operation: str, part: str, **request: Any) -> Iterator[Any]:
    """What each page holds under `part`, one after the other; call it in `aws_errors`.

    A page may be empty and not be the last.

    Raises:
        KeyError: a page does not hold it: no answer of AWS, as `aws_errors` says.
    """
    for page in pages(client, operation, **request):
        yield from page[part]

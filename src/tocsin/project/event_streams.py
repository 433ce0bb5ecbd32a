"""Server-sent events, read with a deadline of one's own: comments reset the time-out of a read, and hide a dead stream.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

MEDIA_TYPE = "text/event-stream"
_TOLD = 200
"""Characters of an answer that are told."""


class EventStreamError(Exception):
    """What is there is no stream of events, or what was waited for did not come."""


@dataclass(frozen=True)
class ServerSent:
    """One event."""

    event: str
    data: str


class EventStream:
    """A response that is open."""

    def __init__(self, response: httpx.Response, within_s: float) -> None:
        """`within_s`: real seconds that a wait may take.

        Raises:
            EventStreamError: another status than 200, or another content type.
        """
        kind = response.headers.get("content-type", "no content type")
        if response.status_code != 200 or kind.partition(";")[0].strip().lower() != MEDIA_TYPE:
            said = next(response.iter_text(), "")[:_TOLD]
            raise EventStreamError(f"expected 200 and {MEDIA_TYPE}, found {response.status_code} and {kind}: {said}")
        self._within_s = within_s
        self._events = server_sent(response.iter_lines())

    def wait(self, event: str, *, containing: str = "", within_s: float | None = None) -> str:
        """The data of the next event of that name, with this in it. Others before it are passed over.

        A stream on which nothing at all comes, not even a comment, is told when the time-out of a read is over.

        Raises:
            EventStreamError: none within real seconds, or the stream ended.
        """
        import httpx

        patience_s = self._within_s if within_s is None else within_s
        wanted = f"'{event}'" + (f" with '{containing}'" if containing else "")
        silent = EventStreamError(f"no event {wanted} within {patience_s:g} s, on a stream that is open")
        deadline = time.monotonic() + patience_s
        try:
            for sent in self._events:
                if sent is not None and sent.event == event and containing in sent.data:
                    return sent.data
                if time.monotonic() > deadline:
                    raise silent
        except httpx.ReadTimeout as error:
            raise silent from error
        raise EventStreamError(f"the stream ended before an event {wanted} came")


def server_sent(lines: Iterable[str]) -> Iterator[ServerSent | None]:
    """The events of a stream; None for each line that ends none, so that whoever waits can look at the clock."""
    name, data = "", list[str]()
    for line in lines:
        if line:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
            yield None
            continue
        # An event without data is none, and its name is not that of the next one.
        yield ServerSent(name or "message", "\n".join(data)) if data else None
        name, data = "", []

"""What the child process of a contract test is told on its standard input, without the weight of either side."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Order:
    """The first line of the child's standard input; a token in arguments or environment could be read by others."""

    descriptor: int
    """open file to which the child writes its JSON lines"""
    accepted: tuple[int, ...] = ()
    """status codes of documented degraded answers that this act allows"""
    token: str | None = field(default=None, repr=False)
    """bearer token of all requests"""

    def to_line(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Order:
        """The inverse of `to_line`."""
        data = json.loads(line)
        return cls(data["descriptor"], tuple(data["accepted"]), data["token"])

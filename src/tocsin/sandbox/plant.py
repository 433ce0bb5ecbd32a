"""What the daemon asks of every part of its plant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Plant(Protocol):
    """A part that has processes, ports or gauges of its own."""

    def start(self) -> None:
        """Begin to work; called once, in the event loop, before the AWS API answers."""

    async def publish(self, wall: float) -> None:
        """Publish the gauges of the system minute that `wall` (epoch seconds) is in; called once a system minute."""

    def ports(self) -> Mapping[str, int]:
        """What listens -> its port, for `tocsin sandbox status`."""

    def pids(self) -> Mapping[int, str]:
        """Process id -> what it is, for `tocsin sandbox status`."""

    async def close(self) -> None:
        """Stop every process and close every port."""

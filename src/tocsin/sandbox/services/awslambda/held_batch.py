"""The messages of one batch while Lambda has them: hidden from others for as long as their visibility time-out says."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

Message = dict[str, Any]
"""A message as ministack keeps it; `visible_at` is a time on the wall."""


class HeldBatch:
    """What Lambda received at once of one queue.

    A function's running time counts unscaled against the visibility time-out. Otherwise a function that works for a
    second would outlive a scaled time-out of a minute, and its messages would be delivered twice, which does not happen
    on AWS. What Lambda waits for is production time.
    """

    def __init__(
        self, messages: Sequence[Message], handles: Mapping[str, str], left_s: float, lock: AbstractContextManager[Any]
    ) -> None:
        """Hold messages that were just received.

        Args:
            messages: the live records
            handles: id of a message -> the receipt handle that Lambda got with it
            left_s: the visibility time-out, in production seconds
            lock: of whoever changes messages
        """
        self._mine = list(messages)
        self._handles = handles
        self._lock = lock
        self._until: float | None = None
        self.left_s = left_s
        """Production seconds until the messages have to be let go."""

    def hide(self, wall_s: float) -> None:
        """Let nobody see them for so many seconds on the wall.

        Those are left alone that somebody else has received meanwhile, or whose visibility the function changed itself.
        """
        with self._lock:
            self._mine = [message for message in self._mine if self._is_mine(message)]
            self._until = time.time() + wall_s
            for message in self._mine:
                message["visible_at"] = self._until

    def _is_mine(self, message: Message) -> bool:
        received_again = message["receipt_handle"] != self._handles.get(message["id"])
        return not received_again and self._until in (None, message["visible_at"])

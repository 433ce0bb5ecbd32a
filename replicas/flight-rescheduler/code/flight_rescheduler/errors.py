"""What callers are told when something does not work: always JSON `{"error": "..."}`."""

from __future__ import annotations


class ApiError(Exception):
    """An answer other than success, with its status code."""

    def __init__(self, status: int, error: str) -> None:
        self.status = status
        self.error = error
        super().__init__(error)

"""What the services of the stub are asked, and what they answer where they refuse."""

from __future__ import annotations

from typing import Any

Asked = dict[str, Any]
"""The parameters of one call, as botocore has checked them; and an answer."""


class StubError(Exception):
    """An error as AWS answers it."""

    def __init__(self, code: str, message: str = "the stub refuses") -> None:
        super().__init__(code)
        self.code, self.message = code, message

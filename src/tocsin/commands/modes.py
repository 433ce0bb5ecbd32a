"""Files that only their owner reads: 0600, and 0700 for directories and programs, whatever the umask of the caller."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

PRIVATE = 0o077


@contextmanager
def private_files() -> Iterator[None]:
    """As long as this lasts, nothing that is made can be read by others.

    Also by what is started meanwhile: activities, load, contract tests and the sandbox inherit it. What was there
    before keeps its mode.
    """
    before = os.umask(PRIVATE)
    try:
        yield
    finally:
        os.umask(before)

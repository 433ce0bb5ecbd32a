"""What is counted for an entry of the ledger, over all processes that work on it."""

from __future__ import annotations

from enum import StrEnum

SPENT = "spent "
LOOKS_INTO = "looks into "
"""How the names of notes in the ledger begin that say what was spent, and how often a queue was looked into."""


class Spent(StrEnum):
    """What an entry can spend: written down before it is done, so that the next process knows of it."""

    REPEATS = "repeats"
    """of a call that may have been done although no answer came"""

"""Every error Tocsin raises on purpose, in one tree."""


class TocsinError(Exception):
    """Base of all errors with a message for the user: what was expected, what was found, the next move."""

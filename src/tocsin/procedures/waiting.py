"""Waiting, as a runbook asks for it."""

from __future__ import annotations

from tocsin.aws.declared import Declared
from tocsin.errors import InvalidInput
from tocsin.faults.session import Configuration, target_of, waiter_of
from tocsin.model.duration import format_duration, parse_duration


def wait(duration: str, configuration: Configuration | None = None) -> str:
    """Wait for `duration` of production time: `6m`. Chaos Toolkit's own `pauses` are real seconds on every clock.

    Raises:
        InvalidInput: not a duration.
        Refused: the end of the drill was asked for.
    """
    try:
        production_s = parse_duration(duration)
    except ValueError as error:
        raise InvalidInput(f"{error}, for the procedure `wait`") from None
    waiter_of(configuration)(production_s / target_of(configuration).scale)
    return f"waited for {format_duration(production_s)}"


WAIT = Declared(wait)

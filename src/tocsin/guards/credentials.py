"""The guard that asks whether the credentials outlive the drill: without them nothing can be undone."""

from __future__ import annotations

import time

from tocsin.aws.credentials import Lasting, lasting_of
from tocsin.aws.target import Target
from tocsin.errors import Refused
from tocsin.model.duration import format_duration

_SPARE_WALL_S = 600.0
"""Beside its deadlines a drill injects, undoes, verifies and counts."""


def check_credentials(target: Target, longest_s: float) -> str:
    """Whether the credentials last for a drill of `longest_s` production seconds, and its undo.

    Raises:
        Refused: they end before.
        TargetError: there are none.
    """
    lasting = lasting_of(target)
    if lasting.until is None:
        return lasting.words()
    needed, left = _needed_wall_s(target, longest_s), lasting.until - time.time()
    if left < needed:
        raise Refused(
            "credentials",
            f"expected credentials that last for the {format_duration(round(needed))} that this drill may take, found "
            f"that {lasting.words()}, another {format_duration(max(0, round(left)))}. Sign in again, ask for a longer "
            "session, or name a `role_arn` that can be assumed without a code: it is renewed by itself.",
        )
    return lasting.words()


def surely_outlast(lasting: Lasting, target: Target, longest_s: float) -> bool:
    """Whether credentials whose end is not told are good for `longest_s` production seconds of a drill all the same."""
    return lasting.at_least is not None and lasting.at_least - time.time() >= _needed_wall_s(target, longest_s)


def _needed_wall_s(target: Target, longest_s: float) -> float:
    return longest_s / target.scale + _SPARE_WALL_S

"""A fault of a test, among those of the registry."""

from __future__ import annotations

import pytest

import tocsin.faults
from tocsin.faults.base import AnyFault
from tocsin.faults.registry import FAULTS


def register(patch: pytest.MonkeyPatch, fault: type[AnyFault]) -> None:
    """Known under its name, to ledgers and to experiments; in the place of one that has that name."""
    patch.setitem(FAULTS, fault.kind, fault)
    patch.setattr(tocsin.faults, fault.kind, tocsin.faults.action_of(fault), raising=False)

"""Durations of AWS Lambda in the sandbox, in production seconds: `tocsin parity` compares them with an account."""

from __future__ import annotations

UPDATE_S = 3
"""From an update of a function to `LastUpdateStatus: Successful`. AWS gives no figure."""

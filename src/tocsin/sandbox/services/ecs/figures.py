"""Durations of Amazon ECS in the sandbox, in production seconds: docs/SANDBOX.md lists them."""

from __future__ import annotations

from collections.abc import Mapping

LAUNCH_S: Mapping[str, float] = {"PROVISIONING": 10.0, "PENDING": 10.0, "ACTIVATING": 10.0}
"""In each state before RUNNING. AWS gives none; from a stop to a healthy replacement, a minute is usual."""
THROTTLE_FIRST_S = 15.0
THROTTLE_MAX_S = 27 * 60.0
"""AWS says that the time between launches grows up to 27 minutes, and not how: here it doubles."""
STEADY_S = 30.0
"""How long a task without a load balancer must have been RUNNING to count as healthy; AWS does not say how long."""

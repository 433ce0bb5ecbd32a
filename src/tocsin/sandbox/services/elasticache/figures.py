"""Durations of ElastiCache in the sandbox, in production seconds: docs/SANDBOX.md lists them."""

from __future__ import annotations

PROMOTION_S = 20.0
"""From the loss of a primary until a replica has taken over: writes resume within seconds."""
REBUILD_S = 180.0
"""Until a failed node is replaced by a new replica."""
REBOOT_S = 60.0
"""That a node is away while it reboots."""

"""Durations of RDS in the sandbox, in production seconds: docs/SANDBOX.md lists them. AWS promises none of them."""

from __future__ import annotations

REBOOT_S = 60.0
CRASH_RECOVERY_S = 60.0
STOP_S = 120.0
START_S = 180.0
SNAPSHOT_S = 120.0
RESTORE_S = 300.0

"""The small system of the other tests of the sandbox: functions, queues and topics that rules and schedules reach."""

from __future__ import annotations

from tests.sandbox.aws.conftest import shop

__all__ = ["shop"]

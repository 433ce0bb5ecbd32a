"""The bench of the tests of Lambda: a sandbox without a system, in which production time passes fast."""

from __future__ import annotations

from tests.sandbox.services.awslambda.conftest import bench

__all__ = ["bench"]

"""How late a target is, as `tocsin parity --throwaway` has measured it."""

from __future__ import annotations

from tocsin.model.base import Model


class Lags(Model):
    """The worst of some looks, in production seconds; None where nothing was measured."""

    measured_at: float
    """epoch seconds"""
    metric_s: float | None = None
    """from the publication of a datapoint of a custom metric to the state of an alarm on it"""
    notification_s: float | None = None
    """from the state of an alarm to its notification"""

"""What an expression of Prometheus is about."""

from __future__ import annotations

import pytest

from tocsin.alarms.promql import looks_at_time


@pytest.mark.parametrize(
    ("expression", "is_so"),
    [
        ("histogram_quantile(0.95, rate(http_request_duration_seconds_bucket[5m])) > 0.5", True),
        ("max(node_disk_io_time_seconds_total) > 1 or job_latency_ms > 20", True),
        ('rate(http_requests_total{status=~"5.."}[5m]) > 0.01', False),
        ("time() - process_start_time_seconds > 60", False),
        ('absent(up{job="duration"} == 1)', False),
    ],
)
def test_an_alert_on_how_long_something_took_is_told_apart(expression: str, is_so: bool) -> None:
    assert looks_at_time(expression) is is_so

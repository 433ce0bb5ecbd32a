"""A probe of a dashboard: would whoever opens it see anything?"""

from __future__ import annotations

from tocsin.aws.dashboards import gaps_of, read_widgets
from tocsin.aws.declared import Declared
from tocsin.aws.iam import Grant
from tocsin.errors import InvalidInput
from tocsin.faults.session import Configuration, target_of
from tocsin.model.duration import format_duration, parse_duration


def dashboard_data(dashboard: str, window: str = "3h", configuration: Configuration | None = None) -> str:
    """Whether every widget of a CloudWatch dashboard has data of every metric and expression that it shows.

    Data of the last `window` of production time counts, whatever its values are. Alarms that are shown must exist. Log
    and text widgets show no metrics; of explorers, charts and widgets of a function nobody but CloudWatch can tell.

    Returns:
        `complete: ...` with how much has data; or `incomplete: ...` and what has none, widget by widget. For a
        tolerance `{type: regex, pattern: "^complete"}`.

    Raises:
        InvalidInput: not a duration.
        NotFound: no such dashboard.
        TargetError: CloudWatch did not answer.
    """
    try:
        window_s = parse_duration(window)
    except ValueError as error:
        raise InvalidInput(f"{error}, for the probe `dashboard_data`") from None
    target = target_of(configuration)
    widgets = read_widgets(target, dashboard)
    gaps = [gap for widget in widgets for gap in gaps_of(target, widget, window_s)]
    if gaps:
        return f"incomplete: in the last {format_duration(window_s)}: {'; '.join(gaps)}"
    shown = sum(len(widget.series) + len(widget.alarms) for widget in widgets)
    if not shown:
        return f"incomplete: dashboard {dashboard} shows no metric and no alarm"
    return f"complete: {len(widgets)} widgets, {shown} metrics and alarms, in the last {format_duration(window_s)}"


DASHBOARD_DATA = Declared(
    dashboard_data,
    grant=lambda arguments, arns: Grant(
        sid="Observe", actions=("cloudwatch:DescribeAlarms", "cloudwatch:GetDashboard", "cloudwatch:GetMetricData")
    ),
)

"""Dashboards of CloudWatch: what their widgets show, and whether there is data for it.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tocsin.aws.cloudwatch import describe_named
from tocsin.aws.pages import listed
from tocsin.aws.target import Target, aws_errors
from tocsin.errors import TargetError, Unavailable

_PERIOD_S = 300
_STATISTIC = "Average"
"""What a metric has that says nothing else."""
_WITHOUT_METRICS = ("log", "text")


@dataclass(frozen=True)
class Series:
    """A metric or an expression of a widget."""

    text: str
    """what it is called in a complaint"""
    region: str
    query: Mapping[str, Any]
    """as GetMetricData takes it"""


@dataclass(frozen=True)
class Widget:
    """One widget of a dashboard."""

    text: str
    """what it is called in a complaint"""
    kind: str
    series: tuple[Series, ...] = ()
    alarms: tuple[str, ...] = ()
    """ARNs"""

    @property
    def cannot_be_told(self) -> bool:
        """Whether only CloudWatch's console can find what it shows: an explorer, a chart, the page of a function."""
        return self.kind not in ("metric", "alarm", *_WITHOUT_METRICS)


def read_widgets(target: Target, name: str) -> tuple[Widget, ...]:
    """The widgets of a dashboard, in the order of its body.

    Raises:
        NotFound: no such dashboard.
        TargetError: CloudWatch did not answer, or its answer is no dashboard.
    """
    with aws_errors(f"reading the dashboard {name}"):
        body = target.client("cloudwatch").get_dashboard(DashboardName=name)["DashboardBody"]
    try:
        return widgets_of(json.loads(body), target.region)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise TargetError(
            f"expected the dashboard {name} to have a body as AWS says, found another: {problem}"
        ) from error


def widgets_of(body: Mapping[str, Any], region: str) -> tuple[Widget, ...]:
    """The widgets of a dashboard's body; `region` is that of metrics which say none."""
    return tuple(_widget(number, widget, region) for number, widget in enumerate(body["widgets"], 1))


def _widget(number: int, widget: Mapping[str, Any], region: str) -> Widget:
    properties = widget["properties"]
    title = properties.get("title")
    alarms = (properties.get("annotations") or {}).get("alarms") or properties.get("alarms") or ()
    is_metric = widget["type"] == "metric"
    return Widget(
        text=f"widget {number}" + (f" '{title}'" if title else ""),
        kind=widget["type"],
        series=tuple(_series(properties, properties.get("region", region))) if is_metric else (),
        alarms=tuple(alarms),
    )


def _series(properties: Mapping[str, Any], region: str) -> Iterator[Series]:
    before: Sequence[str] = ()
    for number, row in enumerate(properties.get("metrics") or ()):
        rendering = row[-1] if isinstance(row[-1], dict) else {}
        named = [part for part in row if not isinstance(part, dict)]
        given = {**properties, **rendering}
        account = {"AccountId": given["accountId"]} if "accountId" in given else {}
        common = {"Id": rendering.get("id", f"tocsin{number}"), "ReturnData": True, **account}
        period_s = int(given.get("period", _PERIOD_S))
        if "expression" in rendering:
            query = {**common, "Expression": rendering["expression"], "Period": period_s}
            yield Series(rendering["expression"], rendering.get("region", region), query)
            continue
        before = _resolved(named, before)
        stat = {"Metric": _metric(before), "Period": period_s, "Stat": given.get("stat", _STATISTIC)}
        yield Series(_in_words(before), rendering.get("region", region), {**common, "MetricStat": stat})


def _resolved(named: Sequence[str], before: Sequence[str]) -> list[str]:
    """Each `.` is what the metric before has in its place, and `...` as much of it as the rest leaves room for."""
    if named[0] == "...":
        named = [*["."] * (len(before) - len(named) + 1), *named[1:]]
    return [before[place] if part == "." else part for place, part in enumerate(named)]


def _metric(named: Sequence[str]) -> dict[str, Any]:
    pairs = zip(named[2::2], named[3::2], strict=True)
    dimensions = [{"Name": name, "Value": value} for name, value in pairs]
    return {"Namespace": named[0], "MetricName": named[1], "Dimensions": dimensions}


def _in_words(named: Sequence[str]) -> str:
    pairs = zip(named[2::2], named[3::2], strict=True)
    dimensions = ", ".join(f"{name}={value}" for name, value in pairs)
    return f"{named[0]} {named[1]}" + (f" ({dimensions})" if dimensions else "")


def gaps_of(target: Target, widget: Widget, window_s: float) -> tuple[str, ...]:
    """What a widget lacks, in words: metrics and expressions without data in the last `window_s` production seconds.

    Alarms that it shows must exist. What cannot be told is a gap.

    Raises:
        Unavailable: CloudWatch did not answer; it may, later.
    """
    if widget.cannot_be_told:
        return (f"{widget.text}: of a widget of type {widget.kind} nobody but CloudWatch can tell",)
    found = (*_silent(target, widget, window_s), *_missing(target, widget))
    return tuple(f"{widget.text}: {gap}" for gap in found)


def _silent(target: Target, widget: Widget, window_s: float) -> Iterator[str]:
    for region in dict.fromkeys(series.region for series in widget.series):
        here = [series for series in widget.series if series.region == region]
        try:
            counted = _counted(target.in_region(region), [series.query for series in here], window_s)
        except Unavailable:
            raise
        except TargetError as error:
            yield str(error)
            continue
        yield from (f"no data of {series.text}" for series in here if not counted[series.query["Id"]])


def _counted(target: Target, queries: Sequence[Mapping[str, Any]], window_s: float) -> Counter[str]:
    """Id of a query -> how many values it has."""
    now = time.time()
    counted: Counter[str] = Counter()
    with aws_errors("reading its metrics"):
        for result in listed(
            target.client("cloudwatch"),
            "get_metric_data",
            "MetricDataResults",
            MetricDataQueries=list(queries),
            StartTime=datetime.fromtimestamp(now - window_s / target.scale, UTC),
            EndTime=datetime.fromtimestamp(now, UTC),
        ):
            counted[result["Id"]] += len(result["Values"])
    return counted


def _missing(target: Target, widget: Widget) -> Iterator[str]:
    for arn in widget.alarms:
        name = arn.split(":", 6)[-1]
        if not describe_named([name], target.in_region(arn.split(":")[3])):
            yield f"there is no alarm {name}"

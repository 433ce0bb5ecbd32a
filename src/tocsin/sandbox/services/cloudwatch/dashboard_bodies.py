"""What CloudWatch says of the body of a dashboard before it keeps it.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html

Its words are those of a JSON schema, as they are seen where deployments of dashboards fail. Looked at is what decides
which data a widget shows, and where it stands; how it is drawn is not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tocsin.errors import InvalidInput

MOST_WIDGETS = 500
MOST_METRICS = 500
_MOST_VARIABLES = 25
_MOST_ALARMS = 100
_KINDS = ("metric", "text", "log", "alarm", "explorer", "chart", "custom")
"""The page has the first five; the console writes the other two."""
_VIEWS = ("timeSeries", "singleValue", "gauge", "bar", "pie", "table")
_OF_A_BODY = ("widgets", "variables", "start", "end", "periodOverride")
_OF_A_WIDGET = ("type", "x", "y", "width", "height", "properties")
_PLACES: Mapping[str, tuple[int, int | None]] = {"x": (0, 23), "y": (0, None), "width": (1, 24), "height": (1, 1000)}
_RENDERING: Mapping[str, type] = {
    "accountId": str,
    "color": str,
    "expression": str,
    "id": str,
    "label": str,
    "period": int,
    "region": str,
    "stat": str,
    "visible": bool,
    "yAxis": str,
}
_SUB_MINUTE = (1, 5, 10, 20, 30)
"""Periods of metrics with high resolution; the page has multiples of a minute only."""
_ID = re.compile(r"[a-z][A-Za-z0-9_]*")
_NOT_METRICS = (
    'Field "metrics" has to be an array of array of strings, with an optional metricRenderer object as last element'
)
_NO_DATA = "The metric widget should have specified a region and a data source or an alarm annotation"


@dataclass(frozen=True)
class Complaint:
    """One error or warning: where (a JSON pointer), and what."""

    path: str
    message: str
    is_warning: bool = False

    def said(self, *, of_an_error: bool = False) -> dict[str, str]:
        """As PutDashboard answers it, or as the words of its error have it."""
        names = ("dataPath", "message") if of_an_error else ("DataPath", "Message")
        return dict(zip(names, (self.path, self.message), strict=True))


def complaints_of(body: str) -> tuple[Complaint, ...]:
    """Everything that CloudWatch says of a body, in the order in which it is read.

    Raises:
        InvalidInput: it is no JSON object.
    """
    try:
        read = json.loads(body)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise InvalidInput("The field DashboardBody must be a valid JSON object")
    return tuple(_of_body(read))


def _of_body(body: Mapping[str, Any]) -> Iterator[Complaint]:
    for name in body:
        if name not in _OF_A_BODY:
            yield Complaint("", f'The "{name}" property is not expected, will be ignored', is_warning=True)
    yield from _one_of(body, "periodOverride", "", ("auto", "inherit"))
    if "end" in body and "start" not in body:
        yield Complaint("", "Should have property start when property end is present")
    yield from _array(body.get("variables", []), "/variables", _MOST_VARIABLES)
    if "widgets" not in body:
        yield _lacks("", "widgets")
        return
    yield from _array(body["widgets"], "/widgets", MOST_WIDGETS)
    for number, widget in enumerate(body["widgets"] if isinstance(body["widgets"], list) else ()):
        yield from _of_widget(widget, f"/widgets/{number}")


def _of_widget(widget: Any, path: str) -> Iterator[Complaint]:
    if not isinstance(widget, dict):
        yield Complaint(path, "Should be object")
        return
    for name in widget:
        if name not in _OF_A_WIDGET:
            words = f'The "{name}" property is not expected to be part of a widget definition, will be ignored'
            yield Complaint(path, words, is_warning=True)
    for name in ("type", "properties"):
        if name not in widget:
            yield _lacks(path, name)
    yield from _one_of(widget, "type", path, _KINDS)
    yield from _of_place(widget, path)
    properties = widget.get("properties")
    if not isinstance(properties, dict):
        if "properties" in widget:
            yield Complaint(f"{path}/properties", "Should be object")
        return
    check = {"metric": _of_metrics, "text": _of_text, "log": _of_log, "alarm": _of_alarms}.get(str(widget.get("type")))
    if check is not None:
        yield from check(properties, f"{path}/properties")


def _of_place(widget: Mapping[str, Any], path: str) -> Iterator[Complaint]:
    for name, (least, most) in _PLACES.items():
        if name in widget:
            yield from _within(widget[name], f"{path}/{name}", least, most)
    for one, other in (("x", "y"), ("y", "x")):
        if one in widget and other not in widget:
            yield Complaint(path, f"Should have property {other} when property {one} is present")


def _of_text(properties: Mapping[str, Any], path: str) -> Iterator[Complaint]:
    yield from _strings(properties, path, "markdown")


def _of_log(properties: Mapping[str, Any], path: str) -> Iterator[Complaint]:
    yield from _strings(properties, path, "region", "query")


def _of_alarms(properties: Mapping[str, Any], path: str) -> Iterator[Complaint]:
    if "alarms" not in properties:
        yield _lacks(path, "alarms")
        return
    yield from _array(properties["alarms"], f"{path}/alarms", _MOST_ALARMS)


def _of_metrics(properties: Mapping[str, Any], path: str) -> Iterator[Complaint]:
    annotations = properties.get("annotations")
    alarms = annotations.get("alarms") if isinstance(annotations, dict) else None
    metrics = properties.get("metrics")
    if metrics is None and not alarms:
        yield _lacks(path, "metrics")
        yield Complaint(path, _NO_DATA)
        if annotations is None:
            yield _lacks(path, "annotations")
    elif "region" not in properties:
        yield Complaint(path, _NO_DATA)
    if metrics is not None and alarms:
        yield Complaint(path, "Should NOT have metrics and an alarm annotation")
    if alarms is not None:
        yield from _array(alarms, f"{path}/annotations/alarms", 1)
    yield from _one_of(properties, "view", path, _VIEWS)
    yield from _of_period(properties, path)
    if metrics is None:
        return
    yield from _array(metrics, f"{path}/metrics", MOST_METRICS)
    for number, metric in enumerate(metrics if isinstance(metrics, list) else ()):
        yield from _of_metric(metric, f"{path}/metrics/{number}", is_first=number == 0)


def _of_metric(metric: Any, path: str, *, is_first: bool) -> Iterator[Complaint]:
    if not isinstance(metric, list):
        yield Complaint(path, "Should be array")
        yield Complaint(path, _NOT_METRICS)
        return
    rendering = metric[-1] if metric and isinstance(metric[-1], dict) else None
    named = metric if rendering is None else metric[:-1]
    for number, part in enumerate(named):
        if not isinstance(part, str):
            yield Complaint(f"{path}/{number}", 'Invalid metric field type, only "String" type is allowed')
    if rendering is not None and not _is_rendering(rendering):
        yield Complaint(path, f"Should NOT have more than {len(named)} items")
        return
    yield from _of_period(rendering or {}, f"{path}/{len(named)}")
    yield from _of_names(named, rendering or {}, path, is_first=is_first)


def _of_names(named: Sequence[Any], rendering: Mapping[str, Any], path: str, *, is_first: bool) -> Iterator[Complaint]:
    """Namespace, metric name, and pairs of dimensions; of an expression there are none."""
    if "expression" in rendering:
        if named:
            yield Complaint(path, "Should NOT have a metric and an expression")
        return
    if "..." in named:  # whatever the metric before it has, but for what follows
        if is_first:
            yield Complaint(path, 'Should NOT refer to a metric before it with "..."')
        return
    if len(named) < 2:
        yield Complaint(path, "Should NOT have fewer than 2 items")
    elif len(named) % 2:
        yield Complaint(path, f"Should have a value of the dimension {named[-1]}")
    if is_first and "." in named:
        yield Complaint(path, 'Should NOT refer to a metric before it with "."')


def _is_rendering(rendering: Mapping[str, Any]) -> bool:
    """Whether CloudWatch knows each of the properties, and what it says; `dimensions` is none of them."""
    known = all(name in _RENDERING and isinstance(value, _RENDERING[name]) for name, value in rendering.items())
    named = _ID.fullmatch(str(rendering.get("id", "m"))) is not None
    return known and named and rendering.get("yAxis", "left") in ("left", "right")


def _of_period(properties: Mapping[str, Any], path: str) -> Iterator[Complaint]:
    if "period" not in properties:
        return
    period = properties["period"]
    if not isinstance(period, int) or isinstance(period, bool):
        yield Complaint(f"{path}/period", "Should be integer")
    elif period not in _SUB_MINUTE and (period < 60 or period % 60):
        yield Complaint(f"{path}/period", "Should be multiple of 60")


def _lacks(path: str, name: str) -> Complaint:
    return Complaint(path, f"Should have required property '{name}'")


def _strings(properties: Mapping[str, Any], path: str, *names: str) -> Iterator[Complaint]:
    for name in names:
        if name not in properties:
            yield _lacks(path, name)
        elif not isinstance(properties[name], str):
            yield Complaint(f"{path}/{name}", "Should be string")


def _array(value: Any, path: str, most: int) -> Iterator[Complaint]:
    if not isinstance(value, list):
        yield Complaint(path, "Should be array")
    elif len(value) > most:
        yield Complaint(path, f"Should NOT have more than {most} items")


def _one_of(properties: Mapping[str, Any], name: str, path: str, allowed: Collection[str]) -> Iterator[Complaint]:
    if name in properties and properties[name] not in allowed:
        yield Complaint(f"{path}/{name}", "Should be equal to one of the allowed values")


def _within(value: Any, path: str, least: int, most: int | None) -> Iterator[Complaint]:
    if not isinstance(value, int) or isinstance(value, bool):
        yield Complaint(path, "Should be integer")
    elif value < least:
        yield Complaint(path, f"Should be >= {least}")
    elif most is not None and value > most:
        yield Complaint(path, f"Should be <= {most}")

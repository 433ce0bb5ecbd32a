"""Pages of `/metrics`: the text format that Prometheus scrapes.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]
"""Sorted label pairs of one series; the metric's name is the label `__name__`."""

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


def parse_exposition(text: str, names: frozenset[str] | None, target: Mapping[str, str]) -> dict[Labels, float]:
    """The samples of a page whose metric is one of `names` (None: all), with the labels of their target.

    A label of the page that the target has too becomes `exported_...`, as with `honor_labels: false`.

    Raises:
        ValueError: the page is not in the text format.
    """
    # Parsing is dear: what nobody wants is left out by its first word.
    if names is not None:
        lines = (line for line in text.splitlines() if (name := _NAME.match(line)) is not None and name[0] in names)
        text = "\n".join(lines) + "\n"
    found: dict[Labels, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {f"exported_{key}" if key in target else key: value for key, value in sample.labels.items()}
            found[series({"__name__": sample.name, **labels, **target})] = sample.value
    return found


def series(labels: Mapping[str, str]) -> Labels:
    """Labels in their one order."""
    return tuple(sorted(labels.items()))

"""Lists of dashboards have pages of a thousand, without a sandbox: that many are slow to put."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tocsin.sandbox.services.cloudwatch.dashboards import A_PAGE, Dashboards


class Ministack:
    """As much of ministack as dashboards need."""

    def __init__(self) -> None:
        self.cloudwatch = SimpleNamespace(
            cloudformation_put_dashboard=None, _list_dashboards=None, _ts_iso=str, _json_ok=lambda data: data
        )

    def module(self, name: str) -> Any:
        return self.cloudwatch if name == "services.cloudwatch" else SimpleNamespace(AccountScopedDict=dict)

    def replace(self, module: Any, name: str, replacement: Any) -> Any:
        setattr(module, name, replacement)


def pages(count: int) -> list[list[str]]:
    """The names on each page of so many dashboards."""
    ministack: Any = Ministack()
    Dashboards(ministack)
    for number in reversed(range(count)):
        name = f"board-{number:05}"
        ministack.cloudwatch._dashboards[name] = {
            "DashboardName": name,
            "DashboardArn": name,
            "Size": 1,
            "LastModified": 0,
        }
    found, asked = [], {"DashboardNamePrefix": "board-"}
    while True:
        answer = ministack.cloudwatch._list_dashboards({}, asked, False, True)
        found.append([entry["DashboardName"] for entry in answer["DashboardEntries"]])
        if "NextToken" not in answer:
            return found
        asked = {**asked, "NextToken": answer["NextToken"]}


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, [0]), (A_PAGE, [A_PAGE]), (A_PAGE + 1, [A_PAGE, 1]), (2 * A_PAGE, [A_PAGE, A_PAGE])]
)
def test_each_dashboard_is_on_one_page(count: int, sizes: list[int]) -> None:
    found = pages(count)
    assert [len(page) for page in found] == sizes
    assert [name for page in found for name in page] == [f"board-{number:05}" for number in range(count)]

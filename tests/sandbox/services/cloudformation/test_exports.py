"""Exports of stacks: one name, one owner, and what others import stays."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.sandbox.services.cloudformation.exports import publish

SHOP, PAY = (f"arn:aws:cloudformation:eu-west-1:123456789012:stack/{name}/1" for name in ("shop", "pay"))


def export(name: str, value: str = "v", stack: str = SHOP) -> dict[str, dict[str, Any]]:
    return {name: {"Name": name, "Value": value, "StackId": stack}}


def nobody(name: str) -> list[str]:
    del name
    return []


def pay(name: str) -> list[str]:
    return ["pay"] if name == "url" else []


def test_what_the_template_has_no_more_is_no_export_any_more() -> None:
    exports = export("url") | export("old") | export("other", stack=PAY)
    publish(exports, SHOP, export("url"), nobody)
    assert set(exports) == {"url", "other"}


@pytest.mark.parametrize(
    ("there", "wanted", "said"),
    [
        (export("url", stack=PAY), export("url"), "Export with name url is already exported by stack pay"),
        (export("url"), {}, "Export url cannot be deleted as it is in use by pay"),
        (export("url"), export("url", "w"), "Export url cannot be updated as it is in use by pay"),
    ],
)
def test_what_is_refused_changes_nothing(there: dict[str, Any], wanted: dict[str, Any], said: str) -> None:
    before = dict(there)
    with pytest.raises(ValueError, match=said):
        publish(there, SHOP, wanted, pay)
    assert there == before


def test_an_export_that_stays_as_it_is_may_be_in_use() -> None:
    exports = export("url")
    publish(exports, SHOP, export("url") | export("new"), pay)
    assert set(exports) == {"url"}

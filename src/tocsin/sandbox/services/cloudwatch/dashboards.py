# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Dashboards of CloudWatch: bodies are validated as AWS does, lists have pages, and an account has them once.

ministack keeps them. "All dashboards in your account are global, not region-specific":
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutDashboard.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

from tocsin.errors import InvalidInput
from tocsin.sandbox.ministack import Ministack
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.services.cloudwatch.dashboard_bodies import Complaint, complaints_of
from tocsin.sandbox.services.cloudwatch.query_protocol import request_of

RELIED_ON: ReliedOn = {
    "core.responses": {"AccountScopedDict": ""},
    "services.cloudwatch": {
        "_dashboards": "",
        "_put_dashboard": "params, cbor_data, is_cbor, is_json",
        "_list_dashboards": "params, cbor_data, is_cbor, is_json",
        "_delete_dashboards": "params, cbor_data, is_cbor, is_json",
        "cloudformation_put_dashboard": "name, body",
        "cloudformation_delete_dashboard": "name",
        "_json_ok": "data",
        "_xml": "status, root_tag, inner",
        "_error": "code, message, status, use_json, use_cbor",
        "_ts_iso": "epoch",
    },
}
A_PAGE = 1000
"""of ListDashboards"""
_MOST_DELETED = 100
_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_INVALID = "InvalidParameterInput"
"""How DashboardInvalidInputError is called on the wire."""


class Dashboards:
    """The dashboards of all accounts of one sandbox."""

    def __init__(self, ministack: Ministack) -> None:
        self._cloudwatch = cloudwatch = ministack.module("services.cloudwatch")
        cloudwatch._dashboards = ministack.module("core.responses").AccountScopedDict()
        self._keep = ministack.replace(cloudwatch, "cloudformation_put_dashboard", self._put_of_template)
        self._list_all = ministack.replace(cloudwatch, "_list_dashboards", self._list)
        cloudwatch._put_dashboard = self._put
        cloudwatch._delete_dashboards = self._delete

    def _put(self, params: Any, request: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
        try:
            asked = request if is_json or is_cbor else request_of(params)
            if asked.get("Tags"):
                raise InvalidInput("The sandbox keeps no tags of dashboards (Tags).")
            complaints = self._checked(str(asked.get("DashboardName", "")), str(asked.get("DashboardBody", "")))
        except InvalidInput as error:
            return self._error(_INVALID, error.message, 400, is_json)
        if errors := [one for one in complaints if not one.is_warning]:
            return self._invalid(errors, is_json)
        self._keep(asked["DashboardName"], asked["DashboardBody"])
        self._measure(asked["DashboardName"])
        if not is_json:
            return self._cloudwatch._xml(200, "PutDashboardResponse", _in_xml(complaints))
        return self._cloudwatch._json_ok({"DashboardValidationMessages": [one.said() for one in complaints]})

    def _checked(self, name: str, body: str) -> tuple[Complaint, ...]:
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"DashboardName: expected 1 to 255 letters, digits, '-' and '_', found '{name}'")
        return complaints_of(body)

    def _put_of_template(self, name: str, body: str) -> Any:
        """A dashboard of CloudFormation.

        Raises:
            InvalidInput: it is refused; the resource fails with these words.
        """
        if errors := [one for one in self._checked(name, body) if not one.is_warning]:
            raise InvalidInput(_in_words(errors))
        arn = self._keep(name, body)
        self._measure(name)
        return arn

    def _measure(self, name: str) -> None:
        """`Size` is in bytes."""
        record = self._cloudwatch._dashboards[name]
        record["Size"] = len(record["DashboardBody"].encode())

    def _list(self, params: Any, request: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
        """In pages; the Query protocol gets all of them at once.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_ListDashboards.html
        """
        if not is_json:
            return self._list_all(params, request, is_cbor, is_json)
        prefix, last = request.get("DashboardNamePrefix") or "", request.get("NextToken") or ""
        kept = self._cloudwatch._dashboards
        names = [name for name in sorted(kept) if name.startswith(prefix) and name > last]
        fields = ("DashboardName", "DashboardArn", "Size")
        entries = [
            {field: kept[name][field] for field in fields}
            | {"LastModified": self._cloudwatch._ts_iso(kept[name]["LastModified"])}
            for name in names[:A_PAGE]
        ]
        more = {"NextToken": names[A_PAGE - 1]} if len(names) > A_PAGE else {}
        return self._cloudwatch._json_ok({"DashboardEntries": entries, **more})

    def _delete(self, params: Any, request: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
        """ "If there is an error during this call, the operation attempts to delete as many dashboards as possible".

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DeleteDashboards.html
        """
        asked = request if is_json or is_cbor else request_of(params)
        names = asked.get("DashboardNames") or []
        if not isinstance(names, list) or not 1 <= len(names) <= _MOST_DELETED:
            words = f"DashboardNames: expected 1 to {_MOST_DELETED} names"
            return self._error("InvalidParameterValue", words, 400, is_json)
        missing = [name for name in names if name not in self._cloudwatch._dashboards]
        for name in names:
            self._cloudwatch.cloudformation_delete_dashboard(name)
        if missing:
            return self._error("ResourceNotFound", f"Dashboard {', '.join(missing)} does not exist", 404, is_json)
        if not is_json:
            return self._cloudwatch._xml(200, "DeleteDashboardsResponse", "<DeleteDashboardsResult/>")
        return self._cloudwatch._json_ok({})

    def _invalid(self, errors: list[Complaint], is_json: bool) -> Any:
        status, headers, body = self._error(_INVALID, _in_words(errors), 400, is_json)
        if is_json:
            said = {"dashboardValidationMessages": [one.said() for one in errors]}
            body = json.dumps(json.loads(body) | said).encode()
        return status, headers, body

    def _error(self, code: str, words: str, status: int, is_json: bool) -> Any:
        return self._cloudwatch._error(code, words, status, use_json=is_json)


def resource_of(parameter: Callable[[str], Any], account: str) -> str | None:
    """The ARN of the only dashboard that a request names; None when it names none, or several.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatch.html
    """
    one, several = parameter("DashboardName"), parameter("DashboardNames")
    names = [one] if one else several if isinstance(several, list) else []
    return f"arn:aws:cloudwatch::{account}:dashboard/{names[0]}" if len(names) == 1 else None


def _in_words(errors: list[Complaint]) -> str:
    listed = json.dumps([one.said(of_an_error=True) for one in errors], indent=2)
    return f"The dashboard body is invalid, there are {len(errors)} validation errors:\n{listed}"


def _in_xml(complaints: tuple[Complaint, ...]) -> str:
    members = "".join(
        f"<member><DataPath>{escape(one.path)}</DataPath><Message>{escape(one.message)}</Message></member>"
        for one in complaints
    )
    found = f"<DashboardValidationMessages>{members}</DashboardValidationMessages>"
    return f"<PutDashboardResult>{found}</PutDashboardResult>"

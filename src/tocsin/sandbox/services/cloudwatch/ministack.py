# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Amazon CloudWatch: metrics go to the sandbox's own store, alarms are evaluated by Tocsin.

ministack keeps the alarms and their histories and answers the API; `Alarms` evaluates them in production time, and
`MetricQueries` answers from the store.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, get_args

from tocsin.alarms.cloudwatch import StateValue, metric_key
from tocsin.errors import InvalidInput, TocsinError
from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.ministack import expect
from tocsin.sandbox.service import Asked, ReliedOn
from tocsin.sandbox.services.cloudwatch import dashboards
from tocsin.sandbox.services.cloudwatch.actions import Actions
from tocsin.sandbox.services.cloudwatch.alarms import (
    Alarms,
    as_json,
    parse_alarm,
    parse_composite,
    refuse_composite_alarm,
    refuse_metric_alarm,
)
from tocsin.sandbox.services.cloudwatch.mute_rules import MuteRules
from tocsin.sandbox.services.cloudwatch.queries import MetricQueries
from tocsin.sandbox.services.cloudwatch.query_protocol import request_of
from tocsin.sandbox.services.sns.service import Sns
from tocsin.sandbox.world import World

NOT_EVALUATED: Mapping[str, str] = {
    "PutLogAlarm": "log alarms",
    "PutAnomalyDetector": "anomaly detection",
    "PutInsightRule": "Contributor Insights",
    "PutManagedInsightRules": "Contributor Insights",
}
"""What is refused by name, and why: it would be kept, and nobody would look at it."""
_KEPT_HISTORY = 10_000
"""items of an account and region"""


class CloudWatch:
    """The metrics and alarms of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        **dashboards.RELIED_ON,
        "core.iam_actions": {"_param": "body, query_params, fields"},
        "services.cloudwatch": {
            **dashboards.RELIED_ON["services.cloudwatch"],
            "_alarms": "",
            "_alarm_history": "",
            "_composite_alarms": "",
            "_composite_triggers": "",
            "_history_entries": "",
            "_evaluate_alarm": "alarm",
            "_evaluate_all_alarms": "",
            "_evict_old_metrics": "",
            "_evaluate_parent_alarms": "child, seen",
            "_transition_composite": "alarm, new_state, reason, triggers, seen",
            "_record_history": "alarm_name, old_state, new_state, reason, alarm_type, reason_data",
            "_dispatch_alarm_actions": "alarm, old_state, new_state, reason",
            "_put_metric_alarm": "params, cbor_data, is_cbor, is_json",
            "_put_composite_alarm": "params, cbor_data, is_cbor, is_json",
            "cloudformation_set_metric_alarm_tags": "name, tags",
            "_describe_alarms": "params, cbor_data, is_cbor, is_json",
            "_set_alarm_state": "params, cbor_data, is_cbor, is_json",
            "_get_metric_statistics": "params, cbor_data, is_cbor, is_json",
            "_get_metric_data": "params, cbor_data, is_cbor, is_json",
            "_list_metrics": "params, cbor_data, is_cbor, is_json",
            "_store_datum": "namespace, name, dims, ts, unit, value, values, counts, stat_values",
            "record_metric": "namespace, metric_name, value, unit, dimensions",
            "_json_ok": "data",
            "_cbor_ok": "data",
            "_xml": "status, root_tag, inner",
            "_error": "code, message, status, use_json, use_cbor",
            "_ts_iso": "epoch",
            "_parse_ts": "value",
            "handle_request": "method, path, headers, body, query_params",
        },
        "services.cloudformation.provisioners": {"_cw_metric_alarm_put": "name, props"},
    }

    signed_for = "monitoring"

    def adapt(self, world: World) -> None:
        """Keep the metrics here, and send every change of an alarm's state through `Alarms`."""
        self._ministack = world.ministack
        self._store = world.store
        self._parameter = world.ministack.module("core.iam_actions")._param
        self._cloudwatch = cloudwatch = world.ministack.module("services.cloudwatch")
        mutes = MuteRules(world.store.system_time, self._scope, lambda name: self.find(name) is not None)
        self._answered: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "PutAlarmMuteRule": mutes.put,
            "GetAlarmMuteRule": mutes.get,
            "ListAlarmMuteRules": mutes.list,
            "DeleteAlarmMuteRule": mutes.delete,
        }
        self._answer = world.ministack.replace(cloudwatch, "handle_request", self._handle)
        dashboards.Dashboards(world.ministack)
        actions = Actions(self, mutes.muted, world.service(Sns).notify)
        self._alarms = Alarms(self, world.store, actions)
        self._composite_asked: Mapping[str, Any] = {}
        self._queries = MetricQueries(world.store, world.ministack.current_scope, self.parse_time)
        cloudwatch._evict_old_metrics = lambda: None
        cloudwatch._evaluate_alarm = lambda _alarm: None
        cloudwatch._evaluate_all_alarms = lambda: None
        cloudwatch._store_datum = self._store_datum
        cloudwatch.record_metric = self._record_metric
        # Histories are read by the millisecond, ministack writes whole seconds.
        cloudwatch._ts_iso = _iso
        cloudwatch._get_metric_statistics = self._json_only(self._queries.statistics)
        cloudwatch._get_metric_data = self._json_only(self._queries.data)
        cloudwatch._list_metrics = self._json_only(self._queries.metrics)
        self._put_alarm = world.ministack.replace(cloudwatch, "_put_metric_alarm", self._put_metric_alarm)
        self._put_composite = world.ministack.replace(cloudwatch, "_put_composite_alarm", self._put_composite_alarm)
        world.ministack.module("services.cloudformation.provisioners")._cw_metric_alarm_put = self._put_of_template
        self._describe = world.ministack.replace(cloudwatch, "_describe_alarms", self._describe_alarms)
        cloudwatch._set_alarm_state = self._set_alarm_state
        cloudwatch._transition_composite = self._transition_composite
        cloudwatch._evaluate_parent_alarms = lambda *_: self._alarms.evaluate_composites(self._scope())
        cloudwatch._record_history = self._record_creation

    async def try_out(self) -> None:
        """An alarm is made."""
        with self._ministack.scope(("000000000001", "us-east-1")):
            definition = {
                "AlarmName": "self-test",
                "Namespace": "n",
                "MetricName": "m",
                "Statistic": "Sum",
                "Period": 60,
            }
            definition |= {"EvaluationPeriods": 1, "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold"}
            self._cloudwatch._put_metric_alarm({}, definition, False, True)
            alarm = self._cloudwatch._alarms.get("self-test")
            born = bool(alarm) and alarm["StateValue"] == "INSUFFICIENT_DATA"
            expect(self, "a new alarm is INSUFFICIENT_DATA", born)
            self._cloudwatch._alarms.pop("self-test", None)
            self._cloudwatch._alarm_history.pop("entries", None)

    def iam_resource(self, asked: Asked) -> str | None:
        """The alarm that a call about tags names by its ARN, the one that is to be deleted, or a dashboard.

        Of several that are to be deleted at once none in particular: a policy that names one must name all.
        """
        named = self._parameter(asked.body, asked.query, "ResourceARN")
        if named:
            return str(named)
        account, region = asked.scope
        if "Dashboard" in asked.operation:
            return dashboards.resource_of(lambda name: self._parameter(asked.body, asked.query, name), account)
        names = self._parameter(asked.body, asked.query, "AlarmNames")
        deleting = asked.operation == "DeleteAlarms" and isinstance(names, list) and len(names) == 1
        return f"arn:aws:cloudwatch:{region}:{account}:alarm:{names[0]}" if deleting else None

    def tick(self, now_s: int) -> None:
        """Evaluate the alarms that are due."""
        for scope in self._alarm_scopes():
            with self._ministack.scope(scope):
                self._alarms.tick(scope, now_s)

    def _scope(self) -> Scope:
        return self._ministack.current_scope()

    async def _handle(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, query_params: Mapping[str, Any]
    ) -> Any:
        """Answer what ministack does not know: mute rules, and by name what nobody here evaluates."""
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        if action in NOT_EVALUATED:
            words = f"The sandbox does not evaluate {NOT_EVALUATED[action]} ({action})."
            return self._cloudwatch._error("ValidationError", words, 400, use_json=True)
        if action not in self._answered:
            return await self._answer(method, path, headers, body, query_params)
        try:
            return self._cloudwatch._json_ok(self._answered[action](json.loads(body)))
        except InvalidInput as error:
            missing = action == "GetAlarmMuteRule"
            code, status = ("ResourceNotFoundException", 404) if missing else ("ValidationError", 400)
            return self._cloudwatch._error(code, error.message, status, use_json=True)

    # ------------------------------------------------------------------------------------------ metrics

    def _store_datum(
        self,
        namespace: str,
        name: str,
        dimensions: dict[str, str],
        wall: float,
        unit: str,
        value: float | None,
        values: list[float] | None,
        counts: list[float] | None,
        statistics: dict[str, float] | None,
    ) -> None:
        scope, key = self._scope(), metric_key(namespace, name, dimensions)
        if values is not None:
            for one, count in zip(values, counts or [1.0] * len(values), strict=False):
                self._store.put(scope, key, float(one), unit, count=float(count), wall=wall)
        elif statistics is not None:
            whole = tuple(float(statistics.get(part, 0)) for part in ("SampleCount", "Sum", "Minimum", "Maximum"))
            self._store.put_set(scope, key, (whole[0], whole[1], whole[2], whole[3]), unit, wall=wall)
        else:
            self._store.put(scope, key, float(value or 0), unit, wall=wall)

    def _record_metric(
        self,
        namespace: str,
        metric_name: str,
        value: float,
        unit: str = "None",
        dimensions: dict[str, str] | None = None,
    ) -> None:
        self._store.put(self._scope(), metric_key(namespace, metric_name, dimensions or {}), value, unit)

    def _json_only(self, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[..., Any]:
        def handler(_params: Any, request: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
            if not is_json:
                return self._cloudwatch._error(
                    "InvalidAction", "The sandbox answers metric queries in the JSON protocol only.", 400
                )
            try:
                return self._cloudwatch._json_ok(answer(request))
            except (ValueError, TocsinError) as error:
                return self._cloudwatch._error("ValidationError", str(error), 400, use_json=True)

        return handler

    # ------------------------------------------------------------------------------------------ alarms

    def _put_metric_alarm(self, params: Any, request: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
        by_query = not (is_cbor or is_json)
        try:
            asked = request_of(params) if by_query else request
            refuse_metric_alarm(asked)
        except InvalidInput as error:
            return self._refused(error, is_cbor, is_json)
        if by_query:
            asked = as_json(parse_alarm(asked))
        answer = self._put_alarm({}, asked, is_cbor, by_query or is_json)
        alarm = self._cloudwatch._alarms.get(asked.get("AlarmName", ""))
        if answer[0] < 400 and alarm is not None:
            _complete_alarm(alarm, asked)
        return self._as_query("PutMetricAlarm", answer) if by_query else answer

    def _put_composite_alarm(self, params: Any, request: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
        by_query = not (is_cbor or is_json)
        try:
            asked = request_of(params) if by_query else request
            refuse_composite_alarm(asked, self)
        except InvalidInput as error:
            return self._refused(error, is_cbor, is_json)
        if by_query:
            asked = as_json(parse_composite(asked))
        # Its first evaluation is part of this call.
        self._composite_asked = asked
        try:
            answer = self._put_composite({}, asked, is_cbor, by_query or is_json)
        finally:
            self._composite_asked = {}
        alarm = self._cloudwatch._composite_alarms.get(asked.get("AlarmName", ""))
        if answer[0] < 400 and alarm is not None:
            _keep(alarm, asked, _SUPPRESSOR_FIELDS)
        return self._as_query("PutCompositeAlarm", answer) if by_query else answer

    def _describe_alarms(self, params: Any, request: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
        """By names alone: those are looked up. ministack goes through every alarm, and all names for each of them."""
        stores = {"MetricAlarm": self._cloudwatch._alarms, "CompositeAlarm": self._cloudwatch._composite_alarms}
        found = described_by_name(request, stores) if is_json else None
        return self._describe(params, request, is_cbor, is_json) if found is None else self._cloudwatch._json_ok(found)

    def _as_query(self, operation: str, answer: Any) -> Any:
        """What was answered in JSON, in the Query protocol; of operations that answer nothing."""
        status, _, body = answer
        if status < 400:
            return self._cloudwatch._xml(200, f"{operation}Response", "")
        error = json.loads(body)
        return self._cloudwatch._error(error["__type"], error["message"], status)

    def _refused(self, error: InvalidInput, is_cbor: bool, is_json: bool) -> Any:
        return self._error("ValidationError", str(error), 400, is_cbor, is_json)

    def _error(self, code: str, words: str, status: int, is_cbor: bool, is_json: bool) -> Any:
        return self._cloudwatch._error(code, words, status, use_json=is_json, use_cbor=is_cbor)

    def _put_of_template(self, name: str, properties: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        """An alarm of CloudFormation: as PutMetricAlarm takes it, whose numbers may be written as text.

        Returns:
            Its physical id, and what `Fn::GetAtt` answers.

        Raises:
            InvalidInput: it is refused; the resource fails with these words.
        """
        definition = {field: value for field, value in properties.items() if field != "Tags"} | {"AlarmName": name}
        refuse_metric_alarm(definition)
        status, _, body = self._put_metric_alarm({}, as_json(parse_alarm(definition)), False, True)
        if status >= 400:
            raise InvalidInput(json.loads(body).get("message", str(body)))
        self._cloudwatch.cloudformation_set_metric_alarm_tags(name, properties.get("Tags") or [])
        return name, {"Arn": self._cloudwatch._alarms[name]["AlarmArn"]}

    def _set_alarm_state(self, params: Any, request: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
        asked = request if is_cbor or is_json else request_of(params)
        name, state, data = asked.get("AlarmName", ""), str(asked.get("StateValue")), asked.get("StateReasonData")
        alarm = self.find(name)
        if alarm is None:
            return self._error("ResourceNotFound", f"Alarm {name} not found", 404, is_cbor, is_json)
        if state not in get_args(StateValue):
            words = f"StateValue: expected one of {', '.join(get_args(StateValue))}, found {state}"
            return self._error("ValidationError", words, 400, is_cbor, is_json)
        try:
            read = json.loads(data) if data else None
        except ValueError:
            return self._error("InvalidFormat", "StateReasonData: expected JSON", 400, is_cbor, is_json)
        self._alarms.transition(self._scope(), alarm, state, asked.get("StateReason", ""), read)
        if is_cbor:
            return self._cloudwatch._cbor_ok({})
        return self._cloudwatch._json_ok({}) if is_json else self._cloudwatch._xml(200, "SetAlarmStateResponse", "")

    def _transition_composite(
        self, alarm: dict[str, Any], new_state: str, reason: str, triggers: Any, seen: Any = frozenset()
    ) -> None:
        del triggers, seen
        if self._composite_asked.get("AlarmName") == alarm["AlarmName"]:
            _keep(alarm, self._composite_asked, _SUPPRESSOR_FIELDS)
        self._alarms.transition(self._scope(), alarm, new_state, reason, None)

    def _record_creation(self, alarm_name: str, old: str, new: str, reason: str, *_: Any) -> None:
        """What ministack itself still records: that an alarm was created."""
        del old, new, reason
        data = {"version": "1.0", "type": "Create"}
        self.record_history(alarm_name, "ConfigurationUpdate", f'Alarm "{alarm_name}" created', data)

    def record_history(
        self,
        alarm_name: str,
        kind: str,
        summary: str,
        data: Mapping[str, Any],
        *,
        wall: float | None = None,
        alarm_type: str = "MetricAlarm",
    ) -> None:
        """Append one item to the alarm history of the present account and region."""
        entries = self._cloudwatch._history_entries()
        entries.append(
            {
                "AlarmName": alarm_name,
                "AlarmType": alarm_type,
                "Timestamp": time.time() if wall is None else wall,
                "HistoryItemType": kind,
                "HistorySummary": summary,
                "HistoryData": json.dumps(data),
            }
        )
        del entries[:-_KEPT_HISTORY]

    def _alarm_scopes(self) -> set[Scope]:
        """Accounts and regions that have alarms."""
        stores = (self._cloudwatch._alarms, self._cloudwatch._composite_alarms)
        return {(key[0], key[1]) for store in stores for key in list(store._data)}

    def metric_alarms(self) -> list[dict[str, Any]]:
        """The live records of the metric alarms of the present account and region."""
        return list(self._cloudwatch._alarms.values())

    def composite_alarms(self) -> list[dict[str, Any]]:
        """The live records of the composite alarms of the present account and region."""
        return list(self._cloudwatch._composite_alarms.values())

    def find(self, alarm_name: str) -> dict[str, Any] | None:
        """The live record of an alarm of either kind of the present account and region."""
        cloudwatch = self._cloudwatch
        found: dict[str, Any] | None = cloudwatch._alarms.get(alarm_name) or cloudwatch._composite_alarms.get(
            alarm_name
        )
        return found

    def parse_time(self, value: Any) -> float | None:
        """Epoch seconds of a timestamp in a request."""
        epoch: float | None = self._cloudwatch._parse_ts(value)
        return epoch


def described_by_name(request: Mapping[str, Any], stores: Mapping[str, Any]) -> dict[str, list[Any]] | None:
    """What DescribeAlarms answers; None where it is asked for more than named alarms that fit on one page.

    A page has 50 alarms, or as many as `MaxRecords` says, which is at most 100:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html

    Args:
        request: as it came
        stores: kind of alarm -> name -> record
    """
    names, most = request.get("AlarmNames"), request.get("MaxRecords", 50)
    if not names or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    if set(request) - {"AlarmNames", "AlarmTypes", "MaxRecords"} or type(most) is not int or not 1 <= most <= 100:
        return None
    kinds, ordered = request.get("AlarmTypes") or ["MetricAlarm"], sorted(set(names))
    found = {
        f"{kind}s": [alarm for name in ordered if kind in kinds and (alarm := store.get(name)) is not None]
        for kind, store in stores.items()
    }
    return None if sum(map(len, found.values())) > most else found


def _iso(epoch: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch))
    return f"{whole}.{int(epoch * 1000) % 1000:03d}Z"


_OPTIONAL_ALARM_FIELDS = (
    "Statistic",
    "ExtendedStatistic",
    "Period",
    "Unit",
    "Metrics",
    "EvaluateLowSampleCountPercentile",
    "ThresholdMetricId",
    "MetricName",
    "Namespace",
    "TreatMissingData",
    "AlarmDescription",
)


_SUPPRESSOR_FIELDS = ("ActionsSuppressor", "ActionsSuppressorWaitPeriod", "ActionsSuppressorExtensionPeriod")


def _keep(alarm: dict[str, Any], request: Mapping[str, Any], fields: Iterable[str]) -> None:
    """Put fields of a request into the record, and take those out that it does not have."""
    for name in fields:
        if request.get(name) is None:
            alarm.pop(name, None)
        else:
            alarm[name] = copy.deepcopy(request[name])


def _complete_alarm(alarm: dict[str, Any], request: Mapping[str, Any]) -> None:
    """Put into the record what ministack drops, and take out what it makes up."""
    _keep(alarm, request, _OPTIONAL_ALARM_FIELDS)
    now = time.time()
    alarm["AlarmConfigurationUpdatedTimestamp"] = now
    if alarm["StateReason"].startswith("Unchecked"):
        alarm["StateUpdatedTimestamp"] = alarm["StateTransitionedTimestamp"] = now

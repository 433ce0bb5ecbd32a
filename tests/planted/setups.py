"""The healthy set-ups: one small experiment for each kind of promise. Each must pass; each bug spoils one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]


def fault(func: str, **arguments: Any) -> Document:
    """A Chaos Toolkit action of `tocsin.faults`."""
    provider = {"type": "python", "module": "tocsin.faults", "func": func, "arguments": arguments}
    return {"type": "action", "name": func.replace("_", "-"), "provider": provider}


UNDO: Document = {
    "type": "action",
    "name": "undo",
    "provider": {"type": "python", "module": "tocsin.faults", "func": "undo"},
}
HEALTHY: Document = {
    "type": "probe",
    "name": "health",
    "tolerance": 200,
    "provider": {
        "type": "python",
        "module": "tocsin.probes",
        "func": "endpoint_status",
        "arguments": {"system": "bell", "path": "/healthz"},
    },
}
LOAD: Document = {"users": 4, "arrivals_per_s": 20}
DEGRADED: Document = {"status": [503], "schema": "Message"}


def experiment(title: str, broken: Document, expect: Document, **block: Any) -> Document:
    """A whole experiment document; without `load`, only canaries call the system."""
    tocsin = {"name": "tocsin", "system": "bell", "load": None, "baseline": "3m", **block}
    return {
        "title": title,
        "description": "One of the shelf's healthy set-ups.",
        "steady-state-hypothesis": {"title": "The desk is open", "probes": [HEALTHY]},
        "method": [broken],
        "rollbacks": [UNDO],
        "extensions": [{**tocsin, "expect": {"recovery": {"within": "12m"}, **expect}}],
    }


def outage(**block: Any) -> Document:
    """Nobody is served: the 5xx alarm rings and the canary notices."""
    return experiment(
        "The desk is closed",
        fault("lambda_reserved_concurrency", function="bell-api", reserved=0),
        {
            "must": [{"alarm": "api-5xx", "within": "8m", "clears_within": "12m"}, {"canary": "order", "within": "8m"}],
            "quiet": [{"alarm": "backlog", "for": "2m"}],
            "degraded": DEGRADED,
        },
        **block,
    )


def outage_under_load() -> Document:
    """The same, with customers."""
    document = outage(load=LOAD, baseline="8m", fault_for="10m")
    document["extensions"][0]["expect"]["recovery"] = {"within": "24m"}
    return document


def long_outage() -> Document:
    """The same with rare visitors, for long enough that an alarm could ring twice."""
    document = outage(fault_for="16m")
    entry = {"alarm": "api-5xx", "within": "14m", "clears_within": "18m"}
    document["extensions"][0]["expect"] |= {"must": [entry], "recovery": {"within": "18m"}}
    return document


def poison() -> Document:
    """An order that nobody can do: the dead-letter alarm rings."""
    return experiment(
        "An order that nobody can do",
        fault("sqs_poison_message", queue="bell-orders"),
        {"must": [{"alarm": "dead-letters", "within": "6m", "clears_within": "5m"}]},
    )


def poison_under_load() -> Document:
    """The same with customers, who do not notice it."""
    document = poison()
    document["extensions"][0] |= {"load": LOAD, "baseline": "8m"}
    return document


def tapped_poison() -> Document:
    """The same, for long enough that orders are done, and announced, in every act."""
    document = poison()
    document["extensions"][0] |= {"baseline": "16m", "fault_for": "12m"}
    return document


def page() -> Document:
    """The same, and an alarm above it calls somebody unless the desk is being mended."""
    document = poison()
    document["extensions"][0]["expect"]["must"].append({"alarm": "page", "within": "8m", "clears_within": "8m"})
    return document


def slow_poison() -> Document:
    """The same, with an alarm that looks back ten minutes."""
    document = poison()
    entry = {"alarm": "dead-letters", "within": "9m", "clears_within": "15m"}
    document["extensions"][0]["expect"]["must"] = [entry]
    return document


def patient_poison() -> Document:
    """The same, with an alarm that waits for six minutes in a row."""
    document = poison()
    entry = {"alarm": "dead-letters", "within": "12m", "clears_within": "5m"}
    document["extensions"][0]["expect"]["must"] = [entry]
    return document


def stopped_worker() -> Document:
    """Orders are taken and not done: the backlog alarm rings, and afterwards every order is done once."""
    return experiment(
        "Nobody does the orders",
        fault("lambda_event_source_disabled", function="bell-worker", queue="bell-orders"),
        {"must": [{"alarm": "backlog", "within": "16m", "clears_within": "5m"}], "conserved": ["orders"]},
    )


def denied_desk() -> Document:
    """The desk may not put orders into its queue any more: callers are refused, and the 5xx alarm rings."""
    return experiment(
        "The desk may not send",
        fault("iam_role_deny", role="bell", actions=["sqs:SendMessage"]),
        {"must": [{"alarm": "api-5xx", "within": "8m", "clears_within": "12m"}, {"canary": "order", "within": "8m"}]},
    )


def chaosaws(kind: str, name: str, func: str, **more: Any) -> Document:
    """An activity of chaostoolkit-aws on the desk's API."""
    arguments = {"function_name": "bell-api", **more.pop("arguments", {})}
    provider = {"type": "python", "module": f"chaosaws.awslambda.{kind}s", "func": func, "arguments": arguments}
    return {"type": kind, "name": name, "provider": provider, **more}


def closed_by_others() -> Document:
    """Nobody is served, by an action of another extension: probes of the experiment show what it did."""
    close = {"concurrent_executions": 0}
    document = outage()
    document["method"] = [
        chaosaws("action", "close-the-desk", "put_function_concurrency", arguments=close),
        chaosaws("probe", "it-is-closed", "get_function_concurrency", tolerance=0),
    ]
    document["rollbacks"] = [
        chaosaws("action", "open-the-desk", "delete_function_concurrency"),
        {**HEALTHY, "name": "it-is-open"},
    ]
    return document


def of_returns(kind: str, name: str, func: str, **more: Any) -> Document:
    """An activity of `tests.planted.returns`."""
    provider = {"type": "python", "module": "tests.planted.returns", "func": func}
    return {"type": kind, "name": name, "provider": provider, **more}


def returns_brought_back() -> Document:
    """An order that nobody can do, and meanwhile a procedure moves messages: its rollback moves them back."""
    document = poison()
    redrive = {"type": "python", "module": "tocsin.procedures", "func": "sqs_redrive"}
    arguments = {"queue": "bell-returns"}
    document["method"].append(
        {"type": "action", "name": "bring-returns-back", "provider": {**redrive, "arguments": arguments}}
    )
    document["rollbacks"] += [
        of_returns("action", "put-returns-aside", "put_aside"),
        of_returns("probe", "a-return-lies-aside", "count_aside", tolerance=1),
    ]
    change = {"activity": "bring-returns-back", "undone_by": "put-returns-aside"}
    document["extensions"][0]["changes"] = [change]
    return document


def silence() -> Document:
    """The heartbeat stops: the alarm hears that nothing is said."""
    return experiment(
        "The heartbeat stops",
        fault("lambda_reserved_concurrency", function="bell-heartbeat", reserved=0),
        {"must": [{"alarm": "silence", "within": "10m", "clears_within": "8m"}]},
    )


def lost_source() -> Document:
    """The heartbeat stops: people are told that nothing comes any more, and again when it does."""
    document = silence()
    entry = {"alarm": "silence", "by": "INSUFFICIENT_DATA", "within": "14m", "clears_within": "8m", "all_clear": True}
    document["extensions"][0]["expect"]["must"] = [entry]
    return document


def bad_release() -> Document:
    """A release that answers 500, and its rollback."""
    return experiment(
        "A bad release of the desk",
        fault("lambda_bad_release", function="bell-api", alias="live", status=500),
        {"must": [{"alarm": "api-5xx", "within": "8m", "clears_within": "12m"}]},
    )


def lost_supplier() -> Document:
    """A dependency is gone: callers get the documented 503, and the contract holds before, during and after."""
    return experiment(
        "The supplier refuses the desk",
        fault("lambda_environment_credential", function="bell-stock", variable="SUPPLIER_TOKEN"),
        {
            "must": [{"alarm": "api-5xx", "within": "8m", "clears_within": "12m"}],
            "degraded": DEGRADED,
        },
    )


def unheard_outage() -> Document:
    """Nobody is served, and the only alarm that could say so waits for two thousand errors."""
    document = outage(fault_for="8m")
    del document["extensions"][0]["expect"]["must"]
    document["extensions"][0]["expect"] |= {
        "gap": "Customers stand before a closed desk, and nobody is told.",
        "blind": [{"alarm": "api-5xx", "because": "its threshold is far above what a small desk can reach"}],
    }
    return document


@dataclass(frozen=True)
class Setup:
    """A healthy system with an experiment that it passes."""

    document: Callable[[], Document]
    edits: tuple[tuple[str, str, str], ...] = ()
    """(file, old, new): how the project differs from `tests/planted/project`"""
    contract: bool = False
    """whether the contract is tested; left out elsewhere, because it costs two seconds of a processor an act"""


_TAPPED = (
    "systems/bell.yaml",
    "canaries: {",
    "messages:\n  document: contracts/bell.asyncapi.yaml\n"
    "  taps: {done: {queue: bell-done-tap, topic: bell-done}}\ncanaries: {",
)
_LONG_PERIOD = ("systems/bell.yaml", "Maximum\n      Period: 60  # dead letters", "Maximum\n      Period: 600")
_SIX_PERIODS = ("systems/bell.yaml", "60  # dead letters\n      EvaluationPeriods: 1", "60\n      EvaluationPeriods: 6")
_TELLS_OF_SILENCE = (
    "systems/bell.yaml",
    "TreatMissingData: breaching\n",
    'TreatMissingData: missing\n      InsufficientDataActions: ["${topic}"]\n      OKActions: ["${topic}"]\n',
)
_RARE_VISITORS = ("systems/bell.yaml", "every: 60s", "every: 6m")
_OUT_OF_REACH = ("systems/bell.yaml", "Threshold: 2  # errors", "Threshold: 2000")
_LONGER_THAN_RARE = ("systems/bell.yaml", "Period: 300  # errors", "Period: 480")

_PAGE = """
  maintenance:
    title: The desk is being mended
    cloudwatch:
      AlarmName: bell-maintenance
      Namespace: Bell
      MetricName: Maintenance
      Statistic: Sum
      Period: 60
      EvaluationPeriods: 1
      Threshold: 1
      ComparisonOperator: GreaterThanOrEqualToThreshold
      TreatMissingData: notBreaching
  page:
    title: Somebody is called
    cloudwatch:
      AlarmName: bell-page
      AlarmRule: ALARM(bell-dead-letters)
      ActionsSuppressor: bell-maintenance
      ActionsSuppressorWaitPeriod: 60
      ActionsSuppressorExtensionPeriod: 60
      AlarmActions: ["${topic}"]

conservation:
"""
_WITH_A_PAGE = ("systems/bell.yaml", "\nconservation:\n", _PAGE)

SETUPS: Mapping[str, Setup] = {
    "outage": Setup(outage),
    "outage under load": Setup(outage_under_load),
    "outage with rare visitors": Setup(long_outage, edits=(_RARE_VISITORS, _LONGER_THAN_RARE)),
    "unheard outage": Setup(unheard_outage, edits=(_OUT_OF_REACH,)),
    "poison": Setup(poison),
    "poison under load": Setup(poison_under_load),
    "poison with tapped messages": Setup(tapped_poison, edits=(_TAPPED,)),
    "page with a suppressor": Setup(page, edits=(_WITH_A_PAGE,)),
    "poison, ten-minute period": Setup(slow_poison, edits=(_LONG_PERIOD,)),
    "poison, six periods": Setup(patient_poison, edits=(_SIX_PERIODS,)),
    "stopped worker": Setup(stopped_worker),
    "denied desk": Setup(denied_desk),
    "closed by another extension": Setup(closed_by_others),
    "returns brought back": Setup(returns_brought_back),
    "silence": Setup(silence),
    "lost source": Setup(lost_source, edits=(_TELLS_OF_SILENCE,)),
    "bad release": Setup(bad_release),
    "lost supplier": Setup(lost_supplier, contract=True),
}

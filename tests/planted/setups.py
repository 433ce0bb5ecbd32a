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
    document = outage(load=LOAD, fault_for="10m")
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


def silence() -> Document:
    """The heartbeat stops: the alarm hears that nothing is said."""
    return experiment(
        "The heartbeat stops",
        fault("lambda_reserved_concurrency", function="bell-heartbeat", reserved=0),
        {"must": [{"alarm": "silence", "within": "10m", "clears_within": "8m"}]},
    )


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


@dataclass(frozen=True)
class Setup:
    """A healthy system with an experiment that it passes."""

    document: Callable[[], Document]
    edits: tuple[tuple[str, str, str], ...] = ()
    """(file, old, new): how the project differs from `tests/planted/project`"""
    contract: bool = False
    """whether the contract is tested; left out elsewhere, because it costs two seconds of a processor an act"""


_LONG_PERIOD = ("systems/bell.yaml", "Maximum\n      Period: 60  # dead letters", "Maximum\n      Period: 600")
_SIX_PERIODS = ("systems/bell.yaml", "60  # dead letters\n      EvaluationPeriods: 1", "60\n      EvaluationPeriods: 6")
_RARE_VISITORS = ("systems/bell.yaml", "every: 60s", "every: 6m")
_LONGER_THAN_RARE = ("systems/bell.yaml", "Period: 300  # errors", "Period: 480")

SETUPS: Mapping[str, Setup] = {
    "outage": Setup(outage),
    "outage under load": Setup(outage_under_load),
    "outage with rare visitors": Setup(long_outage, edits=(_RARE_VISITORS, _LONGER_THAN_RARE)),
    "poison": Setup(poison),
    "poison, ten-minute period": Setup(slow_poison, edits=(_LONG_PERIOD,)),
    "poison, six periods": Setup(patient_poison, edits=(_SIX_PERIODS,)),
    "stopped worker": Setup(stopped_worker),
    "silence": Setup(silence),
    "bad release": Setup(bad_release),
    "lost supplier": Setup(lost_supplier, contract=True),
}

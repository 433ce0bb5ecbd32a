"""Activities of an experiment that may write are asked for `test_data`, as every other part of a drill is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tocsin.actors.context import RunContext
from tocsin.actors.injector import Injector
from tocsin.aws.target import Target
from tocsin.drill.preflight import reading_guards
from tocsin.drill.writing import may_write
from tocsin.errors import Refused
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.model.experiment import Expect, Experiment, Extension, RecoveryTarget
from tocsin.model.system import System
from tocsin.model.toolkit import ExperimentFile
from tocsin.record.history import History
from tocsin.record.ledger import Ledger

SHOP = "https://shop.test/orders?key=hidden"
GET = {"type": "http", "url": SHOP}
POST = {"type": "http", "url": SHOP, "method": "post"}


def python(module: str, func: str, **arguments: object) -> dict[str, Any]:
    return {"type": "python", "module": module, "func": func, "arguments": arguments}


def probe(provider: dict[str, Any], tolerance: object = 200) -> dict[str, Any]:
    return {"type": "probe", "name": "orders", "tolerance": tolerance, "provider": provider}


def action(provider: dict[str, Any]) -> dict[str, Any]:
    return {"type": "action", "name": "act", "provider": provider}


def experiment(**parts: Any) -> ExperimentFile:
    """An experiment with these parts; `probes` are those of its hypothesis."""
    probes = parts.pop("probes", ())
    hypothesis = {"title": "well", "probes": list(probes)}
    document = {"title": "t", "description": "d", "method": [], "steady-state-hypothesis": hypothesis, **parts}
    return ExperimentFile.model_validate(document)


ORDERS = experiment(probes=[probe(POST)])


@pytest.mark.parametrize(
    ("toolkit", "told"),
    [
        (ORDERS, "probe 'orders' (sends POST) in the hypothesis of x.yaml"),
        (experiment(probes=[probe({**GET, "method": "${how}"})]), "probe 'orders' (sends ${HOW}) in the hypothesis"),
        (
            experiment(probes=[probe(GET, {"type": "probe", "name": "enough", "provider": POST})]),
            "probe 'orders' (sends POST) in the hypothesis",
        ),
        (
            experiment(method=[action({"type": "process", "path": "true"})]),
            "action 'act' (runs a program) in the method",
        ),
        (
            experiment(method=[probe(python("chaosaws.ecs.probes", "describe_service"))]),
            "probe 'orders' (calls chaosaws.ecs.probes.describe_service) in the method",
        ),
        (
            experiment(
                rollbacks=[action(python("tocsin.procedures", "postgres_query", secret="s", sql="SELECT make()"))]
            ),
            "action 'act' (calls tocsin.procedures.postgres_query) in rollbacks",
        ),
        (
            experiment(method=[action(python("tocsin.record.ledger", "anything"))]),
            "action 'act' (calls tocsin.record.ledger.anything) in the method",
        ),
        (
            experiment(controls=[{"name": "note", "provider": {"type": "python", "module": "notes"}}]),
            "control 'note' (calls notes) of x.yaml",
        ),
    ],
    ids=["post", "variable", "tolerance", "program", "foreign probe", "statement", "not an activity", "control"],
)
def test_what_is_not_known_to_only_read_may_write(toolkit: ExperimentFile, told: str) -> None:
    (found,) = may_write(toolkit, "x.yaml")
    assert found.startswith(told)
    assert "hidden" not in found


def test_faults_probes_that_look_and_procedures_that_write_nothing_do_not() -> None:
    toolkit = experiment(
        probes=[
            probe(GET),
            probe({**GET, "method": "head"}),
            probe(python("tocsin.probes", "endpoint_status", system="shop", path="/")),
            probe(python("tocsin.probes", "postgres_value", secret="s", sql="SELECT 1")),
        ],
        method=[
            action(python("tocsin.faults", "sqs_poison_message", queue="q", body="{}")),
            action(python("tocsin.procedures", "wait", duration="1m")),
            action(python("tocsin.procedures", "sqs_redrive", queue="q")),
        ],
        rollbacks=[action(python("tocsin.faults", "undo"))],
    )
    assert may_write(toolkit, "x.yaml") == ()


@contextmanager
def drill(root: Path, toolkit: ExperimentFile, **system: Any) -> Iterator[tuple[RunContext, Ledger, Injector]]:
    """A drill on an account, of a system of which no other part writes; nothing of it is begun."""
    target = Target("staging", "eu-west-1", account="123456789012")
    extension = Extension(system="shop", expect=Expect(gap="nothing", recovery=RecoveryTarget(within=60.0)))
    ledger = Ledger(root / "ledger.jsonl", "staging")
    ctx = RunContext(
        drill="x",
        root=root,
        directory=root,
        experiment=Experiment(
            path="experiments/x.yaml", slug="x", title="x", method=(), rollbacks=(), extension=extension
        ),
        system=System.model_validate({"system": "shop", "title": "Shop", "endpoint": {"url": SHOP}, **system}),
        target=target,
        history=History(root / "history.jsonl"),
        base_url=SHOP,
        seed=0,
    )
    try:
        yield ctx, ledger, Injector(ctx, toolkit, FaultLifecycle(target=target, ledger=ledger, drill="x"))
    finally:
        ctx.history.close()
        ledger.close()


def preflight(root: Path, toolkit: ExperimentFile, **system: Any) -> str:
    """What the guard of such a drill says."""
    with drill(root, toolkit, **system) as (ctx, ledger, injector):
        return dict(reading_guards(ctx, ledger, injector))["test-data"]()


def test_a_drill_whose_activities_may_write_is_refused_on_an_account(tmp_path: Path) -> None:
    with pytest.raises(Refused) as no:
        preflight(tmp_path, ORDERS)
    assert no.value.guard == "test-data"
    assert (
        "what activities (probe 'orders' (sends POST) in the hypothesis of experiments/x.yaml) would write to account "
        "123456789012, found nothing. Say under `test_data` by which tenant or tag"
    ) in str(no.value)
    assert "or, with `reads_only`, that nothing is written." in str(no.value)


def test_the_two_ways_out(tmp_path: Path) -> None:
    assert preflight(tmp_path, ORDERS, test_data={"reads_only": ["activities"]}) == "nothing is written"
    kind = {"title": "o", "written_by": ["activities"], "tag": "a", "mark": "drill", "counted_apart": "so"}
    told = {"kinds": {"orders": {**kind, "expires": "at night"}}}
    assert preflight(tmp_path, ORDERS, test_data=told) == "orders are told apart and removed"
    assert preflight(tmp_path, experiment(probes=[probe(GET)])) == "nothing is written"

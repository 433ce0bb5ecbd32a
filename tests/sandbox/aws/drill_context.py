"""What the parts of a drill need, around alarms of the shop that no system file documents."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.sandbox.aws.shop import Shop

from tocsin.actors.context import RunContext, StopRequest
from tocsin.model.experiment import Expect, Experiment, Extension, RecoveryTarget
from tocsin.model.system import CloudWatchAlarm, Endpoint, MetricAlarm, System
from tocsin.record.history import History


def drill_context(shop: Shop, directory: Path, alarms: Iterable[MetricAlarm], **expect: Any) -> RunContext:
    """A drill of a system of these alarms; each is named as in the account."""
    documented = {alarm.alarm_name: CloudWatchAlarm(title=alarm.alarm_name, cloudwatch=alarm) for alarm in alarms}
    nowhere = "http://127.0.0.1:9"
    wanted = Expect(recovery=RecoveryTarget(within=60), **expect)
    extension = Extension(name="tocsin", system="shop", expect=wanted)
    return RunContext(
        drill="d",
        root=directory,
        directory=directory,
        experiment=Experiment(slug="s", path="s.yaml", title="s", method=(), rollbacks=(), extension=extension),
        system=System(system="shop", title="Shop", endpoint=Endpoint(url=nowhere), alarms=documented),
        target=shop.account.target,
        history=History(directory / "history.jsonl"),
        base_url=nowhere,
        seed=1,
        stop=StopRequest(),
    )

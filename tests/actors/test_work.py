"""Work is counted from logs that can be read; while they cannot, nothing is lost and nothing is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.stubbed import Error, Request, Stubbed

from tocsin.actors.context import RunContext
from tocsin.actors.work import count_work
from tocsin.aws.target import Target
from tocsin.errors import Unavailable
from tocsin.model.experiment import Expect, Experiment, Extension, RecoveryTarget
from tocsin.model.system import System
from tocsin.record.history import History

LOG = {"log_group": "/shop/orders", "key": "order"}
SYSTEM = {
    "system": "shop",
    "title": "Shop",
    "endpoint": {"url": "x"},
    "conservation": {
        "orders": {"title": "o", "accepted": [{**LOG, "event": "accepted"}], "processed": {**LOG, "event": "packed"}}
    },
}


class Logs:
    """A log group of one order, which answers the first so many calls with a throttle."""

    def __init__(self, throttled: float) -> None:
        self._left = throttled

    def __call__(self, asked: Request) -> Mapping[str, Any]:
        self._left -= 1
        if self._left >= 0:
            raise Error("ThrottlingException", "Rate exceeded")
        event = asked["filterPattern"].strip('"')
        return {"events": [{"message": json.dumps({"event": event, "order": "7"})}]}


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[RunContext]:
    extension = Extension(system="shop", expect=Expect(gap="nothing rings", recovery=RecoveryTarget(within=60)))
    ctx = RunContext(
        drill="d",
        root=tmp_path,
        directory=tmp_path,
        experiment=Experiment(slug="s", path="s", title="s", method=(), rollbacks=(), extension=extension),
        system=System.model_validate(SYSTEM),
        target=Target("none", "eu-west-1", scale=1000.0, access_key_id="x", secret_access_key="x"),
        history=History(tmp_path / "history.jsonl"),
        base_url="http://127.0.0.1:9",
        seed=1,
    )
    yield ctx
    ctx.history.close()


@pytest.mark.parametrize(("throttled", "times"), [(0, 2), (1, 3)])
def test_logs_that_were_throttled_are_read_again(ctx: RunContext, throttled: int, times: int) -> None:
    api = Stubbed(ctx.target)
    api.answers("logs", "FilterLogEvents", Logs(throttled))
    counted = count_work(ctx, "orders", since=0, patience_s=60)
    assert (counted.accepted, counted.processed, counted.lost_count) == (1, 1, 0)
    assert len(api.calls("FilterLogEvents")) == times


def test_logs_that_never_answer_count_nothing(ctx: RunContext) -> None:
    Stubbed(ctx.target).answers("logs", "FilterLogEvents", Logs(float("inf")))
    with pytest.raises(Unavailable, match="reading the log group /shop/orders"):
        count_work(ctx, "orders", since=0, patience_s=60)

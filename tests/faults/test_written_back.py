"""What a fault has read and its undo writes is written back whole, told by botocore's models of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tests.faults.stub.account import StubAws, model_of
from tests.faults.stub.bench import FaultBench, QuickLedger
from tests.faults.stub.faults import ARGUMENTS, furnish
from tests.faults.stub.snapshot import snapshot
from tests.faults.table import FAULTS, UNDO, Trial

ENDS = ("Delete", "Deregister", "Start", "Stop")
"""Writes that say nothing but which thing is ended, or goes on."""
READS = ("Get", "Describe", "List", "Receive", "Lookup")
_DOCS = "https://docs.aws.amazon.com"

KEPT: dict[str, tuple[str, ...]] = {
    "application-autoscaling:RegisterScalableTarget": ("SuspendedState",),
    "ecs:UpdateService": ("deploymentConfiguration", "desiredCount", "taskDefinition"),
    "elbv2:RegisterTargets": ("Targets",),
    "lambda:UpdateAlias": ("FunctionVersion", "RoutingConfig"),
    "lambda:UpdateFunctionCode": ("Architectures", "SourceKMSKeyArn"),
    "lambda:UpdateFunctionConfiguration": ("Environment",),
    "rds:ModifyDBProxyTargetGroup": ("ConnectionPoolConfig",),
}
"""Writes of undos -> members that they write back, with everything in them."""

LEFT_ALONE: dict[str, str] = {
    "application-autoscaling:RegisterScalableTarget": "a target that is registered keeps what is not named: "
    f"{_DOCS}/autoscaling/application/APIReference/API_RegisterScalableTarget.html",
    "ecs:UpdateService": f"what is not named stays: {_DOCS}/AmazonECS/latest/APIReference/API_UpdateService.html",
    "lambda:UpdateAlias": f"what is not named stays: {_DOCS}/lambda/latest/api/API_UpdateAlias.html",
    "lambda:UpdateEventSourceMapping": "what is not named stays: "
    f"{_DOCS}/lambda/latest/api/API_UpdateEventSourceMapping.html",
    "lambda:UpdateFunctionConfiguration": "what is not named stays: "
    f"{_DOCS}/lambda/latest/api/API_UpdateFunctionConfiguration.html",
}
"""Writes that change only what they name, and where that is written."""

NOT_WRITTEN: dict[tuple[str, str], str] = {
    ("lambda:UpdateFunctionCode", "ImageUri"): "a function of an image is refused before the fault",
    ("lambda:UpdateFunctionCode", "RevisionId"): "a condition, no setting",
    ("lambda:UpdateFunctionCode", "S3Bucket"): "the code itself is in the call; where it once came from is not kept",
    ("lambda:UpdateFunctionCode", "S3Key"): "as S3Bucket",
    ("lambda:UpdateFunctionCode", "S3ObjectVersion"): "as S3Bucket",
}
"""Members that are read and taken, and not written back: why."""

NAMES = {
    *("DBProxyName", "FunctionName", "Name", "ResourceId", "ScalableDimension", "ServiceNamespace", "TargetGroupArn"),
    *("TargetGroupName", "UUID"),
}
"""Members that say which thing is written."""


def members(shape: Any, path: str = "", seen: tuple[str, ...] = ()) -> Iterator[str]:
    """Paths of all that a shape can hold."""
    if shape is None or shape.name in seen:
        return
    if shape.type_name == "list":
        yield from members(shape.member, f"{path}[]", seen)
    elif shape.type_name == "structure":
        for name, inner in shape.members.items():
            here = f"{path}.{name}".removeprefix(".")
            yield here
            yield from members(inner, here, (*seen, shape.name))


def said(value: Any, path: str = "") -> Iterator[str]:
    """Paths of all that a request says."""
    if isinstance(value, list):
        for one in value:
            yield from said(one, f"{path}[]")
    elif isinstance(value, dict):
        for name, inner in value.items():
            here = f"{path}.{name}".removeprefix(".")
            yield here
            yield from said(inner, here)


def sample(shape: Any) -> Any:
    """A value of that shape, with every member."""
    made = {
        "structure": lambda: {name: sample(inner) for name, inner in shape.members.items()},
        "list": lambda: [sample(shape.member)],
        "map": lambda: {"name": sample(shape.value)},
        "boolean": lambda: True,
        "integer": lambda: 7,
        "double": lambda: 0.5,
        "string": lambda: (getattr(shape, "enum", None) or ["text"])[0],
    }
    if getattr(shape, "is_document_type", False):
        return {"a": ["document"]}
    return made[shape.type_name]()


def shared(calls: set[str]) -> Iterator[tuple[str, str]]:
    """Each write of these calls, and paths of what it takes that a read of the same service among them can say."""
    for write in sorted(call for call in calls if not call.split(":")[1].startswith(READS)):
        service = write.split(":")[0]
        reads = [call for call in calls if call.split(":")[0] == service and call.split(":")[1].startswith(READS)]
        shown = {path.rsplit(".", 1)[-1] for read in reads for path in members(model_of(read).output_shape)}
        for path in members(model_of(write).input_shape):
            if path.rsplit(".", 1)[-1] in shown:
                yield write, path


def lived(patch: pytest.MonkeyPatch, ledger: QuickLedger, fault: str) -> tuple[Trial, set[str], Counter[str]]:
    """A whole life of a fault on an account in which everything is set; its calls, and those of the undo."""
    trial = Trial(patch, ledger, fault)
    config = model_of("ecs:UpdateService").input_shape.members["deploymentConfiguration"]
    trial.stub.services["ecs"].service["deploymentConfiguration"] = sample(config)
    trial.stub.services["lambda"].alias["RoutingConfig"] = {"AdditionalVersionWeights": {"2": 0.5}}
    calls = trial.run()
    return trial, set().union(*calls.values()), calls[UNDO]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuickLedger]:
    made = QuickLedger(tmp_path_factory.mktemp("ledger"))
    yield made
    made.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_it_is_written_back_with_all_that_was_read(
    ledger: QuickLedger, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    trial, calls, undo = lived(monkeypatch, ledger, fault)
    requests = trial.stub.requests[-undo.total() :]
    lost, unexplained = [], []
    for write, path in shared(calls):
        if write not in undo or write.split(":")[1].startswith(ENDS):
            continue
        top = path.split(".")[0].removesuffix("[]")
        if top in KEPT.get(write, ()):
            written = {one for name, asked in requests if name == write for one in said(asked)}
            if top in {one.split(".")[0].removesuffix("[]") for one in written} and path not in written:
                lost.append(f"{write} {path}")
        elif top not in NAMES and write not in LEFT_ALONE and (write, top) not in NOT_WRITTEN:
            unexplained.append(f"{write} {path}")
    assert lost == []
    assert unexplained == []


def test_each_that_is_listed_is_written_or_read(ledger: QuickLedger) -> None:
    """No row of the tables is about nothing."""
    written: set[tuple[str, str]] = set()
    found: set[tuple[str, str]] = set()
    for fault in FAULTS:
        with pytest.MonkeyPatch.context() as patch:
            trial, calls, _ = lived(patch, ledger, fault)
        written |= {(name, top) for name, asked in trial.stub.requests for top in asked}
        found |= {(write, path) for write, path in shared(calls) if "." not in path}
    assert {(write, top) for write, tops in KEPT.items() for top in tops} <= written
    assert NOT_WRITTEN.keys() <= found
    assert not NOT_WRITTEN.keys() & written
    assert LEFT_ALONE.keys() <= {write for write, _ in written}


@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        ("elb_target_deregistered", "targets"),
        ("lambda_bad_release", "source key"),
        ("rds_proxy_throttle", "proxy"),
    ],
)
def test_what_is_not_written_back_is_seen(
    stub: StubAws, life: FaultBench, monkeypatch: pytest.MonkeyPatch, kind: str, lost: str
) -> None:
    """An entry of an older version, which did not remember it: what the stub does is what AWS documents."""
    furnish(stub)
    before = snapshot(stub)
    life.inject(kind, **ARGUMENTS[kind])
    (entry,) = life.open
    for older in (entry.prior, *entry.prior.get("targets", ())):
        for name in ("others", "code"):
            older.pop(name, None)
    assert life.process().undo_all([entry]) == []
    now = snapshot(stub)
    assert lost in {name for name, value in before.items() if now[name] != value}

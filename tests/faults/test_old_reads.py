"""A policy that is read as it was a while ago is not taken for one that was never written."""

from __future__ import annotations

import pytest
from tests.faults.stub.account import StubAws
from tests.faults.stub.bench import FaultBench

from tocsin.errors import Refused, TargetError
from tocsin.model.events import FaultStage


def test_a_statement_that_is_not_read_yet_is_removed_all_the_same(stub: StubAws, life: FaultBench) -> None:
    def over(seconds: float) -> None:
        raise Refused("interrupted", "the end was asked for")

    life.lifecycle.wait = over
    stub.services["s3"].old_for_s = 20.0
    with pytest.raises(Refused, match="the end was asked for"):
        life.inject("s3_bucket_deny", bucket="orders", actions=["s3:GetObject"])
    assert life.lifecycle.undo_all() == []
    assert stub.services["s3"].policy is None


def test_where_nothing_was_written_the_undo_ends(stub: StubAws, life: FaultBench) -> None:
    stub.fails("s3:PutBucketPolicy", "AccessDenied")
    with pytest.raises(TargetError, match="AccessDenied"):
        life.inject("s3_bucket_deny", bucket="orders", actions=["s3:GetObject"])
    before = stub.clock.now
    assert life.lifecycle.undo_all() == []
    assert stub.clock.now - before <= 70
    assert life.stages[-1] is FaultStage.VERIFIED

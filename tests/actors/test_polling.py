"""A watcher that lives on expired credentials reads them again; one that is throttled keeps those it has."""

from __future__ import annotations

import threading

import pytest
from tests.actors.conftest import Stage

from tocsin.actors.base import PollingActor
from tocsin.actors.context import RunContext
from tocsin.errors import CredentialsExpired, Unavailable


class Unlucky(PollingActor):
    """Its first two polls are not answered, the third is."""

    def __init__(self, ctx: RunContext, error: type[Unavailable]) -> None:
        super().__init__("unlucky", ctx)
        self._errors = [error("no answer")] * 2
        self.answered = threading.Event()

    def poll(self) -> None:
        if self._errors:
            raise self._errors.pop()
        self.answered.set()


@pytest.mark.parametrize(("error", "renewals"), [(Unavailable, 0), (CredentialsExpired, 2)])
def test_credentials_are_read_again_where_they_ended(stage: Stage, error: type[Unavailable], renewals: int) -> None:
    ctx = stage.context(scale=1000.0)
    actor = Unlucky(ctx, error)
    actor.start()
    try:
        assert actor.answered.wait(60)
    finally:
        actor.stop()
        ctx.history.close()
    assert ctx.target.login.renewals == renewals

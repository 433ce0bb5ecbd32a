"""A run that is killed at any call, before it takes effect or before it is answered, and `recover` after it."""

from __future__ import annotations

import json
import os
import signal
from itertools import count
from pathlib import Path

from tests.parity.throwaway.pretended import Pretended
from tests.parity.throwaway.test_running import anything, only

from tocsin.faults.lifecycle import recover
from tocsin.parity.context import Clock, ParityContext
from tocsin.parity.model import Key
from tocsin.parity.throwaway.registry import RECOVERABLE
from tocsin.parity.throwaway.running import measure
from tocsin.record.ledger import Ledger


def run_until_killed(ledger: Path, state: Path, moment: int) -> None:
    """In a process of its own: measure, and die by SIGKILL at that moment; what the account holds then is written."""
    account, moments = Pretended(), count()

    def die() -> None:
        if next(moments) == moment:
            state.write_text(json.dumps([account.queues, account.roles, account.functions]))
            os.kill(os.getpid(), signal.SIGKILL)

    account.at_each = die
    context = ParityContext(account.target, Ledger(ledger, "none"), Clock(wait=lambda wall_s: None))
    measure(context, anything, measurements=only(Key.FUNCTION_CONFLICT))


def killed(ledger: Path, state: Path, moment: int) -> bool:
    """Whether it came to that moment, in a child that is forked."""
    child = os.fork()
    if child == 0:
        try:
            run_until_killed(ledger, state, moment)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def test_whenever_it_is_killed_recover_deletes_what_it_left(tmp_path: Path) -> None:
    left_something = 0
    for moment in count():
        ledger, state = tmp_path / f"{moment}.sqlite", tmp_path / f"{moment}.json"
        if not killed(ledger, state, moment):
            break
        account = Pretended()
        before = account.all
        account.queues, account.roles, account.functions = json.loads(state.read_text())
        left_something += account.all != before
        found = Ledger(ledger, "none")
        recover(account.target, found, registry=RECOVERABLE)
        assert account.all == before, f"at moment {moment}"
        assert found.entries(only_open=True) == []
        found.close()
    assert moment > left_something > 10

"""Undoing while AWS throttles, fails, is silent or refuses credentials: retried, then left to a later `recover`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.aws_weather import DENIED, EXPIRED, FAILED, SILENT, THROTTLED, Answer, Weather
from tests.drill.fault_table import ARGUMENTS
from tests.sweep.account import Snapshot, differences
from tests.sweep.harness import REGION, ROOT, SCALE, Range

from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.registry import fault_class
from tocsin.model.events import FaultStage
from tocsin.project.places import ledger_path
from tocsin.record.ledger import Ledger

pytestmark = [pytest.mark.sweep, pytest.mark.takes(120), pytest.mark.xdist_group("kills"), pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Case:
    """A fault, the call of its undo that fails, and how."""

    fault: str
    call: str
    answer: Answer
    times: int


# As many errors as make botocore's own three attempts give up, and ours begin.
CASES = {
    "throttled": Case("rds_proxy_throttle", "ModifyDBProxyTargetGroup", THROTTLED, 4),
    "failing": Case("lambda_event_source_disabled", "PUT /2015-03-31/event-source-mappings/", FAILED, 4),
    "silent": Case("iam_role_deny", "DeleteRolePolicy", SILENT, 4),
    "expired": Case("lambda_reserved_concurrency", "DELETE /2017-10-31/functions/", EXPIRED, 2),
}


_COMMAND = """
from botocore.retries.standard import ExponentialBackoff
from tocsin.cli import main
# As long as ours on this clock: in wall seconds these would make a minute of it.
ExponentialBackoff.delay_amount = lambda *_: 0.01
main()
"""


class Stormy:
    """A checkout with a target of its own for each case, all of them behind one proxy."""

    def __init__(self, root: Path, shooting: Range, weather: Weather) -> None:
        self.root, self.weather, self._target = root, weather, shooting.target
        (root / "tocsin.toml").write_text("".join(self._table(name) for name in CASES))

    def _table(self, name: str) -> str:
        return (
            f'[targets.{name}]\naccount = "{self._target.account}"\nregion = "{REGION}"\n'
            f'endpoint_url = "{self.weather.url}"\nscale = {SCALE}\ntimeout_s = 1.0\n'
        )

    def inject(self) -> None:
        """Break one thing a target, in good weather."""
        for name, case in CASES.items():
            ledger = Ledger(ledger_path(self.root, name), name)
            lifecycle = FaultLifecycle(target=replace(self._target, name=name), ledger=ledger, drill="dead")
            fault = fault_class(case.fault).model_validate(ARGUMENTS[case.fault])
            assert lifecycle.inject(fault) is FaultStage.EFFECTIVE
            ledger.close()

    def falls_for_ever(self) -> None:
        self._without_account_lock()
        for case in CASES.values():
            self.weather.falls(case.call, case.answer)

    def falls_for_a_while(self) -> None:
        self.weather.clears()
        self.weather.errors.clear()
        self._without_account_lock()
        for case in CASES.values():
            self.weather.falls(case.call, case.answer, case.times)

    def _without_account_lock(self) -> None:
        """All targets are one account, and its lock lets one in at a time: here nobody may ask for it."""
        self.weather.falls("PutParameter", DENIED)

    def recover(self) -> dict[str, tuple[int, str]]:
        """`tocsin recover` for every target at once: exit code and what was printed."""
        started = {name: self._start(name) for name in CASES}
        printed = {name: process.communicate(timeout=300)[0] for name, process in started.items()}
        return {name: (process.returncode, printed[name]) for name, process in started.items()}

    def _start(self, name: str) -> subprocess.Popen[str]:
        credentials = {"AWS_ACCESS_KEY_ID": str(self._target.account), "AWS_SECRET_ACCESS_KEY": "signed-anew"}
        return subprocess.Popen(
            [sys.executable, "-c", _COMMAND, "recover", "--target", name],
            cwd=self.root,
            env={**os.environ, **credentials, "PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture
def stormy(tmp_path: Path, shooting: Range) -> Iterator[Stormy]:
    keys = shooting.target.session.get_credentials()
    with Weather(str(shooting.target.endpoint_url), keys) as weather:
        yield Stormy(tmp_path, shooting, weather)


def test_what_passes_is_waited_out_and_what_does_not_is_left_to_a_later_recover(
    stormy: Stormy, shooting: Range, before: Snapshot
) -> None:
    stormy.inject()
    stormy.falls_for_ever()
    for name, (code, text) in stormy.recover().items():
        assert code == 5, (name, text)
        assert CASES[name].fault in text
        assert "call `tocsin recover` again" in text
        assert "Traceback" not in text
    assert differences(before, shooting.account()) != []

    # The weather gets better while `recover` tries.
    stormy.falls_for_a_while()
    for name, (code, text) in stormy.recover().items():
        assert (code, text.count("undone and verified")) == (0, 1), (name, text)
    assert Counter(stormy.weather.errors)["ModifyDBProxyTargetGroup"] == CASES["throttled"].times
    assert shooting.differs(before) == []

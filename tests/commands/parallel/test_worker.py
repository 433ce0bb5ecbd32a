"""When a worker takes another sandbox: without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tocsin.commands.parallel import worker
from tocsin.commands.parallel.messages import Job
from tocsin.drill.options import RunOptions
from tocsin.errors import Interrupted
from tocsin.model.events import FirstTry
from tocsin.model.verdict import Outcome

FIRST = FirstTry(drill="one-1a2b", because="this machine did not keep up", directory="first-try")


class Bench:
    """A worker whose drills and sandboxes are only counted."""

    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.told: list[str] = []
        self.tries_again: list[bool] = []
        self.outcome, self.quiet = Outcome.PASS, True
        self.options = RunOptions(root=root)
        for name in ("start_sandbox", "drill_once", "wait_until_quiet", "running_target"):
            patch.setattr(worker, name, getattr(self, f"_{name}"))
        patch.setattr(worker.control, "down", lambda *_: self.told.append("down"))
        patch.setattr(worker, "in_region", lambda target, _: target)
        self._sandbox = worker._Sandbox(self.options)
        planned = SimpleNamespace(
            system=SimpleNamespace(system="shop"), loaded=SimpleNamespace(experiment=SimpleNamespace(slug="one"))
        )
        self._sandbox._planner = cast("Any", SimpleNamespace(plan=lambda _: planned))

    def _start_sandbox(self, *_: Any, **__: Any) -> None:
        self.told.append("up")

    def _drill_once(self, _: Any, __: Any, options: RunOptions, *given: Any) -> tuple[None, Any]:
        self.told.append("drill")
        self.tries_again.append(options.try_again)
        return None, SimpleNamespace(outcome=self.outcome)

    def _wait_until_quiet(self, *_: Any) -> bool:
        self.told.append("wait")
        return self.quiet

    @contextmanager
    def _running_target(self, *_: Any, **__: Any) -> Iterator[None]:
        yield None

    def drill(self, outcome: Outcome, scale: float = 60.0, first: FirstTry | None = None) -> list[str]:
        """What is done for one drill that ends like this."""
        self.outcome = outcome
        self.told.clear()
        self._sandbox.drill(Job(path=Path("one.yaml"), out=Path(), scale=scale, first=first))
        return list(self.told)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    return Bench(monkeypatch, tmp_path)


def test_the_sandbox_is_kept_for_the_next_drill_and_is_another_at_another_scale(bench: Bench) -> None:
    assert bench.drill(Outcome.PASS) == ["up", "drill"]
    assert bench.drill(Outcome.PASS) == ["drill"]
    assert bench.drill(Outcome.PASS, scale=30.0) == ["down", "up", "drill"]


@pytest.mark.parametrize("quiet", [True, False])
def test_a_second_try_has_a_new_sandbox_whatever_the_first_one_left(bench: Bench, quiet: bool) -> None:
    bench.quiet = quiet
    bench.drill(Outcome.UNKNOWN)
    assert bench.drill(Outcome.UNKNOWN, first=FIRST) == ["down", "up", "drill"]
    assert bench.drill(Outcome.UNKNOWN, first=FIRST) == ["down", "up", "drill"], "that of another drill is dirty, too"


def test_a_first_try_may_have_a_second_one_and_a_second_one_has_no_third(bench: Bench) -> None:
    bench.drill(Outcome.UNKNOWN)
    bench.drill(Outcome.UNKNOWN, first=FIRST)
    assert bench.tries_again == [True, False]


def test_where_it_does_not_get_quiet_the_next_drill_has_a_new_sandbox(bench: Bench) -> None:
    bench.drill(Outcome.FAIL)
    assert bench.drill(Outcome.FAIL) == ["wait", "drill"]
    bench.quiet = False
    assert bench.drill(Outcome.PASS) == ["wait", "down", "up", "drill"]
    assert bench.drill(Outcome.PASS) == ["drill"], "nothing rings in the new one"


def test_whoever_asked_for_the_end_gets_no_new_sandbox(bench: Bench) -> None:
    bench.drill(Outcome.FAIL)
    bench.quiet = False
    bench.options.stop.ask(Interrupted("SIGINT"))
    assert bench.drill(Outcome.PASS) == ["wait"]
    assert bench.drill(Outcome.PASS, first=FIRST) == []

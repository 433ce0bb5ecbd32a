"""What the process of a contract test does to its interpreter before Schemathesis' workers begin."""

from __future__ import annotations

import ast
import builtins
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tocsin.actors.contract_child import _parse_one_at_a_time

SOURCE = "answer = [1, (2, 3)]"


class Slow:
    """The compiler, which takes a while, and knows how many were in it at once."""

    def __init__(self) -> None:
        self._compile = builtins.compile
        self._lock = threading.Lock()
        self._inside = 0
        self._two = threading.Event()
        self.most = 0
        self.takes_s = 0.02
        """until a second one is in it"""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
            if self._inside > 1:
                self._two.set()
        self._two.wait(self.takes_s)
        try:
            return self._compile(*arguments, **options)
        finally:
            with self._lock:
                self._inside -= 1


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    found = Slow()
    monkeypatch.setattr(builtins, "compile", found)
    return found


def parsed_by_four() -> list[Any]:
    """By Hypothesis' way and by AnyIO's, as two workers each would."""

    def by_hypothesis(_: int) -> Any:
        return ast.parse(SOURCE)

    def by_anyio(_: int) -> Any:
        return compile(SOURCE, "anyio", "exec", ast.PyCF_ONLY_AST)

    with ThreadPoolExecutor(4) as workers:
        parsing = [workers.submit(way, number) for number in range(2) for way in (by_hypothesis, by_anyio)]
        return [ast.dump(one.result()) for one in parsing]


def test_workers_parse_one_at_a_time(slow: Slow) -> None:
    _parse_one_at_a_time()
    assert len(set(parsed_by_four())) == 1
    assert slow.most == 1


def test_without_that_they_parse_at_once(slow: Slow) -> None:
    slow.takes_s = 60  # whoever is first waits for another
    parsed_by_four()
    assert slow.most > 1

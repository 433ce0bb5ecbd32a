"""Where this machine has no `promtool` one is downloaded, and whoever deploys is told before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tocsin.model.parts import PartsChoice
from tocsin.sandbox import account
from tocsin.sandbox.account import Account
from tocsin.sandbox.keys import Keys


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What happened, in order; on a machine without promtool."""
    found: list[str] = []

    def door(endpoint_url: str, token: str, name: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        found.append(f"asked for {name}")
        return {"url": "http://127.0.0.1:9"}

    monkeypatch.setattr(account, "open_door", door)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return found


def start(done: list[str], parts: PartsChoice = "embedded") -> None:
    Account("http://127.0.0.1:9", "eu-west-1", "1", 60, Keys.new("1"), parts, done.append).start_prometheus(
        Path("rules.yaml"), {}
    )


def test_what_is_downloaded_is_said_before(done: list[str], tmp_path: Path) -> None:
    start(done)
    (told, asked) = done
    assert "downloading Debian's package `prometheus` with apt-get" in told
    assert str(tmp_path / "cache" / "tocsin" / "prometheus") in told
    assert asked == "asked for prometheus"


def test_nothing_is_said_where_nothing_is_downloaded(done: list[str], tmp_path: Path) -> None:
    start(done, "containers")
    program = tmp_path / "promtool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    start(done)
    assert done == ["asked for prometheus"] * 2

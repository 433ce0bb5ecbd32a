"""What every process of a sandbox is started with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin.sandbox.parts.supervise import MARKER, marked


def test_no_process_is_started_with_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "of-somebody")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "kept")
    found = marked(Path("/where"))
    assert "of-somebody" not in found.values()
    assert found["AWS_DEFAULT_REGION"] == "kept"
    assert found[MARKER] == "/where"

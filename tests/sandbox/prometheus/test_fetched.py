"""Several processes may need the rule engine at once, where none is there yet: each unpacks it, and one is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin.project.promtool import cached_promtool
from tocsin.sandbox.parts.promtool import find_promtool

APT = """#!/bin/sh
[ "$2" = download ] && touch prometheus_1_all.deb
exit 0
"""
DPKG = """#!/bin/sh
/bin/mkdir -p "$3/usr/bin"
echo "that of $PPID" > "$3/usr/bin/promtool"
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it is kept, on a machine that has none and gets a package of nothing but a name."""
    for name, text in (("apt-get", APT), ("dpkg", DPKG)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "touch").symlink_to("/bin/touch")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tocsin" / "prometheus"


def test_it_is_unpacked_once(cache: Path) -> None:
    found = find_promtool()
    assert found == cached_promtool(cache)
    written = found.read_text()
    assert find_promtool() == found
    assert found.read_text() == written
    assert [path.name for path in cache.parent.iterdir()] == ["prometheus"], "nothing else is left"


def test_one_that_was_faster_is_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def later(root: Path, home: Path) -> Path:
        cached_promtool(home).parent.mkdir(parents=True)
        cached_promtool(home).write_text("that of another")
        return rename(root, home)

    monkeypatch.setattr(Path, "rename", later)
    assert find_promtool().read_text() == "that of another"

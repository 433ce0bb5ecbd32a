"""Where the kernel tells how often something waited for a processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin.actors.processors import own_pressure, waited_us

TOLD = "some avg10=1.00 avg60=0.00 avg300=0.00 total={}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"


def kernel(root: Path, group: str, mounted_root: str = "/", *, tells: str | None) -> Path:
    """`/proc/self` of a process in a control group, below a mount that shows the groups from a root on."""
    proc, mount = root / "self", root / "cgroup"
    inside = mount / group.removeprefix(mounted_root).strip("/")
    proc.mkdir()
    inside.mkdir(parents=True)
    (proc / "cgroup").write_text(f"3:cpuset:/other\n0::{group}\n")
    (proc / "mountinfo").write_text(
        f"25 30 0:22 / /proc rw,nosuid shared:5 - proc proc rw\n"
        f"36 30 0:29 {mounted_root} {mount} rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
    )
    if tells is not None:
        (inside / "cpu.pressure").write_text(tells)
    return proc


@pytest.mark.parametrize(("group", "mounted_root"), [("/", "/"), ("/user.slice/a", "/"), ("/docker/1/a", "/docker/1")])
def test_the_group_of_this_process_tells(tmp_path: Path, group: str, mounted_root: str) -> None:
    proc = kernel(tmp_path, group, mounted_root, tells=TOLD.format(42))
    assert waited_us(own_pressure(proc, tmp_path / "machine")) == 42


@pytest.mark.parametrize("tells", [None, "", "not a pressure\n"])
def test_where_the_group_does_not_tell_the_machine_does(tmp_path: Path, tells: str | None) -> None:
    (tmp_path / "machine").write_text(TOLD.format(43))
    assert waited_us(own_pressure(kernel(tmp_path, "/a", tells=tells), tmp_path / "machine")) == 43


def test_without_control_groups_the_machine_tells(tmp_path: Path) -> None:
    (tmp_path / "machine").write_text(TOLD.format(44))
    assert waited_us(own_pressure(tmp_path / "self", tmp_path / "machine")) == 44


def test_where_nobody_tells_nothing_is_known(tmp_path: Path) -> None:
    assert waited_us(own_pressure(tmp_path / "self", tmp_path / "machine")) is None

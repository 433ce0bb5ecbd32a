"""How often something waits for a processor, as the kernel tells of this machine and of a control group on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

PRESSURE = Path("/proc/pressure/cpu")
_PROC = Path("/proc/self")
_TOTAL = re.compile(r"^some .*total=(\d+)$", re.MULTILINE)
_GROUP = re.compile(r"^0::(/.*)$", re.MULTILINE)
"""The line of cgroup v2 in `/proc/self/cgroup` (https://docs.kernel.org/admin-guide/cgroup-v2.html#processes)."""


def waited_us(pressure: Path = PRESSURE) -> int | None:
    """Microseconds since the start of the machine in which something waited for a processor; None where nobody tells.

    https://docs.kernel.org/accounting/psi.html
    """
    try:
        found = _TOTAL.search(pressure.read_text(encoding="ascii"))
    except OSError:
        return None
    return int(found[1]) if found else None


def own_pressure(proc: Path = _PROC, machine: Path = PRESSURE) -> Path:
    """Where the kernel tells how often something waited: in this process's own control group, else on the machine.

    What waits in another group holds up nobody here; a group that used up its quota waits on an idle machine.
    https://docs.kernel.org/accounting/psi.html#cgroup2-interface
    """
    told = (place for place in _places(proc) if waited_us(place) is not None)
    return next(told, machine)


def _places(proc: Path) -> Iterator[Path]:
    """Where the pressure of this process's control group may be told."""
    try:
        group = _GROUP.search((proc / "cgroup").read_text(encoding="utf-8"))
        mounts = (proc / "mountinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for fields in (line.split() for line in mounts if group is not None and " - cgroup2 " in line):
        root, mount = fields[3:5]
        inside = group[1].removeprefix(root) if group is not None else ""
        yield Path(mount) / inside.strip("/") / "cpu.pressure"

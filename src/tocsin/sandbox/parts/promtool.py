"""Finding the rule engine of Prometheus: on the PATH, in a cache, or in Debian's package."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tocsin.errors import SandboxError
from tocsin.project.promtool import cached_promtool, promtool_at_hand, promtool_cache

_TIMEOUT_S = 30.0
_INSTALL = (
    "Install it (Debian, Ubuntu: `apt install prometheus`; macOS: `brew install prometheus`; else "
    "https://prometheus.io/download/), so that `promtool` is on the PATH."
)


@dataclass(frozen=True)
class InstalledPromtool:
    """A `promtool` of this machine."""

    program: Path
    scratch: None = None

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it once. Raises SandboxError when it does not answer at all."""
        try:
            return subprocess.run(
                [str(self.program), *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SandboxError(f"expected promtool to answer, found: {error}") from error


def find_promtool() -> Path:
    """`promtool` from the PATH, else from Debian's package, unpacked once into the user's cache without root.

    Raises:
        SandboxError: there is none, and none can be had.
    """
    found = promtool_at_hand()
    if found is not None:
        return found
    cache = promtool_cache()
    if cache is None:
        raise SandboxError(
            f"expected `promtool` on the PATH, found none, and no home directory to keep one in. {_INSTALL}"
        )
    _unpack_debian_package(cache)
    return cached_promtool(cache)


def _unpack_debian_package(home: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise SandboxError(f"expected `promtool` on the PATH, found none. {_INSTALL}")
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="unpacking-") as name:
        directory = Path(name)
        if not _download(directory, []):
            # Package lists of our own: those of the system may be empty, and only root may renew them.
            options = _private_lists(directory)
            _apt(directory, [*options, "update"])
            if not _download(directory, options):
                raise SandboxError(f"expected to download Debian's package `prometheus`, could not. {_INSTALL}")
        (package,) = directory.glob("prometheus_*.deb")
        root = directory / "root"
        subprocess.run(["dpkg", "-x", str(package), str(root)], check=True, timeout=_TIMEOUT_S * 4, capture_output=True)
        # One rename, so that a second process never finds half of it; one that was faster has the same.
        try:
            root.rename(home)
        except OSError:
            if not home.exists():
                raise


def _download(directory: Path, options: Sequence[str]) -> bool:
    _apt(directory, [*options, "download", "prometheus"])
    return any(directory.glob("prometheus_*.deb"))


def _private_lists(directory: Path) -> list[str]:
    for part in ("lists/partial", "cache/archives/partial"):
        (directory / part).mkdir(parents=True)
    return ["-o", f"Dir::State::lists={directory / 'lists'}", "-o", f"Dir::Cache={directory / 'cache'}"]


def _apt(directory: Path, arguments: Sequence[str]) -> None:
    subprocess.run(
        ["apt-get", "-qq", *arguments], cwd=directory, capture_output=True, timeout=_TIMEOUT_S * 8, check=False
    )

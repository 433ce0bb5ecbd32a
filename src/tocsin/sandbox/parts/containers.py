"""The programs of PostgreSQL, Valkey and Prometheus from images, started with testcontainers.

A container here is a root file system and nothing else: it shares the network and the process ids of this machine,
runs under the same account as an embedded part, and has the sandbox's directories at their own paths. So servers listen
on 127.0.0.1 only, and signals, data directories and processor time are as they are without Docker. This is also why
Docker must be on this machine itself, and not rootless.

Docker removes a container when its program ends. Those that outlive a killed sandbox carry its directory as a label,
by which the next `up` or `down` removes them. Testcontainers' own reaper is off: it would be one more image, with
access to Docker's socket, for what `down` must do for processes anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tocsin.errors import InvalidInput, SandboxError
from tocsin.sandbox.parts.programs import NO_SECRETS, OWN, RunsAs, failure
from tocsin.sandbox.parts.supervise import MARKER

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

POSTGRES = "postgres:18.1"
VALKEY = "valkey/valkey:9.0.5"
PROMETHEUS = "prom/prometheus:v3.5.0"
IMAGES = (POSTGRES, VALKEY, PROMETHEUS)

LABEL = "tocsin.sandbox"
"""On every container: the directory of its sandbox."""

_TIMEOUT_S = 60
_WITHOUT = "leave out `--parts containers`: the embedded parts need no Docker"


# ------------------------------------------------------------------------------------------------ Docker


def find_docker() -> str:
    """The version of the Docker that containers can be had from.

    Raises:
        InvalidInput: testcontainers is not installed, no Docker answers, or it is none that can be used.
    """
    with _docker() as docker, _docker_errors("say what it is"):
        info = docker.info()
    if info["Name"] != socket.gethostname():
        raise InvalidInput(
            f"expected the Docker of this machine for `--parts containers`, found at {_where()} that of "
            f"'{info['Name']}'. Point DOCKER_HOST to one that runs here, or {_WITHOUT}."
        )
    if any("rootless" in option for option in info.get("SecurityOptions") or ()):
        raise InvalidInput(
            f"expected a Docker that runs as root for `--parts containers`, found at {_where()} a rootless one, whose "
            f"containers have other users and networks than this machine. Point DOCKER_HOST to another, or {_WITHOUT}."
        )
    return str(info["ServerVersion"])


def prepare(progress: Callable[[str], None]) -> None:
    """Make sure that there is a Docker and that it has the images.

    Raises:
        InvalidInput: there is none; see `find_docker`.
        SandboxError: an image cannot be pulled.
    """
    find_docker()
    with _docker() as docker:
        for image in IMAGES:
            if not docker.images.list(name=image):
                progress(f"pulling {image}")
                with _docker_errors(f"pull the image {image}"):
                    docker.images.pull(image)


def remove_residue(home: Path) -> int:
    """Remove the containers of the sandbox in `home`, if it had any; returns how many there still were.

    Raises:
        SandboxError: Docker does not answer any more.
    """
    if not _own_directory(home).is_dir():
        return 0
    try:
        with _docker() as docker, _docker_errors("remove containers"):
            left = docker.containers.list(all=True, filters={"label": f"{LABEL}={home}"}, ignore_removed=True)
            for container in left:
                _remove(container)
            return len(left)
    except InvalidInput as error:
        raise SandboxError(f"expected to remove the containers of {home}, found: {error}") from error


def _remove(container: Any) -> None:
    from docker.errors import APIError

    try:
        container.remove(force=True, v=True)
    except APIError as error:
        # Docker has removed it, or is about to, because its program has just ended.
        if error.status_code not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            raise


def _where() -> str:
    return os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")


@contextmanager
def _docker() -> Iterator[Any]:
    """The client of Docker's API. Raises InvalidInput when there is nothing to talk to."""
    if importlib.util.find_spec("testcontainers") is None:
        raise InvalidInput(
            "expected the package `testcontainers` for `--parts containers`, found none. "
            f"Install it, pip install 'tocsin[containers]', or {_WITHOUT}."
        )
    try:
        from testcontainers.core.docker_client import DockerClient
    except RuntimeError as error:  # it looks for its settings there when it is imported
        raise InvalidInput(
            f"expected a home directory for `--parts containers`, found none. Set HOME, or {_WITHOUT}."
        ) from error
    try:
        client = DockerClient(timeout=_TIMEOUT_S).client
    except Exception as error:  # whatever a broken DOCKER_HOST makes of itself
        raise InvalidInput(
            f"expected Docker for `--parts containers`, found none that answers at {_where()}. "
            f"Start it or set DOCKER_HOST, or {_WITHOUT}."
        ) from error
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _docker_errors(what: str) -> Iterator[None]:
    """Raises SandboxError in place of what Docker's client raises."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except (DockerException, RequestException) as error:
        raise SandboxError(f"expected Docker to {what}, found: {error}") from error


# ------------------------------------------------------------------------------------------------ parts


class ContainerParts:
    """Containers of the sandbox in `home`."""

    def __init__(self, home: Path) -> None:
        self._home = home
        own = _own_directory(home)
        own.mkdir(parents=True, exist_ok=True)
        # Some programs ask who they are, and no image knows our accounts.
        users = {(0, 0): "root", _ids(OWN): "tocsin", _ids(RunsAs.for_server()): "server"}
        lines = [f"{name}:x:{uid}:{gid}::/:/bin/sh\n" for (uid, gid), name in users.items()]
        (own / "passwd").write_text("".join(lines), encoding="utf-8")

    def postgres(self, account: RunsAs, scratch: Path) -> ContainerPrograms:
        """Those of the official PostgreSQL image."""
        return ContainerPrograms(self._home, POSTGRES, account, {"LC_ALL": "C", "TZ": "UTC", "PGCONNECT_TIMEOUT": "5"})

    def valkey(self, home: Path) -> ContainerPrograms:
        """Those of the official Valkey image."""
        return ContainerPrograms(home, VALKEY, OWN, {})

    def promtool(self, rules: Path) -> ContainerPromtool:
        """The one of the official Prometheus image, in a container that stays: a run takes no start."""
        return ContainerPromtool(self._home, rules)

    def close(self) -> None:
        """Remove every container."""
        # `down` tries again, and says so when it cannot.
        with contextlib.suppress(SandboxError):
            remove_residue(self._home)


def _own_directory(home: Path) -> Path:
    return home / "containers"


def _ids(account: RunsAs) -> tuple[int, int]:
    return (os.getuid(), os.getgid()) if account.uid < 0 else (account.uid, account.gid)


def _start(
    home: Path, image: str, command: Sequence[str], account: RunsAs, places: Mapping[Path, str], **options: Any
) -> DockerContainer:
    """Start a container; `places` are directories and files of this machine, with their mode (`ro`, `rw`)."""
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    testcontainers_config.ryuk_disabled = True
    with _docker_errors(f"start {command[0]} from {image}"):
        container = DockerContainer(image).with_command(list(command)).with_env(MARKER, str(home))
        container.with_volume_mapping(_own_directory(home) / "passwd", "/etc/passwd")
        for place, mode in places.items():
            container.with_volume_mapping(place, str(place), mode)
        uid, gid = _ids(account)
        for name, value in options.pop("environment", {}).items():
            container.with_env(name, value)
        container.with_kwargs(
            user=f"{uid}:{gid}", network="host", pid_mode="host", labels={LABEL: str(home)}, **options
        )
        return container.start()


@dataclass(frozen=True)
class ContainerPrograms:
    """Programs of one image, run under one account."""

    home: Path
    image: str
    account: RunsAs
    environment: Mapping[str, str]

    async def start(self, program: str, *arguments: str, log: Path, places: Sequence[Path]) -> ContainerProcess:
        """See `Programs.start`."""
        # Emptied by us; written to by the program's account.
        log.write_bytes(b"")
        entrypoint = ["sh", "-c", 'exec "$@" >>"$0" 2>&1', str(log)]
        pid = await asyncio.to_thread(self._start, [program, *arguments], entrypoint, (*places, log))
        return ContainerProcess(pid)

    def _start(self, command: Sequence[str], entrypoint: Sequence[str], places: Sequence[Path]) -> int:
        from docker.errors import NotFound

        container = _start(
            self.home, self.image, command, self.account, dict.fromkeys(places, "rw"),
            entrypoint=entrypoint, environment=self.environment, auto_remove=True,
        )  # fmt: skip
        with _docker_errors(f"show {command[0]}"), contextlib.suppress(NotFound):
            container.reload()
            return int(container.get_wrapped_container().attrs["State"]["Pid"])
        return 0  # it has ended, and Docker has removed it

    async def run(
        self, program: str, *arguments: str, places: Sequence[Path], secrets: Mapping[str, str] = NO_SECRETS
    ) -> None:
        """See `Programs.run`. Who may use Docker may do everything, and so may read `secrets`."""
        code, output = await asyncio.to_thread(self._run, program, arguments, places, secrets)
        if code != 0:
            raise failure(program, output)

    def _run(
        self, program: str, arguments: Sequence[str], places: Sequence[Path], secrets: Mapping[str, str]
    ) -> tuple[int, bytes]:
        container = _start(
            self.home, self.image, arguments, self.account, dict.fromkeys(places, "rw"),
            entrypoint=[program], environment={**self.environment, **secrets},
        )  # fmt: skip
        with _docker_errors(f"run {program}"):
            try:
                return container.wait(), b"".join(container.get_logs())
            finally:
                container.stop()


class ContainerProcess:
    """The program of a container, by its process id on this machine; 0 when it has ended already.

    It is no child of ours, so how it ended is not known. Make it in a running event loop.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        try:
            if pid == 0:
                raise ProcessLookupError
            self._handle = os.pidfd_open(pid)
        except ProcessLookupError:
            self._ended.set_result(-1)
        else:
            self._loop.add_reader(self._handle, self._end)

    @property
    def returncode(self) -> int | None:
        """None while it runs, then -1."""
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        """Wait until it has ended."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: int, /) -> None:
        """Raises ProcessLookupError when it has ended."""
        if self._ended.done():
            raise ProcessLookupError(self.pid)
        signal.pidfd_send_signal(self._handle, number)

    def _end(self) -> None:
        self._loop.remove_reader(self._handle)
        os.close(self._handle)
        self._ended.set_result(-1)


class ContainerPromtool:
    """`promtool` in a container that waits for it."""

    def __init__(self, home: Path, rules: Path) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="rules-", dir=_own_directory(home)))
        places = {rules.resolve().parent: "ro", self.scratch: "rw"}
        self._container = _start(home, PROMETHEUS, ["-f", "/dev/null"], OWN, places, entrypoint=["tail"])

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it once. Raises SandboxError when it does not answer at all."""
        with _docker_errors("run promtool"):
            command = ["promtool", *arguments]
            code, (out, err) = self._container.get_wrapped_container().exec_run(command, demux=True)
        return subprocess.CompletedProcess(command, code, (out or b"").decode(), (err or b"").decode())

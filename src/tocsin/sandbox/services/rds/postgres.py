"""A real PostgreSQL 18 server for one DB instance: private, small, and gone when the sandbox is gone.

PostgreSQL refuses to run as root, so there it runs under the unprivileged account that every Unix has.

Nobody gets in without a password, from the first start on: it listens on 127.0.0.1 and on no socket of a file, and
`initdb` writes `scram-sha-256` for every way in. The superuser's password is random and known to this process alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import shutil
import signal
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pg8000.native
import psutil
from scramp import ScramException

from tocsin.errors import SandboxError
from tocsin.sandbox.parts.embedded import EMBEDDED
from tocsin.sandbox.parts.programs import Parts, Process, Programs, RunsAs
from tocsin.sandbox.parts.supervise import HeldPort
from tocsin.sandbox.services.rds import scram

SUPERUSER = "rdsadmin"
"""as on RDS, where nobody but the service itself may be it"""
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 3.0
_ANSWER_TIMEOUT_S = 10.0
_PASSWORD_FILE = "password"  # noqa: S105 - the name of a file
"""there while `initdb` runs, for our eyes and the server's only"""

_NOT_YET = ("Address already in use", "is still in use", "already exists")
"""What a server says that is started while the processes of a killed one are still ending."""

# What is committed survives a crash of the server, not one of the machine; and a dozen of these must fit beside
# everything else on a laptop.
SETTINGS = {
    "autovacuum_max_workers": "1",
    "dynamic_shared_memory_type": "mmap",  # in the data directory, so that a kill leaves nothing in /dev/shm
    "fsync": "off",
    "full_page_writes": "off",
    "io_method": "sync",  # no I/O worker processes
    "jit": "off",
    "listen_addresses": "127.0.0.1",
    "max_logical_replication_workers": "0",
    "max_wal_senders": "2",  # for snapshots: pg_basebackup
    "max_parallel_workers": "0",
    "max_worker_processes": "1",
    "min_wal_size": "32MB",
    "shared_buffers": "16MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "unix_socket_directories": "",
    "wal_level": "replica",
}


@dataclass(frozen=True)
class Master:
    """The master user of a DB instance."""

    name: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Sample:
    """What a server's processes look like from outside."""

    cpu_s: float
    client_connections: int


@dataclass(frozen=True)
class ClusterCopy:
    """The files of a database cluster as they were at one moment; nobody serves them."""

    home: Path
    directory: Path
    """by which `remove_residue` finds it"""
    superuser_password: str = field(repr=False)

    def remove(self) -> None:
        """Remove the files; safe to call twice."""
        remove_residue(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)


class PostgresServer:
    """One PostgreSQL server on 127.0.0.1; make it with `start`, end it with `stop`. Its port is its own until then."""

    def __init__(
        self, home: Path, scratch: Path, programs: Programs, account: RunsAs, max_connections: int, password: str
    ) -> None:
        self._home = home
        self._password = password
        self._scratch = scratch
        self._programs = programs
        self._account = account
        self._process: Process | None = None
        self._held = HeldPort()
        self.max_connections = max_connections
        """from the next start on"""
        self.host = "127.0.0.1"
        self.port = self._held.port

    @classmethod
    async def start(
        cls,
        directory: Path,
        *,
        master: Master,
        database: str | None,
        max_connections: int,
        copy: ClusterCopy | None = None,
        parts: Parts = EMBEDDED,
    ) -> PostgresServer:
        """Make a new cluster below `directory`, empty or as in `copy`, and serve it on a free port.

        In a copy the master user has the password that it had.

        Where the server's account cannot enter `directory` (a root-only home), the cluster lives in the
        system's temporary directory instead; `stop` and `remove_residue` remove it in either case.

        Raises SandboxError with PostgreSQL's own last words when it does not get ready.
        """
        account = RunsAs.for_server()
        directory.mkdir(parents=True, exist_ok=True)
        remove_residue(directory)
        scratch = _scratch(directory, account)
        home = directory if account.can_enter(directory) else scratch
        password = secrets.token_urlsafe(24) if copy is None else copy.superuser_password
        server = cls(home, scratch, parts.postgres(account, scratch), account, max_connections, password)
        try:
            data = server._make_data(home)
            if copy is not None:
                await server._programs.run(
                    _program("cp"), "-a", f"{copy.home / 'data'}/.", str(data), places=(copy.home, home)
                )
            else:
                await server._initialise()
            await server.resume()
            if copy is None:
                await server._make_master(master, database)
        except BaseException:
            await server.stop()
            raise
        return server

    async def stop(self) -> None:
        """Stop the server and remove its files; safe to call twice."""
        await self.halt()
        self._held.release()
        # Removing a few thousand small files takes long enough to stall the event loop.
        await asyncio.to_thread(self._remove)

    async def halt(self) -> None:
        """Stop the server and keep its files and its port: connections break, and new ones are refused."""
        process, self._process = self._process, None
        if process is not None:
            await _terminate(process)

    async def ended(self) -> None:
        """Wait until the server's process has ended, by itself or not; returns at once when there is none."""
        if self._process is not None:
            await self._process.wait()

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster, while one was started."""
        return None if self._process is None else self._process.pid

    async def set_password(self, master: Master) -> None:
        """Give the master user another password. Raises SandboxError."""
        await self._as_superuser(f"ALTER ROLE {_quoted(master.name)} PASSWORD '{_verifier(master)}'")

    async def copy_to(self, directory: Path) -> ClusterCopy:
        """A consistent copy of the cluster while it is being used.

        https://www.postgresql.org/docs/18/app-pgbasebackup.html
        """
        directory.mkdir(parents=True, exist_ok=True)
        home = directory if self._account.can_enter(directory) else _scratch(directory, self._account)
        data = self._make_data(home)
        await self._programs.run(
            "pg_basebackup", "-h", self.host, "-p", str(self.port), "-U", SUPERUSER, "-D", str(data),
            "--checkpoint=fast", "--wal-method=fetch", "--no-sync", "--no-manifest", "--no-password",
            places=(home,), secrets={"PGPASSWORD": self._password},
        )  # fmt: skip
        return ClusterCopy(home, directory, self._password)

    def sample(self) -> Sample:
        """Processor seconds used so far and client connections open now."""
        if self._process is None:
            return Sample(0.0, 0)
        try:
            postmaster = psutil.Process(self._process.pid)
            times = postmaster.cpu_times()
            children = postmaster.children()
        except psutil.Error:
            return Sample(0.0, 0)
        cpu_s = times.user + times.system + times.children_user + times.children_system
        clients = 0
        for child in children:
            with contextlib.suppress(psutil.Error, IndexError):
                times = child.cpu_times()
                cpu_s += times.user + times.system
                # PostgreSQL writes "postgres: user database client_address(port) activity" as its title.
                clients += " 127.0.0.1(" in child.cmdline()[0]
        return Sample(cpu_s, clients)

    def _remove(self) -> None:
        shutil.rmtree(self._home / "data", ignore_errors=True)
        (self._home / "postgres.log").unlink(missing_ok=True)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _make_data(self, home: Path) -> Path:
        """An empty data directory that belongs to the server's account."""
        data = home / "data"
        data.mkdir(parents=True, mode=0o700)
        if not self._account.can_enter(home):
            home.chmod(0o711)  # it was made under a umask that closes it
        log = home / "postgres.log"
        log.touch()
        if self._account.uid >= 0:
            os.chown(data, self._account.uid, self._account.gid)
            os.chown(log, self._account.uid, self._account.gid)
        return data

    async def _initialise(self) -> None:
        password = self._home / _PASSWORD_FILE
        with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self._password + "\n")
        try:
            if self._account.uid >= 0:
                os.chown(password, self._account.uid, self._account.gid)
            await self._programs.run(
                "initdb", "-D", str(self._home / "data"), "-U", SUPERUSER, "--auth=scram-sha-256",
                f"--pwfile={password}", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions",
                places=(self._home,),
            )  # fmt: skip
        finally:
            password.unlink()

    async def _make_master(self, master: Master, database: str | None) -> None:
        role = _quoted(master.name)
        statements = [
            # On RDS a member of `rds_superuser`, which PostgreSQL itself has not.
            f"CREATE ROLE {role} LOGIN SUPERUSER CREATEDB CREATEROLE REPLICATION PASSWORD '{_verifier(master)}'"
        ]
        if database is not None and database != "postgres":
            statements.append(f"CREATE DATABASE {_identifier(database)} OWNER {role}")
        await self._as_superuser(*statements)

    async def _as_superuser(self, *statements: str) -> None:
        def run() -> None:
            with pg8000.native.Connection(
                SUPERUSER, host=self.host, port=self.port, database="postgres", password=self._password,
                timeout=_ANSWER_TIMEOUT_S, ssl_context=False,
            ) as connection:  # fmt: skip
                for statement in statements:
                    connection.run(statement)

        try:
            await asyncio.to_thread(run)
        except pg8000.native.DatabaseError as error:
            said = error.args[0].get("M", "") if error.args and isinstance(error.args[0], dict) else str(error)
            raise SandboxError(
                f"expected PostgreSQL to make the master user and its database, it said: {said}"
            ) from None
        except (pg8000.native.InterfaceError, OSError) as error:
            raise SandboxError(f"expected PostgreSQL to answer on port {self.port}, found: {error}") from error

    async def resume(self) -> None:
        """Serve the files that are there, at the same port as before.

        Raises SandboxError with PostgreSQL's own last words when it does not get ready.
        """
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
        settings = {**SETTINGS, "max_connections": str(self.max_connections)}
        arguments = [f"-c{name}={value}" for name, value in settings.items()]
        while True:
            log = self._home / "postgres.log"
            self._process = await self._programs.start(
                "postgres", "-D", str(self._home / "data"), "-p", str(self.port), *arguments,
                log=log, places=(self._home,),
            )  # fmt: skip
            if await self._becomes_ready(deadline):
                return
            log_text = log.read_text(errors="replace")
            if not any(words in log_text for words in _NOT_YET) or asyncio.get_running_loop().time() > deadline:
                raise SandboxError(f"expected PostgreSQL to start, but it said: {log_text[-800:].strip()}")
            await asyncio.sleep(0.05)

    async def _becomes_ready(self, deadline: float) -> bool:
        """Wait until the server writes `ready` into its pid file, as `pg_ctl -w` does."""
        process = self._process
        assert process is not None
        pid_file = self._home / "data" / "postmaster.pid"
        while process.returncode is None and asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(OSError):
                lines = pid_file.read_text().splitlines()
                # The server makes the file first and fills it later.
                if lines and lines[0] == str(process.pid) and lines[-1].strip() == "ready":
                    return True
            await asyncio.sleep(0.01)
        return False


def remove_residue(directory: Path) -> None:
    """Remove what a server of a killed process left of `directory`'s cluster, also outside of it."""
    for home in (directory, *_scratches(directory)):
        _kill_leftover(home / "data" / "postmaster.pid")
        shutil.rmtree(home / "data", ignore_errors=True)
        (home / "postgres.log").unlink(missing_ok=True)
        (home / _PASSWORD_FILE).unlink(missing_ok=True)
    for scratch in _scratches(directory):
        shutil.rmtree(scratch, ignore_errors=True)


def _kill_leftover(pid_file: Path) -> None:
    with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
        process = psutil.Process(int(pid_file.read_text().splitlines()[0]))
        # The kernel may have given the number to somebody else since.
        if str(pid_file.parent) in process.cmdline():
            process.kill()
            process.wait(STOP_TIMEOUT_S)


def _scratches(directory: Path) -> list[Path]:
    """Places outside of `directory` that belong to it alone and can be found again from any process."""
    digest = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16]
    name = f"tocsin-postgres-{os.getuid()}-{digest}"
    parents = dict.fromkeys((Path("/tmp"), Path("/var/tmp"), Path(tempfile.gettempdir())))  # noqa: S108
    return [parent / name for parent in parents if parent.is_dir()]


def _scratch(directory: Path, account: RunsAs) -> Path:
    """The first of them that the account may enter: TMPDIR itself may be closed to it."""
    scratches = _scratches(directory)
    return next((scratch for scratch in scratches if account.can_enter(scratch.parent)), scratches[0])


def _program(name: str) -> str:
    """Where a program of the system is."""
    found = shutil.which(name)
    if found is None:
        raise SandboxError(f"expected the program '{name}', found none on PATH")
    return found


def _quoted(name: str) -> str:
    if not name or "\0" in name:
        raise SandboxError("expected the name of a master user, found none")
    return '"' + name.replace('"', '""') + '"'


def _verifier(master: Master) -> str:
    try:
        return scram.keys(master.password).verifier()
    except ScramException:
        raise SandboxError(
            f"expected a master password of printable characters for '{master.name}', found others"
        ) from None


def _identifier(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", name):
        raise SandboxError(f"expected a database name of letters, digits and '_', found '{name}'")
    return f'"{name}"'


async def _terminate(process: Process) -> None:
    """Fast shutdown, then immediate, then the kernel's way."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
            return

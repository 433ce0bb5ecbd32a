"""Root's sandbox runs PostgreSQL under `nobody`, whatever root's umask closes."""

from __future__ import annotations

import asyncio
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.drill.conftest import checked_out
from tests.root.place import ROOT_ONLY, owners_of_postgres, place
from tests.sandbox.services.rds.test_postgres import OWNER, rows

from tocsin.model.verdict import Outcome
from tocsin.sandbox import control
from tocsin.sandbox.services.rds import postgres
from tocsin.sandbox.services.rds.postgres import PostgresServer

pytestmark = ROOT_ONLY

MENDED = ("drill", "effect", "undo", "residue")


@pytest.mark.parametrize(
    ("umask", "where"),
    [
        (0o000, "where all may go"),
        (0o022, "where all may go"),
        (0o077, "where all may go"),
        (0o022, "where only root may go"),
        (0o077, "where only root may go"),
    ],
)
def test_a_database_is_made_copied_and_restored(tmp_path: Path, umask: int, where: str) -> None:
    closed = None
    if where == "where only root may go":
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
    with place(closed) as here:
        up = here.tocsin("sandbox", "up", "base", umask=umask)
        assert up.returncode == 0, up.stderr
        assert owners_of_postgres(here.root) == {pwd.getpwnam("nobody").pw_uid}
        assert "rds base" in here.tocsin("sandbox", "status").stdout
        assert here.tocsin("sandbox", "down").returncode == 0
        assert not control.directory(here.root).exists()


@pytest.fixture
def closing() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.drill
@pytest.mark.usefixtures("closing")
def test_a_drill_breaks_and_mends(tmp_path: Path) -> None:
    """Only what a umask can spoil: whether callers were served as documented, the drills of `tests/drill` tell."""
    with checked_out(tmp_path, "leave-attendance") as checkout:
        _, verdict, _ = checkout.run("throttle-rds-proxy")
        outcomes = {judgement.id: judgement.outcome for judgement in verdict.judgements}
        assert {name: outcomes.get(name) for name in MENDED} == dict.fromkeys(MENDED, Outcome.PASS)


def test_the_doctor_has_a_database_start() -> None:
    with place() as here:
        doctor = here.tocsin("doctor", umask=0o077)
        (line,) = [line for line in doctor.stdout.splitlines() if "postgresql" in line]
        assert line.split()[0] == "ok", line


def test_root_may_keep_its_home_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "closed" / "db"
    home.mkdir(parents=True)
    home.parent.chmod(0o700)
    # As in a sandbox: temporary files belong into its (closed) directory too.
    monkeypatch.setattr(tempfile, "tempdir", str(home.parent))

    async def scenario() -> object:
        server = await PostgresServer.start(home, master=OWNER, database="app", max_connections=20)
        try:
            return await asyncio.to_thread(rows, server, "SELECT 1")
        finally:
            await server.stop()

    assert asyncio.run(scenario()) == [[1]]
    assert not any(map(Path.exists, postgres._scratches(home)))

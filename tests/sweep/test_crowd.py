"""The bounded sweep of runs side by side, and the bugs that it must find. `make sweep PARALLEL=60` goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.sweep.crowd import Aim, Crowd, Desk, Shot, crowd_of_two, sweep, table
from tests.sweep.worker_child import SHOOTER

pytestmark = [pytest.mark.sweep, pytest.mark.takes(60), pytest.mark.timeout(900)]

API, WORKER, ROLE = "lambda_reserved_concurrency", "lambda_event_source_disabled", "iam_role_deny"
AIMS = (
    Aim((API, WORKER), "all", "SIGKILL", at="after inject"),
    Aim((WORKER, ROLE), "a worker", "SIGKILL", at="before advance undone"),
    Aim((ROLE, API), "the run", "SIGKILL", at="after advance injected"),
)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    with crowd_of_two(tmp_path_factory.mktemp("crowd"), Desk) as found:
        yield found


@pytest.fixture
def mended(crowd: Crowd) -> Iterator[None]:
    """What a planted bug left is put back."""
    yield
    assert crowd.mend() == []


def test_whoever_is_ended_nothing_is_left_in_the_places_of_all_workers(crowd: Crowd) -> None:
    shots = list(sweep(crowd, AIMS))
    print(table(shots))
    assert [str(shot.aim) for shot in shots if shot.missed] == []
    assert {str(shot.aim): shot.residue for shot in shots if shot.residue} == {}


@pytest.mark.usefixtures("mended")
def test_a_worker_that_does_not_undo_when_its_run_is_gone_is_found(crowd: Crowd) -> None:
    aim = Aim((API, WORKER), "the run", "SIGKILL", at="after advance injected")
    shot = crowd.shoot(aim, bug="a worker whose run is gone ends at once")
    assert shot.ended
    for name in crowd.places:
        assert [line for line in shot.residue if line.startswith(f"before recover: worker {name} differs")], (
            shot.residue
        )


@pytest.mark.usefixtures("mended")
def test_a_recover_that_forgets_the_place_of_a_worker_is_found(crowd: Crowd) -> None:
    aim = Aim((API, WORKER), "all", "SIGKILL", at="after advance injected")
    shot = crowd.shoot(aim, bug="recover forgets a worker")
    assert shot.ended
    assert [line for line in shot.residue if line.startswith("worker 2 differs")], shot.residue
    assert [line for line in shot.residue if line.startswith("worker 2, ledger")], shot.residue
    assert [line for line in shot.residue if "worker 1" in line] == []


def test_a_boundary_that_is_never_reached_is_a_miss() -> None:
    assert Shot(AIMS[0], False, (), 1.0).missed
    assert not Shot(AIMS[0], True, (), 1.0).missed
    assert not Shot(Aim((API, ROLE), "all", "SIGKILL", after_s=9.0), False, (), 1.0).missed, "it was over before"


def test_only_workers_that_were_killed_need_a_recovery() -> None:
    faults = (API, WORKER)
    assert Aim(faults, "all", "SIGKILL").killed == {"1", "2"}
    assert Aim(faults, "a worker", "SIGKILL").killed == {SHOOTER}
    assert Aim(faults, "the run", "SIGKILL").killed == Aim(faults, "all", "SIGTERM").killed == set()


def test_a_table_tells_what_left_something() -> None:
    clean, dirty = (Shot(AIMS[0], True, residue, 1.0) for residue in ((), ("worker 2 differs",)))
    assert "| all, SIGKILL | 2 (1 left residue) |" in table([clean, dirty])

"""What the tests of a folder share for a session ends with the last of them.

A fixture of the scope `session` ends with the session, also one that only a folder can see: its sandbox would run on
beside the tests of all other folders, and at a time scale of 300 an idle one takes a twentieth of a processor. There
is no scope for a folder without `__init__.py`; so its fixtures are ended here. One that is asked for again begins anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With workers, `--dist loadgroup`: what is begun for a file or a folder is begun by one of them; the many drills
    of the shelf have a sandbox a worker. What takes longest begins first: at the end nobody waits for it.
    """
    for item in items:
        is_free = not (item.get_closest_marker("xdist_group") or item.get_closest_marker("planted"))
        if is_free and (where := shared_by(item)):
            item.add_marker(pytest.mark.xdist_group(where))
    items.sort(key=_takes, reverse=True)


def _takes(item: pytest.Item) -> float:
    """Seconds, roughly, of a test or of the group that it is in; 0 for most."""
    mark = item.get_closest_marker("takes")
    return float(mark.args[0]) if mark is not None else 0.0


def shared_by(item: pytest.Item) -> str:
    """The folder, or else the file, whose tests share a fixture that this one uses; nothing where there is none."""
    fixtures = item._fixtureinfo.name2fixturedefs
    used = [one for name in item._fixtureinfo.names_closure for one in fixtures.get(name, ())]
    folders = [one.baseid for one in used if one.scope == "session" and one.baseid]
    return min(folders, key=len, default=item.nodeid.partition("::")[0] * any(one.scope == "module" for one in used))


_RUNNING = pytest.StashKey[dict[int, pytest.FixtureDef[object]]]()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the last test of a folder, or of a file: the fixtures that only it can see are finished."""
    running = item.session.stash.setdefault(_RUNNING, {})
    running.update((id(fixture), fixture) for fixture in _of_folders(item))
    for key, fixture in reversed(running.copy().items()):
        if nextitem is None or not _sees(nextitem, fixture):
            del running[key]
            fixture.finish(item._request)  # pytest has no other way to end one early


def _sees(item: pytest.Item, fixture: pytest.FixtureDef[object]) -> bool:
    file, base = PurePosixPath(item.nodeid.partition("::")[0]), PurePosixPath(fixture.baseid)
    return base == file or base in file.parents


def _of_folders(item: pytest.Item) -> Iterator[pytest.FixtureDef[object]]:
    """Running fixtures of the session that a test uses and not everybody sees, those that others use first."""
    known = item._fixtureinfo.name2fixturedefs
    for name in item._fixtureinfo.names_closure:
        for fixture in known.get(name, ()):
            if fixture.scope == "session" and fixture.baseid and fixture.cached_result is not None:
                yield fixture

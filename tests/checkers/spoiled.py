"""What the tests of every checker share: a drill that passes, ways to spoil it, and the table of spoiled ones.

Each row plants one bug in the drill that passes (`Scene()`); its healthy twin is `test_healthy_twin_passes`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.checkers.histories import (
    EXPECT,
    Scene,
    drop,
    passing,
    tweak,
    without,
)

from tocsin.checkers import judge
from tocsin.model.events import (
    Act,
    AlarmChanged,
    AlarmsPolled,
    CanaryRan,
    ContractFailure,
    Event,
    FaultChanged,
    FaultStage,
    LoadSecond,
)
from tocsin.model.experiment import MustAlarm
from tocsin.model.verdict import Judgement, Outcome, Reason, Verdict

SCENE = Scene()
MINUTE = 60 / SCENE.scale
RUNG = SCENE.accepted + 372 / SCENE.scale
"""When api-5xx rings."""
BAD = ContractFailure(operation="GET /parcels", check="not_a_server_error", message="500", status=500)

History = list[Event]


def changed(event: Event, alarm: str, after: str | None = None) -> bool:
    return isinstance(event, AlarmChanged) and event.alarm == alarm and after in (None, event.after)


def stage(event: Event, *stages: FaultStage) -> bool:
    return isinstance(event, FaultChanged) and event.stage in stages


def staged(history: History, old: FaultStage, new: FaultStage) -> History:
    return tweak(history, lambda event: stage(event, old), stage=new)


def ran(event: Event, canary: str, start: float, end: float) -> bool:
    return isinstance(event, CanaryRan) and event.canary == canary and start <= event.at <= end


def ringing(alarm: str, at: float, *, clear: bool = True) -> list[Event]:
    """Two transitions that a story did not have, unseen by any poll."""
    ring = AlarmChanged(at=at, alarm=alarm, before="OK", after="ALARM")
    cleared = AlarmChanged(at=at + MINUTE / 2, alarm=alarm, before="ALARM", after="OK")
    return [ring, cleared] if clear else [ring]


def breached(alarm: str, at: float) -> History:
    """The oldest datapoint of the breach, of five minutes, begins at an instant."""
    return tweak(passing(), lambda event: changed(event, alarm, "ALARM"), breached_at=at)


def left_broken(*, after_rollbacks: bool) -> History:
    """What the undo found broken: before the experiment's own rollbacks had ended, or after them."""
    at = SCENE.verified + (0.002 if after_rollbacks else 0.0)
    return tweak(passing(), lambda event: stage(event, FaultStage.UNDONE), was_broken=True, at=at)


def blind_polls(history: History, start: float, end: float) -> History:
    """The watcher looked away between two instants."""
    return drop(history, lambda event: isinstance(event, AlarmsPolled) and start < event.at < end)


def silent(alarm: str) -> History:
    return Scene(rings={name: times for name, times in SCENE.rings.items() if name != alarm}).history()


def in_act(act: Act, kind: type[Event]) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, kind) and getattr(event, "act", None) == act


def slow(**fields: object) -> Callable[[Event], bool]:
    """Seconds of the baseline."""
    return lambda event: isinstance(event, LoadSecond) and event.at < SCENE.requested - 1


def older(history: History) -> History:
    """As an older version recorded it, which kept no histograms."""
    return tweak(history, lambda event: isinstance(event, LoadSecond), histogram=None)


def with_expect(**changes: object) -> Scene:
    return replace(SCENE, expect=EXPECT.model_copy(update=changes))


def interrupted() -> History:
    return SCENE.interrupted()


Row = tuple[str, Callable[[], History], str, Outcome, Reason]


F, U, P = Outcome.FAIL, Outcome.UNKNOWN, Outcome.PASS


def bare(scene: Scene, **system: object) -> Scene:
    """The system has less."""
    return replace(scene, system=scene.system.model_copy(update=system))


def unverified(history: History) -> History:
    return drop(history, lambda event: stage(event, FaultStage.VERIFIED))


def canaries_not_named() -> History:
    """None ran, and the experiment names none that must notice."""
    must = tuple(entry for entry in EXPECT.must if isinstance(entry, MustAlarm))
    return without(with_expect(must=must).history(), CanaryRan)


def idle() -> History:
    """An experiment without a single activity, a load, canaries or a hypothesis."""
    scene = bare(replace(SCENE, load=None), canaries=None)
    started = scene.started()
    empty = started.experiment.model_copy(update={"method": (), "rollbacks": (), "hypothesis": False})
    return tweak(scene.history(), lambda event: event.kind == "drill_started", experiment=empty)


def planted(rows: list[Row]) -> pytest.MarkDecorator:
    """One test a row."""
    return pytest.mark.parametrize("row", rows, ids=[f"{row[2]}-{row[0].replace(' ', '-')}" for row in rows])


def check_planted(row: Row) -> None:
    """The bug of a row is judged as the row says, and spoils the verdict."""
    _, history, judgement_id, outcome, reason = row
    verdict = judge(history())
    judgement = found(verdict, judgement_id)
    assert (judgement.outcome, judgement.reason) == (outcome, reason), judgement.message
    if outcome != Outcome.PASS:
        assert verdict.outcome != Outcome.PASS


def found(verdict: Verdict, judgement_id: str) -> Judgement:
    """The judgement of that id."""
    return next(judgement for judgement in verdict.judgements if judgement.id == judgement_id)

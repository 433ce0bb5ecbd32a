"""What was not looked at is said."""

from __future__ import annotations

from dataclasses import replace

from tests.checkers.histories import (
    EXPECT,
    SYSTEM,
    without,
)
from tests.checkers.spoiled import (
    SCENE,
)

from tocsin.checkers import judge
from tocsin.model.events import (
    AlarmNotified,
)
from tocsin.model.experiment import Expect, MustAlarm
from tocsin.model.verdict import Outcome


def test_what_a_system_does_not_have_is_not_asked_and_said() -> None:
    bare = SYSTEM.model_copy(update={"contract": None, "canaries": None, "notifications": None, "conservation": {}})
    expect = Expect(
        must=(MustAlarm(alarm="api-5xx", within=660),),
        degraded=EXPECT.degraded,
        recovery=EXPECT.recovery,
    )
    scene = replace(SCENE, system=bare, expect=expect)
    verdict = judge(without(scene.history(), AlarmNotified))
    assert verdict.outcome == Outcome.PASS
    told = " ".join(verdict.not_observed)
    for words in ("contract", "canaries", "anybody is told", "api-latency: watched and not judged; it rang"):
        assert words in told

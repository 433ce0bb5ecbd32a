"""What is not set as before is a finding; what could not be read is not observed."""

from __future__ import annotations

from tests.checkers.histories import add, passing
from tests.checkers.spoiled import SCENE

from tocsin.checkers import judge
from tocsin.model.events import Event, SettingChanged, SettingsCompared
from tocsin.model.verdict import Finding, Outcome


def compared(*changed: SettingChanged, **unread: str) -> list[Event]:
    at = SCENE.end - 0.05
    return add(passing(), SettingsCompared(at=at, resources=7, changed=changed, unread=unread))


def findings(history: list[Event]) -> list[Finding]:
    return [finding for finding in judge(history).findings if finding.kind == "changed"]


TIMEOUT = SettingChanged(resource="function worker", field="Configuration/Timeout", before="10", after="30")
DELAY = SettingChanged(resource="queue orders", field="DelaySeconds", before="0", after=None)


def test_everything_as_before_is_no_finding() -> None:
    assert findings(compared()) == []


def test_what_is_set_otherwise_is_a_finding_of_its_resource() -> None:
    history = compared(TIMEOUT, DELAY)
    assert {one.subject: one.message for one in findings(history)} == {
        "function worker": "function worker is not set as before: Configuration/Timeout was 10, is 30",
        "queue orders": "queue orders is not set as before: DelaySeconds was 0, is not there",
    }
    assert judge(history).outcome is Outcome.PASS


def test_of_many_fields_some_are_told_and_the_rest_counted() -> None:
    many = (TIMEOUT.model_copy(update={"field": f"Tags/{number}"}) for number in range(9))
    (told,) = findings(compared(*many))
    assert "Tags/5 was" in told.message
    assert "Tags/6" not in told.message
    assert told.message.endswith("and 3 fields more")


def test_what_could_not_be_read_is_not_observed() -> None:
    told = judge(compared(worker="AWS answered AccessDenied")).not_observed
    assert any("worker (AWS answered AccessDenied)" in one for one in told)
    assert not any("set as before" in one for one in judge(compared()).not_observed)

"""What is not set as before a drill: which resource, which field, both values, and never a secret."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.actors.conftest import Stage

from tocsin.actors import settings as compared
from tocsin.actors.settings import SettingsComparison, differences
from tocsin.aws.settings import Settings
from tocsin.masking import HIDDEN
from tocsin.model.events import SettingChanged, SettingsCompared

WORKER = {
    "Configuration/Timeout": "10",
    "Configuration/Environment/Variables/TOKEN": "plum-velvet",
    "Configuration/Environment/Variables/MODE": "calm",
}
BEFORE = Settings({"function worker": WORKER, "queue orders": {"VisibilityTimeout": "60"}})


def after(**changes: str) -> Settings:
    """The same, with other values of the worker."""
    return Settings({**BEFORE.resources, "function worker": {**WORKER, **changes}})


def test_what_is_as_before_is_not_told() -> None:
    assert list(differences(BEFORE, after())) == []


def test_a_field_beside_the_fault_is_told_with_both_values() -> None:
    (told,) = differences(BEFORE, after(**{"Configuration/Timeout": "30"}))
    assert told == SettingChanged(resource="function worker", field="Configuration/Timeout", before="10", after="30")


def test_a_field_that_is_new_and_one_that_is_gone_are_told() -> None:
    now = Settings({**BEFORE.resources, "queue orders": {"DelaySeconds": "5"}})
    told = {(one.field, one.before, one.after) for one in differences(BEFORE, now)}
    assert told == {("VisibilityTimeout", "60", None), ("DelaySeconds", None, "5")}


def test_of_an_environment_only_is_told_that_it_is_another() -> None:
    changes = {"Configuration/Environment/Variables/TOKEN": "pear", "Configuration/Environment/Variables/MODE": "wild"}
    told = list(differences(BEFORE, after(**changes)))
    assert {one.field.rsplit("/", 1)[-1] for one in told} == {"TOKEN", "MODE"}
    assert {value for one in told for value in (one.before, one.after)} == {HIDDEN}


def test_a_token_in_any_other_field_is_masked() -> None:
    (told,) = differences(BEFORE, after(**{"Configuration/Description": "Bearer eyJhbGciOiJub25lIn0.e30"}))
    assert "eyJ" not in str(told.after)


def test_a_resource_that_is_gone_is_told_where_all_could_be_read() -> None:
    gone = {"function worker": WORKER}
    (told,) = differences(BEFORE, Settings(gone))
    assert (told.resource, told.after) == ("queue orders", None)
    assert list(differences(BEFORE, Settings(gone, {"orders": "AWS answered AccessDenied"}))) == []


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What is read, one time after the other."""

    def give(*answers: Settings) -> None:
        left = iter(answers)
        monkeypatch.setattr(compared, "read_settings", lambda system, target: next(left))

    return give


def test_both_looks_are_one_line_of_the_history(stage: Stage, reads: Callable[..., None]) -> None:
    reads(BEFORE, Settings(after(**{"Configuration/Timeout": "30"}).resources, {"role worker": "denied"}))
    comparison = SettingsComparison(stage.context())
    comparison.look()
    comparison.compare()
    (line,) = (event for event in stage.events() if isinstance(event, SettingsCompared))
    assert line.resources == 2
    assert [change.field for change in line.changed] == ["Configuration/Timeout"]
    assert line.unread == {"role worker": "denied"}


def test_without_a_look_before_there_is_nothing_to_compare(stage: Stage, reads: Callable[..., None]) -> None:
    reads()
    ctx = stage.context()
    SettingsComparison(ctx).compare()
    assert not [event for event in stage.events() if isinstance(event, SettingsCompared)]

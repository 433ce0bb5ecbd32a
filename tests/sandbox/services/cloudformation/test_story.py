"""Events of ministack in, events as AWS tells them out."""

from __future__ import annotations

from typing import Any

from tocsin.sandbox.services.cloudformation.story import STACK, Story

QUEUE = "AWS::SQS::Queue"


class Told:
    """A stack with the queue `Old`, and what was told of it."""

    def __init__(self, status: str = "UPDATE_IN_PROGRESS") -> None:
        record = {"ResourceStatus": "CREATE_COMPLETE", "Timestamp": "then"}
        self.stack: dict[str, Any] = {"StackId": "id", "StackName": "s", "StackStatus": status}
        self.stack["_resources"] = {"Old": record}
        self.events: list[str] = []
        self.story = Story(self.add, lambda name: self.stack if name == "s" else None)

    def add(self, *event: Any) -> None:
        self.events.append(f"{event[2]} {event[4]}")

    def of_stack(self, status: str) -> None:
        self.story.event("id", "s", "s", STACK, status, physical_id="id")

    def of(self, logical_id: str, status: str, reason: str = "", physical_id: str = "") -> None:
        self.story.event("id", "s", logical_id, QUEUE, status, reason, physical_id)


def test_what_did_not_change_has_no_events_and_keeps_its_status() -> None:
    told = Told()
    told.of_stack("UPDATE_IN_PROGRESS")
    told.of("Old", "UPDATE_IN_PROGRESS")
    told.stack["_resources"]["Old"] = {"ResourceStatus": "UPDATE_COMPLETE", "Timestamp": "now"}
    told.of("Old", "UPDATE_COMPLETE", physical_id="q")
    told.of_stack("UPDATE_COMPLETE")
    assert told.events == ["s UPDATE_IN_PROGRESS", "s UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "s UPDATE_COMPLETE"]
    assert told.stack["_resources"]["Old"] == {"ResourceStatus": "CREATE_COMPLETE", "Timestamp": "then"}
    assert told.stack["StackStatus"] == "UPDATE_COMPLETE"


def test_what_changed_is_told_from_when_it_changes() -> None:
    told = Told()
    told.of_stack("UPDATE_IN_PROGRESS")
    told.of("Old", "UPDATE_IN_PROGRESS")
    told.story.changes("s", "Old")
    told.of("Old", "UPDATE_COMPLETE", physical_id="q")
    assert told.events[1:] == ["Old UPDATE_IN_PROGRESS", "Old UPDATE_COMPLETE"]


def test_what_is_new_is_created() -> None:
    told = Told()
    told.of_stack("UPDATE_IN_PROGRESS")
    told.of("New", "UPDATE_IN_PROGRESS")
    told.stack["_resources"]["New"] = {"ResourceStatus": "UPDATE_COMPLETE"}
    told.of("New", "UPDATE_COMPLETE", physical_id="q")
    assert told.events[1:] == ["New CREATE_IN_PROGRESS", "New CREATE_IN_PROGRESS", "New CREATE_COMPLETE"]
    assert told.stack["_resources"]["New"]["ResourceStatus"] == "CREATE_COMPLETE"


def test_what_is_new_and_fails_was_not_updated() -> None:
    told = Told()
    told.of_stack("UPDATE_IN_PROGRESS")
    told.of("New", "UPDATE_IN_PROGRESS")
    told.of("New", "UPDATE_FAILED", "no")
    assert told.events[1:] == ["New CREATE_IN_PROGRESS", "New CREATE_FAILED"]


def test_an_update_that_fails_before_anything_changed_began() -> None:
    told = Told()
    told.of_stack("UPDATE_IN_PROGRESS")
    told.of("Old", "UPDATE_IN_PROGRESS")
    told.of("Old", "UPDATE_FAILED", "no such attribute")
    assert told.events[1:] == ["Old UPDATE_IN_PROGRESS", "Old UPDATE_FAILED"]


def test_a_replacement_says_so_once() -> None:
    told = Told()
    told.of_stack("UPDATE_IN_PROGRESS")
    told.of("Old", "UPDATE_IN_PROGRESS")
    told.of("Old", "UPDATE_IN_PROGRESS", "hence creating one.", "q")
    told.story.changes("s", "Old")
    told.of("Old", "UPDATE_COMPLETE", physical_id="q2")
    told.story.removes("s", "Old", QUEUE, "q")()
    told.of_stack("UPDATE_COMPLETE")
    assert told.events[1:] == [
        "Old UPDATE_IN_PROGRESS",
        "Old UPDATE_COMPLETE",
        "s UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
        "Old DELETE_IN_PROGRESS",
        "Old DELETE_COMPLETE",
        "s UPDATE_COMPLETE",
    ]


def test_a_rollback_is_told_as_ministack_tells_it() -> None:
    told = Told()
    told.of_stack("UPDATE_IN_PROGRESS")
    told.stack["StackStatus"] = "UPDATE_ROLLBACK_IN_PROGRESS"
    told.of_stack("UPDATE_ROLLBACK_IN_PROGRESS")
    told.of("Old", "UPDATE_IN_PROGRESS", physical_id="q")
    told.of("Old", "UPDATE_COMPLETE", physical_id="q")
    told.story.removes("s", "New", QUEUE, "q2")()
    told.of_stack("UPDATE_ROLLBACK_COMPLETE")
    assert told.events[2:] == ["Old UPDATE_IN_PROGRESS", "Old UPDATE_COMPLETE", "s UPDATE_ROLLBACK_COMPLETE"]


def test_a_creation_has_a_physical_id_before_it_is_complete() -> None:
    told = Told("CREATE_IN_PROGRESS")
    told.of("New", "CREATE_IN_PROGRESS")
    told.of("New", "CREATE_COMPLETE", physical_id="q")
    assert told.events == ["New CREATE_IN_PROGRESS", "New CREATE_IN_PROGRESS", "New CREATE_COMPLETE"]

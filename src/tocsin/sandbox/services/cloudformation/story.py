"""The events of a stack as AWS tells them; ministack tells an update in other words.

There, every resource of an updated stack begins and ends an update, and what an update makes or removes is not told
as such. On AWS, a resource whose template did not change has no event, one that is new is created, and what the
update no longer needs is deleted after it, in the state UPDATE_COMPLETE_CLEANUP_IN_PROGRESS.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks-update-behaviors.html
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

STACK = "AWS::CloudFormation::Stack"
CLEANUP = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
_INITIATED = "Resource creation Initiated"

Add = Callable[..., None]
"""(stack_id, stack_name, logical_id, resource_type, status, reason, physical_id, detailed_status)"""

Stack = MutableMapping[str, Any]


@dataclass
class _Operation:
    """What is known of one operation of a stack."""

    held: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """logical id -> the event that its update begins with: told when something of it changes"""
    before: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """logical id -> status and time of the resource before this operation"""
    new: set[str] = field(default_factory=set)
    """logical ids of resources that the former template had not"""
    cleaning: bool = False


class Story:
    """Takes the events that ministack adds, and adds those that AWS would have."""

    def __init__(self, add: Add, stack: Callable[[str], Stack | None]) -> None:
        self._add = add
        self._stack = stack
        self._operations: dict[str, _Operation] = {}

    def event(
        self,
        stack_id: str,
        stack_name: str,
        logical_id: str,
        resource_type: str,
        status: str,
        reason: str = "",
        physical_id: str = "",
        detailed_status: str = "",
    ) -> None:
        """One event of ministack."""
        told = (stack_id, stack_name, logical_id, resource_type, status, reason, physical_id, detailed_status)
        if resource_type == STACK and logical_id == stack_name:
            self._of_stack(told)
        elif status.startswith("UPDATE_") and self._of_update(told):
            return
        else:
            self._of_resource(told)

    def changes(self, stack_name: str, logical_id: str | None) -> None:
        """A resource is about to be changed: its update has begun."""
        operation = self._operation(stack_name)
        held = operation.held.pop(str(logical_id), None) if operation else None
        if held is not None:
            self._add(*held)

    def removes(self, stack_name: str, logical_id: str, resource_type: str, physical_id: str) -> Callable[[], None]:
        """A resource is about to be deleted; call the answer when it is.

        Of those that a whole stack loses ministack tells itself.
        """
        stack = self._stack(stack_name)
        operation = self._operation(stack_name)
        if stack is None or operation is None or stack.get("StackStatus") not in ("UPDATE_IN_PROGRESS", CLEANUP):
            return lambda: None
        self._clean(stack, operation)
        event = (stack["StackId"], stack_name, logical_id, resource_type)
        self._add(*event, "DELETE_IN_PROGRESS", "", physical_id)
        return lambda: self._add(*event, "DELETE_COMPLETE", "", physical_id)

    def _operation(self, stack_name: str) -> _Operation | None:
        stack = self._stack(stack_name)
        return self._operations.get(str(stack["StackId"])) if stack else None

    def _of_stack(self, told: tuple[Any, ...]) -> None:
        stack_id, stack_name, status = told[0], told[1], told[4]
        if status == "UPDATE_IN_PROGRESS":
            self._operations[stack_id] = _Operation()
        operation, stack = self._operations.get(stack_id), self._stack(stack_name)
        if status == "UPDATE_COMPLETE" and operation and stack:
            # ministack has set the last state already, and nobody may see the one before it after it.
            self._clean(stack, operation)
            stack["StackStatus"] = status
        self._add(*told)
        if status.endswith("_COMPLETE"):
            self._operations.pop(stack_id, None)

    def _clean(self, stack: Stack, operation: _Operation) -> None:
        if operation.cleaning:
            return
        operation.cleaning = True
        stack["StackStatus"] = CLEANUP
        self._add(stack["StackId"], stack["StackName"], stack["StackName"], STACK, CLEANUP, "", stack["StackId"])

    def _of_update(self, told: tuple[Any, ...]) -> bool:
        """Whether an event of a resource in an update is not told, or was told in other words."""
        stack_id, stack_name, logical_id, resource_type, status, reason, physical_id, _ = told
        operation, stack = self._operations.get(stack_id), self._stack(stack_name)
        if operation is None or stack is None or "ROLLBACK" in str(stack.get("StackStatus")):
            return False
        record = stack.get("_resources", {}).get(logical_id)
        if status == "UPDATE_IN_PROGRESS" and not reason and not physical_id:
            if record is None:
                operation.new.add(logical_id)
                self._add(stack_id, stack_name, logical_id, resource_type, "CREATE_IN_PROGRESS")
            else:
                operation.before[logical_id] = record.get("ResourceStatus"), record.get("Timestamp")
                operation.held[logical_id] = told
            return True
        if logical_id in operation.new:
            as_made = f"CREATE_{status.removeprefix('UPDATE_')}"
            if record is not None:
                record["ResourceStatus"] = as_made
            self._of_resource((stack_id, stack_name, logical_id, resource_type, as_made, reason, physical_id, ""))
            return True
        return self._of_held(operation, told, record)

    def _of_held(self, operation: _Operation, told: tuple[Any, ...], record: Any) -> bool:
        logical_id, status, reason = told[2], told[4], told[5]
        held = operation.held.pop(logical_id, None)
        if held is None:
            return False
        if status == "UPDATE_COMPLETE":
            # Nothing changed it: it is as it was.
            record["ResourceStatus"], record["Timestamp"] = operation.before[logical_id]
            return True
        if status == "UPDATE_FAILED" or not reason:
            self._add(*held)
        return False

    def _of_resource(self, told: tuple[Any, ...]) -> None:
        physical_id = told[6]
        if told[4] == "CREATE_COMPLETE" and physical_id:
            self._add(*told[:4], "CREATE_IN_PROGRESS", _INITIATED, physical_id)
        self._add(*told)

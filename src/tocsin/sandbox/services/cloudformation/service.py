# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""CloudFormation: stacks of the sandbox make, change and remove their resources by requests to the sandbox's own API.

ministack reads templates, keeps stacks, events, exports and change sets, and decides what follows what. Its own
provisioners write into its stores, past every API; those of the types in `table.TABLE` are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.services.cloudformation import resources
from tocsin.sandbox.services.cloudformation.exports import publish
from tocsin.sandbox.services.cloudformation.requests import Requests
from tocsin.sandbox.services.cloudformation.resources import Properties, Resource, ResourceType
from tocsin.sandbox.services.cloudformation.story import Story
from tocsin.sandbox.services.cloudformation.table import TABLE
from tocsin.sandbox.world import World

_UPDATE = "resource_type, physical_id, old_props, new_props, stack_name, logical_id, old_attrs"
_EVENT = "stack_id, stack_name, logical_id, resource_type, status, reason, physical_id, detailed_status"
_OUTPUTS = "outputs_defs, conditions, resources, param_values, mappings, stack_name, stack_id"
_DELETE = "resource_type, physical_id, props, stack_name, logical_id"


class CloudFormation:
    """The stacks of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "services.cloudformation": {"_exports": "", "_stacks": ""},
        "services.cloudformation.changesets": {"_add_event": _EVENT},
        "services.cloudformation.handlers": {
            "_ACTION_HANDLERS": "",
            "_add_event": _EVENT,
            "_create_stack": "params",
            "_imported_export_names": "stack, stack_name",
        },
        "services.cloudformation.helpers": {"_error": "code, message, status", "_p": "params, key, default"},
        "services.cloudformation.provisioners": {
            "_REPLACING_PROPERTIES": "",
            "_RESOURCE_HANDLERS": "",
            "_update_resource": _UPDATE,
        },
        "services.cloudformation.stacks": {
            "_add_event": _EVENT,
            "_delete_resource": _DELETE,
            "_resolve_stack_outputs": _OUTPUTS,
            "_runs_on_worker_thread": "resource_type",
            "_update_resource": _UPDATE,
        },
    }

    def adapt(self, world: World) -> None:
        """Let stacks act by requests, and tell what they do as AWS does."""
        self._ministack = world.ministack
        self._requests = Requests(world.endpoint_url, world.keys)
        kept = world.ministack.module("services.cloudformation")
        self._stacks, self._exports = kept._stacks, kept._exports
        self._helpers = world.ministack.module("services.cloudformation.helpers")
        self._provisioners = provisioners = world.ministack.module("services.cloudformation.provisioners")
        stacks = world.ministack.module("services.cloudformation.stacks")
        handlers = world.ministack.module("services.cloudformation.handlers")
        for kind in TABLE.values():
            self._take_over(kind)
        replace = world.ministack.replace
        self._blocks = replace(stacks, "_runs_on_worker_thread", self._runs_on_worker_thread)
        self._story = Story(stacks._add_event, self._stacks.get)
        # Each of these modules has imported the functions by name.
        changesets = world.ministack.module("services.cloudformation.changesets")
        for module in (stacks, handlers, changesets):
            replace(module, "_add_event", self._story.event)
        for module in (stacks, provisioners):
            self._update = replace(module, "_update_resource", self._update_resource)
        self._delete = replace(stacks, "_delete_resource", self._delete_resource)
        self._outputs = replace(stacks, "_resolve_stack_outputs", self._resolve_outputs)
        self._imported = handlers._imported_export_names
        self._create_stack = handlers._create_stack
        handlers._ACTION_HANDLERS["CreateStack"] = self._create

    # ------------------------------------------------------------------------------------------ resources

    def _take_over(self, kind: ResourceType) -> None:
        """Put the requests of a type in the place of ministack's provisioner of it."""
        self._provisioners._RESOURCE_HANDLERS[kind.name] = {
            **self._provisioners._RESOURCE_HANDLERS.get(kind.name, {}),
            "create": partial(self._make, kind),
            "update": partial(self._change, kind),
            "update_with_logical_id": True,
            "delete": partial(self._remove, kind),
            "delete_with_logical_id": True,
        }
        self._provisioners._REPLACING_PROPERTIES[kind.name] = kind.replaces

    def _resource(self, stack: str, logical_id: str, physical_id: str = "") -> Resource:
        account, region = self._ministack.current_scope()

        def call(service: str, operation: str, **request: Any) -> Mapping[str, Any]:
            return self._requests.call(region, service, operation, request)

        return Resource(call, account, region, stack, logical_id, physical_id)

    # The order of the arguments of these three is that of ministack.
    def _make(self, kind: ResourceType, logical_id: str, properties: Properties, stack: str) -> tuple[str, Any]:
        made, attributes = resources.create(kind, self._resource(stack, logical_id), properties)
        return made.physical_id, dict(attributes)

    def _change(
        self, kind: ResourceType, physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str
    ) -> tuple[str, Any]:
        resource = self._resource(stack, logical_id, physical_id)
        return physical_id, dict(resources.update(kind, resource, new, old))

    def _remove(self, kind: ResourceType, physical_id: str, properties: Properties, logical_id: str | None) -> None:
        resources.remove(kind, self._resource("", logical_id or "", physical_id), properties)

    def _runs_on_worker_thread(self, resource_type: str) -> bool:
        """Whether a type waits for something: requests are answered by the loop that must not wait for them."""
        return resource_type in TABLE or bool(self._blocks(resource_type))

    # ------------------------------------------------------------------------------------------ events

    def _update_resource(
        self,
        resource_type: str,
        physical_id: str,
        old_props: Properties,
        new_props: Properties,
        stack_name: str,
        logical_id: str | None = None,
        old_attrs: Any = None,
    ) -> Any:
        if old_props != new_props:
            self._story.changes(stack_name, logical_id)
        return self._update(resource_type, physical_id, old_props, new_props, stack_name, logical_id, old_attrs)

    def _delete_resource(
        self,
        resource_type: str,
        physical_id: str,
        props: Properties,
        stack_name: str | None = None,
        logical_id: str | None = None,
    ) -> None:
        gone = self._story.removes(stack_name or "", logical_id or "", resource_type, physical_id)
        self._delete(resource_type, physical_id, props, stack_name, logical_id)
        gone()

    # ------------------------------------------------------------------------------------------ outputs

    def _resolve_outputs(self, *asked: Any) -> Any:
        """Outputs and exports of a stack whose resources are there; the last that can fail before it is complete."""
        outputs, wanted = self._outputs(*asked)
        publish(self._exports, asked[-1], wanted, self._importers)
        return outputs, wanted

    def _importers(self, export: str) -> list[str]:
        stacks = ((name, stack) for name, stack in self._stacks.items() if stack["StackStatus"] != "DELETE_COMPLETE")
        return sorted(name for name, stack in stacks if export in self._imported(stack, name))

    # ------------------------------------------------------------------------------------------ the API

    def _create(self, params: Mapping[str, Any]) -> Any:
        """CreateStack: a stack whose creation failed keeps its name until it is deleted.

        https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/troubleshooting.html
        """
        name = self._helpers._p(params, "StackName")
        stack = self._stacks.get(name)
        if stack is not None and stack.get("StackStatus") == "ROLLBACK_COMPLETE":
            return self._helpers._error("AlreadyExistsException", f"Stack [{name}] already exists", 400)
        return self._create_stack(params)

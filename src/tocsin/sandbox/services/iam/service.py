# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""AWS IAM: ministack's evaluator, asked about the actions and resources that AWS asks about.

What a request to a service is called, and which policy a resource has, stands with the service (`NamesActions`,
`SharesActions`, `NamesResources`, `HasPolicies`); here they are asked. What the evaluator would pass over (a condition
operator that it does not know, a policy variable) refuses the request by its name.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

from tocsin.sandbox.ministack import expect
from tocsin.sandbox.service import Asked, Door, HasPolicies, NamesActions, NamesResources, ReliedOn, SharesActions
from tocsin.sandbox.services.iam import trail
from tocsin.sandbox.services.iam.policies import not_evaluated
from tocsin.sandbox.services.iam.refusals import Refusals, Refused
from tocsin.sandbox.world import World

_PARSED = 1024
"""Policies that are kept parsed: every request asks about those of its caller."""


_deciding: contextvars.ContextVar[bool] = contextvars.ContextVar("_deciding", default=False)
"""Whether a request is being decided on: queues and topics look into their policy once more, the account's root too."""


class _NotEvaluatedError(Exception):
    """A policy has a part that nobody here can evaluate."""


class Iam:
    """The policies of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        **trail.RELIED_ON,
        "core.iam_actions": {
            "extract_iam_action": "service, method, path, headers, body, query_params",
            "extract_resource_arn": "service, method, path, headers, body, query_params, region, account_id",
            "_param": "body, query_params, fields",
            "access_denied_response": "service, action, principal_arn, request_id, error_code, message, headers, "
            "resource_arn, explicit_deny, resource_policy_arn",
            "identity_denial_message": "action, principal_arn, resource, explicit_deny",
        },
        "core.iam_evaluator": {
            "enforce": "access_key_id, iam_action, service, region, resource_arn, service_context",
            "AuthError": "code, message, details",
            "_CONDITION_OPS": "",
            "_resource_policy": "service, resource_arn",
            "parse_policy_document": "doc",
            "validate_policy_document": "doc",
        },
    }
    signed_for = "iam"

    def adapt(self, world: World) -> None:
        """Ask the services what their requests are called before ministack is asked."""
        self._world = world
        self._actions = world.ministack.module("core.iam_actions")
        services = world.services.values()
        self._naming_actions = {one.signed_for: one for one in services if isinstance(one, NamesActions)}
        self._sharing_actions = {one.signed_for: one.allowed_by for one in services if isinstance(one, SharesActions)}
        self._naming_resources = {one.signed_for: one for one in services if isinstance(one, NamesResources)}
        self._their_action = world.ministack.replace(self._actions, "extract_iam_action", self._action)
        self._their_resource = world.ministack.replace(self._actions, "extract_resource_arn", self._resource)
        self._their_answer = world.ministack.replace(self._actions, "access_denied_response", self._answer)
        self._with_policies = {one.signed_for: one for one in services if isinstance(one, HasPolicies)}
        self._evaluate(world)

    def _evaluate(self, world: World) -> None:
        """Let ministack's evaluator refuse what it would pass over, and count what it refuses."""
        self.refusals = Refusals(trail.Trail(world.ministack).tell)
        self._evaluator = evaluator = world.ministack.module("core.iam_evaluator")
        replace = world.ministack.replace
        self._enforce = replace(evaluator, "enforce", self._enforced)
        self._their_policy = replace(evaluator, "_resource_policy", self._policy_of)
        self._their_parse = replace(evaluator, "parse_policy_document", self._parse)
        # What is refused depends on who asks, so that the answer is kept for each.
        self._parse_text = functools.lru_cache(_PARSED)(lambda doc, _deciding: self._checked(doc))
        self._their_validate = replace(evaluator, "validate_policy_document", self._validate)

    def doors(self) -> Mapping[str, Door]:
        """`refusals`: what was refused to whom, since the sandbox is up."""
        return {"refusals": self._tell_refusals}

    async def _tell_refusals(self, _request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"refusals": self.refusals.told()}

    async def try_out(self) -> None:
        """A stranger is refused."""
        stranger = self._enforce("AKIAAAAAAAAAAAAAAAAA", "sqs:ListQueues", "sqs", "us-east-1")
        expect(self, "an unknown access key is refused", stranger is not None)

    def iam_resource(self, asked: Asked) -> str | None:
        """Of a simulation: the user or role whose policies are simulated."""
        return self._actions._param(asked.body, asked.query, "PolicySourceArn") or None

    # The parameters of all of them are those that ministack's have: whoever wraps them again finds them unchanged.
    def _enforced(
        self,
        access_key_id: str,
        iam_action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        service_context: Mapping[str, Any] | None = None,
    ) -> Any:
        deciding = _deciding.set(True)
        try:
            denied = self._enforce(access_key_id, iam_action, service, region, resource_arn, service_context)
        except _NotEvaluatedError as error:
            return self._evaluator.AuthError("AccessDenied", str(error))
        finally:
            _deciding.reset(deciding)
        if denied is not None and not isinstance(denied, self._evaluator.AuthError):
            self._note(denied, iam_action, resource_arn)
        return denied

    def _answer(self, service: str, action: str, principal_arn: str, request_id: str, **said: Any) -> Any:
        """What a caller is told: AWS names the resource.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
        """
        resource = said.get("resource_arn", "*")
        of_identity = not (said.get("error_code") or said.get("message") or said.get("resource_policy_arn"))
        if of_identity and resource != "*":
            explicit = bool(said.get("explicit_deny"))
            said["message"] = self._actions.identity_denial_message(action, principal_arn, resource, explicit)
        return self._their_answer(service, action, principal_arn, request_id, **said)

    def _note(self, denied: Any, action: str, resource: str) -> None:
        explicit = denied.decision == "Deny"
        message = self._actions.identity_denial_message(action, denied.principal_arn, resource, explicit)
        if denied.resource_policy_arn:
            message = message.replace("identity-based", "resource-based")
        self.refusals.note(Refused(denied.principal_arn, action, resource, explicit, message))

    def _policy_of(self, service: str, resource_arn: str) -> Any:
        if service in self._with_policies and resource_arn.startswith("arn:"):
            policy = self._with_policies[service].policy_of(resource_arn)
            return None if policy is None else (policy, resource_arn.split(":")[4])
        return self._their_policy(service, resource_arn)

    def _parse(self, doc: Any) -> Any:
        return self._parse_text(doc, _deciding.get()) if isinstance(doc, str) else self._checked(doc)

    def _checked(self, doc: Any) -> Any:
        part = not_evaluated(doc, self._evaluator._CONDITION_OPS) if _deciding.get() else None
        if part is not None:
            raise _NotEvaluatedError(f"This sandbox cannot evaluate {part}, which a policy for this request has")
        return self._their_parse(doc)

    def _validate(self, doc: Any) -> str | None:
        """What a policy of a user or role is refused for when it is put."""
        problem: str | None = self._their_validate(doc)
        if problem is None and (part := not_evaluated(doc, self._evaluator._CONDITION_OPS)) is not None:
            return f"This sandbox cannot evaluate {part}"
        return problem

    def _action(
        self, service: str, method: str, path: str, headers: Any, body: bytes, query_params: Mapping[str, Any]
    ) -> str | None:
        naming = self._naming_actions.get(service)
        if naming is not None:
            asked = Asked(service, method, path, headers, body, query_params, self._world.ministack.current_scope())
            return naming.iam_action(asked)
        found: str | None = self._their_action(service, method, path, headers, body, query_params)
        namespace, _, operation = (found or "").partition(":")
        allowed_by = self._sharing_actions.get(service, {}).get(operation)
        return found if allowed_by is None else f"{namespace}:{allowed_by}"

    def _resource(
        self,
        service: str,
        method: str,
        path: str,
        headers: Any,
        body: bytes,
        query_params: Mapping[str, Any],
        region: str,
        account_id: str,
    ) -> str:
        naming = self._naming_resources.get(service)
        if naming is not None:
            asked = Asked(service, method, path, headers, body, query_params, (account_id, region))
            if named := naming.iam_resource(asked):
                return named
        return str(self._their_resource(service, method, path, headers, body, query_params, region, account_id))

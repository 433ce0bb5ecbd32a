# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Elastic Load Balancing: load balancers that a client can reach, targets and their health by `AlbPlant`.

ministack keeps the load balancers, target groups and listeners.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar
from xml.sax.saxutils import escape

from tocsin.sandbox.loop import InLoop
from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.services.elb.plant import Address, AlbPlant, FixedResponse, LoadBalancer, TargetGroup, is_loopback
from tocsin.sandbox.world import World


class Elb:
    """The load balancers of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "core.responses": {"AccountRegionScopedDict": ""},
        "services.alb": {
            "_ACTION_MAP": "",
            "_lbs": "",
            "_lb_attrs": "",
            "_tgs": "",
            "_tg_attrs": "",
            "_listeners": "",
            "_tags": "",
            "_register_targets": "params",
            "_deregister_targets": "params",
            "_describe_target_health": "params",
            "_parse_targets_param": "params, prefix",
            "_p": "params, key, default",
            "_xml": "status, action, inner",
            "_empty": "action",
            "_error": "code, message, status",
        },
        "services.cloudformation.provisioners": {
            "_RESOURCE_HANDLERS": "",
            "_elbv2_load_balancer_create": "logical_id, props, stack_name",
        },
    }
    signed_for = "elasticloadbalancing"

    def adapt(self, world: World) -> None:
        """Open a port for each load balancer, and let the plant say how targets are."""
        self._ministack = world.ministack
        self._in_loop = InLoop()
        self.plant = AlbPlant(world.store, self)
        self._elb = world.ministack.module("services.alb")
        self._elb._lbs = self._load_balancers(world.ministack.module("core.responses").AccountRegionScopedDict)
        for operation, name, handler in (
            ("RegisterTargets", "_register_targets", self._register_targets),
            ("DeregisterTargets", "_deregister_targets", self._deregister_targets),
            ("DescribeTargetHealth", "_describe_target_health", self._describe_target_health),
        ):
            self._elb._ACTION_MAP[operation] = handler
            setattr(self._elb, name, handler)
        provisioners = world.ministack.module("services.cloudformation.provisioners")
        self._provision = provisioners._elbv2_load_balancer_create
        handlers = provisioners._RESOURCE_HANDLERS
        handlers["AWS::ElasticLoadBalancingV2::LoadBalancer"]["create"] = self._create_from_template

    async def publish(self, wall: float) -> None:
        """Publish the gauges of load balancers and target groups."""
        self.plant.publish(wall)

    def ports(self) -> Mapping[str, int]:
        """Of each load balancer."""
        return {f"load balancer {name}": port for name, port in self.plant.ports().items()}

    async def close(self) -> None:
        """Close every port, and stop checking."""
        await self.plant.close()

    def tags(self) -> Iterable[tuple[str, Sequence[Mapping[str, str]]]]:
        """ARN and tags of load balancers, listeners and target groups."""
        found: Iterable[tuple[str, Sequence[Mapping[str, str]]]] = self._elb._tags.items()
        return found

    def _load_balancers(self, store: Any) -> Any:
        plant = self.plant

        class LoadBalancers(store):  # type: ignore[misc]
            """The load balancers, each with a DNS name under which a client can really reach it."""

            __slots__ = ()

            def __setitem__(self, arn: str, record: dict[str, Any]) -> None:
                if arn not in self:
                    record["DNSName"] = plant.open(arn)
                super().__setitem__(arn, record)

            def pop(self, arn: str, *default: Any) -> Any:
                plant.shut(arn)
                return super().pop(arn, *default)

        return LoadBalancers()

    def _create_from_template(self, logical_id: str, props: Mapping[str, Any], stack_name: str) -> Any:
        """`DNSName` as it is."""
        arn, attributes = self._provision(logical_id, props, stack_name)
        return arn, {**attributes, "DNSName": self._elb._lbs[arn]["DNSName"]}

    # ------------------------------------------------------------------------------------------ targets

    def _addresses(self, params: Any) -> list[Address]:
        group = self._elb._tgs[self._elb._p(params, "TargetGroupArn")]
        named = self._elb._parse_targets_param(params)
        return [Address(one["Id"], int(one.get("Port", group["Port"]))) for one in named]

    def _group_error(self, params: Any) -> Any:
        arn = self._elb._p(params, "TargetGroupArn")
        known = arn in self._elb._tgs
        return None if known else self._elb._error("TargetGroupNotFound", f"Target group '{arn}' not found.")

    def _register_targets(self, params: Any) -> Any:
        if (error := self._group_error(params)) is not None:
            return error
        addresses = self._addresses(params)
        for address in addresses:
            if not is_loopback(address.host):
                return self._elb._error(
                    "InvalidTarget", f"The IP address '{address.host}' is not valid: a sandbox has targets on 127.0.0.1"
                )
        arn = self._elb._p(params, "TargetGroupArn")
        for address in addresses:
            self._in_loop(partial(self.plant.register, arn, address))
        return self._elb._empty("RegisterTargets")

    def _deregister_targets(self, params: Any) -> Any:
        if (error := self._group_error(params)) is not None:
            return error
        arn, addresses = self._elb._p(params, "TargetGroupArn"), self._addresses(params)
        for address in addresses:
            self._in_loop(partial(self.plant.deregister, arn, address))
        return self._elb._empty("DeregisterTargets")

    def _describe_target_health(self, params: Any) -> Any:
        if (error := self._group_error(params)) is not None:
            return error
        arn = self._elb._p(params, "TargetGroupArn")
        addresses = self._addresses(params) or self.plant.targets(arn)
        described = "".join(_target_health(address, *self.plant.describe(arn, address)) for address in addresses)
        inner = f"<TargetHealthDescriptions>{described}</TargetHealthDescriptions>"
        return self._elb._xml(200, "DescribeTargetHealth", inner)

    # ------------------------------------------------------------------------------------------ for the plant and ECS

    def balanced(self, target_group_arn: str) -> bool:
        """Whether a load balancer forwards to a target group."""
        group = self.target_group(target_group_arn)
        return group is not None and bool(group.load_balancers)

    def load_balancer(self, arn: str) -> LoadBalancer | None:
        """A load balancer as it is defined now."""
        scope = _scope(arn)
        with self._ministack.scope(scope):
            if arn not in self._elb._lbs:
                return None
            attributes = _attributes(self._elb._lb_attrs.get(arn))
            listeners = [one for one in self._elb._listeners.values() if one["LoadBalancerArn"] == arn]
        actions = [action for listener in listeners for action in listener["DefaultActions"]]
        idle_s = float(attributes.get("idle_timeout.timeout_seconds", 60))
        served = [served for action in actions if (served := _action(action)) is not None]
        return LoadBalancer(arn, scope, idle_s, served[0] if served else None)

    def target_group(self, arn: str) -> TargetGroup | None:
        """A target group as it is defined now."""
        scope = _scope(arn)
        with self._ministack.scope(scope):
            record = self._elb._tgs.get(arn)
            if record is None:
                return None
            attributes = _attributes(self._elb._tg_attrs.get(arn))
            users = {
                listener["LoadBalancerArn"]
                for listener in self._elb._listeners.values()
                if listener["LoadBalancerArn"] in self._elb._lbs
                and any(action.get("TargetGroupArn") == arn for action in listener["DefaultActions"])
            }
        return TargetGroup(
            arn=arn,
            scope=scope,
            path=record.get("HealthCheckPath") or "/",
            interval_s=float(record.get("HealthCheckIntervalSeconds", 30)),
            timeout_s=float(record.get("HealthCheckTimeoutSeconds", 5)),
            healthy_threshold=int(record.get("HealthyThresholdCount", 5)),
            unhealthy_threshold=int(record.get("UnhealthyThresholdCount", 2)),
            matcher=(record.get("Matcher") or {}).get("HttpCode") or "200",
            deregistration_delay_s=float(attributes.get("deregistration_delay.timeout_seconds", 300)),
            checked=bool(record.get("HealthCheckEnabled", True)),
            load_balancers=tuple(sorted(users)),
        )


def _scope(arn: str) -> Scope:
    """Account and region of an ARN; a wrong one belongs to nobody."""
    parts = arn.split(":")
    return (parts[4], parts[3]) if len(parts) > 5 else ("", "")


def _attributes(pairs: Any) -> Mapping[str, str]:
    return {pair["Key"]: pair["Value"] for pair in pairs or ()}


def _action(action: Mapping[str, Any]) -> str | FixedResponse | None:
    if action.get("TargetGroupArn"):
        return str(action["TargetGroupArn"])
    fixed = action.get("FixedResponseConfig")
    if fixed is None:
        return None
    return FixedResponse(int(fixed["StatusCode"]), fixed.get("ContentType", "text/plain"), fixed.get("MessageBody", ""))


def _target_health(address: Address, state: str, reason: str, description: str) -> str:
    why = f"<Reason>{reason}</Reason><Description>{escape(description)}</Description>" if reason else ""
    return (
        f"<member><Target><Id>{escape(address.host)}</Id><Port>{address.port}</Port></Target>"
        f"<HealthCheckPort>{address.port}</HealthCheckPort>"
        f"<TargetHealth><State>{state}</State>{why}</TargetHealth></member>"
    )

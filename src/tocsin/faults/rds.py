"""Faults of Amazon RDS and RDS Proxy."""

from __future__ import annotations

import time
from typing import ClassVar

from pydantic import Field, model_validator

from tocsin.errors import TargetError
from tocsin.faults.base import Aws, Fault, ScheduledCall, State
from tocsin.iam import Arns
from tocsin.target import aws_errors


class ProxyPoolState(State):
    """The connection pool of a proxy's target group, in percent of `max_connections` and seconds."""

    max_connections_percent: int
    max_idle_connections_percent: int
    borrow_timeout_s: int


class RdsProxyThrottle(Fault[ProxyPoolState]):
    """Lower the share of database connections an RDS Proxy may use.

    With the default borrow time-out of 120 s callers give up first and see their own time-outs; a short
    `borrow_timeout_s` turns queueing into fast errors.
    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBProxyTargetGroup.html
    """

    kind: ClassVar[str] = "rds_proxy_throttle"
    state: ClassVar[type[State]] = ProxyPoolState
    summary: ClassVar[str] = "lower MaxConnectionsPercent (and the borrow time-out) of an RDS Proxy"
    aws_service: ClassVar[str] = "rds"
    permissions: ClassVar[tuple[str, ...]] = (
        "rds:DescribeDBProxyTargetGroups",
        "rds:ModifyDBProxyTargetGroup",
        "rds:DescribeDBProxies",
    )

    proxy: str = Field(description="name of the DB proxy")
    max_connections_percent: int = Field(ge=1, le=100)
    max_idle_connections_percent: int | None = Field(
        default=None, ge=0, le=100, description="default: at most the former"
    )
    borrow_timeout_s: int | None = Field(default=None, ge=0, le=300, description="default: as it is")
    target_group: str = "default"

    @model_validator(mode="after")
    def _idle_not_above_max(self) -> RdsProxyThrottle:
        idle = self.max_idle_connections_percent
        if idle is not None and idle > self.max_connections_percent:
            raise ValueError("expected max_idle_connections_percent to be at most max_connections_percent")
        return self

    @property
    def resource(self) -> str:
        return f"RDS Proxy {self.proxy}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        with aws_errors(f"looking for {self.resource}"):
            proxies = aws.client("rds").describe_db_proxies(DBProxyName=self.proxy)["DBProxies"]
        return tuple(str(proxy["DBProxyArn"]) for proxy in proxies)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        # Both are named by ids that only the account knows.
        return arns("rds", "db-proxy:*"), arns("rds", "target-group:*")

    def observe(self, aws: Aws, prior: ProxyPoolState | None) -> ProxyPoolState:
        with aws_errors(f"reading the target group of {self.resource}"):
            groups = aws.client("rds").describe_db_proxy_target_groups(
                DBProxyName=self.proxy, TargetGroupName=self.target_group
            )
        pool = groups["TargetGroups"][0]["ConnectionPoolConfig"]
        return ProxyPoolState(
            max_connections_percent=pool["MaxConnectionsPercent"],
            max_idle_connections_percent=pool["MaxIdleConnectionsPercent"],
            borrow_timeout_s=pool["ConnectionBorrowTimeout"],
        )

    def broken(self, prior: ProxyPoolState) -> ProxyPoolState:
        idle = self.max_idle_connections_percent
        if idle is None:
            idle = min(prior.max_idle_connections_percent, self.max_connections_percent)
        timeout = prior.borrow_timeout_s if self.borrow_timeout_s is None else self.borrow_timeout_s
        return ProxyPoolState(
            max_connections_percent=self.max_connections_percent,
            max_idle_connections_percent=idle,
            borrow_timeout_s=timeout,
        )

    def inject(self, aws: Aws, prior: ProxyPoolState) -> None:
        self._set(aws, self.broken(prior))

    def undo(self, aws: Aws, prior: ProxyPoolState) -> None:
        self._set(aws, prior)

    def dead_man(self, aws: Aws, prior: ProxyPoolState) -> ScheduledCall:
        return ScheduledCall(
            service="rds",
            operation="modifyDBProxyTargetGroup",
            request={
                "DbProxyName": self.proxy,
                "TargetGroupName": self.target_group,
                "ConnectionPoolConfig": _pool_config(prior),
            },
        )

    def _set(self, aws: Aws, pool: ProxyPoolState) -> None:
        with aws_errors(f"changing the target group of {self.resource}"):
            aws.client("rds").modify_db_proxy_target_group(
                DBProxyName=self.proxy,
                TargetGroupName=self.target_group,
                ConnectionPoolConfig=_pool_config(pool),
            )


def _pool_config(pool: ProxyPoolState) -> dict[str, int]:
    return {
        "MaxConnectionsPercent": pool.max_connections_percent,
        "MaxIdleConnectionsPercent": pool.max_idle_connections_percent,
        "ConnectionBorrowTimeout": pool.borrow_timeout_s,
    }


INSTANCE = r"^[a-zA-Z][a-zA-Z0-9-]{0,62}$"
"""Identifier of a DB instance."""
_ON_ITS_WAY = {"stopping": "stopped", "starting": "stopped", "backing-up": "available"}
"""Statuses on the way from or to another; a snapshot is taken of a running instance."""
_POLL_WALL_S = 0.1


class DbInstanceState(State):
    """`DBInstanceStatus`, without the way there: an instance that is stopping or starting serves nobody."""

    status: str


class _OnDbInstance(Fault[DbInstanceState]):
    """What is the same for every fault of a DB instance."""

    state: ClassVar[type[State]] = DbInstanceState
    aws_service: ClassVar[str] = "rds"

    instance: str = Field(pattern=INSTANCE, description="identifier of the DB instance")

    @property
    def resource(self) -> str:
        return f"DB instance {self.instance}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("rds", f"db:{self.instance}"),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        return (arns("rds", f"db:{self.instance}"),)

    def observe(self, aws: Aws, prior: DbInstanceState | None) -> DbInstanceState:
        status = self._status(aws)
        return DbInstanceState(status=_ON_ITS_WAY.get(status, status))

    def _status(self, aws: Aws) -> str:
        with aws_errors(f"reading the status of {self.resource}"):
            answer = aws.client("rds").describe_db_instances(DBInstanceIdentifier=self.instance)
        return str(answer["DBInstances"][0]["DBInstanceStatus"])


class RdsReboot(_OnDbInstance):
    """Reboot a DB instance: connections break, and new ones are refused until it is back.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_RebootDBInstance.html
    """

    kind: ClassVar[str] = "rds_reboot"
    summary: ClassVar[str] = "reboot a DB instance (AWS mends it)"
    permissions: ClassVar[tuple[str, ...]] = ("rds:DescribeDBInstances", "rds:RebootDBInstance")
    effect_within_s: ClassVar[float] = 900.0
    heals: ClassVar[bool] = True

    failover: bool = Field(default=False, description="Multi-AZ only: over to the standby")

    def broken(self, prior: DbInstanceState) -> DbInstanceState:
        return DbInstanceState(status="rebooting")

    def inject(self, aws: Aws, prior: DbInstanceState) -> None:
        with aws_errors(f"rebooting {self.resource}"):
            aws.client("rds").reboot_db_instance(DBInstanceIdentifier=self.instance, ForceFailover=self.failover)

    def undo(self, aws: Aws, prior: DbInstanceState) -> None:
        """Nothing to do: AWS brings it back."""


class RdsStop(_OnDbInstance):
    """Stop a DB instance; the undo starts it again. Data and endpoint stay.

    An instance that is still stopping cannot be started: the undo waits for it. AWS itself starts it after seven days.
    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_StopInstance.html
    """

    kind: ClassVar[str] = "rds_stop"
    summary: ClassVar[str] = "stop a DB instance"
    permissions: ClassVar[tuple[str, ...]] = (
        "rds:DescribeDBInstances",
        "rds:StartDBInstance",
        "rds:StopDBInstance",
    )
    effect_within_s: ClassVar[float] = 1800.0

    def broken(self, prior: DbInstanceState) -> DbInstanceState:
        return DbInstanceState(status="stopped")

    def inject(self, aws: Aws, prior: DbInstanceState) -> None:
        with aws_errors(f"stopping {self.resource}"):
            aws.client("rds").stop_db_instance(DBInstanceIdentifier=self.instance)

    def undo(self, aws: Aws, prior: DbInstanceState) -> None:
        deadline = time.monotonic() + self.effect_within_s / aws.target.scale
        while (status := self._status(aws)) == "stopping":
            if time.monotonic() > deadline:
                raise TargetError(f"expected {self.resource} to be stopped, so that it can be started; it is {status}")
            # An instance that is stopping cannot be started yet, and an undo is not cut short.
            time.sleep(max(_POLL_WALL_S, 5.0 / aws.target.scale))
        if status == "stopped":
            with aws_errors(f"starting {self.resource}"):
                aws.client("rds").start_db_instance(DBInstanceIdentifier=self.instance)

    def dead_man(self, aws: Aws, prior: DbInstanceState) -> ScheduledCall:
        return ScheduledCall(
            service="rds", operation="startDBInstance", request={"DbInstanceIdentifier": self.instance}
        )

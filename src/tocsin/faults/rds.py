"""Faults of Amazon RDS and RDS Proxy."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

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

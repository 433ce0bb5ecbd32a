"""Faults of Amazon RDS and RDS Proxy."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from pydantic import Field, JsonValue, model_validator

from tocsin.aws.answers import first_of, taken_by
from tocsin.aws.iam import ANY, Arns
from tocsin.aws.pages import listed
from tocsin.aws.rds import find_instance
from tocsin.aws.target import Aws, aws_errors
from tocsin.errors import NotFound, TargetError
from tocsin.faults.base import Fault, ScheduledCall, State, not_as_assumed


class ProxyPoolState(State):
    """The connection pool of a proxy's target group, in percent of `max_connections` and seconds."""

    max_connections_percent: int
    max_idle_connections_percent: int
    borrow_timeout_s: int
    others: dict[str, JsonValue] | None = Field(
        default=None,
        description="what else RDS shows and takes: `SessionPinningFilters`, `InitQuery`, which AWS calls no place for "
        "secrets; None in an entry of an older version",
    )


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
        pool = first_of(groups, "TargetGroups")["ConnectionPoolConfig"]
        more = taken_by(aws.client("rds"), "ModifyDBProxyTargetGroup", "ConnectionPoolConfig") - _OURS
        known = prior is None or prior.others is not None
        return ProxyPoolState(
            max_connections_percent=pool["MaxConnectionsPercent"],
            max_idle_connections_percent=pool["MaxIdleConnectionsPercent"],
            borrow_timeout_s=pool["ConnectionBorrowTimeout"],
            # None of it is the same, said or left out.
            others={name: pool[name] for name in sorted(more & pool.keys()) if pool[name]} if known else None,
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
            others=prior.others,
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
        aws.ask(
            f"changing the target group of {self.resource}",
            aws.client("rds").modify_db_proxy_target_group,
            DBProxyName=self.proxy,
            TargetGroupName=self.target_group,
            ConnectionPoolConfig=_pool_config(pool),
        )


_OURS = frozenset({"MaxConnectionsPercent", "MaxIdleConnectionsPercent", "ConnectionBorrowTimeout"})


def _pool_config(pool: ProxyPoolState) -> dict[str, JsonValue]:
    """All of it: what is left out is reset to its default.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ConnectionPoolConfiguration.html
    """
    return {
        **(pool.others or {}),
        "MaxConnectionsPercent": pool.max_connections_percent,
        "MaxIdleConnectionsPercent": pool.max_idle_connections_percent,
        "ConnectionBorrowTimeout": pool.borrow_timeout_s,
    }


INSTANCE = r"^[a-zA-Z][a-zA-Z0-9-]{0,62}$"
"""Identifier of a DB instance."""
CUSTOM = "custom-"
"""So the engines of RDS Custom begin, of which the application is in the hands of whoever runs it.
https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBInstance.html
"""
_WAITING = "pending-reboot"
_AVAILABLE = "available"
_ON_ITS_WAY = {"stopping": "stopped", "starting": "stopped", "backing-up": _AVAILABLE}
"""Statuses on the way from or to another; a snapshot is taken of a running instance."""
_POLL_WALL_S = 0.1
_RESTARTED = "restarted"
"""In RDS-EVENT-0006, when an instance was rebooted: `DB instance restarted.`
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Events.Messages.html"""
_BEGINS_WITHIN_S = 30.0
"""RDS shows `available` for a moment after it has taken the call."""


class DbInstanceState(State):
    """`DBInstanceStatus`, without the way there: an instance that is stopping or starting serves nobody."""

    status: str


class _OnDbInstance(Fault[DbInstanceState]):
    """What is the same for every fault of a DB instance."""

    state: ClassVar[type[State]] = DbInstanceState
    aws_service: ClassVar[str] = "rds"

    doing: ClassVar[str]
    """What AWS does to it, in words."""

    instance: str = Field(pattern=INSTANCE, description="identifier of the DB instance")

    @property
    def resource(self) -> str:
        return f"DB instance {self.instance}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("rds", f"db:{self.instance}"),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        return (arns("rds", f"db:{self.instance}"),)

    def observe(self, aws: Aws, prior: DbInstanceState | None) -> DbInstanceState:
        found = self._described(aws)
        status = str(found["DBInstanceStatus"])
        if prior is None:
            if status != _AVAILABLE:
                raise not_as_assumed(
                    f"{self.resource} to be {_AVAILABLE}",
                    f"it {status}",
                    "what is there would not come back, or not by this fault's undo. Wait until it is available",
                )
            for obstacle in self._not_done(found):
                raise not_as_assumed(
                    f"{self.resource} to be one that AWS {self.doing}",
                    obstacle,
                    "AWS would refuse to. Name another, or do something else to it",
                )
            self._check_nothing_waits(found)
        return DbInstanceState(status=_ON_ITS_WAY.get(status, status))

    def _not_done(self, found: Mapping[str, Any]) -> Iterator[str]:
        """Why AWS would not do it to this instance, as far as its description tells; RDS leaves out what it has not."""
        if found.get("Engine", "").startswith(CUSTOM):
            yield f"the engine {found['Engine']} of RDS Custom"

    def _check_nothing_waits(self, found: Mapping[str, Any]) -> None:
        """Whether it comes back as it was: an engine that starts takes the parameters that wait for that.

        https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBParameterGroupStatus.html

        Raises:
            Refused: it does not.
        """
        groups = found.get("DBParameterGroups", ())
        if waiting := [one["DBParameterGroupName"] for one in groups if one.get("ParameterApplyStatus") == _WAITING]:
            raise not_as_assumed(
                f"{self.resource} to have all of its parameters in force",
                f"that those of {', '.join(waiting)} wait for a reboot",
                "they would be in force afterwards, and no undo takes that back. Reboot it yourself, then drill again",
            )

    def _described(self, aws: Aws) -> Mapping[str, Any]:
        found = find_instance(aws.target, self.instance)
        if found is None:
            raise NotFound(f"expected {self.resource}, found none of that name")
        return found

    def _status(self, aws: Aws) -> str:
        return str(self._described(aws)["DBInstanceStatus"])


class RdsReboot(_OnDbInstance):
    """Reboot a DB instance: connections break, and new ones are refused until it is back.

    What AWS does not reboot is refused: RDS Custom. So is one with parameters that wait for a reboot.
    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_RebootDBInstance.html
    """

    kind: ClassVar[str] = "rds_reboot"
    doing: ClassVar[str] = "reboots"
    summary: ClassVar[str] = "reboot a DB instance (AWS mends it)"
    permissions: ClassVar[tuple[str, ...]] = ("rds:DescribeDBInstances", "rds:DescribeEvents", "rds:RebootDBInstance")
    effect_within_s: ClassVar[float] = 900.0
    begins_within_s: ClassVar[float] = _BEGINS_WITHIN_S
    heals: ClassVar[bool] = True

    failover: bool = Field(default=False, description="Multi-AZ only: over to the standby")

    def _not_done(self, found: Mapping[str, Any]) -> Iterator[str]:
        yield from super()._not_done(found)
        if self.failover and not found["MultiAZ"]:
            yield "it in a single zone, without the standby that `failover` is to"

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        # IAM limits events to no instance.
        return ANY if action == "rds:DescribeEvents" else super().scope(action, arns)

    def broken(self, prior: DbInstanceState) -> DbInstanceState:
        return DbInstanceState(status="rebooting")

    def vouched(self, aws: Aws, prior: DbInstanceState, since: float) -> str | None:
        """A reboot may be over before anybody looked; RDS keeps its events for 14 days."""
        return next((f"RDS says: {told}" for told in self._events(aws, since) if _RESTARTED in told), None)

    def look_ahead(self, aws: Aws, prior: DbInstanceState) -> None:
        self._events(aws, time.time())

    def _events(self, aws: Aws, since: float) -> list[str]:
        """What RDS says of the instance since then (epoch seconds).

        https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeEvents.html
        """
        of = {"SourceIdentifier": self.instance, "SourceType": "db-instance"}
        with aws_errors(f"reading the events of {self.resource}"):
            found = listed(aws.client("rds"), "describe_events", "Events", **of, StartTime=_at(since))
            return [str(event["Message"]) for event in found]

    def inject(self, aws: Aws, prior: DbInstanceState) -> None:
        aws.ask(
            f"rebooting {self.resource}",
            aws.client("rds").reboot_db_instance,
            DBInstanceIdentifier=self.instance,
            ForceFailover=self.failover,
        )

    def undo(self, aws: Aws, prior: DbInstanceState) -> None:
        """Nothing to do: AWS brings it back."""


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


_REPLICAS = ("ReadReplicaDBInstanceIdentifiers", "ReadReplicaDBClusterIdentifiers")
_SOURCES = ("ReadReplicaSourceDBInstanceIdentifier", "ReadReplicaSourceDBClusterIdentifier")


class RdsStop(_OnDbInstance):
    """Stop a DB instance; the undo starts it again. Data and endpoint stay.

    An instance that is still stopping cannot be started: the undo waits for it. AWS itself starts it after seven days.
    What AWS does not stop is refused: replicas and what has some, members of a cluster, SQL Server in Multi-AZ, RDS
    Custom. So is one with parameters that wait for a reboot.
    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_StopInstance.html
    """

    kind: ClassVar[str] = "rds_stop"
    doing: ClassVar[str] = "stops"
    summary: ClassVar[str] = "stop a DB instance"
    permissions: ClassVar[tuple[str, ...]] = (
        "rds:DescribeDBInstances",
        "rds:StartDBInstance",
        "rds:StopDBInstance",
    )
    effect_within_s: ClassVar[float] = 1800.0
    begins_within_s: ClassVar[float] = _BEGINS_WITHIN_S

    def _not_done(self, found: Mapping[str, Any]) -> Iterator[str]:
        yield from super()._not_done(found)
        if replicas := [name for member in _REPLICAS for name in found.get(member, ())]:
            yield f"that it has read replicas ({', '.join(replicas)})"
        if sources := [found[member] for member in _SOURCES if found.get(member)]:
            yield f"that it is a read replica of {', '.join(sources)}"
        if cluster := found.get("DBClusterIdentifier"):
            yield f"that it is a member of the cluster {cluster}, which is stopped as a whole"
        if "sqlserver" in found.get("Engine", "") and found["MultiAZ"]:
            yield "SQL Server in Multi-AZ"

    def broken(self, prior: DbInstanceState) -> DbInstanceState:
        return DbInstanceState(status="stopped")

    def inject(self, aws: Aws, prior: DbInstanceState) -> None:
        aws.ask(f"stopping {self.resource}", aws.client("rds").stop_db_instance, DBInstanceIdentifier=self.instance)

    def undo(self, aws: Aws, prior: DbInstanceState) -> None:
        if prior.status != _AVAILABLE:
            return  # an entry of an older version: it was not running before, and nobody asked us to start it
        deadline = time.monotonic() + self.effect_within_s / aws.target.scale
        while (status := self._status(aws)) == "stopping":
            if time.monotonic() > deadline:
                raise TargetError(f"expected {self.resource} to be stopped, so that it can be started; it is {status}")
            # An instance that is stopping cannot be started yet, and an undo is not cut short.
            time.sleep(max(_POLL_WALL_S, 5.0 / aws.target.scale))
        if status == "stopped":
            aws.ask(
                f"starting {self.resource}", aws.client("rds").start_db_instance, DBInstanceIdentifier=self.instance
            )

    def dead_man(self, aws: Aws, prior: DbInstanceState) -> ScheduledCall:
        return ScheduledCall(
            service="rds", operation="startDBInstance", request={"DbInstanceIdentifier": self.instance}
        )

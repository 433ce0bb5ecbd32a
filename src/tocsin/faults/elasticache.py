"""Faults of Amazon ElastiCache: AWS itself mends them, the undo waits for it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from pydantic import Field

from tocsin.aws.iam import ANY, Arns
from tocsin.aws.pages import listed
from tocsin.aws.target import Aws, aws_errors
from tocsin.errors import NotFound
from tocsin.faults.base import Fault, State, not_as_assumed

_ID = r"^[a-zA-Z][a-zA-Z0-9-]{0,39}$"


_FAILED_OVER = re.compile("Failover from .* completed")
"""https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_TestFailover.html"""
_RESTARTED = re.compile("restarted")
"""https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/ElastiCacheSNS.html"""


_Source = Literal["replication-group", "cache-cluster"]


class ReplicationGroupState(State):
    """Whether the group and each of its nodes are `available`; not which of them is the primary."""

    settled: bool


class _OnReplicationGroup(Fault[ReplicationGroupState]):
    """What is the same for every fault of a replication group."""

    state: ClassVar[type[State]] = ReplicationGroupState
    aws_service: ClassVar[str] = "elasticache"
    effect_within_s: ClassVar[float] = 900.0
    begins_within_s: ClassVar[float] = 30.0
    heals: ClassVar[bool] = True

    replication_group: str = Field(pattern=_ID, description="id of the replication group")

    @property
    def resource(self) -> str:
        return f"replication group {self.replication_group}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (str(self._group(aws)["ARN"]),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        # Ids of the nodes begin with that of the group.
        if action == "elasticache:DescribeEvents":
            return ANY  # IAM limits events to no resource
        of_nodes = action in ("elasticache:DescribeCacheClusters", "elasticache:RebootCacheCluster")
        resource = f"cluster:{self.replication_group}-*" if of_nodes else f"replicationgroup:{self.replication_group}"
        return (arns("elasticache", resource),)

    def observe(self, aws: Aws, prior: ReplicationGroupState | None) -> ReplicationGroupState:
        group = self._group(aws)
        nodes = self._nodes(aws, group)
        statuses = {str(group["Status"]), *(node["CacheClusterStatus"] for node in nodes)}
        if prior is None:
            if statuses != {"available"}:
                raise not_as_assumed(
                    f"{self.resource} and its nodes to be available",
                    ", ".join(sorted(statuses)),
                    "what is going on there would be taken for ours. Wait until it is over",
                )
            self._check_possible(group, nodes)
        return ReplicationGroupState(settled=statuses == {"available"})

    def _check_possible(self, group: dict[str, Any], nodes: Sequence[dict[str, Any]]) -> None:
        """Whether AWS can do it to this group, and leave it as it was.

        Raises:
            Refused: it cannot.
        """

    def broken(self, prior: ReplicationGroupState) -> ReplicationGroupState:
        return ReplicationGroupState(settled=False)

    def undo(self, aws: Aws, prior: ReplicationGroupState) -> None:
        """Nothing to do: AWS brings every node back."""

    def _events(self, aws: Aws, of: _Source, name: str, since: float) -> list[str]:
        """What ElastiCache says of a group or a node since then (epoch seconds); it keeps that for 14 days.

        https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_DescribeEvents.html
        """
        at = datetime.fromtimestamp(since, UTC)
        request = {"SourceType": of, "SourceIdentifier": name, "StartTime": at}
        with aws_errors(f"reading the events of {name}"):
            found = listed(aws.client("elasticache"), "describe_events", "Events", **request)
            return [str(event["Message"]) for event in found if event["Date"] >= at]

    def _group(self, aws: Aws) -> dict[str, Any]:
        with aws_errors(f"looking for {self.resource}"):
            answer = aws.client("elasticache").describe_replication_groups(ReplicationGroupId=self.replication_group)
        found: list[dict[str, Any]] = answer["ReplicationGroups"]
        if not found:
            raise NotFound(f"expected the {self.resource}, found none of that name")
        return found[0]

    def _nodes(self, aws: Aws, group: dict[str, Any]) -> list[dict[str, Any]]:
        clusters = []
        for member in group.get("MemberClusters", ()):
            with aws_errors(f"reading node {member} of {self.resource}"):
                answer = aws.client("elasticache").describe_cache_clusters(
                    CacheClusterId=member, ShowCacheNodeInfo=True
                )
            clusters.extend(answer["CacheClusters"])
        return clusters


class ElasticacheFailover(_OnReplicationGroup):
    """Fail the primary of a node group: a replica takes over, and the failed node comes back as a replica.

    AWS allows a few of these in a day, and only with automatic failover enabled.
    https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_TestFailover.html
    """

    kind: ClassVar[str] = "elasticache_failover"
    summary: ClassVar[str] = "fail the primary of a replication group (AWS mends it)"
    permissions: ClassVar[tuple[str, ...]] = (
        "elasticache:DescribeReplicationGroups",
        "elasticache:DescribeCacheClusters",
        "elasticache:DescribeEvents",
        "elasticache:TestFailover",
    )

    node_group: str = Field(default="0001", pattern=r"^\d{1,4}$", description="id of the node group (shard)")

    def _check_possible(self, group: dict[str, Any], nodes: Sequence[dict[str, Any]]) -> None:
        if group.get("AutomaticFailover", "enabled") != "enabled":
            raise not_as_assumed(
                f"automatic failover of {self.resource} to be enabled",
                str(group["AutomaticFailover"]),
                "AWS fails no primary over without it",
            )

    def inject(self, aws: Aws, prior: ReplicationGroupState) -> None:
        aws.ask(
            f"failing over {self.resource}",
            aws.client("elasticache").test_failover,
            ReplicationGroupId=self.replication_group,
            NodeGroupId=self.node_group,
        )

    def vouched(self, aws: Aws, prior: ReplicationGroupState, since: float) -> str | None:
        """A failover may be over before anybody looked."""
        told = self._events(aws, "replication-group", self.replication_group, since)
        return next((f"ElastiCache says: {one}" for one in told if _FAILED_OVER.search(one)), None)

    def look_ahead(self, aws: Aws, prior: ReplicationGroupState) -> None:
        self._events(aws, "replication-group", self.replication_group, time.time())


class ElasticacheReboot(_OnReplicationGroup):
    """Reboot every node of a replication group at once: an outage, and what the nodes held is lost.

    A reboot is no failover. Not for groups with cluster mode enabled, nor for those with parameters that wait for a
    reboot, which would be in force afterwards.
    https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_RebootCacheCluster.html
    """

    kind: ClassVar[str] = "elasticache_reboot"
    summary: ClassVar[str] = "reboot all nodes of a replication group: its data is lost (AWS mends the rest)"
    permissions: ClassVar[tuple[str, ...]] = (
        "elasticache:DescribeReplicationGroups",
        "elasticache:DescribeCacheClusters",
        "elasticache:DescribeEvents",
        "elasticache:RebootCacheCluster",
    )

    def _check_possible(self, group: dict[str, Any], nodes: Sequence[dict[str, Any]]) -> None:
        if group.get("ClusterEnabled", False):
            raise not_as_assumed(
                f"cluster mode of {self.resource} to be off", "it on", "AWS reboots no node of such a group"
            )
        if waiting := [node["CacheClusterId"] for node in nodes if _waits(node.get("CacheParameterGroup", {}))]:
            raise not_as_assumed(
                f"{self.resource} to have all of its parameters in force",
                f"that some of {', '.join(waiting)} wait for a reboot",
                "they would be in force afterwards, and no undo takes that back. Reboot it yourself, then drill again",
            )

    def inject(self, aws: Aws, prior: ReplicationGroupState) -> None:
        nodes = self._nodes(aws, self._group(aws))
        if not nodes:
            raise NotFound(f"expected {self.resource} to have nodes, found none")
        for node in nodes:
            aws.ask(
                f"rebooting node {node['CacheClusterId']} of {self.resource}",
                aws.client("elasticache").reboot_cache_cluster,
                CacheClusterId=node["CacheClusterId"],
                CacheNodeIdsToReboot=[one["CacheNodeId"] for one in node["CacheNodes"]],
            )

    def vouched(self, aws: Aws, prior: ReplicationGroupState, since: float) -> str | None:
        """A reboot may be over before anybody looked: then each node has restarted since."""
        members = self._group(aws).get("MemberClusters", ())
        told = {name: self._events(aws, "cache-cluster", name, since) for name in members}
        restarted = [name for name, said in told.items() if any(_RESTARTED.search(one) for one in said)]
        if not restarted or len(restarted) < len(told):
            return None
        return f"ElastiCache says that {', '.join(restarted)} restarted"

    def look_ahead(self, aws: Aws, prior: ReplicationGroupState) -> None:
        self._events(aws, "replication-group", self.replication_group, time.time())


def _waits(group: Mapping[str, Any]) -> bool:
    """Whether a node has parameters that its next reboot puts in force.

    https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_CacheParameterGroupStatus.html
    """
    return bool(group.get("CacheNodeIdsToReboot")) or group.get("ParameterApplyStatus") == "pending-reboot"

"""Faults of Amazon ElastiCache: AWS itself mends them, the undo waits for it."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from tocsin.errors import NotFound
from tocsin.faults.base import Aws, Fault, State
from tocsin.iam import Arns
from tocsin.target import aws_errors

_ID = r"^[a-zA-Z][a-zA-Z0-9-]{0,39}$"


class ReplicationGroupState(State):
    """Whether the group and each of its nodes are `available`; not which of them is the primary."""

    settled: bool


class _OnReplicationGroup(Fault[ReplicationGroupState]):
    """What is the same for every fault of a replication group."""

    state: ClassVar[type[State]] = ReplicationGroupState
    aws_service: ClassVar[str] = "elasticache"
    effect_within_s: ClassVar[float] = 900.0
    heals: ClassVar[bool] = True

    replication_group: str = Field(pattern=_ID, description="id of the replication group")

    @property
    def resource(self) -> str:
        return f"replication group {self.replication_group}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (str(self._group(aws)["ARN"]),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        # Ids of the nodes begin with that of the group.
        of_nodes = action in ("elasticache:DescribeCacheClusters", "elasticache:RebootCacheCluster")
        resource = f"cluster:{self.replication_group}-*" if of_nodes else f"replicationgroup:{self.replication_group}"
        return (arns("elasticache", resource),)

    def observe(self, aws: Aws, prior: ReplicationGroupState | None) -> ReplicationGroupState:
        group = self._group(aws)
        statuses = {str(group["Status"]), *(node["CacheClusterStatus"] for node in self._nodes(aws, group))}
        return ReplicationGroupState(settled=statuses == {"available"})

    def broken(self, prior: ReplicationGroupState) -> ReplicationGroupState:
        return ReplicationGroupState(settled=False)

    def undo(self, aws: Aws, prior: ReplicationGroupState) -> None:
        """Nothing to do: AWS brings every node back."""

    def _group(self, aws: Aws) -> dict[str, Any]:
        with aws_errors(f"looking for {self.resource}"):
            answer = aws.client("elasticache").describe_replication_groups(ReplicationGroupId=self.replication_group)
        found: dict[str, Any] = answer["ReplicationGroups"][0]
        return found

    def _nodes(self, aws: Aws, group: dict[str, Any]) -> list[dict[str, Any]]:
        clusters = []
        for member in group["MemberClusters"]:
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
        "elasticache:TestFailover",
    )

    node_group: str = Field(default="0001", pattern=r"^\d{1,4}$", description="id of the node group (shard)")

    def inject(self, aws: Aws, prior: ReplicationGroupState) -> None:
        with aws_errors(f"failing over {self.resource}"):
            aws.client("elasticache").test_failover(
                ReplicationGroupId=self.replication_group, NodeGroupId=self.node_group
            )


class ElasticacheReboot(_OnReplicationGroup):
    """Reboot every node of a replication group at once: an outage, and what the nodes held is lost.

    A reboot is no failover. Not for groups with cluster mode enabled.
    https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_RebootCacheCluster.html
    """

    kind: ClassVar[str] = "elasticache_reboot"
    summary: ClassVar[str] = "reboot all nodes of a replication group: its data is lost (AWS mends the rest)"
    permissions: ClassVar[tuple[str, ...]] = (
        "elasticache:DescribeReplicationGroups",
        "elasticache:DescribeCacheClusters",
        "elasticache:RebootCacheCluster",
    )

    def inject(self, aws: Aws, prior: ReplicationGroupState) -> None:
        nodes = self._nodes(aws, self._group(aws))
        if not nodes:
            raise NotFound(f"expected {self.resource} to have nodes, found none")
        for node in nodes:
            with aws_errors(f"rebooting node {node['CacheClusterId']} of {self.resource}"):
                aws.client("elasticache").reboot_cache_cluster(
                    CacheClusterId=node["CacheClusterId"],
                    CacheNodeIdsToReboot=[one["CacheNodeId"] for one in node["CacheNodes"]],
                )

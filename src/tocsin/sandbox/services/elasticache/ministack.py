# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Amazon ElastiCache: nodes, endpoints, roles and statuses by `ElastiCachePlant`.

ministack keeps the records of replication groups and cache clusters, and never looks for Docker. `TestFailover` and
`RebootCacheCluster` act on the plant.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from tocsin.errors import SandboxError
from tocsin.sandbox.metrics import Scope, ScopedSink
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.services.elasticache.plant import (
    AVAILABLE,
    CREATING,
    FAILED,
    REBOOTING,
    CacheGroup,
    ElastiCachePlant,
    GroupView,
)
from tocsin.sandbox.world import World

_ENGINES = ("redis", "valkey")
_CREATIONS = ("CreateReplicationGroup", "CreateCacheCluster")
_MODIFYING = "modifying"

Answer = tuple[int, Mapping[str, str], bytes]

_logger = logging.getLogger("tocsin.sandbox")


class ElastiCache:
    """The replication groups and cache clusters of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "services.elasticache": {
            "_replication_groups": "",
            "_clusters": "",
            "_get_docker": "",
            "_spawn_redis_container": "name, engine, engine_version, labels, transit, auth_token",
            "handle_request": "method, path, headers, body, query_params",
            "_record_event": "source_id, source_type, message",
            "_rg_xml": "rg",
            "_cluster_xml_inner": "c",
            "_xml": "status, root_tag, inner",
            "_error": "code, message, status",
            "_p": "params, key, default",
        },
        "services.tagging": {"_collect_elasticache": ""},
    }
    signed_for = "elasticache"
    settles = frozenset({"elasticache", "cloudformation"})

    def adapt(self, world: World) -> None:
        """Let the plant say how nodes are."""
        self._ministack = world.ministack
        self._elasticache = world.ministack.module("services.elasticache")
        self._collect_tags = world.ministack.module("services.tagging")._collect_elasticache
        self._sink = ScopedSink(world.store, self._scope_of)
        self._plant = ElastiCachePlant(
            world.directory / "elasticache", world.directory, world.clock, self._sink, self._show, world.parts
        )
        self._known: tuple[CacheGroup, ...] = ()
        self._failed: set[str] = set()
        self._lock = asyncio.Lock()
        self._elasticache._get_docker = lambda: None
        self._elasticache._spawn_redis_container = self._reserve
        self._answer = world.ministack.replace(self._elasticache, "handle_request", self._handle)

    # ------------------------------------------------------------------------------------------ powers

    async def publish(self, wall: float) -> None:
        """Publish the gauges of the system minute that `wall` is in."""
        await self.settle()
        self._sink.wall = wall
        await self._plant.publish()

    async def settle(self) -> None:
        """Make the nodes what the AWS API says; a new group starts beside the request."""
        wanted = tuple(self._wanted())
        if wanted == self._known:
            return
        grown = len(wanted) > len(self._known)
        self._known = wanted
        self._show()
        if grown:
            self._ministack.in_background(self._reconcile())
        else:
            await self._reconcile()

    def ports(self) -> Mapping[str, int]:
        """What listens -> its port."""
        return self._plant.ports()

    def pids(self) -> Mapping[int, str]:
        """Process id -> what it is."""
        return self._plant.pids()

    async def close(self) -> None:
        """Stop every process and close every port."""
        await self._plant.close()

    def tags(self) -> Iterable[tuple[str, Sequence[Mapping[str, str]]]]:
        """ARN and tags of everything."""
        found: Iterable[tuple[str, Sequence[Mapping[str, str]]]] = self._collect_tags()
        return found

    async def _reconcile(self) -> None:
        async with self._lock:
            try:
                await self._plant.reconcile(tuple(self._wanted()))
            except SandboxError:
                _logger.exception("ElastiCache plant")
                self._failed = {group.identifier for group in self._known} - self._plant.views().keys()
                self._show()

    # ------------------------------------------------------------------------------------------ ministack

    def _reserve(
        self,
        name: str,
        engine: str,
        engine_version: str,
        labels: Mapping[str, str],
        transit: bool,
        auth_token: Any = None,
    ) -> tuple[str, int, None]:
        """Where a group or a cluster that is being created will be reached."""
        del name, engine, engine_version, transit
        named = labels.get("rg_id") or labels["cluster_id"]
        return *self._plant.reserve(named, with_token=bool(auth_token)), None

    async def _handle(
        self, method: str, path: str, headers: Any, body: bytes, query_params: Mapping[str, Any]
    ) -> Answer:
        params = {**query_params, **(parse_qs(body.decode("utf-8", "replace")) if body else {})}
        action = self._parameter(params, "Action")
        own = {"TestFailover": self._test_failover, "RebootCacheCluster": self._reboot}
        if action in own:
            return own[action](params)
        if (refusal := self._refusal(action, params)) is not None:
            return refusal
        answer: Answer = await self._answer(method, path, headers, body, query_params)
        return self._being_created(action, params) if action in _CREATIONS and answer[0] < 400 else answer

    def _refusal(self, action: str, params: Mapping[str, Any]) -> Answer | None:
        """What would only be remembered, and not be true."""
        if action == "CreateReplicationGroup" and int(self._parameter(params, "NumNodeGroups") or 1) > 1:
            return self._error("InvalidParameterValue", "A sandbox has replication groups with one node group.")
        if action in ("CreateReplicationGroup", "ModifyReplicationGroup") and any(
            name.startswith("UserGroupIds") for name in params
        ):
            return self._error("InvalidParameterValue", "A sandbox has no user groups: give the group an AuthToken.")
        if action in ("IncreaseReplicaCount", "DecreaseReplicaCount"):
            return self._error("InvalidParameterValue", "In a sandbox a replication group keeps its nodes.")
        return None

    def _being_created(self, action: str, params: Mapping[str, Any]) -> Answer:
        self._show()
        if action == "CreateReplicationGroup":
            inner = self._group_xml(
                self._elasticache._replication_groups[self._parameter(params, "ReplicationGroupId")]
            )
        else:
            inner = self._cluster_xml(self._elasticache._clusters[self._parameter(params, "CacheClusterId")])
        return self._xml(action, f"<{action}Result>{inner}</{action}Result>")

    # ------------------------------------------------------------------------------------------ operations

    def _test_failover(self, params: Mapping[str, Any]) -> Answer:
        """https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_TestFailover.html"""
        name, node_group = self._parameter(params, "ReplicationGroupId"), self._parameter(params, "NodeGroupId")
        record = self._elasticache._replication_groups.get(name)
        if record is None:
            return self._error("ReplicationGroupNotFoundFault", f"Replication group {name} not found", 404)
        if node_group not in (one["NodeGroupId"] for one in record["NodeGroups"]):
            return self._error("NodeGroupNotFoundFault", f"Node group {node_group} of {name} not found", 404)
        if record["AutomaticFailover"] != "enabled":
            return self._error(
                "TestFailoverNotAvailableFault", f"Automatic failover is not enabled for replication group {name}"
            )
        if record["Status"] != AVAILABLE:
            return self._error("InvalidReplicationGroupState", f"Replication group {name} is {record['Status']}")
        try:
            self._plant.fail_over(name)
        except SandboxError:
            return self._error(
                "TestFailoverNotAvailableFault", f"Replication group {name} has no replica that is available"
            )
        self._elasticache._record_event(
            name, "replication-group", f"Test Failover API called for node group {node_group}"
        )
        return self._xml("TestFailover", f"<TestFailoverResult>{self._group_xml(record)}</TestFailoverResult>")

    def _reboot(self, params: Mapping[str, Any]) -> Answer:
        """https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_RebootCacheCluster.html"""
        name = self._parameter(params, "CacheClusterId")
        record = self._elasticache._clusters.get(name)
        if record is None:
            return self._error("CacheClusterNotFound", f"Cluster {name} not found", 404)
        if record["CacheClusterStatus"] != AVAILABLE or not self._plant.reboot(name):
            return self._error("InvalidCacheClusterState", f"Cluster {name} is {record['CacheClusterStatus']}")
        result = "RebootCacheClusterResult"
        return self._xml("RebootCacheCluster", f"<{result}>{self._cluster_xml(record)}</{result}>")

    def _parameter(self, params: Mapping[str, Any], name: str) -> str:
        return str(self._elasticache._p(params, name))

    def _error(self, code: str, message: str, status: int = 400) -> Answer:
        answer: Answer = self._elasticache._error(code, escape(message), status)
        return answer

    def _xml(self, action: str, inner: str) -> Answer:
        answer: Answer = self._elasticache._xml(200, f"{action}Response", inner)
        return answer

    def _group_xml(self, record: Mapping[str, Any]) -> str:
        return f"<ReplicationGroup>{self._elasticache._rg_xml(record)}</ReplicationGroup>"

    def _cluster_xml(self, record: Mapping[str, Any]) -> str:
        return f"<CacheCluster>{self._elasticache._cluster_xml_inner(record)}</CacheCluster>"

    # ------------------------------------------------------------------------------------------ records

    def _groups(self) -> dict[str, dict[str, Any]]:
        return {key[2]: record for key, record in list(self._elasticache._replication_groups._data.items())}

    def _clusters(self) -> dict[str, dict[str, Any]]:
        return {key[2]: record for key, record in list(self._elasticache._clusters._data.items())}

    def _wanted(self) -> Iterator[CacheGroup]:
        for name, record in self._groups().items():
            yield CacheGroup(name, tuple(record["MemberClusters"]), *_tokens(record))
        for name, record in self._clusters().items():
            if not record.get("ReplicationGroupId") and record["Engine"] in _ENGINES:
                yield CacheGroup(name, (name,), *_tokens(record))

    def _scope_of(self, dimensions: Mapping[str, str]) -> Scope:
        for account, region, name in list(self._elasticache._clusters._data):
            if name == dimensions["CacheClusterId"]:
                return account, region
        # Deleted a moment ago, and this is the last that is heard of it.
        return self._ministack.current_scope()

    def _show(self) -> None:
        """Say in the records of the AWS API how everything really is."""
        self._tell()
        views, clusters = self._plant.views(), self._clusters()
        for group in self._wanted():
            unborn = FAILED if group.identifier in self._failed else CREATING
            view = views.get(group.identifier)
            for node in group.nodes:
                if node in clusters:
                    _show_cluster(clusters[node], view, unborn)
        for name, record in self._groups().items():
            _show_group(record, views.get(name), FAILED if name in self._failed else CREATING)

    def _tell(self) -> None:
        """Record what has come to an end since the records were written last, in the words of AWS."""
        views = self._plant.views()
        for (account, region, name), record in list(self._elasticache._replication_groups._data.items()):
            before, now = _primary(record), views[name].primary if name in views else None
            if before is not None and now is not None and before != now:
                told = f"Failover from primary node {before} to replica node {now} completed"
                self._event((account, region), "replication-group", name, told)
        restarted = {node for view in views.values() for node, status in view.nodes.items() if status == AVAILABLE}
        for (account, region, name), record in list(self._elasticache._clusters._data.items()):
            if name in restarted and record["CacheClusterStatus"] == REBOOTING:
                self._event((account, region), "cache-cluster", name, "Cache node 0001 restarted")

    def _event(self, scope: Scope, kind: str, name: str, told: str) -> None:
        with self._ministack.scope(scope):
            self._elasticache._record_event(name, kind, told)


def _primary(record: Mapping[str, Any]) -> str | None:
    """The node of a group that is its primary, as far as its record says."""
    members = (one for group in record["NodeGroups"] for one in group["NodeGroupMembers"])
    return next((str(one["CacheClusterId"]) for one in members if one.get("CurrentRole") == "primary"), None)


def _show_group(record: dict[str, Any], view: GroupView | None, unborn: str) -> None:
    settled = view is not None and all(status == AVAILABLE for status in view.nodes.values())
    record["Status"] = unborn if view is None else AVAILABLE if settled else _MODIFYING
    for node_group in record["NodeGroups"]:
        node_group["Status"] = record["Status"]
        if view is None:
            continue
        node_group["PrimaryEndpoint"] = _endpoint(view, view.endpoint[1])
        node_group["ReaderEndpoint"] = _endpoint(view, view.reader[1])
        for member in node_group["NodeGroupMembers"]:
            node = member["CacheClusterId"]
            member["CurrentRole"] = "primary" if node == view.primary else "replica"
            member["ReadEndpoint"] = _endpoint(view, view.ports[node])


def _show_cluster(record: dict[str, Any], view: GroupView | None, unborn: str) -> None:
    name = record["CacheClusterId"]
    record["CacheClusterStatus"] = unborn if view is None else view.nodes[name]
    for node in record["CacheNodes"]:
        node["CacheNodeStatus"] = record["CacheClusterStatus"]
        if view is not None:
            alone = not record.get("ReplicationGroupId")
            node["Endpoint"] = _endpoint(view, view.endpoint[1] if alone else view.ports[name])


def _tokens(record: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """AUTH tokens, and whether one is optional; https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth.html"""
    return tuple(record.get("_auth_tokens") or ()), bool(record.get("_auth_optional"))


def _endpoint(view: GroupView, port: int) -> dict[str, Any]:
    """`redis://Address:Port` is a URL that lets in, unless the group has an AUTH token."""
    return {"Address": view.host, "Port": port}

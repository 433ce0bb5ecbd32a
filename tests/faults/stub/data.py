"""Databases, their proxy and their snapshots, and a cache: what takes its time until it is there, or gone."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime

from tests.faults.stub.clock import Clock
from tests.faults.stub.errors import Asked, StubError

_ARN = "arn:aws:rds:eu-west-1:123456789012"
_TAKES_S = 60.0


class Thing:
    """What has a status: on its way for a minute, then arrived."""

    def __init__(self, clock: Clock, status: str) -> None:
        self._clock = clock
        self._way, self._arrived, self._at = status, status, clock.now
        self.tags: list[Asked] = []

    @property
    def status(self) -> str:
        """As AWS shows it; empty when it is gone."""
        return self._arrived if self._clock.now >= self._at else self._way

    def goes(self, way: str, arrived: str) -> None:
        """Set out for another status."""
        self._way, self._arrived, self._at = way, arrived, self._clock.until(_TAKES_S)


class Rds:
    """One instance, one proxy, and what is made of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.instances = {"orders": Thing(clock, "available")}
        self.snapshots: dict[str, Thing] = {}
        self.keys: dict[str, str] = {}
        self.events: list[Asked] = []
        self.set: Asked = {}
        """What else the instances show."""
        self.pool: Asked = {
            "MaxConnectionsPercent": 90,
            "MaxIdleConnectionsPercent": 50,
            "ConnectionBorrowTimeout": 120,
            "SessionPinningFilters": ["EXCLUDE_VARIABLE_SETS"],
            "InitQuery": "SET application_name = 'till'",
        }

    def _instance(self, asked: Asked) -> Thing:
        found = self.instances.get(asked["DBInstanceIdentifier"])
        if found is None or not found.status:
            raise StubError("DBInstanceNotFound")
        return found

    def _goes(self, asked: Asked, only_from: str, way: str, arrived: str) -> Asked:
        instance = self._instance(asked)
        if instance.status != only_from:
            raise StubError("InvalidDBInstanceState")
        instance.goes(way, arrived)
        return {}

    def describe_db_instances(self, asked: Asked) -> Asked:
        found = self._instance(asked)
        name = asked["DBInstanceIdentifier"]
        shown = {"DBInstanceIdentifier": name, "DBInstanceStatus": found.status, "TagList": deepcopy(found.tags)}
        key = {"KmsKeyId": self.keys[name]} if name in self.keys else {}
        return {"DBInstances": [{**shown, **key, **self.set}]}

    def reboot_db_instance(self, asked: Asked) -> Asked:
        answer = self._goes(asked, "available", "rebooting", "available")
        back = datetime.fromtimestamp(self._clock.until(_TAKES_S), UTC)
        self.events.append({"Message": "DB instance restarted.", "Date": back})
        return answer

    def describe_events(self, asked: Asked) -> Asked:
        now, since = datetime.fromtimestamp(self._clock.now, UTC), asked["StartTime"]
        return {"Events": [one for one in self.events if since <= one["Date"] <= now]}

    def stop_db_instance(self, asked: Asked) -> Asked:
        return self._goes(asked, "available", "stopping", "stopped")

    def start_db_instance(self, asked: Asked) -> Asked:
        return self._goes(asked, "stopped", "starting", "available")

    def describe_db_proxies(self, asked: Asked) -> Asked:
        return {"DBProxies": [{"DBProxyArn": f"{_ARN}:db-proxy:prx-1"}]}

    def describe_db_proxy_target_groups(self, asked: Asked) -> Asked:
        return {"TargetGroups": [{"ConnectionPoolConfig": dict(self.pool)}]}

    def modify_db_proxy_target_group(self, asked: Asked) -> Asked:
        self.pool = dict(asked["ConnectionPoolConfig"])
        return {}

    def create_db_snapshot(self, asked: Asked) -> Asked:
        self._instance(asked)
        if asked["DBSnapshotIdentifier"] in self.snapshots:
            raise StubError("DBSnapshotAlreadyExists")
        self.snapshots[asked["DBSnapshotIdentifier"]] = made = Thing(self._clock, "creating")
        made.goes("creating", "available")
        return {}

    def describe_db_snapshots(self, asked: Asked) -> Asked:
        found = self.snapshots.get(asked["DBSnapshotIdentifier"])
        if found is None or not found.status:
            raise StubError("DBSnapshotNotFound")
        return {"DBSnapshots": [{"Status": found.status}]}

    def delete_db_snapshot(self, asked: Asked) -> Asked:
        self.describe_db_snapshots(asked)
        self.snapshots[asked["DBSnapshotIdentifier"]].goes("deleting", "")
        return {}

    def restore_db_instance_from_db_snapshot(self, asked: Asked) -> Asked:
        self.describe_db_snapshots(asked)
        self.instances[asked["DBInstanceIdentifier"]] = made = Thing(self._clock, "creating")
        made.tags = deepcopy(asked["Tags"])
        made.goes("creating", "available")
        return {}

    def delete_db_instance(self, asked: Asked) -> Asked:
        return self._goes(asked, "available", "deleting", "")


class ElastiCache:
    """One replication group of two nodes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.events: list[tuple[tuple[str, str], Asked]] = []
        self.group = Thing(clock, "available")
        self.nodes = {"cache-001": Thing(clock, "available"), "cache-002": Thing(clock, "available")}
        self.set: Asked = {"AutomaticFailover": "enabled", "ClusterEnabled": False}
        self.of_nodes: Asked = {}
        """What else the nodes show."""

    def describe_replication_groups(self, asked: Asked) -> Asked:
        arn = "arn:aws:elasticache:eu-west-1:123456789012:replicationgroup:cache"
        return {
            "ReplicationGroups": [
                {"ARN": arn, "Status": self.group.status, "MemberClusters": list(self.nodes), **self.set}
            ]
        }

    def describe_cache_clusters(self, asked: Asked) -> Asked:
        name = asked["CacheClusterId"]
        shown = {"CacheClusterId": name, "CacheClusterStatus": self.nodes[name].status}
        return {"CacheClusters": [{**shown, "CacheNodes": [{"CacheNodeId": "0001"}], **self.of_nodes}]}

    def describe_events(self, asked: Asked) -> Asked:
        now, of = datetime.fromtimestamp(self._clock.now, UTC), (asked["SourceType"], asked["SourceIdentifier"])
        return {"Events": [one for key, one in self.events if key == of and asked["StartTime"] <= one["Date"] <= now]}

    def _tells(self, kind: str, name: str, message: str) -> None:
        at = datetime.fromtimestamp(self._clock.until(_TAKES_S), UTC)
        self.events.append(((kind, name), {"Message": message, "Date": at}))

    def test_failover(self, asked: Asked) -> Asked:
        self.group.goes("modifying", "available")
        told = "Failover from primary node cache-001 to replica node cache-002 completed"
        self._tells("replication-group", "cache", told)
        return {}

    def reboot_cache_cluster(self, asked: Asked) -> Asked:
        self.nodes[asked["CacheClusterId"]].goes("rebooting cluster nodes", "available")
        self._tells("cache-cluster", asked["CacheClusterId"], "Cache node 0001 restarted")
        return {}

"""ElastiCache as its API tells it and as a client of Valkey sees it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.sandbox.aws.shop import Shop, cut_off, eventually
from valkey import Valkey
from valkey.exceptions import ValkeyError

TRIES = 5
"""A machine that stands still for a second has seen nothing of a reboot: it is asked again."""


def create(shop: Shop, name: str, **options: Any) -> dict[str, Any]:
    answer = shop.client("elasticache").create_replication_group(
        ReplicationGroupId=name, ReplicationGroupDescription="of a test", Engine="valkey", **options
    )
    return dict(answer["ReplicationGroup"])


def group(shop: Shop, name: str) -> dict[str, Any]:
    (found,) = shop.client("elasticache").describe_replication_groups(ReplicationGroupId=name)["ReplicationGroups"]
    return dict(found)


def roles(shop: Shop, name: str) -> dict[str, str]:
    (node_group,) = group(shop, name)["NodeGroups"]
    return {member["CacheClusterId"]: member["CurrentRole"] for member in node_group["NodeGroupMembers"]}


def statuses(shop: Shop, name: str) -> dict[str, str]:
    clusters = shop.client("elasticache").describe_cache_clusters()["CacheClusters"]
    return {
        one["CacheClusterId"]: one["CacheClusterStatus"] for one in clusters if one.get("ReplicationGroupId") == name
    }


def ask(endpoint: dict[str, Any], *words: str) -> Any:
    """The answer of Valkey; None when there is none."""
    url = f"redis://{endpoint['Address']}:{endpoint['Port']}"
    try:
        with Valkey.from_url(url, decode_responses=True, socket_timeout=60) as client:
            return client.execute_command(*words)
    except ValkeyError:
        return None


def wait_available(shop: Shop, name: str) -> None:
    waiter = shop.client("elasticache").get_waiter("replication_group_available")
    waiter.wait(ReplicationGroupId=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 1200})


def code(call: Any, **request: Any) -> str:
    """The code with which a call is refused; empty when it is not."""
    try:
        call(**request)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def last_event(shop: Shop, kind: str, name: str) -> str:
    answer = shop.client("elasticache").describe_events(SourceType=kind, SourceIdentifier=name)
    return str(answer["Events"][-1]["Message"])


def refused(call: Any, **request: Any) -> str:
    found = code(call, **request)
    assert found
    return found


@pytest.fixture(scope="module")
def carts(shop: Shop) -> Iterator[dict[str, Any]]:
    """A replication group of two nodes, and the node group that it is."""
    created = create(shop, "carts", NumCacheClusters=2, AutomaticFailoverEnabled=True)
    assert created["Status"] == "creating"
    wait_available(shop, "carts")
    yield group(shop, "carts")["NodeGroups"][0]
    shop.client("elasticache").delete_replication_group(ReplicationGroupId="carts")
    assert ask(created["NodeGroups"][0]["PrimaryEndpoint"], "PING") is None


def test_the_endpoint_is_known_from_the_beginning_and_stays_through_a_failover(
    shop: Shop, carts: dict[str, Any]
) -> None:
    first, second = sorted(roles(shop, "carts"))
    assert roles(shop, "carts") == {first: "primary", second: "replica"}
    assert ask(carts["PrimaryEndpoint"], "SET", "cart", "1") is True
    assert eventually(lambda: ask(carts["ReaderEndpoint"], "GET", "cart")) == "1"
    shop.client("elasticache").test_failover(ReplicationGroupId="carts", NodeGroupId="0001")
    assert group(shop, "carts")["Status"] == "modifying"
    assert statuses(shop, "carts") == {first: "creating", second: "available"}
    eventually(lambda: roles(shop, "carts") == {first: "replica", second: "primary"})
    assert ask(carts["PrimaryEndpoint"], "GET", "cart") == "1"
    wait_available(shop, "carts")
    assert set(statuses(shop, "carts").values()) == {"available"}
    assert group(shop, "carts")["NodeGroups"][0]["PrimaryEndpoint"] == carts["PrimaryEndpoint"]
    assert eventually(lambda: shop.latest("AWS/ElastiCache", "IsPrimary", CacheClusterId=second)) == 1.0
    told = f"Failover from primary node {first} to replica node {second} completed"
    assert last_event(shop, "replication-group", "carts") == told


def test_rebooted_nodes_lose_what_they_hold(shop: Shop, carts: dict[str, Any]) -> None:
    ask(carts["PrimaryEndpoint"], "SET", "cart", "2")
    with cut_off((carts["PrimaryEndpoint"]["Address"].rpartition("@")[2], carts["PrimaryEndpoint"]["Port"])):
        for node in roles(shop, "carts"):
            answer = shop.client("elasticache").reboot_cache_cluster(CacheClusterId=node, CacheNodeIdsToReboot=["0001"])
            assert answer["CacheCluster"]["CacheClusterStatus"] == "rebooting cluster nodes"
    wait_available(shop, "carts")
    assert (ask(carts["PrimaryEndpoint"], "PING"), ask(carts["PrimaryEndpoint"], "GET", "cart")) == (True, None)
    assert {last_event(shop, "cache-cluster", node) for node in roles(shop, "carts")} == {"Cache node 0001 restarted"}


def test_what_cannot_be_done_is_refused_as_by_aws(shop: Shop, carts: dict[str, Any]) -> None:
    elasticache = shop.client("elasticache")
    create(shop, "lonely")
    wait_available(shop, "lonely")
    failover = elasticache.test_failover
    assert refused(failover, ReplicationGroupId="none", NodeGroupId="0001") == "ReplicationGroupNotFoundFault"
    assert refused(failover, ReplicationGroupId="carts", NodeGroupId="0002") == "NodeGroupNotFoundFault"
    assert refused(failover, ReplicationGroupId="lonely", NodeGroupId="0001") == "TestFailoverNotAvailableFault"
    elasticache.modify_replication_group(ReplicationGroupId="lonely", AutomaticFailoverEnabled=True)
    assert refused(failover, ReplicationGroupId="lonely", NodeGroupId="0001") == "TestFailoverNotAvailableFault"
    reboot = elasticache.reboot_cache_cluster
    assert refused(reboot, CacheClusterId="none", CacheNodeIdsToReboot=["0001"]) == "CacheClusterNotFound"
    node = next(iter(roles(shop, "lonely")))
    for _ in range(TRIES):
        reboot(CacheClusterId=node, CacheNodeIdsToReboot=["0001"])
        found = refused(failover, ReplicationGroupId="lonely", NodeGroupId="0001")
        again = code(reboot, CacheClusterId=node, CacheNodeIdsToReboot=["0001"])
        wait_available(shop, "lonely")
        if again:  # it was not over
            assert (found, again) == ("InvalidReplicationGroupState", "InvalidCacheClusterState")
            break
    else:
        pytest.fail(f"in {TRIES} tries the machine never asked within the second of a reboot")
    elasticache.delete_replication_group(ReplicationGroupId="lonely")


def test_a_cluster_of_its_own_is_a_valkey_too(shop: Shop) -> None:
    elasticache = shop.client("elasticache")
    elasticache.create_cache_cluster(CacheClusterId="single", Engine="redis", CacheNodeType="cache.t3.micro")
    waiter = elasticache.get_waiter("cache_cluster_available")
    waiter.wait(CacheClusterId="single", WaiterConfig={"Delay": 0.1, "MaxAttempts": 1200})
    (cluster,) = elasticache.describe_cache_clusters(CacheClusterId="single", ShowCacheNodeInfo=True)["CacheClusters"]
    assert ask(cluster["CacheNodes"][0]["Endpoint"], "PING") is True
    elasticache.delete_cache_cluster(CacheClusterId="single")
    assert ask(cluster["CacheNodes"][0]["Endpoint"], "PING") is None


def test_a_group_without_a_token_has_a_password_in_its_address(shop: Shop, carts: dict[str, Any]) -> None:
    for name in ("PrimaryEndpoint", "ReaderEndpoint"):
        endpoint = carts[name]
        password, _, host = endpoint["Address"].removeprefix(":").partition("@")
        assert (host, len(password)) == ("127.0.0.1", 32)
        assert ask(endpoint, "PING") is True
        assert ask(endpoint | {"Address": host}, "PING") is None
        assert ask(endpoint | {"Address": f":{password[:-1]}@{host}"}, "PING") is None


def test_a_token_lets_in_as_it_is_declared(shop: Shop) -> None:
    elasticache, token = shop.client("elasticache"), "not-a-secret-not-a-secret"
    create(shop, "guarded", TransitEncryptionEnabled=True, AuthToken=token)
    wait_available(shop, "guarded")
    endpoint = group(shop, "guarded")["NodeGroups"][0]["PrimaryEndpoint"]
    assert endpoint["Address"] == "127.0.0.1"
    assert ask(endpoint, "PING") is None
    assert ask(endpoint | {"Address": f":{token}@127.0.0.1"}, "PING") is True
    elasticache.modify_replication_group(
        ReplicationGroupId="guarded", AuthToken=token[::-1], AuthTokenUpdateStrategy="SET", ApplyImmediately=True
    )
    eventually(lambda: ask(endpoint | {"Address": f":{token[::-1]}@127.0.0.1"}, "PING"))
    assert ask(endpoint | {"Address": f":{token}@127.0.0.1"}, "PING") is None
    elasticache.delete_replication_group(ReplicationGroupId="guarded")


def test_user_groups_are_refused_by_name(shop: Shop, carts: dict[str, Any]) -> None:
    elasticache = shop.client("elasticache")
    asked = {"ReplicationGroupId": "carts", "UserGroupIdsToAdd": ["people"]}
    assert refused(elasticache.modify_replication_group, **asked) == "InvalidParameterValue"
    new = {"ReplicationGroupId": "people", "ReplicationGroupDescription": "of a test", "UserGroupIds": ["people"]}
    assert refused(elasticache.create_replication_group, **new) == "InvalidParameterValue"

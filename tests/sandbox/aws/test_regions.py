"""Systems of several regions in one sandbox do not see each other."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tests.sandbox.aws.shop import Shop, eventually

ELSEWHERE = "eu-west-1"


def test_a_database_publishes_where_it_is(shop: Shop) -> None:
    account = dataclasses.replace(shop.account, region=ELSEWHERE)
    rds, metrics = account.client("rds"), account.client("cloudwatch")
    rds.create_db_instance(
        DBInstanceIdentifier="shop-db",
        DBInstanceClass="db.t3.micro",
        Engine="postgres",
        MasterUsername="owner",
        MasterUserPassword="not-a-secret",
        AllocatedStorage=20,
    )
    login = account.client("secretsmanager").create_secret(
        Name="shop-db", SecretString=json.dumps({"username": "owner", "password": "not-a-secret"})
    )
    subnets = account.client("ec2").describe_subnets()["Subnets"]
    rds.create_db_proxy(
        DBProxyName="shop-proxy",
        EngineFamily="POSTGRESQL",
        Auth=[{"AuthScheme": "SECRETS", "SecretArn": login["ARN"], "IAMAuth": "DISABLED"}],
        RoleArn=f"arn:aws:iam::{account.account_id}:role/shop-proxy",
        VpcSubnetIds=[subnet["SubnetId"] for subnet in subnets[:2]],
    )
    rds.register_db_proxy_targets(DBProxyName="shop-proxy", DBInstanceIdentifiers=["shop-db"])
    assert account.database("shop-db")[0] == "127.0.0.1"

    def dimensions(cloudwatch: Any) -> set[str]:
        listed = cloudwatch.list_metrics(Namespace="AWS/RDS")["Metrics"]
        return {one["Value"] for metric in listed for one in metric["Dimensions"]}

    eventually(lambda: dimensions(metrics) == {"shop-db", "shop-proxy"})
    # Other tests may have databases of their own in the region of the shop.
    assert dimensions(shop.client("cloudwatch")).isdisjoint({"shop-db", "shop-proxy"})
    rds.delete_db_proxy(DBProxyName="shop-proxy")
    rds.delete_db_instance(DBInstanceIdentifier="shop-db", SkipFinalSnapshot=True)


def test_an_alarm_sees_the_metrics_of_its_region(shop: Shop) -> None:
    there = dataclasses.replace(shop, account=dataclasses.replace(shop.account, region=ELSEWHERE), _clients={})
    there.put_alarm("regional")
    shop.put_alarm("regional")
    there.publish("regional", 9)
    there.wait_for_ring("regional")
    shop.wait_for("regional", "OK")
    assert shop.states("regional") == ["OK"]

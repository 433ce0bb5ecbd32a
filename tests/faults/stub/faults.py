"""Arguments with which each fault breaks something of the stubbed account."""

from __future__ import annotations

from typing import Any

from tests.faults.stub.account import StubAws

ARGUMENTS: dict[str, dict[str, Any]] = {
    "dynamodb_table_deny": {"table": "orders", "actions": ["dynamodb:PutItem"]},
    "ecs_bad_release": {"cluster": "shop", "service": "till", "circuit_breaker": True},
    "ecs_scale": {"cluster": "shop", "service": "till", "desired": 0},
    "ecs_stop_tasks": {"cluster": "shop", "service": "till"},
    "ecs_task_cpu_stress": {"cluster": "shop", "service": "till", "role": "chaos"},
    "elasticache_failover": {"replication_group": "cache"},
    "elasticache_reboot": {"replication_group": "cache"},
    "elb_target_deregistered": {"target_group": "till"},
    "endpoint_override": {"function": "desk", "variable": "BASE_URL", "url": "https://fault.example.com"},
    "iam_role_deny": {"role": "till", "actions": ["sqs:*"]},
    "lambda_bad_release": {"function": "desk", "alias": "live"},
    "lambda_environment_credential": {"function": "desk", "variable": "PASSWORD"},
    "lambda_event_source_disabled": {"function": "desk", "queue": "orders"},
    "lambda_reserved_concurrency": {"function": "desk", "reserved": 0},
    "postgres_connections": {"secret": "orders", "keep": 95},
    "postgres_failing_statements": {"secret": "orders", "table": "items"},
    "postgres_lock": {"secret": "orders", "table": "items"},
    "postgres_slow_statements": {"secret": "orders", "table": "items"},
    "rds_proxy_throttle": {"proxy": "orders", "max_connections_percent": 1, "borrow_timeout_s": 1},
    "rds_reboot": {"instance": "orders"},
    "rds_restore_rehearsal": {"instance": "orders", "restored": "orders-test", "secret": "orders"},
    "rds_stop": {"instance": "orders"},
    "s3_bucket_deny": {"bucket": "orders", "actions": ["s3:GetObject"]},
    "sqs_poison_message": {"queue": "orders"},
}


LEFT_OUT = {"third_party": "it calls AWS only before anything is written down: from then on it asks the stub itself"}
"""Faults that are not tried on the stubbed account, and why."""


def furnish(stub: StubAws) -> None:
    """What the faults need besides that each service has: queues with a consumer, something provisioned."""
    sqs = stub.services["sqs"]
    sqs.make("orders-dlq")
    sqs.make("orders", dead="orders-dlq", receives="3")
    stub.clock.ticks.append(lambda: sqs.take(sqs.queues["orders"], 10, 30.0) and None)
    stub.services["lambda"].provision("live", 2)
    stub.services["lambda"].provision("1", 1)

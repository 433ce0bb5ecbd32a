"""Arguments with which every fault of the registry can be tried on the replica of Leave & Attendance."""

from __future__ import annotations

from typing import Any

STAGE = "leave-attendance-dev"
ROLE = f"{STAGE}-ap-southeast-2-lambdaRole"
BUCKET = f"{STAGE}-deployments"
TABLE = "tocsin-drill-orders"
"""A table of our own: the replica has none."""
ARGUMENTS: dict[str, dict[str, Any]] = {
    "dynamodb_table_deny": {"table": TABLE, "actions": ["dynamodb:PutItem"]},
    "iam_role_deny": {"role": ROLE, "actions": ["sqs:*"]},
    "lambda_bad_release": {"function": f"{STAGE}-clockIn", "alias": "provisioned"},
    "lambda_environment_credential": {"function": f"{STAGE}-calendarSyncWorker", "variable": "GRAPH_CLIENT_SECRET"},
    "lambda_event_source_disabled": {"function": f"{STAGE}-calendarSyncWorker", "queue": "itcenter-dev-calendar-sync"},
    "lambda_reserved_concurrency": {"function": f"{STAGE}-clockIn", "reserved": 0},
    "rds_proxy_throttle": {"proxy": "itcenter-dev-proxy", "max_connections_percent": 1, "borrow_timeout_s": 1},
    "s3_bucket_deny": {"bucket": BUCKET, "actions": ["s3:GetObject", "s3:ListBucket"]},
    "sqs_poison_message": {"queue": "itcenter-dev-calendar-sync"},
}


def make_table(dynamodb: Any) -> None:
    """For the fault that the replica itself has no resource for."""
    dynamodb.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )

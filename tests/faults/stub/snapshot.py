"""What an account is, so that two moments can be compared: without what changes by itself."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tests.faults.stub.account import StubAws
from tests.faults.stub.data import Thing


def snapshot(stub: StubAws) -> dict[str, Any]:
    """Every service, and the database."""
    services = stub.services
    functions, ecs, sqs = services["lambda"], services["ecs"], services["sqs"]
    shown = [ecs._shown(task) for task in ecs.tasks]
    return deepcopy(
        {
            "table": services["dynamodb"].policy,
            "service": ecs.service,
            "running": sum(task["lastStatus"] == task["desiredStatus"] == "RUNNING" for task in shown),
            "definitions": sorted(ecs.definitions),
            "scaling": services["application-autoscaling"].suspended,
            "experiments": [one.status for one in services["fis"].experiments.values() if one.status != "stopped"],
            "templates": list(services["fis"].templates),
            "cache": [services["elasticache"].group.status, *_statuses(services["elasticache"].nodes).values()],
            "targets": services["elbv2"].targets,
            "role": services["iam"].inline,
            "bucket": services["s3"].policy,
            "schedules": list(services["scheduler"].schedules),
            "function": functions.latest,
            "source key": functions.source_key,
            "versions": functions.versions,
            "alias": functions.alias,
            "concurrency": [functions.reserved, functions.provisioned],
            "mappings": functions.mappings,
            "instances": _statuses(services["rds"].instances),
            "snapshots": _statuses(services["rds"].snapshots),
            "proxy": services["rds"].pool,
            "queues": {name: [one.body for one in queue.messages] for name, queue in sqs.queues.items()},
            "sessions": [one.name for one in stub.postgres.sessions],
            "triggers": stub.postgres.triggers,
        }
    )


def _statuses(things: dict[str, Thing]) -> dict[str, str]:
    return {name: thing.status for name, thing in things.items() if thing.status}

"""Faults as Chaos Toolkit actions.

    provider: {type: python, module: tocsin.faults, func: rds_proxy_throttle, arguments: {...}}

Each fault of the registry is a function here, with the fault's fields as its parameters, so that
`chaos validate` checks names and presence. Inside a drill they write the drill's history; under plain `chaos run`
they use the target named by TOCSIN_TARGET (default `sandbox`) and the same ledger.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pydantic_core import PydanticUndefined

from tocsin.errors import ResidueLeft
from tocsin.faults.base import AnyFault
from tocsin.faults.registry import FAULTS
from tocsin.faults.session import faults_of

Configuration = dict[str, Any]


def _action(fault: type[AnyFault]) -> Callable[..., str]:
    """The Chaos Toolkit action of a fault: a plain function, because `chaos validate` accepts nothing else."""

    def run(configuration: Configuration | None = None, **arguments: Any) -> str:
        return faults_of(configuration).inject(fault.model_validate(arguments)).value

    fields = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.is_required() else _default(field.get_default()),
            annotation=field.annotation,
        )
        for name, field in fault.model_fields.items()
    ]
    configuration = inspect.Parameter("configuration", inspect.Parameter.KEYWORD_ONLY, default=None)
    run.__name__ = run.__qualname__ = fault.kind
    run.__doc__ = fault.__doc__
    run.__signature__ = inspect.Signature([*fields, configuration])  # type: ignore[attr-defined]
    return run


def _default(value: Any) -> Any:
    return None if value is PydanticUndefined else value


dynamodb_table_deny = _action(FAULTS["dynamodb_table_deny"])
ecs_bad_release = _action(FAULTS["ecs_bad_release"])
ecs_scale = _action(FAULTS["ecs_scale"])
ecs_stop_tasks = _action(FAULTS["ecs_stop_tasks"])
ecs_task_cpu_stress = _action(FAULTS["ecs_task_cpu_stress"])
elasticache_failover = _action(FAULTS["elasticache_failover"])
elasticache_reboot = _action(FAULTS["elasticache_reboot"])
elb_target_deregistered = _action(FAULTS["elb_target_deregistered"])
iam_role_deny = _action(FAULTS["iam_role_deny"])
lambda_bad_release = _action(FAULTS["lambda_bad_release"])
lambda_environment_credential = _action(FAULTS["lambda_environment_credential"])
lambda_event_source_disabled = _action(FAULTS["lambda_event_source_disabled"])
lambda_reserved_concurrency = _action(FAULTS["lambda_reserved_concurrency"])
postgres_connections = _action(FAULTS["postgres_connections"])
postgres_failing_statements = _action(FAULTS["postgres_failing_statements"])
postgres_lock = _action(FAULTS["postgres_lock"])
postgres_slow_statements = _action(FAULTS["postgres_slow_statements"])
rds_proxy_throttle = _action(FAULTS["rds_proxy_throttle"])
rds_reboot = _action(FAULTS["rds_reboot"])
rds_restore_rehearsal = _action(FAULTS["rds_restore_rehearsal"])
rds_stop = _action(FAULTS["rds_stop"])
s3_bucket_deny = _action(FAULTS["s3_bucket_deny"])
sqs_poison_message = _action(FAULTS["sqs_poison_message"])


def undo(configuration: Configuration | None = None) -> str:
    """Undo every fault of this run, latest first, and verify each by reading it back.

    Raises:
        ResidueLeft: at least one could not be undone, or not be seen undone.
    """
    lifecycle = faults_of(configuration)
    left = lifecycle.undo_all()
    if left:
        names = ", ".join(f"{entry.fault} on {entry.resource}" for entry in left)
        raise ResidueLeft(f"expected every fault to be undone, found still in place: {names}. Call `tocsin recover`.")
    return "every fault of this run is undone and verified"


__all__ = [
    "dynamodb_table_deny",
    "ecs_bad_release",
    "ecs_scale",
    "ecs_stop_tasks",
    "ecs_task_cpu_stress",
    "elasticache_failover",
    "elasticache_reboot",
    "elb_target_deregistered",
    "iam_role_deny",
    "lambda_bad_release",
    "lambda_environment_credential",
    "lambda_event_source_disabled",
    "lambda_reserved_concurrency",
    "postgres_connections",
    "postgres_failing_statements",
    "postgres_lock",
    "postgres_slow_statements",
    "rds_proxy_throttle",
    "rds_reboot",
    "rds_restore_rehearsal",
    "rds_stop",
    "s3_bucket_deny",
    "sqs_poison_message",
    "undo",
]

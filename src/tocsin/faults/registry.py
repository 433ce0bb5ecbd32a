"""Every fault there is: one line each."""

from __future__ import annotations

from tocsin.errors import InvalidInput, near_match
from tocsin.faults.awslambda import (
    LambdaEnvironmentCredential,
    LambdaEventSourceDisabled,
    LambdaReservedConcurrency,
)
from tocsin.faults.base import AnyFault
from tocsin.faults.dynamodb import DynamodbTableDeny
from tocsin.faults.ecs import EcsBadRelease, EcsScale, EcsStopTasks
from tocsin.faults.elasticache import ElasticacheFailover, ElasticacheReboot
from tocsin.faults.elb import ElbTargetDeregistered
from tocsin.faults.endpoint_overrides import EndpointOverride
from tocsin.faults.fis import EcsTaskCpuStress
from tocsin.faults.iam import IamRoleDeny
from tocsin.faults.lambda_release import LambdaBadRelease
from tocsin.faults.postgres import (
    PostgresConnections,
    PostgresFailingStatements,
    PostgresLock,
    PostgresSlowStatements,
)
from tocsin.faults.rds import RdsProxyThrottle, RdsReboot, RdsStop
from tocsin.faults.restore import RdsRestoreRehearsal
from tocsin.faults.s3 import S3BucketDeny
from tocsin.faults.sqs import SqsPoisonMessage
from tocsin.faults.third_parties import ThirdParty

FAULTS: dict[str, type[AnyFault]] = {
    fault.kind: fault
    for fault in (
        DynamodbTableDeny,
        EcsBadRelease,
        EcsScale,
        EcsStopTasks,
        EcsTaskCpuStress,
        ElasticacheFailover,
        ElasticacheReboot,
        ElbTargetDeregistered,
        EndpointOverride,
        IamRoleDeny,
        LambdaBadRelease,
        LambdaEnvironmentCredential,
        LambdaEventSourceDisabled,
        LambdaReservedConcurrency,
        PostgresConnections,
        PostgresFailingStatements,
        PostgresLock,
        PostgresSlowStatements,
        RdsProxyThrottle,
        RdsReboot,
        RdsRestoreRehearsal,
        RdsStop,
        S3BucketDeny,
        SqsPoisonMessage,
        ThirdParty,
    )
}


def fault_class(kind: str) -> type[AnyFault]:
    """The fault of that name.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return FAULTS[kind]
    except KeyError:
        raise InvalidInput(f"expected a fault, found '{kind}'. {near_match(kind, FAULTS)}") from None

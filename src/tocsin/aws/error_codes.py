"""What an error code of AWS says of the next attempt: that it may succeed when something is over, later, or never.

The codes are those of botocore's models of the services that Tocsin changes (`errors` of an operation, and the code in
the shape of each), and those that all services share: a test holds the two against each other.
https://docs.aws.amazon.com/awssupport/latest/APIReference/CommonErrors.html
"""

from __future__ import annotations

NOT_FOUND = ("NotFound", "NonExistent", "DoesNotExist", "NoSuch")
"""Parts of the codes of what does not exist."""
BUSY = frozenset(
    {
        "AWS.SimpleQueueService.QueueDeletedRecently",
        "ConcurrentAccess",
        "ConcurrentModification",
        "ConcurrentModificationException",
        "ConcurrentUpdateException",
        "ConflictException",
        "DeleteConflict",
        "InsufficientDBInstanceCapacity",
        "InvalidCacheClusterState",
        "InvalidDBClusterEndpointStateFault",
        "InvalidDBClusterStateFault",
        "InvalidDBInstanceState",
        "InvalidDBProxyStateFault",
        "InvalidDBSnapshotState",
        "InvalidReplicationGroupState",
        "KMS.ThrottlingException",
        "KmsThrottled",
        "OperationAborted",
        "OverLimit",
        "PriorRequestNotComplete",
        "QueueDeletedRecently",
        "ResourceConflict",
        "ResourceConflictException",
        "ResourceInUseException",
        "StaleTag",
        "TooManyUpdates",
        "TransactionInProgressException",
    }
)
"""Nothing was done, because another change of the same thing is going on, or has just been made, or because its key is
asked too much. `DeleteConflict` may also be somebody's policy on a role: then it is busy to the end of the patience.
"""
LATER = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""The same call may succeed: those that botocore's standard mode retries.
https://boto3.amazonaws.com/v1/documentation/api/latest/guide/retries.html
"""
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
"""The same call may succeed with credentials that whoever owns them has renewed."""
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"})
"""The codes of AWS's services for what no policy allows, or one denies.
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
"""

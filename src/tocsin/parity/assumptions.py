"""What drills take to be so because it is so in the sandbox. Each figure is the sandbox's own constant.

docs/SANDBOX.md lists them: `python -m tests.parity.table` writes that table.
"""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.alarms.feasibility import DELIVERY
from tocsin.aws.metrics import PUBLISH_DEFAULT
from tocsin.faults.registry import FAULTS
from tocsin.parity.model import Assumption, Key, Told
from tocsin.sandbox.metrics import MINUTE_S
from tocsin.sandbox.services.awslambda.figures import UPDATE_S
from tocsin.sandbox.services.ecs.figures import LAUNCH_S, THROTTLE_FIRST_S
from tocsin.sandbox.services.elasticache import figures as cache
from tocsin.sandbox.services.rds import figures as rds

CLOCK_S = 5.0
"""Seconds by which the clocks may differ: a transition counts only after the injection, by CloudWatch's clock and ours,
and the header that tells AWS's has whole seconds."""
AT_ONCE = 0.0
"""Production seconds of what the sandbox does in the call that asks for it."""
_AWS = "https://docs.aws.amazon.com"
_CLOUDWATCH = f"{_AWS}/AmazonCloudWatch/latest"
_RDS_STATUS = f"{_AWS}/AmazonRDS/latest/UserGuide/accessing-monitoring.html"
_FAILOVER = f"{_AWS}/AmazonElastiCache/latest/dg/AutoFailover.html"

_BY_READS = (
    Assumption(
        key=Key.ANSWERED,
        sentence="what watchers, guards and faults read is answered",
        unit="words",
        sandbox="answered",
        source=f"{_AWS}/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html",
        used="every act: what is not answered is `unknown`, or refused",
        told=Told.BY_READS,
    ),
    Assumption(
        key=Key.ACCOUNT,
        sentence="the credentials are of the account of the target",
        unit="words",
        sandbox="the account of the sandbox",
        source=f"{_AWS}/STS/latest/APIReference/API_GetCallerIdentity.html",
        used="guard `identity`",
        told=Told.BY_READS,
    ),
    Assumption(
        key=Key.ROLE,
        sentence="IAM knows whose credentials they are, by name and path",
        unit="words",
        sandbox="the root of the account",
        source=f"{_AWS}/IAM/latest/UserGuide/reference_identifiers.html",
        used="what a dry run asks IAM",
        told=Told.BY_READS,
    ),
    Assumption(
        key=Key.CLOCK,
        sentence="our clock is that of AWS",
        unit="s",
        sandbox=AT_ONCE,
        limit=CLOCK_S,
        source=f"{_AWS}/IAM/latest/UserGuide/signature-v4-troubleshooting.html",
        used="whether an alarm rang before the fault or after it",
        told=Told.BY_READS,
    ),
    Assumption(
        key=Key.SESSION,
        sentence="the credentials outlast the longest drill, and its undo",
        unit="words",
        sandbox="they do not end",
        source=f"{_AWS}/IAM/latest/UserGuide/id_credentials_temp.html",
        used="guard `credentials`",
        told=Told.BY_READS,
    ),
    Assumption(
        key=Key.UNIQUE_NAMES,
        sentence="one API, and one user pool, has the name that the system file says",
        unit="words",
        sandbox="one of each name",
        source=f"{_AWS}/apigatewayv2/latest/api-reference/apis.html",
        used="ids of a system's names",
        told=Told.BY_READS,
    ),
    Assumption(
        key=Key.UNDO,
        sentence="what a fault changes is in a state that its undo leads back to",
        unit="words",
        sandbox="it is",
        source=_RDS_STATUS,
        used="the ledger entry of a fault, and its undo",
        told=Told.BY_READS,
    ),
)
_BY_THROWAWAY = (
    Assumption(
        key=Key.METRIC_LAG,
        sentence="an alarm on one minute has seen a datapoint after",
        unit="s",
        sandbox=float(MINUTE_S),
        limit=PUBLISH_DEFAULT.worst_s + MINUTE_S,
        source=f"{_CLOUDWATCH}/monitoring/publishingMetrics.html",
        used="forecasts: when an alarm can ring",
        told=Told.BY_THROWAWAY,
    ),
    Assumption(
        key=Key.HISTORY_LAG,
        sentence="the history of an alarm tells a state that DescribeAlarms shows after",
        unit="s",
        sandbox=AT_ONCE,
        limit=float(MINUTE_S),
        source=f"{_CLOUDWATCH}/APIReference/API_DescribeAlarmHistory.html",
        used="the times of transitions",
        told=Told.BY_THROWAWAY,
    ),
    Assumption(
        key=Key.NOTIFICATION_LAG,
        sentence="a notification of an alarm is in the queue after",
        unit="s",
        sandbox=AT_ONCE,
        limit=DELIVERY.worst_s,
        source=f"{_CLOUDWATCH}/monitoring/Notify_Users_Alarm_Changes.html",
        used="forecasts: when somebody is told",
        told=Told.BY_THROWAWAY,
    ),
    Assumption(
        key=Key.TIMESTAMPS,
        sentence="two transitions of one alarm are told apart when they are this far apart",
        unit="s",
        sandbox=0.001,
        limit=1.0,
        source=f"{_CLOUDWATCH}/APIReference/API_AlarmHistoryItem.html",
        used="the order of transitions",
        told=Told.BY_THROWAWAY,
    ),
    Assumption(
        key=Key.EMPTY_POLLS,
        sentence="of short polls of a queue that holds a message, so many bring none",
        unit="share",
        sandbox=0.0,
        limit=1.0,
        source=f"{_AWS}/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html",
        used="`sqs_poison_message`; the pager polls long",
        told=Told.BY_THROWAWAY,
    ),
    Assumption(
        key=Key.IAM_PROPAGATION,
        sentence="a change of a policy is obeyed after",
        unit="s",
        sandbox=AT_ONCE,
        limit=FAULTS["iam_role_deny"].effect_within_s,
        source=f"{_AWS}/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency",
        used="denials, and their undo",
        told=Told.BY_THROWAWAY,
    ),
    Assumption(
        key=Key.SCHEDULE,
        sentence="a schedule fires after its time by",
        unit="s",
        sandbox=AT_ONCE,
        limit=float(MINUTE_S),
        source=f"{_AWS}/scheduler/latest/UserGuide/schedule-types.html",
        used="the schedule that ends a fault when nobody is left to",
        told=Told.BY_THROWAWAY,
    ),
    Assumption(
        key=Key.FUNCTION_UPDATE,
        sentence="a function is updated after",
        unit="s",
        sandbox=float(UPDATE_S),
        limit=FAULTS["lambda_environment_credential"].effect_within_s,
        source=f"{_AWS}/lambda/latest/dg/functions-states.html",
        used="faults of Lambda, and their undo",
        told=Told.BY_THROWAWAY,
    ),
    Assumption(
        key=Key.FUNCTION_CONFLICT,
        sentence="a change of a function that is being updated is refused with",
        unit="words",
        sandbox="ResourceConflictException",
        source=f"{_AWS}/lambda/latest/dg/functions-states.html",
        used="what is tried again",
        told=Told.BY_THROWAWAY,
    ),
)


def _duration(key: Key, sentence: str, seconds: float, fault: str, source: str) -> Assumption:
    """What takes a while in the sandbox, and what the fault about it waits for."""
    return Assumption(
        key=key,
        sentence=sentence,
        unit="s",
        sandbox=seconds,
        limit=FAULTS[fault].effect_within_s,
        source=source,
        used=f"`{fault}`, and its undo",
        told=Told.BY_NOBODY,
    )


_BY_NOBODY = (
    _duration(Key.RDS_REBOOT, "a DB instance reboots in", rds.REBOOT_S, "rds_reboot", _RDS_STATUS),
    _duration(Key.RDS_STOP, "a DB instance stops in", rds.STOP_S, "rds_stop", _RDS_STATUS),
    _duration(Key.RDS_START, "a DB instance starts in", rds.START_S, "rds_stop", _RDS_STATUS),
    _duration(Key.RDS_SNAPSHOT, "a snapshot is taken in", rds.SNAPSHOT_S, "rds_restore_rehearsal", _RDS_STATUS),
    _duration(
        Key.RDS_RESTORE,
        "a snapshot is restored in",
        rds.RESTORE_S,
        "rds_restore_rehearsal",
        f"{_AWS}/AmazonRDS/latest/UserGuide/USER_RestoreFromSnapshot.html",
    ),
    _duration(
        Key.ECS_LAUNCH,
        "a task is RUNNING after",
        sum(LAUNCH_S.values()),
        "ecs_scale",
        f"{_AWS}/AmazonECS/latest/developerguide/task-lifecycle-explanation.html",
    ),
    _duration(
        Key.ECS_THROTTLE,
        "a service whose tasks fail to start waits before the next one",
        THROTTLE_FIRST_S,
        "ecs_bad_release",
        f"{_AWS}/AmazonECS/latest/developerguide/service-throttle-logic.html",
    ),
    _duration(Key.CACHE_PROMOTION, "a replica takes over in", cache.PROMOTION_S, "elasticache_failover", _FAILOVER),
    _duration(
        Key.CACHE_REBUILD,
        "a failed cache node is replaced in",
        cache.REBUILD_S,
        "elasticache_failover",
        _FAILOVER,
    ),
    _duration(
        Key.CACHE_REBOOT,
        "a cache node reboots in",
        cache.REBOOT_S,
        "elasticache_reboot",
        f"{_AWS}/AmazonElastiCache/latest/dg/nodes.rebooting.html",
    ),
)

ASSUMPTIONS: Mapping[Key, Assumption] = {one.key: one for one in (*_BY_READS, *_BY_THROWAWAY, *_BY_NOBODY)}
"""Every one of `Key`."""

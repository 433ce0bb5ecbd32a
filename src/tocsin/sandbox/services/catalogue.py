"""The AWS services of the sandbox, one line each.

Not in `__init__`: processes of Lambda functions and the command line import single modules of this package, and must
not load all of it.
"""

from __future__ import annotations

from tocsin.sandbox.service import Service
from tocsin.sandbox.services.apigateway import ApiGateway
from tocsin.sandbox.services.autoscaling import AutoScaling
from tocsin.sandbox.services.awslambda.asynchronous import Asynchronous
from tocsin.sandbox.services.awslambda.event_sources import EventSources
from tocsin.sandbox.services.awslambda.ministack import Lambda
from tocsin.sandbox.services.cloudformation.service import CloudFormation
from tocsin.sandbox.services.cloudwatch.ministack import CloudWatch
from tocsin.sandbox.services.cognito import Cognito
from tocsin.sandbox.services.dynamodb import DynamoDb
from tocsin.sandbox.services.ecs.ministack import Ecs
from tocsin.sandbox.services.elasticache.ministack import ElastiCache
from tocsin.sandbox.services.elb.ministack import Elb
from tocsin.sandbox.services.events.scheduler import Scheduler
from tocsin.sandbox.services.events.service import Events
from tocsin.sandbox.services.fis import Fis
from tocsin.sandbox.services.iam.service import Iam
from tocsin.sandbox.services.logs import Logs
from tocsin.sandbox.services.rds.ministack import Rds
from tocsin.sandbox.services.s3 import S3
from tocsin.sandbox.services.secretsmanager import SecretsManager
from tocsin.sandbox.services.ses.service import Ses
from tocsin.sandbox.services.sns.service import Sns
from tocsin.sandbox.services.sqs import Sqs
from tocsin.sandbox.services.tagging import Tagging

SERVICES: tuple[type[Service], ...] = (
    S3,
    Sqs,
    Sns,
    Ses,
    Logs,
    Lambda,
    EventSources,
    Asynchronous,
    CloudWatch,
    ApiGateway,
    Events,
    Scheduler,
    DynamoDb,
    SecretsManager,
    Elb,
    Ecs,
    AutoScaling,
    Fis,
    Rds,
    ElastiCache,
    Iam,
    Cognito,
    Tagging,
    CloudFormation,
)
"""In the order in which they are adapted and publish: a service comes after those it uses. They close the other way."""

"""ECS services of real processes behind a real load balancer."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import httpx
import pytest
from botocore.exceptions import ClientError
from tests.sandbox.aws.fleet import CLUSTER, Fleet, lines, policy
from tests.sandbox.aws.shop import Shop, eventually

from tocsin.aws.lookups import resolve_base_url, resolve_system
from tocsin.errors import NotFound
from tocsin.model.system import CloudWatchAlarm, Endpoint, LoadBalancerLookup, MetricAlarm, System, TargetGroupLookup
from tocsin.sandbox import control

# ------------------------------------------------------------------------------------------------ a service


def test_a_service_runs_as_many_processes_as_desired_behind_its_load_balancer(fleet: Fleet) -> None:
    secret = fleet.client("secretsmanager").create_secret(Name=fleet.name, SecretString='{"key": "s3cr3t"}')["ARN"]
    fleet.balance()
    created = fleet.create(
        fleet.define(environment={"RELEASE": "one"}, secrets=[{"name": "SECRET", "valueFrom": f"{secret}:key::"}])
    )
    assert created["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    fleet.wait_until_steady()
    answers = [fleet.get("/a%20b?c=d").json() for _ in range(4)]
    assert len({answer["pid"] for answer in answers}) == 2
    assert {(answer["release"], answer["secret"], answer["path"]) for answer in answers} == {
        ("one", "s3cr3t", "/a%20b?c=d")
    }
    assert answers[0]["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert httpx.post(fleet.url, content=b"body").json() == {"body": "body"}
    assert set(fleet.health().values()) == {"healthy"}
    ports = {task["containers"][0]["networkBindings"][0]["hostPort"] for task in fleet.tasks()}
    assert ports == set(fleet.health())
    told = sorted(f"listening on {port}" for port in ports)
    eventually(lambda: sorted(lines(fleet.shop, fleet.name)) == told)
    assert "has reached a steady state" in fleet.messages()
    shown = {part.name: part for part in control.status(fleet.shop.root).parts}  # type: ignore[union-attr]
    assert shown[f"load balancer {fleet.name}"].port == int(fleet.url.rsplit(":", 1)[1])
    assert sum("task" in name for name in shown) >= 2


def test_a_system_file_finds_the_load_balancer_by_its_name(fleet: Fleet) -> None:
    fleet.balance()
    alarm = MetricAlarm(
        AlarmName="a",
        AlarmDescription="${b} ${g}",
        Namespace="AWS/ApplicationELB",
        MetricName="RequestCount",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    system = System(
        system="web",
        title="web",
        endpoint=Endpoint(load_balancer=fleet.name),
        lookups={"b": LoadBalancerLookup(load_balancer=fleet.name), "g": TargetGroupLookup(target_group=fleet.name)},
        alarms={"a": CloudWatchAlarm(title="a", cloudwatch=alarm)},
    )
    target = fleet.shop.account.target
    assert resolve_base_url(system.endpoint, target) == fleet.url
    resolved = resolve_system(system, target).alarms["a"]
    assert isinstance(resolved, CloudWatchAlarm)
    assert (
        resolved.cloudwatch.alarm_description == f"{fleet.dimensions['LoadBalancer']} {fleet.dimensions['TargetGroup']}"
    )
    with pytest.raises(NotFound, match="Did you mean"):
        resolve_base_url(Endpoint(load_balancer=fleet.name + "x"), target)


def test_a_stopped_task_is_replaced(fleet: Fleet) -> None:
    fleet.balance()
    fleet.create(fleet.define(), desired=1)
    fleet.wait_until_steady()
    (first,) = fleet.tasks()
    fleet.client("ecs").stop_task(cluster=CLUSTER, task=first["taskArn"], reason="a drill")
    ended = fleet.stopped(first["taskArn"])
    assert (ended["stopCode"], ended["stoppedReason"]) == ("UserInitiated", "a drill")
    assert ended["containers"][0]["exitCode"] == 128 + signal.SIGTERM
    fleet.wait_until_healthy(1)
    (second,) = fleet.tasks()
    assert second["taskArn"] != first["taskArn"]
    assert fleet.get().status_code == 200


def test_a_process_that_dies_ends_its_task_and_is_replaced(fleet: Fleet) -> None:
    fleet.balance()
    fleet.create(fleet.define(), desired=1)
    fleet.wait_until_steady()
    (first,) = fleet.tasks()
    os.kill(fleet.get().json()["pid"], signal.SIGKILL)
    ended = fleet.stopped(first["taskArn"])
    assert ended["stopCode"] == "EssentialContainerExited"
    assert ended["containers"][0]["exitCode"] == 128 + signal.SIGKILL
    fleet.wait_until_healthy(1)


def test_a_process_that_ignores_sigterm_is_killed_after_the_stop_timeout(fleet: Fleet) -> None:
    fleet.create(fleet.define(environment={"STUBBORN": "yes"}, stopTimeout=5), desired=1)
    eventually(lambda: lines(fleet.shop, fleet.name))
    (task,) = fleet.tasks()
    fleet.update(desiredCount=0)
    ended = fleet.stopped(task["taskArn"])
    assert ended["stopCode"] == "ServiceSchedulerInitiated"
    assert ended["containers"][0]["exitCode"] == 128 + signal.SIGKILL


def test_a_task_that_fails_its_health_checks_is_replaced(fleet: Fleet) -> None:
    fleet.balance()
    fleet.create(fleet.define(), desired=1)
    fleet.wait_until_steady()
    (first,) = fleet.tasks()
    fleet.update(healthCheckGracePeriodSeconds=0)
    fleet.get("/sicken")
    ended = fleet.stopped(first["taskArn"])
    assert ended["stoppedReason"].startswith("Task failed ELB health checks in (target-group arn:")
    assert "Health checks failed with these codes: [503]" in fleet.messages()
    # Until the new one is healthy, the balancer sends to it all the same: it may not listen yet.
    fleet.wait_until_healthy(1)
    assert fleet.get("/health").status_code == 200


def test_the_grace_period_protects_a_task_that_is_not_healthy_yet(fleet: Fleet) -> None:
    fleet.balance()
    fleet.create(fleet.define(environment={"SICK": "yes"}), desired=1, healthCheckGracePeriodSeconds=3600)
    eventually(lambda: "unhealthy" in fleet.health().values())
    (task,) = fleet.tasks()
    assert (task["lastStatus"], fleet.service["deployments"][0]["failedTasks"]) == ("RUNNING", 0)
    fleet.update(healthCheckGracePeriodSeconds=0)
    eventually(lambda: fleet.primary["failedTasks"] > 0)


# ------------------------------------------------------------------------------------------------ deployments


def test_a_rolling_deployment_loses_no_request(fleet: Fleet) -> None:
    fleet.balance()
    fleet.create(fleet.define(environment={"RELEASE": "one"}))
    fleet.wait_until_steady()
    seen: list[tuple[int, str]] = []
    done = threading.Event()

    def call() -> None:
        with httpx.Client(timeout=60) as client:
            while not done.is_set():
                answer = client.get(fleet.url)
                seen.append((answer.status_code, answer.json()["release"] if answer.status_code == 200 else ""))

    caller = threading.Thread(target=call)
    caller.start()
    updated = fleet.update(taskDefinition=fleet.define(environment={"RELEASE": "two"}))
    assert [one["status"] for one in updated["deployments"]] == ["PRIMARY", "ACTIVE"]
    fleet.wait_until_steady()
    before = len(seen)
    eventually(lambda: len(seen) > before + 4)
    done.set()
    caller.join()
    assert {status for status, _ in seen} == {200}
    assert {release for _, release in seen[-4:]} == {"two"}


def test_the_circuit_breaker_rolls_a_bad_image_back(fleet: Fleet) -> None:
    fleet.balance()
    good = fleet.define()
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    fleet.create(good, deploymentConfiguration=breaker)
    fleet.wait_until_steady()
    tasks = {task["taskArn"] for task in fleet.tasks()}
    bad = fleet.define(image="web:unknown")
    assert fleet.update(taskDefinition=bad)["taskDefinition"] == bad
    eventually(lambda: "rolling back to deployment" in fleet.messages())
    fleet.wait_until_steady()
    assert fleet.service["taskDefinition"] == good
    assert {task["taskArn"] for task in fleet.tasks()} == tasks
    reasons = {task["stopCode"]: task["stoppedReason"] for task in fleet.tasks("STOPPED")}
    assert reasons["TaskFailedToStart"].startswith("CannotPullContainerError")


def test_without_a_circuit_breaker_a_bad_image_is_tried_ever_more_slowly_until_it_is_taken_back(fleet: Fleet) -> None:
    fleet.balance()
    good = fleet.define()
    fleet.create(good)
    fleet.wait_until_steady()
    fleet.update(taskDefinition=fleet.define(image="web:unknown"))
    eventually(lambda: "is unable to consistently start tasks successfully" in fleet.messages())
    first, second = fleet.service["deployments"]
    assert (first["rolloutState"], first["runningCount"], second["runningCount"]) == ("IN_PROGRESS", 0, 2)
    assert fleet.get().status_code == 200
    # A family without a revision is its latest one that is not deregistered.
    fleet.client("ecs").deregister_task_definition(taskDefinition=first["taskDefinition"])
    fleet.update(taskDefinition=fleet.name)
    fleet.wait_until_steady()
    assert fleet.service["taskDefinition"] == good


def test_a_forced_deployment_replaces_every_task(fleet: Fleet) -> None:
    fleet.create(fleet.define(), desired=1, tags=[{"key": "team", "value": "web"}])
    fleet.wait_until_steady()
    ecs, arn = fleet.client("ecs"), fleet.service["serviceArn"]
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "drill", "value": "yes"}])
    (shown,) = ecs.describe_services(cluster=CLUSTER, services=[fleet.name], include=["TAGS"])["services"]
    assert {tag["key"] for tag in shown["tags"]} == {"team", "drill"}
    (first,) = fleet.tasks()
    fleet.update(forceNewDeployment=True)
    fleet.wait_until_steady()
    (second,) = fleet.tasks()
    assert second["taskArn"] != first["taskArn"]
    assert second["taskDefinitionArn"] == first["taskDefinitionArn"]


def test_a_task_of_its_own_runs_once(fleet: Fleet) -> None:
    definition = fleet.define(command=["python", "-c", "import os; print('ran', os.environ['WHAT'])"])
    override = {"name": "web", "environment": [{"name": "WHAT", "value": "once"}]}
    (task,) = fleet.client("ecs").run_task(
        cluster=CLUSTER, taskDefinition=definition, overrides={"containerOverrides": [override]}
    )["tasks"]
    assert fleet.stopped(task["taskArn"])["containers"][0]["exitCode"] == 0
    eventually(lambda: lines(fleet.shop, fleet.name) == ["ran once"])
    missing = fleet.define(command=["no-such-program"])
    (task,) = fleet.client("ecs").run_task(cluster=CLUSTER, taskDefinition=missing)["tasks"]
    assert "CannotStartContainerError" in fleet.stopped(task["taskArn"])["stoppedReason"]


TEMPLATE = """
Parameters:
  Name: {Type: String}
Resources:
  Balancer:
    Type: AWS::ElasticLoadBalancingV2::LoadBalancer
    Properties: {Name: !Ref Name, Subnets: [subnet-1]}
  Group:
    Type: AWS::ElasticLoadBalancingV2::TargetGroup
    Properties: {Name: !Ref Name, Port: 80, Protocol: HTTP, TargetType: ip, HealthCheckPath: /health}
  Listener:
    Type: AWS::ElasticLoadBalancingV2::Listener
    Properties:
      LoadBalancerArn: !Ref Balancer
      Port: 80
      Protocol: HTTP
      DefaultActions: [{Type: forward, TargetGroupArn: !Ref Group}]
  Definition:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Family: !Ref Name
      Cpu: 256
      Memory: 512
      ContainerDefinitions:
        - Name: web
          Image: web:1.0
          Command: [python, server.py]
          PortMappings: [{ContainerPort: 8080}]
          Environment: [{Name: RELEASE, Value: stack}]
  Service:
    Type: AWS::ECS::Service
    DependsOn: Listener
    Properties:
      Cluster: fleet
      ServiceName: !Ref Name
      TaskDefinition: !Ref Definition
      DesiredCount: 1
      LaunchType: FARGATE
      HealthCheckGracePeriodSeconds: 90
      DeploymentConfiguration: {DeploymentCircuitBreaker: {Enable: "true", Rollback: "false"}}
      LoadBalancers: [{TargetGroupArn: !Ref Group, ContainerName: web, ContainerPort: 8080}]
Outputs:
  Url: {Value: !Sub "http://${Balancer.DNSName}"}
"""


def test_a_stack_makes_a_service_behind_a_load_balancer(fleet: Fleet, tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(TEMPLATE)
    outputs = fleet.shop.account.create_stack(fleet.name, template, {"Name": fleet.name})
    fleet.wait_until_healthy(1)
    assert httpx.get(outputs["Url"]).json()["release"] == "stack"
    service = fleet.service
    assert service["healthCheckGracePeriodSeconds"] == 90
    assert service["deploymentConfiguration"]["deploymentCircuitBreaker"] == {"enable": True, "rollback": False}
    assert fleet.tasks()[0]["cpu"] == "256"


@pytest.mark.parametrize(
    ("operation", "request_", "code"),
    [
        ("describe_services", {"cluster": "no-such", "services": ["a"]}, "ClusterNotFoundException"),
        ("update_service", {"cluster": CLUSTER, "service": "no-such"}, "ServiceNotFoundException"),
        ("stop_task", {"cluster": CLUSTER, "task": "no-such"}, "InvalidParameterException"),
        ("create_service", {"cluster": CLUSTER, "serviceName": "a", "taskDefinition": "no-such"}, "ClientException"),
    ],
)
def test_what_is_not_there_is_refused(cluster: Shop, operation: str, request_: dict[str, object], code: str) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(cluster.client("ecs"), operation)(**request_)
    assert refused.value.response["Error"]["Code"] == code


# ------------------------------------------------------------------------------------------------ the load balancer


def test_the_load_balancer_answers_for_targets_that_cannot(fleet: Fleet) -> None:
    group = fleet.balance(HealthCheckIntervalSeconds=60)
    assert fleet.get().status_code == 503
    fleet.create(fleet.define(), desired=1)
    eventually(lambda: "healthy" in fleet.health().values())
    fleet.client("elbv2").modify_load_balancer_attributes(
        LoadBalancerArn=fleet.balancer["LoadBalancerArn"],
        Attributes=[{"Key": "idle_timeout.timeout_seconds", "Value": "5"}],
    )
    assert [fleet.get(path).status_code for path in ("/", "/teapot", "/reset", "/sleep/30")] == [200, 418, 502, 504]
    page = fleet.get("/reset")
    assert page.headers["server"] == "awselb/2.0"
    assert page.text.startswith("<html>\r\n<head><title>502 Bad Gateway</title></head>")
    # Nobody listens there: the group fails open to it, and the connection is refused.
    fleet.client("elbv2").register_targets(TargetGroupArn=group, Targets=[{"Id": "127.0.0.1", "Port": 9}])
    fleet.client("elbv2").deregister_targets(
        TargetGroupArn=group, Targets=[{"Id": "127.0.0.1", "Port": port} for port in fleet.health() if port != 9]
    )
    assert eventually(lambda: 9 in fleet.health())
    assert fleet.get().status_code == 502
    assert fleet.metric("TargetConnectionErrorCount") == 1
    assert fleet.metric("HTTPCode_Target_2XX_Count") == 1
    assert fleet.metric("HTTPCode_Target_4XX_Count") == 1
    assert fleet.metric("HTTPCode_ELB_502_Count", of_group=False) == 3
    assert fleet.metric("HTTPCode_ELB_503_Count", of_group=False) == 1
    assert fleet.metric("HTTPCode_ELB_5XX_Count", of_group=False) == 5
    assert fleet.metric("RequestCount") == 6
    # In seconds. The quickest of them, since each may meet a busy moment.
    assert 0 < fleet.metric("TargetResponseTime", "Minimum") < 1


def test_a_deregistered_target_is_drained_and_counts_no_more(fleet: Fleet) -> None:
    fleet.balance()
    fleet.create(fleet.define())
    fleet.wait_until_steady()
    one, other = fleet.health()
    with httpx.Client(timeout=60) as client, client.stream("GET", fleet.url):
        slow = [threading.Thread(target=fleet.get, args=("/sleep/4",)) for _ in range(2)]
        for thread in slow:
            thread.start()
        eventually(lambda: fleet.metric("RequestCount") >= 3)
        elb, targets = fleet.client("elbv2"), [{"Id": "127.0.0.1", "Port": one}]
        elb.deregister_targets(TargetGroupArn=fleet.group, Targets=targets)
        assert fleet.health()[one] == "draining"
        assert len({fleet.get().json()["pid"] for _ in range(4)}) == 1
        for thread in slow:
            thread.join()
    eventually(lambda: set(fleet.health()) == {other})
    (gone,) = elb.describe_target_health(TargetGroupArn=fleet.group, Targets=targets)["TargetHealthDescriptions"]
    assert gone["TargetHealth"]["Reason"] == "Target.NotRegistered"
    eventually(lambda: fleet.shop.latest("AWS/ApplicationELB", "HealthyHostCount", **fleet.dimensions) == 1)
    elb.register_targets(TargetGroupArn=fleet.group, Targets=targets)
    fleet.wait_until_healthy(2)


def test_a_target_elsewhere_is_refused(fleet: Fleet) -> None:
    group = fleet.balance()
    with pytest.raises(ClientError, match="InvalidTarget"):
        fleet.client("elbv2").register_targets(TargetGroupArn=group, Targets=[{"Id": "192.0.2.1", "Port": 80}])


# ------------------------------------------------------------------------------------------------ scaling


def test_processor_use_scales_the_service_out_within_its_bounds_unless_suspended(fleet: Fleet) -> None:
    fleet.create(fleet.define(), desired=1)
    fleet.wait_until_steady()
    scaling = fleet.client("application-autoscaling")
    of = {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{CLUSTER}/{fleet.name}",
        "ScalableDimension": "ecs:service:DesiredCount",
    }
    suspended = {"DynamicScalingOutSuspended": True}
    scaling.register_scalable_target(**of, MinCapacity=1, MaxCapacity=2, SuspendedState=suspended)
    scaling.put_scaling_policy(
        **of,
        PolicyName="cpu",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=policy(20),
    )
    (task,) = fleet.tasks()
    port = task["containers"][0]["networkBindings"][0]["hostPort"]
    httpx.get(f"http://127.0.0.1:{port}/burn")

    def use(statistic: str) -> float:
        return fleet.shop.total("AWS/ECS", "CPUUtilization", statistic, ClusterName=CLUSTER, ServiceName=fleet.name)

    assert eventually(lambda: use("Maximum") == 100.0)
    busy = use("SampleCount")
    eventually(lambda: use("SampleCount") >= busy + 3)
    assert fleet.service["desiredCount"] == 1
    scaling.register_scalable_target(**of, SuspendedState={"DynamicScalingOutSuspended": False})
    eventually(lambda: fleet.service["desiredCount"] == 2)
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[of["ResourceId"]])[
        "ScalableTargets"
    ]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 2)
    (activity,) = scaling.describe_scaling_activities(**of)["ScalingActivities"]
    assert activity["Description"] == "Setting desired count to 2."
    scaling.deregister_scalable_target(**of)
    assert scaling.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"] == []


def test_a_service_without_tasks_publishes_no_use(fleet: Fleet) -> None:
    fleet.create(fleet.define(), desired=1)
    fleet.wait_until_steady()

    def samples() -> float:
        return fleet.shop.total(
            "AWS/ECS", "MemoryUtilization", "SampleCount", ClusterName=CLUSTER, ServiceName=fleet.name
        )

    eventually(samples)
    fleet.update(desiredCount=0)
    fleet.wait_until_steady()
    assert fleet.tasks() == []
    before = samples()
    fleet.shop.publish("clock", 1)
    eventually(lambda: fleet.shop.total("Shop", "clock", "SampleCount"))
    assert samples() == before

"""A tiny web server as a container image, and a service of its tasks behind a load balancer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
from tests.sandbox.aws.shop import ROLE, Shop, eventually

SERVER = """
import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

if os.environ.get("STUBBORN"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
sick = bool(os.environ.get("SICK"))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        global sick
        if self.path == "/health":
            self.answer(503 if sick else 200, {})
        elif self.path == "/sicken":
            sick = True
            self.answer(200, {})
        elif self.path == "/reset":
            self.close_connection = True
        elif self.path.startswith("/sleep/"):
            time.sleep(float(self.path.rsplit("/", 1)[1]))
            self.answer(200, {})
        elif self.path == "/burn":
            threading.Thread(target=burn, daemon=True).start()
            self.answer(200, {})
        elif self.path == "/teapot":
            self.answer(418, {})
        else:
            said = {"pid": os.getpid(), "release": os.environ.get("RELEASE"), "secret": os.environ.get("SECRET")}
            self.answer(200, {**said, "headers": dict(self.headers), "path": self.path})

    def do_POST(self):
        self.answer(201, {"body": self.rfile.read(int(self.headers["Content-Length"])).decode()})

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def burn():
    while True:
        pass


print("listening on", os.environ["PORT"], flush=True)
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

IMAGE = "web:1.0"
CLUSTER = "fleet"
LOG_GROUP = "/ecs/fleet"
ACCOUNT, REGION = "123456789012", "us-east-1"


def write_image(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "server.py").write_text(SERVER)
    return directory


@dataclass(frozen=True)
class Fleet:
    """One service of the web server, with a load balancer and a target group of its own name."""

    shop: Shop
    name: str

    # -- building

    def client(self, service: str) -> Any:
        return self.shop.client(service)

    def balance(self, **health: Any) -> str:
        """Make the load balancer; returns the ARN of its target group."""
        elb = self.client("elbv2")
        definition = {"HealthCheckPath": "/health", "HealthCheckIntervalSeconds": 10, "UnhealthyThresholdCount": 2}
        group = elb.create_target_group(
            Name=self.name, Protocol="HTTP", Port=80, VpcId="vpc-1", TargetType="ip", **{**definition, **health}
        )["TargetGroups"][0]["TargetGroupArn"]
        balancer = elb.create_load_balancer(Name=self.name, Subnets=["subnet-1"])["LoadBalancers"][0]["LoadBalancerArn"]
        action = {"Type": "forward", "TargetGroupArn": group}
        elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[action])
        return str(group)

    def define(self, *, image: str = IMAGE, environment: Mapping[str, str] | None = None, **container: Any) -> str:
        """Register a revision of the task definition; returns its ARN."""
        variables = [{"name": name, "value": value} for name, value in (environment or {}).items()]
        options = {"awslogs-group": LOG_GROUP, "awslogs-region": REGION, "awslogs-stream-prefix": self.name}
        definition = {
            "name": "web",
            "image": image,
            "command": ["python", "server.py"],
            "portMappings": [{"containerPort": 8080}],
            "environment": variables,
            "logConfiguration": {"logDriver": "awslogs", "options": options},
            **container,
        }
        answer = self.client("ecs").register_task_definition(
            family=self.name,
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="256",
            memory="512",
            executionRoleArn=ROLE,
            containerDefinitions=[definition],
        )
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    def create(self, definition: str, desired: int = 2, **settings: Any) -> dict[str, Any]:
        """Create the service; balanced when the load balancer is there. Returns it as it was then."""
        given = {"loadBalancers": self._load_balancers(), "healthCheckGracePeriodSeconds": 900, **settings}
        answer = self.client("ecs").create_service(
            cluster=CLUSTER,
            serviceName=self.name,
            taskDefinition=definition,
            desiredCount=desired,
            launchType="FARGATE",
            **given,
        )
        return dict(answer["service"])

    def _load_balancers(self) -> list[dict[str, Any]]:
        groups = self.client("elbv2").describe_target_groups()["TargetGroups"]
        return [
            {"targetGroupArn": group["TargetGroupArn"], "containerName": "web", "containerPort": 8080}
            for group in groups
            if group["TargetGroupName"] == self.name
        ]

    def update(self, **changes: Any) -> dict[str, Any]:
        """Update the service; returns it as it was then, before anything came of it."""
        return dict(self.client("ecs").update_service(cluster=CLUSTER, service=self.name, **changes)["service"])

    def remove(self) -> None:
        services = self.client("ecs").describe_services(cluster=CLUSTER, services=[self.name])["services"]
        if services and services[0]["status"] == "ACTIVE":
            self.client("ecs").delete_service(cluster=CLUSTER, service=self.name, force=True)

    # -- looking

    @property
    def service(self) -> dict[str, Any]:
        (found,) = self.client("ecs").describe_services(cluster=CLUSTER, services=[self.name])["services"]
        return dict(found)

    @property
    def primary(self) -> dict[str, Any]:
        return dict(self.service["deployments"][0])

    def messages(self) -> str:
        return "\n".join(event["message"] for event in self.service["events"])

    def tasks(self, status: str = "RUNNING") -> list[dict[str, Any]]:
        """Tasks by their desired status, oldest first."""
        ecs = self.client("ecs")
        arns = ecs.list_tasks(cluster=CLUSTER, serviceName=self.name, desiredStatus=status)["taskArns"]
        found = ecs.describe_tasks(cluster=CLUSTER, tasks=arns)["tasks"] if arns else []
        return sorted(found, key=lambda task: task["createdAt"])

    def task(self, arn: str) -> dict[str, Any]:
        (found,) = self.client("ecs").describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"]
        return dict(found)

    def stopped(self, arn: str) -> dict[str, Any]:
        """A task once it has ended."""
        return eventually(lambda: task if (task := self.task(arn))["lastStatus"] == "STOPPED" else {})

    def wait_until_steady(self) -> None:
        """As the waiter `services_stable` of boto3, and the deployment completed."""

        def steady() -> bool:
            service = self.service
            (*_, first), others = service["deployments"][:1], service["deployments"][1:]
            return (
                not others
                and first["rolloutState"] == "COMPLETED"
                and service["runningCount"] == service["desiredCount"]
            )

        eventually(steady, seconds=30)  # unscaled, the scheduler alone would take as long

    def wait_until_healthy(self, count: int) -> None:
        eventually(lambda: list(self.health().values()) == ["healthy"] * count)

    @property
    def group(self) -> str:
        return str(self._load_balancers()[0]["targetGroupArn"])

    def health(self) -> dict[int, str]:
        """Port of each target -> its state."""
        answer = self.client("elbv2").describe_target_health(TargetGroupArn=self.group)
        return {one["Target"]["Port"]: one["TargetHealth"]["State"] for one in answer["TargetHealthDescriptions"]}

    @cached_property
    def balancer(self) -> dict[str, Any]:
        (found,) = self.client("elbv2").describe_load_balancers(Names=[self.name])["LoadBalancers"]
        return dict(found)

    @property
    def url(self) -> str:
        return f"http://{self.balancer['DNSName']}"

    def get(self, path: str = "/") -> httpx.Response:
        return httpx.get(self.url + path, timeout=60)

    @property
    def dimensions(self) -> dict[str, str]:
        """Those of `AWS/ApplicationELB`."""
        balancer = self.balancer["LoadBalancerArn"].split("loadbalancer/")[1]
        return {"LoadBalancer": balancer, "TargetGroup": self.group.rsplit(":", 1)[1]}

    def metric(self, name: str, statistic: str = "Sum", *, of_group: bool = True) -> float:
        dimensions = self.dimensions
        if not of_group:
            del dimensions["TargetGroup"]
        return self.shop.total("AWS/ApplicationELB", name, statistic, **dimensions)


def lines(shop: Shop, service: str) -> list[str]:
    """What the containers of a service wrote."""
    events = shop.client("logs").filter_log_events(logGroupName=LOG_GROUP)["events"]
    return [event["message"] for event in events if event["logStreamName"].startswith(f"{service}/")]


def policy(target: float) -> dict[str, Any]:
    """Target tracking on processor use."""
    specification = {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}
    return {"TargetValue": target, "PredefinedMetricSpecification": specification, "ScaleOutCooldown": 60}

"""What `replicas/<system>/deploy.py` gets: an account in the sandbox, and helpers to put a system into it."""

from __future__ import annotations

import io
import json
import urllib.error
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

from tocsin.aws import models
from tocsin.aws.doors import ask_door
from tocsin.aws.secret_answers import know, watch
from tocsin.aws.target import Target
from tocsin.errors import SandboxError
from tocsin.model.parts import PartsChoice
from tocsin.project.promtool import what_is_fetched
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.keys import Keys


def _silent(text: str) -> None:
    """Nobody is there to be told."""


_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_NOT_DEPLOYED = frozenset({"__pycache__", ".DS_Store"})
_DOOR_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class SentMail:
    """A mail that SES of the sandbox accepted."""

    message_id: str
    at: float
    """wall-clock epoch seconds"""
    source: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    subject: str
    text: str
    html: str
    configuration_set: str
    tags: Mapping[str, str]
    events: Mapping[str, tuple[str, ...]]
    """recipient -> what became of it there: Delivery, Bounce, Complaint or Reject"""

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> SentMail:
        """As the sandbox tells it."""
        lists = {name: tuple(said[name]) for name in ("to", "cc", "bcc")}
        events = {recipient: tuple(events) for recipient, events in said["events"].items()}
        return cls(**{**said, **lists, "events": events})


@dataclass(frozen=True)
class Received:
    """What a stand-in of those who are told of alarms was told."""

    stub: str
    at: float
    """wall-clock epoch seconds"""
    text: str
    alarm: str | None
    """name of the alarm; of an event of PagerDuty its key"""
    state: str | None
    """the alarm's new state; of an event of PagerDuty its action"""
    topic: str | None
    """ARN; None for who was told without SNS"""
    message_id: str | None
    """of SNS: the same at each attempt"""


@dataclass(frozen=True)
class Account:
    """The sandbox as the deployment of a replica sees it."""

    endpoint_url: str
    region: str
    account_id: str
    time_scale: float
    keys: Keys
    parts_from: PartsChoice = "embedded"
    tell: Callable[[str], None] = field(default=_silent, repr=False, compare=False)
    """Says to whoever deploys what takes long, or is left on this machine."""

    @property
    def clock(self) -> Clock:
        """Converts between production time and wall time."""
        return Clock(self.time_scale)

    @property
    def target(self) -> Target:
        """The sandbox as a target of drills."""
        return Target(
            name="sandbox",
            region=self.region,
            endpoint_url=self.endpoint_url,
            account=self.account_id,
            scale=self.time_scale,
            access_key_id=self.account_id,
            secret_access_key=self.keys.secret_access_key,
            door_token=self.keys.token,
        )

    @cached_property
    def _session(self) -> boto3.Session:
        inner = botocore.session.Session()
        session = boto3.Session(
            botocore_session=inner,
            aws_access_key_id=self.account_id,
            aws_secret_access_key=self.keys.secret_access_key,
            region_name=self.region,
        )
        models.share(inner)
        watch(session)
        know(self.keys.token)
        return session

    def client(self, service: str) -> Any:
        """A boto3 client of the sandbox."""
        config = Config(connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 2})
        return self._session.client(service, endpoint_url=self.endpoint_url, config=config)

    def create_stack(self, name: str, template: Path, parameters: Mapping[str, str]) -> Mapping[str, str]:
        """Deploy a CloudFormation template and wait for it; returns the stack's outputs.

        Raises:
            SandboxError: the stack failed; the message holds the reasons from the stack events.
        """
        cloudformation = self.client("cloudformation")
        try:
            cloudformation.create_stack(
                StackName=name,
                TemplateBody=template.read_text(encoding="utf-8"),
                Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
                Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
            )
            cloudformation.get_waiter("stack_create_complete").wait(
                StackName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 1200}
            )
        except (ClientError, WaiterError) as error:
            raise SandboxError(
                f"{template}: expected stack '{name}' to reach CREATE_COMPLETE, found: {error}"
                f"{_failures(cloudformation, name)}"
            ) from error
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    @staticmethod
    def zip_directory(path: Path) -> bytes:
        """A deployment package of everything under `path`; the same files give the same bytes.

        Raises:
            SandboxError: there is no file to deploy.
        """
        files = sorted(
            file for file in path.rglob("*") if file.is_file() and not _NOT_DEPLOYED & set(file.relative_to(path).parts)
        )
        if not files:
            raise SandboxError(f"expected the code of a function under {path}, found no file")
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                entry = zipfile.ZipInfo(file.relative_to(path).as_posix(), _ZIP_EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, file.read_bytes())
        return packed.getvalue()

    def start_stub(self, kind: str, options: Mapping[str, str]) -> str:
        """Start a stand-in of a third party (a module of `tocsin.sandbox.stubs`); returns its base URL.

        Raises:
            SandboxError: no such kind, or options that it cannot use.
        """
        return str(self._door("stub", {"kind": kind, "options": dict(options)})["base_url"])

    def start_prometheus(self, rules: Path, jobs: Mapping[str, Sequence[str]]) -> str:
        """Start a Prometheus that scrapes `/metrics` of the addresses of each job; returns its base URL.

        An address is `host:port`, or `ecs://cluster/service` for the tasks that a service has at each scrape. Where
        this machine has no `promtool`, one is downloaded, and that is said before.

        Raises:
            SandboxError: there is no `promtool`, or it refuses the rules.
        """
        fetched = what_is_fetched() if self.parts_from == "embedded" else None
        if fetched is not None:
            self.tell(fetched)
        answer = self._door(
            "prometheus", {"rules": str(rules.resolve()), "jobs": {k: list(v) for k, v in jobs.items()}}
        )
        return str(answer["url"])

    def database(self, instance_id: str) -> tuple[str, int]:
        """Host and port of a DB instance, once it accepts connections.

        Raises:
            SandboxError: no such instance, or PostgreSQL did not start.
        """
        answer = self._door("database", {"identifier": instance_id})
        return str(answer["host"]), int(answer["port"])

    def register_image(self, image: str, directory: Path) -> None:
        """Make a directory the content of a container image: ECS tasks of that image run their command in it.

        Raises:
            SandboxError: no such directory.
        """
        self._door("image", {"image": image, "directory": str(directory.resolve())})

    def mails(self, since: float = 0.0) -> Sequence[SentMail]:
        """What SES accepted in this account and region from `since` on (wall-clock epoch seconds), oldest first.

        No API of AWS tells it: it is how tests count mails, and how canaries see that one was sent.

        Raises:
            SandboxError: the sandbox does not answer.
        """
        asked = {"account": self.account_id, "region": self.region, "since": since}
        return [SentMail.of(one) for one in self._door("mails", asked)["mails"]]

    def received(self, since: float = 0.0) -> Sequence[Received]:
        """What stubs of Slack and PagerDuty were told from `since` on (wall-clock epoch seconds), each oldest first.

        Raises:
            SandboxError: the sandbox does not answer.
        """
        return [Received(**one) for one in self._door("received", {"since": since})["received"]]

    def _door(self, name: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return open_door(self.endpoint_url, self.keys.token, name, request)


def open_door(endpoint_url: str, token: str, name: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ask the daemon for what no AWS API offers.

    Raises:
        SandboxError: it refused, or did not answer.
    """
    try:
        answer: Mapping[str, Any] = ask_door(endpoint_url, token, name, request, _DOOR_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        said = json.load(error)
        message = said.get("error") or said.get("message", "no reason given")
        raise SandboxError(f"the sandbox could not do '{name}': {message}") from error
    except (OSError, ValueError) as error:
        raise SandboxError(f"expected the sandbox to answer at {endpoint_url}, found: {error}") from error
    return answer


def _failures(cloudformation: Any, name: str) -> str:
    try:
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    except ClientError:
        return ""
    return "".join(
        f"\n  {event['LogicalResourceId']}: {event['ResourceStatus']}: {event.get('ResourceStatusReason', '')}"
        for event in reversed(events)
        if "FAILED" in event["ResourceStatus"]
    )

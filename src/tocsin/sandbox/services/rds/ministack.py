# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Amazon RDS: servers, endpoints and statuses by `RdsPlant`.

ministack keeps the records of DB instances, snapshots and proxies, and never looks for Docker. What changes an instance
acts on the plant.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar
from xml.sax.saxutils import escape

from tocsin.errors import SandboxError
from tocsin.sandbox.loop import InLoop
from tocsin.sandbox.metrics import Scope, ScopedSink
from tocsin.sandbox.ministack import Ministack
from tocsin.sandbox.service import Asked, Door, ReliedOn
from tocsin.sandbox.services.rds.plant import (
    AVAILABLE,
    CREATING,
    FAILED,
    REBOOTING,
    STARTING,
    STOPPED,
    STOPPING,
    DbInstance,
    DbProxy,
    Endpoints,
    Master,
    ProxyPool,
    RdsPlant,
)
from tocsin.sandbox.services.secretsmanager import SecretsManager
from tocsin.sandbox.world import World

_ENDPOINT = re.compile(r"<Endpoint>.*?</Endpoint>\s*", re.S)
_RESTORED_FROM = "_restored_from"
"""Our own key in the record of an instance; ministack writes into its answers only those it knows."""
_OF_THE_CLUSTER = ("DBClusterIdentifier",)
"""A member of a cluster has the password of the cluster."""
_SHORTEST_PASSWORD = 8

Answer = tuple[int, Mapping[str, str], bytes]
Params = Mapping[str, Any]

_logger = logging.getLogger("tocsin.sandbox")


class Rds:
    """The DB instances and proxies of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "core.iam_actions": {"_param": "body, query_params, fields"},
        "services.cloudformation.provisioners": {
            "_RESOURCE_HANDLERS": "",
            "_rds_db_instance_create": "logical_id, props, stack_name",
            "_rds_db_cluster_create": "logical_id, props, stack_name",
        },
        "services.rds": {
            "_ACTION_MAP": "",
            "_instances": "",
            "_snapshots": "",
            "_db_proxies": "",
            "_db_proxy_endpoints": "",
            "_get_docker": "",
            "_resolve_instance": "db_id",
            "_instance_xml": "i",
            "_snapshot_xml": "s",
            "_single_instance_response": "root_tag, result_tag, instance",
            "_record_reboot_event": "instance",
            "_xml": "status, root_tag, inner",
            "_error": "code, message, status",
            "_p": "params, key, default",
            "_parse_tags": "params",
            "_tags": "",
        },
    }
    signed_for = "rds"
    settles = frozenset({"rds", "cloudformation"})

    def adapt(self, world: World) -> None:
        """Let the plant say how instances and snapshots are."""
        self._ministack = world.ministack
        self._in_loop = InLoop()
        self._iam_parameter = world.ministack.module("core.iam_actions")._param
        self._rds = world.ministack.module("services.rds")
        self._sink = ScopedSink(world.store, self._scope_of)
        self._plant = RdsPlant(
            world.directory / "rds", world.clock, self._sink, self._show, world.parts, self._read_secret
        )
        self._secrets = partial(world.service, SecretsManager)
        self._adapt_provisioners(world.ministack)
        self._known: tuple[tuple[DbInstance, ...], tuple[DbProxy, ...]] = ((), ())
        self._failed: set[str] = set()
        self._lock = asyncio.Lock()
        self._adapt()

    # ------------------------------------------------------------------------------------------ powers

    async def publish(self, wall: float) -> None:
        """Publish the gauges of the system minute that `wall` is in."""
        self._sink.wall = wall
        self._plant.publish()
        await self.settle()

    async def settle(self) -> None:
        """Apply what changed. A new DB instance starts beside the request that created it, as on AWS."""
        wanted = self._wanted()
        if wanted == self._known:
            return
        grown = len(wanted[0]) > len(self._known[0])
        self._known = wanted
        self._show()
        if grown:
            self._ministack.in_background(self._reconcile())
        else:
            await self._reconcile()

    def doors(self) -> Mapping[str, Door]:
        """`database`: where a DB instance is reached, once it accepts connections."""
        return {"database": self._endpoint}

    async def _endpoint(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        identifier = request["identifier"]
        async with self._lock:
            endpoints = await self._plant.reconcile(*self._wanted())
            self._show_proxies(endpoints)
        if identifier not in endpoints.instances:
            raise SandboxError(
                f"expected a DB instance '{identifier}', found {', '.join(endpoints.instances) or 'none'}"
            )
        host, port = endpoints.instances[identifier]
        return {"host": host, "port": port}

    def iam_resource(self, asked: Asked) -> str | None:
        """A proxy or its target group, or a snapshot that is named alone: with an instance, it is that one's."""

        def named(parameter: str) -> Any:
            return self._iam_parameter(asked.body, asked.query, parameter)

        proxy = self._rds._db_proxies.get(named("DBProxyName"))
        if proxy is not None:
            group = "TargetGroup" in named("Action")
            return str(proxy["TargetGroup"]["TargetGroupArn"] if group else proxy["DBProxyArn"])
        snapshot, (account, region) = named("DBSnapshotIdentifier"), asked.scope
        alone = snapshot and not named("DBInstanceIdentifier")
        return f"arn:aws:rds:{region}:{account}:snapshot:{snapshot}" if alone else None

    def tags(self) -> Iterable[tuple[str, Sequence[Mapping[str, str]]]]:
        """ARN and tags of everything."""
        found: Iterable[tuple[str, Sequence[Mapping[str, str]]]] = self._rds._tags.items()
        return found

    def ports(self) -> Mapping[str, int]:
        """What listens -> its port."""
        return {f"rds {name}": view.endpoint[1] for name, view in self._plant.views().items() if view.endpoint}

    def pids(self) -> Mapping[int, str]:
        """Process id -> what it is."""
        return self._plant.pids()

    async def close(self) -> None:
        """Stop every process and close every port."""
        await self._plant.close()

    async def _reconcile(self) -> None:
        async with self._lock:
            try:
                self._show_proxies(await self._plant.reconcile(*self._wanted()))
            except SandboxError as error:  # a sentence for whoever reads the end of the log
                _logger.error("RDS plant: %s", error)
                self._failed = {instance.identifier for instance in self._known[0]} - self._plant.views().keys()
                self._show()

    # ------------------------------------------------------------------------------------------ operations

    def _adapt(self) -> None:
        rds = self._rds
        rds._get_docker = lambda: None
        text = rds._instance_xml
        rds._instance_xml = lambda record: _without_early_endpoint(record, text(record))
        actions = rds._ACTION_MAP
        actions["CreateDBInstance"] = partial(self._create, "CreateDBInstance", actions["CreateDBInstance"])
        actions["CreateDBCluster"] = partial(self._create_cluster, actions["CreateDBCluster"])
        actions["RestoreDBInstanceFromDBSnapshot"] = partial(self._restore, actions["RestoreDBInstanceFromDBSnapshot"])
        actions["DeleteDBInstance"] = partial(self._delete, actions["DeleteDBInstance"])
        for verb, act, expected, status in (
            ("Reboot", self._plant.reboot, AVAILABLE, REBOOTING),
            ("Stop", self._plant.stop, AVAILABLE, STOPPING),
            ("Start", self._plant.start, STOPPED, STARTING),
        ):
            actions[f"{verb}DBInstance"] = partial(self._act, f"{verb}DBInstance", act, expected, status)
        actions["CreateDBSnapshot"] = partial(self._snapshot, actions["CreateDBSnapshot"])
        actions["DeleteDBSnapshot"] = partial(self._forget_snapshot, actions["DeleteDBSnapshot"])

    def _create(self, action: str, create: Callable[[Params], Answer], params: Params) -> Answer:
        if action == "CreateDBInstance" and (refusal := self._wrong_password(params, _OF_THE_CLUSTER)) is not None:
            return refusal
        answer = create(params)
        record = self._rds._instances.get(self._parameter(params, "DBInstanceIdentifier"))
        if answer[0] >= 400 or not _is_ours(record):
            return answer
        record["DBInstanceStatus"] = CREATING
        return self._instance_answer(action, record)

    def _create_cluster(self, create: Callable[[Params], Answer], params: Params) -> Answer:
        sources = ("ManageMasterUserPassword", "GlobalClusterIdentifier", "ReplicationSourceIdentifier")
        refusal = self._wrong_password(params, sources)
        return create(params) if refusal is None else refusal

    def _wrong_password(self, params: Params, otherwise_from: Sequence[str]) -> Answer | None:
        problem = _no_password(partial(self._parameter, params), otherwise_from)
        return None if problem is None else self._error("InvalidParameterValue", problem)

    def _adapt_provisioners(self, ministack: Ministack) -> None:
        """Stacks make instances and clusters without the operations of the API."""
        provisioners = ministack.module("services.cloudformation.provisioners")
        for kind, name, sources in (
            ("DBInstance", "_rds_db_instance_create", _OF_THE_CLUSTER),
            ("DBCluster", "_rds_db_cluster_create", ()),
        ):
            checked = partial(_checked, getattr(provisioners, name), sources)
            ministack.replace(provisioners, name, checked)
            provisioners._RESOURCE_HANDLERS[f"AWS::RDS::{kind}"]["create"] = checked

    def _read_secret(self, arn: str) -> Mapping[str, Any]:
        try:
            held = json.loads(self._secrets().value(arn) or "{}")
        except ValueError:
            return {}
        return held if isinstance(held, dict) else {}

    def _restore(self, restore: Callable[[Params], Answer], params: Params) -> Answer:
        """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_RestoreDBInstanceFromDBSnapshot.html"""
        name = self._parameter(params, "DBSnapshotIdentifier")
        snapshot = self._rds._snapshots.get(name)
        if snapshot is not None and snapshot["Status"] != AVAILABLE:
            return self._error("InvalidDBSnapshotState", f"DBSnapshot {name} is {snapshot['Status']}")
        answer = self._create("RestoreDBInstanceFromDBSnapshot", restore, params)
        if answer[0] < 400:
            record = self._rds._instances[self._parameter(params, "DBInstanceIdentifier")]
            record[_RESTORED_FROM] = name
            # ministack forgets the tags of the request.
            record["TagList"] = self._rds._tags[record["DBInstanceArn"]] = self._rds._parse_tags(params)
        return answer

    def _delete(self, delete: Callable[[Params], Answer], params: Params) -> Answer:
        final = self._parameter(params, "FinalDBSnapshotIdentifier")
        record = self._rds._resolve_instance(self._parameter(params, "DBInstanceIdentifier"))
        if final and _is_ours(record) and not record.get("DeletionProtection"):
            # Of an instance that does not run there is nothing to be copied from.
            if record["DBInstanceStatus"] != AVAILABLE:
                return self._wrong_state(record)
            self._in_loop(partial(self._plant.snapshot, final, record["DBInstanceIdentifier"]))
        return delete(params)

    def _act(self, action: str, act: Callable[[str], None], expected: str, status: str, params: Params) -> Answer:
        record = self._rds._resolve_instance(self._parameter(params, "DBInstanceIdentifier"))
        if record is None:
            return self._no_instance(params)
        if record["DBInstanceStatus"] != expected:
            return self._wrong_state(record)
        try:
            self._in_loop(partial(act, record["DBInstanceIdentifier"]))
        except SandboxError:
            return self._wrong_state(record)
        return self._instance_answer(action, {**record, "DBInstanceStatus": status})

    def _snapshot(self, create: Callable[[Params], Answer], params: Params) -> Answer:
        """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSnapshot.html"""
        record = self._rds._resolve_instance(self._parameter(params, "DBInstanceIdentifier"))
        if _is_ours(record) and record["DBInstanceStatus"] != AVAILABLE:
            return self._wrong_state(record)
        answer = create(params)
        if answer[0] >= 400 or not _is_ours(record):
            return answer
        name = self._parameter(params, "DBSnapshotIdentifier")
        self._in_loop(partial(self._plant.snapshot, name, record["DBInstanceIdentifier"]))
        snapshot = self._rds._snapshots[name]
        snapshot |= {"Status": CREATING, "PercentProgress": 0}
        inner = f"<CreateDBSnapshotResult><DBSnapshot>{self._rds._snapshot_xml(snapshot)}</DBSnapshot>"
        return self._xml("CreateDBSnapshot", f"{inner}</CreateDBSnapshotResult>")

    def _forget_snapshot(self, delete: Callable[[Params], Answer], params: Params) -> Answer:
        name = self._parameter(params, "DBSnapshotIdentifier")
        snapshot = self._rds._snapshots.get(name)
        if snapshot is not None and snapshot["Status"] == CREATING:
            return self._error("InvalidDBSnapshotState", f"DBSnapshot {name} is {CREATING}")
        answer = delete(params)
        if answer[0] < 400:
            self._in_loop(partial(self._plant.forget_snapshot, name))
        return answer

    def _parameter(self, params: Params, name: str) -> str:
        return str(self._rds._p(params, name))

    def _no_instance(self, params: Params) -> Answer:
        name = self._parameter(params, "DBInstanceIdentifier")
        return self._error("DBInstanceNotFound", f"DBInstance {name} not found.", 404)

    def _wrong_state(self, record: Mapping[str, Any]) -> Answer:
        name, status = record["DBInstanceIdentifier"], record["DBInstanceStatus"]
        return self._error("InvalidDBInstanceState", f"Instance {name} is in {status} state.")

    def _error(self, code: str, message: str, status: int = 400) -> Answer:
        answer: Answer = self._rds._error(code, escape(message), status)
        return answer

    def _xml(self, action: str, inner: str) -> Answer:
        answer: Answer = self._rds._xml(200, f"{action}Response", inner)
        return answer

    def _instance_answer(self, action: str, record: Mapping[str, Any]) -> Answer:
        answer: Answer = self._rds._single_instance_response(f"{action}Response", f"{action}Result", record)
        return answer

    # ------------------------------------------------------------------------------------------ records

    def _wanted(self) -> tuple[tuple[DbInstance, ...], tuple[DbProxy, ...]]:
        """The DB instances and proxies of all accounts and regions."""
        instances = tuple(
            DbInstance(
                identifier=record["DBInstanceIdentifier"],
                instance_class=record.get("DBInstanceClass", "db.t3.micro"),
                database=record.get("DBName") or None,
                master=Master(record.get("MasterUsername") or "postgres", record.get("_MasterUserPassword") or ""),
                snapshot=record.get(_RESTORED_FROM),
            )
            for record in list(self._rds._instances._data.values())
            if _is_ours(record)
        )
        proxies = tuple(
            DbProxy(
                name=record["DBProxyName"],
                pool=_pool(record["TargetGroup"].get("ConnectionPoolConfig") or {}),
                targets=tuple(target["RdsResourceId"] for target in record.get("Targets", [])),
                secrets=tuple(
                    one["SecretArn"]
                    for one in record.get("Auth") or ()
                    # Its clients have no password, but a token.
                    if one.get("SecretArn") and one.get("IAMAuth") != "REQUIRED"
                ),
            )
            for record in list(self._rds._db_proxies._data.values())
        )
        return instances, proxies

    def _scope_of(self, dimensions: Mapping[str, str]) -> Scope:
        """Account and region of the DB instance or proxy that the dimensions of a metric name."""
        stores = {"DBInstanceIdentifier": self._rds._instances, "ProxyName": self._rds._db_proxies}
        for dimension, store in stores.items():
            for account, region, name in list(store._data):
                if name == dimensions.get(dimension):
                    return account, region
        # Deleted a moment ago, and this is the last that is heard of it.
        return self._ministack.current_scope()

    def _show(self) -> None:
        """Say in the records of the AWS API how every instance and snapshot really is."""
        views, snapshots = self._plant.views(), self._plant.snapshots()
        for (account, region, _), record in list(self._rds._instances._data.items()):
            if not _is_ours(record):
                continue
            view = views.get(record["DBInstanceIdentifier"])
            if view is None:
                record["DBInstanceStatus"] = FAILED if record["DBInstanceIdentifier"] in self._failed else CREATING
                continue
            if (record["DBInstanceStatus"], view.status) == (REBOOTING, AVAILABLE):
                with self._ministack.scope((account, region)):
                    self._rds._record_reboot_event(record)
            record["DBInstanceStatus"] = view.status
            if view.endpoint is not None:
                endpoint = {"Address": view.endpoint[0], "Port": view.endpoint[1]}
                record["Endpoint"] = {**(record.get("Endpoint") or {}), **endpoint}
        for record in list(self._rds._snapshots._data.values()):
            status = snapshots.get(record["DBSnapshotIdentifier"])
            if status is not None:
                record |= {"Status": status, "PercentProgress": 100 if status == AVAILABLE else 0}

    def _show_proxies(self, endpoints: Endpoints) -> None:
        """Say in API answers where the proxies really listen.

        A proxy's `Endpoint` on AWS is a host whose port is the engine's; the ports of a sandbox are free ports, so
        here it is "host:port".
        """
        for store in (self._rds._db_proxies, self._rds._db_proxy_endpoints):
            for record in list(store._data.values()):
                at = endpoints.proxies.get(record["DBProxyName"])
                if at is not None:
                    record["Endpoint"] = f"{at[0]}:{at[1]}"


def _no_password(value_of: Callable[[str], Any], otherwise_from: Sequence[str]) -> str | None:
    """Why RDS makes no instance or cluster of PostgreSQL with such parameters; None when it does.

    ministack would take a password that everybody knows. `otherwise_from` are the parameters that name another source.
    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html
    """
    password = str(value_of("MasterUserPassword") or "")
    if "postgres" not in (value_of("Engine") or "postgres"):
        return None
    if not password and not any(str(value_of(name) or "false").lower() != "false" for name in otherwise_from):
        return "The parameter MasterUserPassword must be provided and must not be blank."
    if password and len(password) < _SHORTEST_PASSWORD:
        return "The parameter MasterUserPassword is not a valid password because it is shorter than 8 characters."
    return None


def _checked(
    create: Callable[..., Any],
    otherwise_from: Sequence[str],
    logical_id: str,
    props: Mapping[str, Any],
    stack_name: str,
) -> Any:
    """Make what a template wants. Raises ValueError."""
    problem = _no_password(props.get, otherwise_from)
    if problem is not None:
        raise ValueError(problem)
    return create(logical_id, props, stack_name)


def _is_ours(record: Mapping[str, Any] | None) -> bool:
    return record is not None and "postgres" in record.get("Engine", "")


def _without_early_endpoint(record: Mapping[str, Any], text: str) -> str:
    """An instance that is being created has no endpoint yet."""
    return _ENDPOINT.sub("", text) if record["DBInstanceStatus"] == CREATING else text


def _pool(config: Mapping[str, Any]) -> ProxyPool:
    return ProxyPool(
        max_connections_percent=int(config.get("MaxConnectionsPercent", 100)),
        max_idle_connections_percent=int(config.get("MaxIdleConnectionsPercent", 50)),
        borrow_timeout_s=int(config.get("ConnectionBorrowTimeout", 120)),
    )

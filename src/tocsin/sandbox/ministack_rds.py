# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""The file that touches ministack's internals of RDS; see `ministack_adapter`.

ministack keeps the records of DB instances, snapshots and proxies, and never looks for Docker. Servers, endpoints and
statuses are those of `RdsPlant`; what changes an instance acts on it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from tocsin.errors import SandboxError
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.loop import InLoop
from tocsin.sandbox.metrics import MetricStore, Scope, ScopedSink
from tocsin.sandbox.ministack_adapter import Ministack, check_internals
from tocsin.sandbox.parts import Parts
from tocsin.sandbox.rds import (
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
    ProxyPool,
    RdsPlant,
)

RELIED_ON: Mapping[str, Mapping[str, str]] = {
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
"""Module -> name -> its parameters, as in `ministack_adapter`."""

_ENDPOINT = re.compile(r"<Endpoint>.*?</Endpoint>\s*", re.S)
_RESTORED_FROM = "_restored_from"
"""Our own key in the record of an instance; ministack writes into its answers only those it knows."""

Answer = tuple[int, Mapping[str, str], bytes]
Params = Mapping[str, Any]

_logger = logging.getLogger("tocsin.sandbox")


class Databases:
    """RDS of one sandbox."""

    def __init__(self, ministack: Ministack, store: MetricStore, directory: Path, clock: Clock, parts: Parts) -> None:
        self._ministack = ministack
        self._in_loop = InLoop()
        self._rds = check_internals(RELIED_ON)["services.rds"]
        self._sink = ScopedSink(store, self._scope_of)
        self._plant = RdsPlant(directory, clock, self._sink, self._show, parts)
        self._known: tuple[tuple[DbInstance, ...], tuple[DbProxy, ...]] = ((), ())
        self._failed: set[str] = set()
        self._lock = asyncio.Lock()
        self._adapt()

    # ------------------------------------------------------------------------------------------ for the daemon

    def start(self) -> None:
        """Nothing to begin with: an instance starts when it is created."""

    async def publish(self, wall: float) -> None:
        """Publish the gauges of the system minute that `wall` is in."""
        self._sink.wall = wall
        self._plant.publish()
        await self.changed()

    async def changed(self) -> None:
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

    async def endpoint(self, identifier: str) -> tuple[str, int]:
        """Host and port of a DB instance, once it accepts connections. Raises SandboxError."""
        async with self._lock:
            endpoints = await self._plant.reconcile(*self._wanted())
            self._show_proxies(endpoints)
        if identifier not in endpoints.instances:
            raise SandboxError(
                f"expected a DB instance '{identifier}', found {', '.join(endpoints.instances) or 'none'}"
            )
        return endpoints.instances[identifier]

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
            except SandboxError:
                _logger.exception("RDS plant")
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
        answer = create(params)
        record = self._rds._instances.get(self._parameter(params, "DBInstanceIdentifier"))
        if answer[0] >= 400 or not _is_ours(record):
            return answer
        record["DBInstanceStatus"] = CREATING
        return self._instance_answer(action, record)

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
        if status == REBOOTING:
            self._rds._record_reboot_event(record)
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
                master_username=record.get("MasterUsername") or "postgres",
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
        for record in list(self._rds._instances._data.values()):
            if not _is_ours(record):
                continue
            view = views.get(record["DBInstanceIdentifier"])
            if view is None:
                record["DBInstanceStatus"] = FAILED if record["DBInstanceIdentifier"] in self._failed else CREATING
                continue
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

"""The sandbox's one daemon: `python -m tocsin.sandbox.daemon --directory DIR ...`, started by `control.up`.

It reports that it is ready (or why not) as one JSON line on `--report-fd`, and ends when `--lifeline-fd` closes before
a byte was written to it: a sandbox whose `up` died half-way does not stay.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from tocsin.errors import TocsinError
from tocsin.sandbox import fis, stubs
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.cloudwatch import Alarms, MetricQueries
from tocsin.sandbox.container_parts import ContainerParts
from tocsin.sandbox.embedded_parts import EMBEDDED
from tocsin.sandbox.environments import Environments
from tocsin.sandbox.metrics import HIGH_RESOLUTION_S, MINUTE_S, MetricStore, SystemTime
from tocsin.sandbox.ministack_adapter import Ministack, configure
from tocsin.sandbox.ministack_containers import Containers
from tocsin.sandbox.ministack_elasticache import Caches
from tocsin.sandbox.ministack_rds import Databases
from tocsin.sandbox.parts import Parts, PartsChoice
from tocsin.sandbox.plant import Plant
from tocsin.sandbox.prometheus import Prometheus
from tocsin.sandbox.server import Gateway, api_app, aws_app, listen, serve_on

_logger = logging.getLogger("tocsin.sandbox")
_ECS = "ecs://"


class Daemon:
    """Everything of one sandbox that lives as long as its daemon."""

    def __init__(self, directory: Path, scale: float, account: str, region: str, parts: Parts, *, iam: bool) -> None:
        self._parts = parts
        self._stop = asyncio.Event()
        self._listener = listen()
        self._endpoint_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._servers: set[asyncio.Task[None]] = set()
        self._api_urls: dict[str, str] = {}
        self._stubs: list[stubs.Stub] = []
        self._prometheus: list[Prometheus] = []
        self._loop = asyncio.get_running_loop()
        clock = Clock(scale)
        self._time = SystemTime(clock, time.time())
        self._store = MetricStore(self._time)
        self._environments = Environments(directory / "lambda", directory)
        configure(directory, self._listener.getsockname()[1], account, region, iam=iam)
        self._ministack = Ministack(clock, self._store, self._environments, self._endpoint_url, self._open_api)
        self._alarms = Alarms(self._ministack, self._store)
        MetricQueries(self._ministack, self._store)
        self._databases = Databases(self._ministack, self._store, directory / "rds", clock, parts)
        self._account = account
        self._containers = Containers(self._ministack, self._store, self._endpoint_url)
        self._experiments = fis.Experiments(self._containers.tasks, clock)
        self._caches = Caches(self._ministack, self._store, directory / "elasticache", directory, clock, parts)
        self._plants: tuple[Plant, ...] = (self._experiments, self._containers, self._databases, self._caches)

    async def run(self, report_fd: int, lifeline_fd: int) -> None:
        """Serve until SIGTERM, or until the lifeline breaks."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        self._watch(lifeline_fd)
        ticker = asyncio.create_task(self._tick())
        try:
            await self._ministack.try_out()
            await asyncio.to_thread(self._environments.wait_until_ready)
            self._ministack.start(self._loop)
            for plant in self._plants:
                plant.start()
            # What is loaded by now stays; looking through it again and again costs milliseconds of latency.
            gc.collect()
            gc.freeze()
            self._serve(self._listener, aws_app(self._gateway()))
            _report(report_fd, {"endpoint_url": self._endpoint_url, "started": self._time.started})
            await self._stop.wait()
        finally:
            ticker.cancel()
            await self._close()

    def _gateway(self) -> Gateway:
        return Gateway(
            aws=self._ministack.asgi,
            services=self._ministack.services(),
            own={"application-autoscaling": self._containers.autoscaling.call, "fis": self._experiments.call},
            routes={"fis": fis.ROUTES},
            denied=self._ministack.denied,
            account=self._account,
            call_api=self._ministack.call_api,
            code=self._ministack.code,
            task_stats=self._containers.tasks.stats,
            changed={
                "rds": (self._databases.changed,),
                "elasticache": (self._caches.changed,),
                "cloudformation": (self._databases.changed, self._caches.changed),
            },
            doors={
                "database": self._database,
                "stub": self._stub,
                "image": self._image,
                "prometheus": self._start_prometheus,
                "status": self._status,
            },
        )

    def _serve(self, listener: Any, app: Any) -> None:
        task = self._loop.create_task(serve_on(listener, app, self._stop.wait))
        self._servers.add(task)
        task.add_done_callback(self._servers.discard)

    def _open_api(self, api_id: str) -> str:
        """A port of its own for each HTTP API: its URL has no path, as on AWS."""
        listener = listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._api_urls[api_id] = url
        self._loop.call_soon_threadsafe(self._serve, listener, api_app(api_id, self._ministack.call_api))
        return url

    def _watch(self, lifeline_fd: int) -> None:
        def readable() -> None:
            self._loop.remove_reader(lifeline_fd)
            if not os.read(lifeline_fd, 1):
                _logger.warning("the process that started this sandbox ended before the sandbox was complete")
                self._stop.set()
            os.close(lifeline_fd)

        self._loop.add_reader(lifeline_fd, readable)

    async def _tick(self) -> None:
        """Every ten system seconds: evaluate; every system minute before that: publish the gauges."""
        now_s = int(self._time.now() // HIGH_RESOLUTION_S) * HIGH_RESOLUTION_S
        while True:
            now_s += HIGH_RESOLUTION_S
            await asyncio.sleep(max(0.0, self._time.wall(now_s) - time.time()))
            try:
                if now_s % MINUTE_S == 0:
                    await self._publish(now_s)
                self._alarms.tick(now_s)
            except Exception:  # a clock that stops ticking would look like alarms that never ring
                _logger.exception("tick at system second %d", now_s)

    async def _publish(self, now_s: int) -> None:
        # The gauges belong to the minute that ends now.
        wall = self._time.wall(now_s - MINUTE_S / 2)
        self._ministack.publish_queues(wall)
        for plant in self._plants:
            await plant.publish(wall)
        self._environments.reap()
        if now_s % (60 * MINUTE_S) == 0:
            self._store.forget_old()

    async def _database(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        host, port = await self._databases.endpoint(request["identifier"])
        return {"host": host, "port": port}

    async def _stub(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        stub = await stubs.start(request["kind"], request["options"])
        self._stubs.append(stub)
        return {"base_url": stub.base_url}

    async def _start_prometheus(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        jobs: Mapping[str, Sequence[str]] = request["jobs"]

        def discover() -> Mapping[str, Sequence[str]]:
            return {job: [address for one in found for address in self._addresses(one)] for job, found in jobs.items()}

        rules = Path(request["rules"])
        promtool = await asyncio.to_thread(self._parts.promtool, rules)
        server = Prometheus(rules, discover, self._time, promtool)
        await server.start()
        self._prometheus.append(server)
        return {"url": server.url}

    def _addresses(self, target: str) -> Sequence[str]:
        """`ecs://cluster/service` stands for the tasks that the service has at this moment."""
        if not target.startswith(_ECS):
            return [target]
        cluster, _, service = target.removeprefix(_ECS).partition("/")
        return self._containers.addresses(cluster, service)

    async def _image(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self._containers.images.register(request["image"], Path(request["directory"]))
        return {}

    async def _status(self, _request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "apis": self._api_urls,
            "stubs": [stub.base_url for stub in self._stubs],
            "prometheus": [server.url for server in self._prometheus],
            "environments": self._environments.count(),
            "ports": {name: port for plant in self._plants for name, port in plant.ports().items()},
            "processes": {str(pid): name for plant in self._plants for pid, name in plant.pids().items()},
        }

    async def _close(self) -> None:
        self._stop.set()
        for plant in self._plants:
            await plant.close()
        await asyncio.to_thread(self._environments.close)
        for server in self._prometheus:
            await server.close()
        for stub in self._stubs:
            await stub.close()
        await asyncio.gather(*self._servers, return_exceptions=True)
        await asyncio.to_thread(self._parts.close)


def _report(report_fd: int, answer: Mapping[str, Any]) -> None:
    with os.fdopen(report_fd, "w") as report:
        report.write(json.dumps(answer) + "\n")


async def _main(arguments: argparse.Namespace) -> None:
    parts = ContainerParts(arguments.directory) if arguments.parts == "containers" else EMBEDDED
    daemon = Daemon(
        arguments.directory, arguments.time_scale, arguments.account, arguments.region, parts, iam=arguments.iam
    )
    await daemon.run(arguments.report_fd, arguments.lifeline_fd)


def main() -> None:
    """Run a sandbox until it is told to stop."""
    parser = argparse.ArgumentParser(description="the daemon of a Tocsin sandbox")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--time-scale", type=float, required=True)
    parser.add_argument("--account", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--iam", action="store_true")
    parser.add_argument("--parts", choices=get_args(PartsChoice), required=True)
    parser.add_argument("--report-fd", type=int, required=True)
    parser.add_argument("--lifeline-fd", type=int, required=True)
    arguments = parser.parse_args()
    # Request threads and the event loop share one interpreter: short turns keep latency low.
    sys.setswitchinterval(0.002)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_main(arguments))
    except TocsinError as error:
        _report(arguments.report_fd, {"error": str(error)})
        sys.exit(1)
    finally:
        shutil.rmtree(arguments.directory / "lambda", ignore_errors=True)
    # Threads that serve a hanging Lambda invocation must not keep the process.
    os._exit(0)


if __name__ == "__main__":
    main()

"""The sandbox's one daemon: `python -m tocsin.sandbox.daemon --directory DIR ...`, started by `control.up`.

It reports that it is ready (or why not) as one JSON line on `--report-fd`, and ends when `--lifeline-fd` closes before
a byte was written to it: a sandbox whose `up` died half-way does not stay.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any, get_args

from tocsin.errors import TocsinError
from tocsin.model.parts import PartsChoice
from tocsin.sandbox import stubs
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.gateway import Gateway, aws_app
from tocsin.sandbox.http import App, listen, serve_on
from tocsin.sandbox.keys import Keys
from tocsin.sandbox.lag import LagMeter
from tocsin.sandbox.metrics import HIGH_RESOLUTION_S, MINUTE_S, MetricStore, SystemTime
from tocsin.sandbox.ministack import Ministack, check_internals, configure
from tocsin.sandbox.parts.containers import ContainerParts
from tocsin.sandbox.parts.embedded import EMBEDDED
from tocsin.sandbox.parts.programs import Parts
from tocsin.sandbox.prometheus.server import Prometheus
from tocsin.sandbox.service import (
    Closes,
    Door,
    Finds,
    HasProcesses,
    Listens,
    Opens,
    Publishes,
    Service,
    Starts,
    Ticks,
    Tries,
)
from tocsin.sandbox.services.catalogue import SERVICES
from tocsin.sandbox.world import World

_logger = logging.getLogger("tocsin.sandbox")


@dataclass(frozen=True)
class Options:
    """What a sandbox is started with."""

    directory: Path
    scale: float
    account: str
    region: str
    parts: Parts


class Daemon:
    """Everything of one sandbox that lives as long as its daemon."""

    def __init__(self, options: Options, services: Iterable[type[Service]]) -> None:
        self._stop = asyncio.Event()
        self._listener = listen()
        self._servers: set[asyncio.Task[None]] = set()
        self._stubs: list[stubs.Stub] = []
        self._prometheus: list[Prometheus] = []
        self._lag = LagMeter()
        self._loop = asyncio.get_running_loop()
        self._world = self._adapted(options, tuple(services))
        self._services = tuple(self._world.services.values())

    def _adapted(self, options: Options, kinds: Sequence[type[Service]]) -> World:
        """ministack, configured and checked, in a world whose services are adapted."""
        port = self._listener.getsockname()[1]
        keys = Keys.new(options.account)
        configure(options.directory, port, keys, options.region)
        check_internals(kinds)
        clock = Clock(options.scale)
        time_here = SystemTime(clock, time.time())
        world = World(
            clock=clock,
            time=time_here,
            store=MetricStore(time_here),
            ministack=Ministack(),
            loop=self._loop,
            endpoint_url=f"http://127.0.0.1:{port}",
            directory=options.directory,
            account=options.account,
            region=options.region,
            keys=keys,
            parts=options.parts,
            serve=self._serve,
            services={kind: kind() for kind in kinds},
        )
        for service in world.services.values():
            service.adapt(world)
        return world

    async def run(self, report_fd: int, lifeline_fd: int) -> None:
        """Serve until SIGTERM, or until the lifeline breaks."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        self._watch(lifeline_fd)
        beside = [asyncio.create_task(self._tick()), asyncio.create_task(self._lag.run())]
        try:
            await self._start()
            # What is loaded by now stays; looking through it again and again costs milliseconds of latency.
            gc.collect()
            gc.freeze()
            self._serve(self._listener, aws_app(Gateway.of(self._world, self._doors())))
            _report(
                report_fd,
                {
                    "endpoint_url": self._world.endpoint_url,
                    "started": self._world.time.started,
                    "keys": dataclasses.asdict(self._world.keys),
                },
            )
            await self._stop.wait()
        finally:
            for task in beside:
                task.cancel()
            await self._close()

    async def _start(self) -> None:
        for service in self._services:
            if isinstance(service, Tries):
                await service.try_out()
        self._world.ministack.start(self._loop)
        for service in self._services:
            if isinstance(service, Starts):
                service.start()

    def _doors(self) -> Mapping[str, Door]:
        doors: dict[str, Door] = {
            "stub": self._stub,
            "received": self._received,
            "prometheus": self._start_prometheus,
            "status": self._status,
            "lag": self._lag.door,
        }
        for service in self._services:
            if isinstance(service, Opens):
                doors |= service.doors()
        return doors

    def _serve(self, listener: socket, app: App) -> None:
        task = self._loop.create_task(serve_on(listener, app, self._stop.wait))
        self._servers.add(task)
        task.add_done_callback(self._servers.discard)

    def _watch(self, lifeline_fd: int) -> None:
        def readable() -> None:
            self._loop.remove_reader(lifeline_fd)
            if not os.read(lifeline_fd, 1):
                _logger.warning("the process that started this sandbox ended before the sandbox was complete")
                self._stop.set()
            os.close(lifeline_fd)

        self._loop.add_reader(lifeline_fd, readable)

    async def _tick(self) -> None:
        """Every ten system seconds: let services tick; every system minute before that: publish the gauges."""
        now_s = int(self._world.time.now() // HIGH_RESOLUTION_S) * HIGH_RESOLUTION_S
        while True:
            now_s += HIGH_RESOLUTION_S
            await asyncio.sleep(max(0.0, self._world.time.wall(now_s) - time.time()))
            if now_s % MINUTE_S == 0:
                await self._publish(now_s)
            for service in self._services:
                if isinstance(service, Ticks):
                    with _logged(service, "tick"):
                        service.tick(now_s)

    async def _publish(self, now_s: int) -> None:
        # The gauges belong to the minute that ends now.
        wall = self._world.time.wall(now_s - MINUTE_S / 2)
        for service in self._services:
            if isinstance(service, Publishes):
                with _logged(service, "publish"):
                    await service.publish(wall)
        if now_s % (60 * MINUTE_S) == 0:
            self._world.store.forget_old()

    async def _stub(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        stub = await stubs.start(request["kind"], request["options"], self._world.keys.token)
        self._stubs.append(stub)
        return {"base_url": stub.base_url}

    async def _received(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the third parties were told that are told of alarms, from a time on."""
        since = float(request.get("since") or 0.0)
        found = [one for stub in self._stubs for one in stub.received()]
        return {"received": [one for one in found if float(str(one["at"])) >= since]}

    async def _start_prometheus(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        jobs: Mapping[str, Sequence[str]] = request["jobs"]

        def discover() -> Mapping[str, Sequence[str]]:
            return {job: [address for one in found for address in self._addresses(one)] for job, found in jobs.items()}

        rules = Path(request["rules"])
        promtool = await asyncio.to_thread(self._world.parts.promtool, rules)
        server = Prometheus(rules, discover, self._world.time, promtool)
        await server.start()
        self._prometheus.append(server)
        return {"url": server.url}

    def _addresses(self, target: str) -> Sequence[str]:
        """Of a target such as `scheme://name`, what the service of that scheme finds at this moment."""
        scheme, _, name = target.rpartition("://")
        found = [one.addresses(name) for one in self._services if isinstance(one, Finds) and one.finds == scheme]
        return found[0] if found else [target]

    async def _status(self, _request: Mapping[str, Any]) -> Mapping[str, Any]:
        listening = [one.ports() for one in self._services if isinstance(one, Listens)]
        working = [one.pids() for one in self._services if isinstance(one, HasProcesses)]
        return {
            "stubs": [stub.base_url for stub in self._stubs],
            "prometheus": [server.url for server in self._prometheus],
            "ports": {name: port for ports in listening for name, port in ports.items()},
            "processes": {str(pid): name for pids in working for pid, name in pids.items()},
        }

    async def _close(self) -> None:
        self._stop.set()
        for service in reversed(self._services):
            if isinstance(service, Closes):
                with _logged(service, "close"):
                    await service.close()
        for server in self._prometheus:
            await server.close()
        for stub in self._stubs:
            await stub.close()
        await asyncio.gather(*self._servers, return_exceptions=True)
        await asyncio.to_thread(self._world.parts.close)


@contextmanager
def _logged(service: Service, act: str) -> Iterator[None]:
    """What one service stumbles over must not keep the others from it: their alarms would never ring."""
    try:
        yield
    except Exception:
        _logger.exception("%s of %s", act, type(service).__name__)


def _report(report_fd: int, answer: Mapping[str, Any]) -> None:
    with os.fdopen(report_fd, "w") as report:
        report.write(json.dumps(answer) + "\n")


async def _main(arguments: argparse.Namespace, services: Iterable[type[Service]]) -> None:
    parts = ContainerParts(arguments.directory) if arguments.parts == "containers" else EMBEDDED
    options = Options(arguments.directory, arguments.time_scale, arguments.account, arguments.region, parts)
    await Daemon(options, services).run(arguments.report_fd, arguments.lifeline_fd)


def main(services: Iterable[type[Service]] = SERVICES) -> None:
    """Run a sandbox with these services until it is told to stop."""
    parser = argparse.ArgumentParser(description="the daemon of a Tocsin sandbox")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--time-scale", type=float, required=True)
    parser.add_argument("--account", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--parts", choices=get_args(PartsChoice), required=True)
    parser.add_argument("--report-fd", type=int, required=True)
    parser.add_argument("--lifeline-fd", type=int, required=True)
    arguments = parser.parse_args()
    os.umask(0o077)  # also where it was not a command of ours that started it
    # Request threads and the event loop share one interpreter: short turns keep latency low.
    sys.setswitchinterval(0.002)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_main(arguments, services))
    except TocsinError as error:
        _report(arguments.report_fd, {"error": str(error)})
        sys.exit(1)
    # Threads that serve a hanging Lambda invocation must not keep the process.
    os._exit(0)


if __name__ == "__main__":
    main()

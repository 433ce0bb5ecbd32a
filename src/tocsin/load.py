"""What a locustfile imports: open-loop users, and the statistics of every second.

    class Employee(ArrivalUser):
        @arrival(weight=30, name="GET /api/v1/leave/balance")
        def balance(self, call: Call) -> None:
            call.get("/api/v1/leave/balance", as_="employee")

Each Locust user is an independent Poisson arrival process. An arrival is sent when it is due, whether or not
earlier ones were answered, and its latency counts from the time it was due: a stalled system is seen by the
requests that would have come, not only by the few that were already waiting. An arrival that finds no free
place is counted as dropped.

Every request is one of an arrival, and is counted: a redirect is an answer and is not followed, and a request that
Locust was sent in any other way ends the load, because nobody would know when it was due.

Import this only in a locustfile: importing Locust patches the interpreter, and, as locustfiles do, this module
registers its command line options and listeners when it is imported. Locust's `--processes`, `--master` and
`--worker` work as always: the seconds travel with Locust's own reports and the master writes them.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from json import dumps as to_json
from typing import Any, cast
from urllib.parse import urldefrag, urlsplit

import gevent
import httpx
from gevent.fileobject import FileObject
from gevent.pool import Pool
from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import FastResponse
from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from tocsin.model.synthetic import READING, carries, unmarked
from tocsin.record.load_seconds import Output, Seconds, Tally, now

Operation = Callable[[Any, "Call"], None]
Value = str | int | float | bool | None
Params = Mapping[str, Value | Sequence[Value]] | list[tuple[str, Value]] | str
Data = Mapping[str, Any] | str | bytes
Files = Mapping[str, Any] | Sequence[tuple[str, Any]]

_OF_AN_ARRIVAL = "tocsin_arrival"
"""What marks a request among all those that Locust tells of."""

# Wall seconds from the start of a load to its first arrivals: until all users, and all workers, are there.
_HEAD_START_S = 0.1
_HEAD_START_OF_WORKERS_S = 1.0


@dataclass(frozen=True)
class _Planned:
    weight: float
    name: str


def arrival(*, weight: float, name: str) -> Callable[[Operation], Operation]:
    """Mark a method as what an arrival may do: chosen with `weight`, counted under `name`.

    The method gets a `Call` and sends exactly one request with it.

    Raises:
        ValueError: a weight that is no number above 0, or no name.
    """
    if not (math.isfinite(weight) and weight > 0):
        raise ValueError(f"expected a weight above 0 of {name!r}, found {weight!r}")
    if not name:
        raise ValueError("expected a name under which arrivals are counted, found none")

    def mark(operation: Operation) -> Operation:
        operation.__dict__["_tocsin_arrival"] = _Planned(weight, name)
        return operation

    return mark


@dataclass
class LoadState:
    """What one Locust process knows: its arrivals, and what it was told by whoever started it."""

    seconds: Seconds
    end: Callable[[str], None]
    """Ends the whole load; the reason is that the load file is at fault."""
    all_users: int = 1
    workers: int = 1
    begins_at: int = 0
    tokens: dict[str, list[str]] = field(default_factory=dict)
    users_here: int = 0
    given_up: bool = False

    def give_up(self, reason: str) -> None:
        """End the load for the fault of its file: the first one is told, what follows from it is not."""
        if not self.given_up:
            self.given_up = True
            self.end(reason)

    def learn(self, told: dict[str, Any]) -> None:
        """Take over what the master knows of the whole load."""
        self.tokens = told["tokens"]
        self.all_users, self.workers, self.begins_at = told["all_users"], told["workers"], told["begins_at"]

    def told(self) -> dict[str, Any]:
        """What a worker has to learn."""
        return {
            "tokens": self.tokens,
            "all_users": self.all_users,
            "workers": self.workers,
            "begins_at": self.begins_at,
        }


class Call:
    """One arrival on its way: sends the one request it stands for."""

    def __init__(self, user: ArrivalUser, due: float, name: str) -> None:
        self._user = user
        self._due = due
        self.name = name
        self.used = False

    def get(self, path: str, **options: Any) -> FastResponse:
        """Send a GET; see `request`."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> FastResponse:
        """Send a POST; see `request`."""
        return self.request("POST", path, **options)

    def patch(self, path: str, **options: Any) -> FastResponse:
        """Send a PATCH; see `request`."""
        return self.request("PATCH", path, **options)

    def put(self, path: str, **options: Any) -> FastResponse:
        """Send a PUT; see `request`."""
        return self.request("PUT", path, **options)

    def delete(self, path: str, **options: Any) -> FastResponse:
        """Send a DELETE; see `request`."""
        return self.request("DELETE", path, **options)

    def request(
        self,
        method: str,
        path: str,
        *,
        as_: str | None = None,
        name: str | None = None,
        params: Params | None = None,
        json: Any = None,
        data: Data | None = None,
        files: Files | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> FastResponse:
        """Send the request of this arrival. An answer that leads elsewhere (3xx) is not followed.

        Args:
            method: the HTTP method.
            path: path and query, below the host.
            as_: identity of the system file whose token is sent; None for no token.
            name: counts the request under another operation than the one of `@arrival`.
            params: what is added to the query; a list of values is the name as often.
            json: the body, as JSON.
            data: the body, as it is, or the fields of a form.
            files: files of a form, as `httpx` takes them: name -> content, open file, or (name, content, media type).
            headers: more headers.

        Raises:
            RuntimeError: a second request in one arrival, or one without a mark of `test_data`; it is not sent.
            TypeError: more than one body.
        """
        body, form_headers = _body(json, data, files)
        if self.used:
            raise RuntimeError(f"{self.name}: one arrival is one request, found a second: {method} {path}")
        path = _with_query(path, params)
        if self._user.must_carry(method, as_) and not carries(self._user.marks, *_sent(path, json, body, headers)):
            raise RuntimeError(unmarked(self._user.marks, f"{method} {path}"))
        self.used = True
        self.name = name or self.name
        token = {"Authorization": f"Bearer {self._user.token(as_)}"} if as_ else {}
        tally = self._user.seconds.of(self._due)
        tally.sent += 1
        tally.lag_ms = max(tally.lag_ms, (now() - self._due) * 1000)
        with self._user.client.request(
            method,
            path,
            name=self.name,
            json=json,
            data=cast("str | None", body),  # bytes are sent as they are
            headers={**form_headers, **token, **(headers or {})},
            context={_OF_AN_ARRIVAL: True},
            catch_response=True,
        ) as response:
            latency_ms = (now() - self._due) * 1000
            response.request_meta["response_time"] = latency_ms
            response.request_meta["start_time"] = self._due
        status = str(response.status_code or "error")
        tally.answered(self.name, status, latency_ms)
        return cast("FastResponse", response)


def _with_query(path: str, params: Params | None) -> str:
    """Path and query, without a fragment: that is sent nowhere, and would take the query with it."""
    path, query = urldefrag(path).url, str(httpx.QueryParams(params))
    return f"{path}{'&' if '?' in path else '?'}{query}" if query else path


def _sent(
    path: str, json: Any, body: str | bytes | None, headers: Mapping[str, str] | None
) -> Iterator[str | bytes | None]:
    """What of a request reaches the system and is of this request alone."""
    parts = urlsplit(path)
    yield f"{parts.path}?{parts.query}"
    yield body if body is not None or json is None else to_json(json)
    yield from (f"{name}: {value}" for name, value in (headers or {}).items())


def _body(json: Any, data: Data | None, files: Files | None) -> tuple[str | bytes | None, dict[str, str]]:
    """The body that is no JSON, and its headers; forms are written as canaries write them."""
    if json is not None and not (data is None and files is None):
        raise TypeError("expected one body, found `json` and `data` or `files`")
    if isinstance(data, str | bytes):
        if files is not None:
            raise TypeError("expected fields of a form as `data` beside `files`, found a text")
        return data, {}
    if data is None and files is None:
        return None, {}
    form = httpx.Request("POST", "http://127.0.0.1/", data=data, files=files)
    return form.read(), {name: form.headers[name] for name in ("Content-Type",) if name in form.headers}


class ArrivalUser(FastHttpUser):
    """A Poisson arrival process: `--arrivals-per-s` divided by the number of users."""

    abstract = True
    max_in_flight = 50
    """Arrivals of one user that may wait for an answer at once; one more is dropped, and counted."""
    timeout_s = 5.0
    """How long an answer is waited for; then the arrival counts as `error`."""

    def __init__(self, environment: Environment) -> None:
        self.concurrency = self.max_in_flight
        self.network_timeout = self.connection_timeout = self.timeout_s
        super().__init__(environment)
        # `allow_redirects` of a request switches this for all that wait at the time.
        self.client.client.redirect_response_codes = frozenset()  # type: ignore[misc]
        self._load = _load_of(environment)
        self.index = self._load.users_here * self._load.workers + getattr(environment.runner, "worker_index", 0)
        self._load.users_here += 1
        options = _options(environment)
        self._marking: Mapping[str, list[str]] = json.loads(options.must_carry)
        # Every user has randomness of its own, the same in every run of the same seed. What an operation draws,
        # perhaps depending on answers, must not move the arrivals.
        self.random = random.Random(f"{options.load_seed}/{self.index}")
        self._schedule = random.Random(f"{options.load_seed}/{self.index}/arrivals")
        self._rate = options.arrivals_per_s / self._load.all_users
        self._operations = operations(type(self))
        self._pool = Pool(self.max_in_flight)

    @property
    def marks(self) -> tuple[str, ...]:
        """What each request that may change something carries one of; empty where nothing is said of it."""
        return tuple(self._marking["marks"])

    def must_carry(self, method: str, as_: str | None) -> bool:
        """Whether a request has to carry a mark itself: it may change something, and who sends it carries none."""
        return bool(self.marks) and method.upper() not in READING and as_ not in self._marking["identities"]

    @property
    def seconds(self) -> Seconds:
        """Where this user counts."""
        return self._load.seconds

    def token(self, identity: str) -> str:
        """A bearer token; of an identity with many people, always that of the same person for one user.

        Raises:
            RuntimeError: no token of this identity was handed over.
        """
        tokens = self._tokens(identity)
        return tokens[self.index % len(tokens)]

    def owns_person(self, identity: str) -> bool:
        """Whether this user may change what belongs to its person.

        With more users than people several users are the same person, and only the first of them may.

        Raises:
            RuntimeError: no token of this identity was handed over.
        """
        return self.index < len(self._tokens(identity))

    def _tokens(self, identity: str) -> list[str]:
        tokens = self._load.tokens.get(identity)
        if not tokens:
            known = ", ".join(sorted(self._load.tokens)) or "none"
            raise RuntimeError(f"no token for the identity '{identity}'; tokens were handed over for: {known}")
        return tokens

    @task
    def arrivals(self) -> None:
        """Offer arrivals for ever, each at its own time."""
        due = max(float(self._load.begins_at), now())
        while True:
            due += self._schedule.expovariate(self._rate)
            self.seconds.expect(self.index, due)
            gevent.sleep(max(0.0, due - now()))
            self._arrive(due)

    def _arrive(self, due: float) -> None:
        planned, operation = self._schedule.choices(*self._operations)[0]
        tally = self.seconds.of(due)
        tally.offered += 1
        if self._pool.full():
            tally.dropped += 1
            return
        tally.pending += 1
        self._pool.spawn(self._perform, operation, Call(self, due, planned.name), tally)

    def _perform(self, operation: Operation, call: Call, tally: Tally) -> None:
        try:
            operation(self, call)
            if not call.used:
                raise RuntimeError(f"{call.name}: the operation sent no request")
        except Exception as error:
            # A fault of the load file says nothing about the system: end loudly instead of counting it.
            self._load.give_up(f"{call.name}: {type(error).__name__}: {error}")
        finally:
            tally.pending -= 1


def operations(user_class: type[ArrivalUser]) -> tuple[list[tuple[_Planned, Operation]], list[float]]:
    """What arrivals of a user may do, and the weight of each.

    Raises:
        RuntimeError: nothing.
    """
    marked = [
        (member.__dict__["_tocsin_arrival"], member)
        for kind in reversed(user_class.__mro__)
        for member in vars(kind).values()
        if callable(member) and "_tocsin_arrival" in getattr(member, "__dict__", {})
    ]
    if not marked:
        raise RuntimeError(f"{user_class.__name__} has no operation: mark methods with @arrival")
    return marked, [planned.weight for planned, _ in marked]


def _options(environment: Environment) -> Namespace:
    assert environment.parsed_options is not None
    return cast("Namespace", environment.parsed_options)


def _load_of(environment: Environment) -> LoadState:
    return cast("LoadState", environment.__dict__["tocsin_load"])


def _arguments(parser: LocustArgumentParser) -> None:
    group = parser.add_argument_group("Tocsin options")
    group.add_argument(
        "--arrivals-per-s", type=float, default=1.0, help="requests offered per second by all users together"
    )
    group.add_argument("--load-seed", type=int, default=0, help="seed of all arrivals")
    group.add_argument("--seconds-fd", type=int, default=-1, help="file descriptor for one JSON line a second")
    group.add_argument(
        "--must-carry",
        default='{"marks": [], "identities": []}',
        help="JSON: `marks` that are in each request that may change something, `identities` whose users carry one",
    )
    group.add_argument(
        "--tokens",
        choices=("none", "stdin"),
        default="none",
        help="`stdin`: lines of JSON, identity -> list of bearer tokens; the end of file ends the load",
    )


def _on(hook: Any, listener: Callable[..., None]) -> None:
    hook.add_listener(listener)


def _begin(environment: Environment, runner: Runner, **_: Any) -> None:
    if isinstance(runner, WorkerRunner):
        _begin_worker(environment, runner)
    else:
        _begin_main(environment, runner)


def _begin_worker(environment: Environment, runner: WorkerRunner) -> None:
    """One of several processes that send: reports to the master and learns from it."""
    state = LoadState(Seconds(), end=lambda reason: runner.send_message("tocsin_broken", {"reason": reason}))
    environment.__dict__["tocsin_load"] = state
    _watch(environment, state)
    runner.register_message("tocsin_learn", lambda msg, **_: state.learn(msg.data))

    def report(data: dict[str, Any], **_: Any) -> None:
        data["tocsin_seconds"] = {str(at): tally.to_wire() for at, tally in state.seconds.take().items()}

    _on(environment.events.report_to_master, report)


def _begin_main(environment: Environment, runner: Runner) -> None:
    """The process that was started: the only one, or the master of the workers."""
    options = _options(environment)
    output = Output(options.seconds_fd)

    def end(reason: str) -> None:
        output.broken(reason)
        sys.stderr.write(f"{reason}\n")
        gevent.spawn(runner.quit)

    state = LoadState(Seconds(), end, all_users=max(1, options.num_users or 1))
    environment.__dict__["tocsin_load"] = state
    _watch(environment, state)
    if isinstance(runner, MasterRunner):
        _listen_to_workers(runner, output, state.give_up)
    else:
        gevent.spawn(_write_every_second, state.seconds, output)
    if options.tokens == "stdin":
        state.tokens.update(json.loads(sys.stdin.readline()))
        gevent.spawn(_follow_parent, runner, state)

    def last_words(**_: Any) -> None:
        output.seconds(state.seconds.take())

    # Not `quitting`, which comes before the users are stopped and before the last reports of the workers.
    _on(environment.events.quit, last_words)


def _watch(environment: Environment, state: LoadState) -> None:
    """End the load where its file does what nobody could count: other requests, or users that fail."""

    def request(request_type: str, name: str, context: Mapping[str, Any], **_: Any) -> None:
        if _OF_AN_ARRIVAL not in context:
            state.give_up(f"{request_type} {name}: sent without `call`, so that it would be in no record")

    def user_error(user_instance: Any, exception: BaseException, **_: Any) -> None:
        user = getattr(user_instance, "user", user_instance)  # a set of tasks, or the user itself
        state.give_up(f"{type(user).__name__}: {type(exception).__name__}: {exception}")

    _on(environment.events.request, request)
    _on(environment.events.user_error, user_error)


def _listen_to_workers(runner: MasterRunner, output: Output, give_up: Callable[[str], None]) -> None:
    runner.register_message("tocsin_broken", lambda msg, **_: give_up(msg.data["reason"]))

    def collect(client_id: str, data: dict[str, Any], **_: Any) -> None:
        tallies = {int(at): Tally.from_wire(wire) for at, wire in data.get("tocsin_seconds", {}).items()}
        output.collect(client_id, tallies, set(runner.clients.keys()))

    def teach(**_: Any) -> None:
        runner.send_message("tocsin_learn", _load_of(runner.environment).told())

    _on(runner.environment.events.test_stopping, lambda **_: output.ends(set(runner.clients.keys())))
    _on(runner.environment.events.worker_report, collect)
    _on(runner.environment.events.worker_connect, teach)


def _write_every_second(seconds: Seconds, output: Output) -> None:
    while True:
        gevent.sleep(0.25)
        output.seconds(seconds.take())


def _follow_parent(runner: Runner, state: LoadState) -> None:
    """New tokens before the old ones expire; the end of file when the parent is gone."""
    with FileObject(os.dup(0), "r") as lines:
        for line in lines:
            state.tokens.update(json.loads(line))
            if isinstance(runner, MasterRunner):
                runner.send_message("tocsin_learn", state.told())
    runner.quit()


def _started(environment: Environment, **_: Any) -> None:
    """A load begins with a whole second, the same one in all processes."""
    state, runner = _load_of(environment), environment.runner
    state.users_here = 0
    if isinstance(runner, MasterRunner):
        state.workers = max(1, len(runner.clients.ready))
        state.begins_at = math.ceil(now() + _HEAD_START_OF_WORKERS_S)
        runner.send_message("tocsin_learn", state.told())
        return
    if not isinstance(runner, WorkerRunner):
        state.begins_at = math.ceil(now() + _HEAD_START_S)
    state.seconds.begin(state.begins_at)


def _stopped(environment: Environment, **_: Any) -> None:
    _load_of(environment).seconds.end()


_on(events.init_command_line_parser, _arguments)
_on(events.init, _begin)
_on(events.test_start, _started)
_on(events.test_stop, _stopped)

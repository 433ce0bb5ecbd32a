"""The data plane of RDS Proxy in front of PostgreSQL: what the AWS API only remembers, made real.

Modelled on the RDS User Guide (rds-proxy-howitworks, rds-proxy-connections, rds-proxy-pinning,
rds-proxy.monitoring, rds-proxy.troubleshooting):

- A client connects to the proxy without a database connection being opened for it.
- Its first message outside a transaction *borrows* a database connection, which goes back to the pool when
  the transaction ends. A session that changes its state (`SET`, named prepared statements, temporary
  tables, ...) is *pinned*: it keeps its database connection until it ends.
- The pool has `MaxConnectionsPercent` of the instance's `max_connections`, less the connections that the
  proxy reserves for itself. AWS does not say how many; we take `RESERVED_CONNECTIONS`. So at 1 % of a small
  instance none is usable, and every borrow waits in vain.
- A borrow waits `ConnectionBorrowTimeout` real seconds (request latency is not scaled); then the client gets
  `Timed-out waiting to acquire database connection.` with SQLSTATE 08000, and stays connected. The same
  happens when no target is registered or the target does not answer: the proxy waits for one.
- A changed pool setting holds at once. Idle connections above a lowered limit are closed at once, borrowed
  ones when they come back (AWS is silent on this).

- A client proves the password that the proxy's secret for this user holds, by SCRAM; with the same secret, as it is by
  then, the proxy logs in to the database. A user without a secret is refused. Where the database does not take what
  the secret says, no connection can be borrowed
  ([troubleshooting](https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy.troubleshooting.html)).

Not modelled: TLS, MD5, IAM authentication, read-only endpoints, `InitQuery`, `SessionPinningFilters`,
`IdleClientTimeout`.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tocsin.sandbox.services.rds import pgwire
from tocsin.sandbox.services.rds.pgwire import DatabaseConnection, DatabaseGoneError, Login, ServerLogin
from tocsin.sandbox.services.rds.scram import WrongPasswordError

RESERVED_CONNECTIONS = 2
RECONNECT_PAUSE_S = 0.1
CONNECT_TIMEOUT_S = 1.0

BORROW_TIMEOUT_TEXT = "Timed-out waiting to acquire database connection."
CONNECTION_EXCEPTION = "08000"
CONNECTION_FAILURE = "08006"
FEATURE_NOT_SUPPORTED = "0A000"
INVALID_AUTHORIZATION, INVALID_PASSWORD = "28000", "28P01"

PasswordOf = Callable[[str], str | None]
"""User -> the password that the proxy's secrets hold for it now; None where there is none."""

# rds-proxy-pinning, "Conditions that cause pinning for RDS for PostgreSQL". SET LOCAL, SET TRANSACTION and
# SET CONSTRAINTS end with the transaction and need no pin.
PINNING_STATEMENT = re.compile(
    r"(?:^|;)\s*(?:SET\s+(?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b)|RESET\b|PREPARE\b|EXECUTE\b|DEALLOCATE\b"
    r"|DISCARD\b|LISTEN\b|LOAD\b|CREATE\s+(?:LOCAL\s+|GLOBAL\s+)?TEMP(?:ORARY)?\b|DECLARE\s)",
    re.IGNORECASE,
)
PINNING_FUNCTION = re.compile(
    r"\b(?:nextval|setval|set_config|pg_(?:try_)?advisory_lock(?:_shared)?)\s*\(", re.IGNORECASE
)

# What the server would report after a login; the proxy answers for it, so that a login costs no connection.
SERVER_PARAMETERS = {
    "server_version": "18.4",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
}


@dataclass(frozen=True)
class ProxyPool:
    """The `ConnectionPoolConfig` of a proxy's target group, as set through ModifyDBProxyTargetGroup."""

    max_connections_percent: int = 100
    max_idle_connections_percent: int = 50
    borrow_timeout_s: int = 120


@dataclass(frozen=True)
class Target:
    """The database behind a proxy."""

    host: str
    port: int
    max_connections: int


@dataclass
class Counters:
    """What happened since the last publication."""

    borrow_latencies_us: list[float] = field(default_factory=list)
    query_requests: int = 0
    client_connections_received: int = 0
    client_connections_succeeded: int = 0
    client_connections_refused: int = 0
    client_connections_closed: int = 0
    borrow_timeouts: int = 0
    database_connection_requests: int = 0

    def drain(self) -> Counters:
        """Return the counts so far and begin again."""
        counted = replace(self)
        vars(self).update(vars(Counters()))
        return counted


class BorrowTimeoutError(Exception):
    """No database connection became free within ConnectionBorrowTimeout."""


class ConnectionPool:
    """The database connections of one proxy."""

    def __init__(self, name: str, pool: ProxyPool, counters: Counters, password_of: PasswordOf) -> None:
        self._name = name
        self._settings = pool
        self._password_of = password_of
        self._counters = counters
        self._target: Target | None = None
        self._idle: deque[DatabaseConnection] = deque()
        self._borrowed: set[DatabaseConnection] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def allowed(self) -> int:
        """MaxDatabaseConnectionsAllowed: without the connections that the proxy reserves for itself."""
        if self._target is None:
            return 0
        share = self._target.max_connections * self._settings.max_connections_percent // 100
        return max(0, share - RESERVED_CONNECTIONS)

    @property
    def open(self) -> int:
        """DatabaseConnections."""
        return len(self._idle) + len(self._borrowed) + self._opening

    @property
    def borrowed(self) -> int:
        """DatabaseConnectionsCurrentlyBorrowed."""
        return len(self._borrowed)

    @property
    def available(self) -> bool:
        """Whether there is a target at all."""
        return self._target is not None

    def apply(self, pool: ProxyPool, target: Target | None) -> None:
        """Use other settings or another database from now on, also for those who wait already."""
        if target != self._target:
            self._close_idle(down_to=0)
        self._settings = pool
        self._target = target
        self._trim()
        self._wake(len(self._waiting))

    async def borrow(self, login: Login) -> DatabaseConnection:
        """A connection for `login`. Raises BorrowTimeoutError."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            # Whoever waits already goes first.
            connection = None if self._waiting else await self._take(login, started)
            while connection is None:
                await self._wait(started)
                connection = await self._take(login, started)
            return connection
        except TimeoutError:
            self._counters.borrow_timeouts += 1
            raise BorrowTimeoutError from None
        finally:
            self._counters.borrow_latencies_us.append((loop.time() - started) * 1e6)

    def give_back(self, connection: DatabaseConnection, *, reusable: bool) -> None:
        """Return a borrowed connection; one that is not `reusable` is closed."""
        self._borrowed.discard(connection)
        connection.on_messages = None
        connection.on_lost = self._trim
        if reusable and not connection.lost and self.open < self.allowed:
            self._idle.append(connection)
            self._trim()
        else:
            connection.close()
        # Whether it went back or was closed: there is room for one.
        self._wake(1)

    def close(self) -> None:
        """Close every connection."""
        self._target = None
        self._close_idle(down_to=0)
        for connection in self._borrowed:
            connection.close()
        self._borrowed.clear()

    async def _take(self, login: Login, started: float) -> DatabaseConnection | None:
        connection = self._take_idle(login)
        if connection is None and self._make_room():
            # The timeout is about waiting for others; opening a connection gets its time in any case.
            now = asyncio.get_running_loop().time()
            deadline = max(started + self._settings.borrow_timeout_s, now + CONNECT_TIMEOUT_S)
            async with asyncio.timeout_at(deadline):
                connection = await self._open(login)
        if connection is not None:
            self._borrowed.add(connection)
        return connection

    def _take_idle(self, login: Login) -> DatabaseConnection | None:
        self._drop_lost()
        if len(self._borrowed) + self._opening >= self.allowed:
            return None
        for connection in reversed(self._idle):
            if connection.login == login:
                self._idle.remove(connection)
                return connection
        return None

    def _make_room(self) -> bool:
        """Whether one more may be opened; closes an idle one of another login for it."""
        if self._idle and len(self._borrowed) + self._opening < self.allowed <= self.open:
            self._idle.popleft().close()
        return self.open < self.allowed

    async def _open(self, login: Login) -> DatabaseConnection | None:
        target = self._target
        assert target is not None
        # One that is being opened counts already: others look at the limit while this one waits for the server, and a
        # burst of borrows would open far more than is allowed.
        self._opening += 1
        self._counters.database_connection_requests += 1
        password = self._password_of(login.user)
        try:
            if password is None:
                raise DatabaseGoneError(f"there is no secret for {login.user} any more")
            return await DatabaseConnection.open(target.host, target.port, login, password, f"RDSProxy {self._name}")
        except DatabaseGoneError:
            await asyncio.sleep(RECONNECT_PAUSE_S)
            return None
        finally:
            self._opening -= 1

    async def _wait(self, started: float) -> None:
        """Wait for a turn. Raises TimeoutError when the time is up, also if it was shortened meanwhile."""
        loop = asyncio.get_running_loop()
        deadline = started + self._settings.borrow_timeout_s
        if loop.time() >= deadline:
            raise TimeoutError
        # With room left, the database did not answer: nobody will give us a turn, so try again soon.
        until = min(deadline, loop.time() + RECONNECT_PAUSE_S) if self.open < self.allowed else deadline
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout_at(until):
                await turn
        except TimeoutError:
            if until == deadline:
                raise
        except asyncio.CancelledError:
            # Given a turn and cancelled at once: the turn belongs to the next one.
            if turn.done() and not turn.cancelled():
                self._wake(1)
            raise
        finally:
            # Not before: between the turn that is given and the moment at which its owner runs, a newcomer must find
            # somebody waiting. It would take the connection that was meant for the owner.
            self._waiting.remove(turn)

    def _wake(self, count: int) -> None:
        for turn in [turn for turn in self._waiting if not turn.done()][:count]:
            turn.set_result(None)

    def _drop_lost(self) -> None:
        self._idle = deque(connection for connection in self._idle if not connection.lost)

    def _trim(self) -> None:
        """Close idle connections above MaxIdleConnectionsPercent and above the limit."""
        self._drop_lost()
        if self._target is None:
            self._close_idle(down_to=0)
            return
        idle_limit = self._target.max_connections * self._settings.max_idle_connections_percent // 100
        self._close_idle(down_to=max(0, min(idle_limit, self.allowed - len(self._borrowed))))

    def _close_idle(self, *, down_to: int) -> None:
        while len(self._idle) > down_to:
            self._idle.popleft().close()


class ClientSession(asyncio.Protocol):
    """One client's connection to the proxy."""

    def __init__(
        self, pool: ConnectionPool, counters: Counters, sessions: set[ClientSession], password_of: PasswordOf
    ) -> None:
        self._pool = pool
        self._password_of = password_of
        self._counters = counters
        self._sessions = sessions
        self._transport: asyncio.Transport | None = None
        self._startup = bytearray()
        self._login: Login | None = None
        self._proving: tuple[Login, ServerLogin] | None = None
        self._messages = pgwire.Messages()
        self._inbox: list[bytes] = []
        self._borrowing: asyncio.Task[None] | None = None
        self._connection: DatabaseConnection | None = None
        self.pinned = False
        # Answers (ReadyForQuery) still to come, and whether messages were sent that no Sync has closed yet.
        self._answers_due = 0
        self._unsynced = False
        # An unnamed statement was parsed and not executed: drivers that Sync in between need it kept.
        self._statement_open = False
        # After an error the protocol ignores everything up to the next Sync.
        self._skipping = False

    @property
    def logged_in(self) -> bool:
        """Whether the client counts as a client connection."""
        return self._login is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._sessions.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            if self._proving is not None:
                self._check(self._messages.feed(data))
            elif self._login is None:
                self._startup += data
                self._log_in()
            else:
                self._inbox += self._messages.feed(data)
                self._advance()
        except pgwire.ProtocolError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._sessions.discard(self)
        if self._login is not None:
            self._counters.client_connections_closed += 1
        if self._borrowing is not None:
            self._borrowing.cancel()
        # A session that ends in the middle of a transaction takes its database connection with it.
        self._release(reusable=False)

    def close(self) -> None:
        """Close the client's connection."""
        if self._transport is not None:
            self._transport.close()

    def _log_in(self) -> None:
        """Answer the startup messages; nothing of this needs the database."""
        while self._proving is None and len(self._startup) >= 8:
            length, code = struct.unpack_from("!ii", self._startup)
            if not 8 <= length <= 65536:
                raise pgwire.ProtocolError("no startup message")
            if len(self._startup) < length:
                return
            body = bytes(self._startup[8:length])
            del self._startup[:length]
            if code in (pgwire.SSL_REQUEST, pgwire.GSSENC_REQUEST):
                self._write(b"N")
            elif code == pgwire.PROTOCOL_3_0:
                self._ask_password(pgwire.startup_parameters(body))
                return
            else:
                # Cancel requests too: the proxy has no key that would name a running query.
                raise pgwire.ProtocolError(f"startup code {code}")

    def _ask_password(self, parameters: dict[str, str]) -> None:
        user = parameters.get("user", "")
        if "options" in parameters:
            self._fail(
                FEATURE_NOT_SUPPORTED,
                "Feature not supported: RDS Proxy currently doesn't support command-line options.",
            )
            return
        self._counters.client_connections_received += 1
        password = self._password_of(user)
        if password is None:
            self._counters.client_connections_refused += 1
            self._fail(
                INVALID_AUTHORIZATION,
                f"This RDS Proxy has no credentials for the role {user}. "
                "Check the credentials for this role and try again.",
            )
            return
        self._proving = Login(user, parameters.get("database", user)), ServerLogin(password)
        self._write(ServerLogin.asks())
        early = bytes(self._startup)
        self._startup.clear()
        self._check(self._messages.feed(early))

    def _check(self, responses: list[bytes]) -> None:
        """Let a client in that proves its password."""
        assert self._proving is not None
        login, proof = self._proving
        for position, response in enumerate(responses):
            try:
                answer, proved = proof.answer(response)
            except WrongPasswordError:
                self._counters.client_connections_refused += 1
                self._fail(INVALID_PASSWORD, f"The password that was provided for the role {login.user} is wrong.")
                return
            self._write(answer)
            if proved:
                self._accept(login)
                self._inbox += responses[position + 1 :]
                self._advance()
                return

    def _accept(self, login: Login) -> None:
        self._counters.client_connections_succeeded += 1
        self._login, self._proving = login, None
        answer = pgwire.authentication_ok()
        for name, value in SERVER_PARAMETERS.items():
            answer += pgwire.message(b"S", f"{name}\0{value}\0".encode())
        answer += pgwire.message(b"K", struct.pack("!ii", 0, 0))
        self._write(answer + pgwire.message(b"Z", b"I"))

    def _advance(self) -> None:
        """Send on what the client has sent, or see to it that there is somewhere to send it."""
        if self._skipping:
            self._skip_to_sync()
        if not self._inbox:
            return
        if self._inbox[0][:1] == b"X":
            self.close()
        elif self._connection is not None:
            self._forward(self._connection)
        elif self._borrowing is None:
            self._borrowing = asyncio.get_running_loop().create_task(self._borrow())

    async def _borrow(self) -> None:
        assert self._login is not None
        try:
            connection = await self._pool.borrow(self._login)
        except BorrowTimeoutError:
            self._borrowing = None
            self._write(pgwire.error("ERROR", CONNECTION_EXCEPTION, BORROW_TIMEOUT_TEXT))
            self._skipping = True
            self._advance()
            return
        self._borrowing = None
        self._connection = connection
        connection.on_messages = self._answer
        connection.on_lost = self._database_lost
        self._advance()

    def _skip_to_sync(self) -> None:
        """Drop what belongs to the refused request; its Sync (or the Query itself) is answered."""
        while self._inbox and self._skipping:
            if self._inbox.pop(0)[:1] in (b"Q", b"S", b"F"):
                self._skipping = False
                self._write(pgwire.message(b"Z", b"I"))

    def _forward(self, connection: DatabaseConnection) -> None:
        requests, self._inbox = self._inbox, []
        for position, request in enumerate(requests):
            if request[:1] == b"X":
                # The client's end is not the end of the database connection, which belongs to the pool.
                requests = requests[:position]
                self._inbox = [request]
                break
            self._note(request)
        if requests:
            connection.send(b"".join(requests))
        self._advance()

    def _note(self, request: bytes) -> None:
        kind = request[:1]
        if kind in (b"Q", b"S", b"F"):
            self._answers_due += 1
            self._unsynced = False
        else:
            self._unsynced = True
        if kind == b"P":
            self._statement_open = True
        elif kind == b"E":
            self._statement_open = False
        if kind in (b"Q", b"E"):
            self._counters.query_requests += 1
        self.pinned = self.pinned or _pins(request)

    def _answer(self, answers: list[bytes]) -> None:
        self._write(b"".join(answers))
        ready = [answer[5:6] for answer in answers if answer[:1] == b"Z"]
        if any(answer[:1] == b"E" for answer in answers):
            self._statement_open = False
        self._answers_due -= len(ready)
        # "Idle" (outside of a transaction) alone is not enough to part with the connection. Clients pipeline: answers
        # to later requests may still be due, and messages after the last Sync are with the server and not answered yet.
        # Given back now, it would answer the next client with what this one asked.
        if ready and ready[-1] == b"I" and self._answers_due == 0 and not self._keeps_connection():
            self._release(reusable=True)

    def _keeps_connection(self) -> bool:
        return self.pinned or self._unsynced or self._statement_open

    def _release(self, *, reusable: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give_back(connection, reusable=reusable)

    def _database_lost(self) -> None:
        self._release(reusable=False)
        self._fail(CONNECTION_FAILURE, "The database connection was lost.")

    def _fail(self, code: str, text: str) -> None:
        self._inbox.clear()
        self._write(pgwire.error("FATAL", code, text))
        self.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


class RdsProxy:
    """One proxy: a listener on 127.0.0.1, its clients and its pool."""

    def __init__(self, name: str, pool: ProxyPool, password_of: PasswordOf) -> None:
        self.name = name
        self._password_of = password_of
        self._counters = Counters()
        self.pool = ConnectionPool(name, pool, self._counters, password_of)
        self._sessions: set[ClientSession] = set()
        self._server: asyncio.Server | None = None
        self.host = "127.0.0.1"
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._session, self.host, 0, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener, the clients and the database connections."""
        if self._server is not None:
            self._server.close()
        for session in tuple(self._sessions):
            session.close()
        self.pool.close()

    @property
    def client_connections(self) -> int:
        """ClientConnections."""
        return sum(session.logged_in for session in self._sessions)

    @property
    def pinned(self) -> int:
        """DatabaseConnectionsCurrentlySessionPinned."""
        return sum(session.pinned for session in self._sessions)

    def drain_counters(self) -> Counters:
        """What happened since the last call."""
        return self._counters.drain()

    def _session(self) -> ClientSession:
        return ClientSession(self.pool, self._counters, self._sessions, self._password_of)


def _pins(request: bytes) -> bool:
    """Whether a message leaves something behind that only its own session may see."""
    kind = request[:1]
    if kind not in (b"Q", b"P"):
        return False
    if kind == b"P" and pgwire.statement_name(request):
        return True
    sql = pgwire.query_text(request)
    return bool(PINNING_STATEMENT.search(sql) or PINNING_FUNCTION.search(sql))

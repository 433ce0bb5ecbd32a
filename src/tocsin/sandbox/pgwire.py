"""The parts of PostgreSQL's wire protocol (version 3.0) that a pooling proxy has to understand.

Source: PostgreSQL documentation, "Frontend/Backend Protocol", message formats.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass

PROTOCOL_3_0 = 0x00030000
CANCEL_REQUEST = 80877102
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104

# Longer than any message of a well-behaved client here; anything above is not this protocol.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024


class ProtocolError(Exception):
    """The peer does not speak the protocol."""


class DatabaseGoneError(Exception):
    """The database cannot be reached, refused the login or closed the connection."""


@dataclass(frozen=True)
class Login:
    """Who a connection belongs to: connections of one pool are only shared between equal logins."""

    user: str
    database: str


class Messages:
    """Cuts a byte stream into whole messages, each with its type byte and its length."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes. Raises ProtocolError for an impossible length."""
        self._buffer += data
        messages = []
        position = 0
        while len(self._buffer) - position >= 5:
            (length,) = struct.unpack_from("!i", self._buffer, position + 1)
            if not 4 <= length <= MAX_MESSAGE_BYTES:
                raise ProtocolError(f"a message of {length} bytes")
            end = position + 1 + length
            if len(self._buffer) < end:
                break
            messages.append(bytes(self._buffer[position:end]))
            position = end
        del self._buffer[:position]
        return messages


def message(kind: bytes, body: bytes = b"") -> bytes:
    """One message of type `kind`."""
    return kind + struct.pack("!i", len(body) + 4) + body


def startup(login: Login, application_name: str) -> bytes:
    """The first message of a client."""
    parameters = {"user": login.user, "database": login.database, "application_name": application_name}
    body = b"".join(part.encode() + b"\0" for pair in parameters.items() for part in pair)
    return struct.pack("!ii", len(body) + 9, PROTOCOL_3_0) + body + b"\0"


def startup_parameters(body: bytes) -> dict[str, str]:
    """The parameters of a startup message without its length and protocol number."""
    parts = body.rstrip(b"\0").split(b"\0")
    if len(parts) % 2:
        raise ProtocolError("a startup parameter without a value")
    names, values = parts[::2], parts[1::2]
    return {name.decode(): value.decode() for name, value in zip(names, values, strict=True)}


def error(severity: str, code: str, text: str) -> bytes:
    """An ErrorResponse."""
    fields = (("S", severity), ("V", severity), ("C", code), ("M", text))
    return message(b"E", b"".join(f"{key}{value}".encode() + b"\0" for key, value in fields) + b"\0")


def error_text(response: bytes) -> str:
    """The human part of an ErrorResponse."""
    for field in response[5:].split(b"\0"):
        if field[:1] == b"M":
            return field[1:].decode(errors="replace")
    return "no message"


def query_text(request: bytes) -> str:
    """The SQL of a Query or Parse message."""
    body = request[5:]
    if request[:1] == b"P":
        body = body.split(b"\0", 1)[1]
    return body.split(b"\0", 1)[0].decode(errors="replace")


def statement_name(request: bytes) -> str:
    """The prepared statement that a Parse message makes; empty for the unnamed one."""
    return request[5:].split(b"\0", 1)[0].decode(errors="replace")


class DatabaseConnection(asyncio.Protocol):
    """A logged-in connection to PostgreSQL that hands whole messages to whoever uses it now."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self.on_messages: Callable[[list[bytes]], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self.lost = False
        self._messages = Messages()
        self._transport: asyncio.Transport | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, host: str, port: int, login: Login, application_name: str) -> DatabaseConnection:
        """Connect and log in by trust. Raises DatabaseGoneError."""
        try:
            _, connection = await asyncio.get_running_loop().create_connection(lambda: cls(login), host, port)
        except OSError as cause:
            raise DatabaseGoneError(str(cause)) from cause
        try:
            connection.send(startup(login, application_name))
            await connection.ready
        except BaseException:
            connection.close()
            raise
        return connection

    def send(self, data: bytes) -> None:
        """Send one or more whole messages."""
        assert self._transport is not None
        self._transport.write(data)

    def close(self) -> None:
        """Leave politely; the server rolls back what was not committed."""
        self.on_messages = self.on_lost = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(message(b"X"))
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        messages = self._messages.feed(data)
        if not self.ready.done():
            self._log_in(messages)
        elif self.on_messages is not None:
            self.on_messages(messages)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if not self.ready.done():
            self.ready.set_exception(DatabaseGoneError("the database closed the connection"))
        if self.on_lost is not None:
            self.on_lost()

    def _log_in(self, messages: list[bytes]) -> None:
        for answer in messages:
            if answer[:1] == b"E":
                self.ready.set_exception(DatabaseGoneError(error_text(answer)))
                return
            if answer[:1] == b"Z":
                self.ready.set_result(None)
                return

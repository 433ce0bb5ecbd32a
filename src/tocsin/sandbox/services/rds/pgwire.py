"""The parts of PostgreSQL's wire protocol (version 3.0) that a pooling proxy has to understand.

Source: PostgreSQL documentation, "Frontend/Backend Protocol", message formats.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass

from scramp import ScramException

from tocsin.sandbox.services.rds import scram

PROTOCOL_3_0 = 0x00030000
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
        # Cut once a call and not once a message: of a result of many rows, the rest would be moved for every row.
        del self._buffer[:position]
        return messages


def message(kind: bytes, body: bytes = b"") -> bytes:
    """One message of type `kind`."""
    return kind + struct.pack("!i", len(body) + 4) + body


def startup(login: Login, application_name: str) -> bytes:
    """The first message of a client."""
    parameters = {"user": login.user, "database": login.database, "application_name": application_name}
    body = b"".join(part.encode() + b"\0" for pair in parameters.items() for part in pair)
    # The one message without a type byte. Its length counts itself, the version and the zero at the end.
    return struct.pack("!ii", len(body) + 9, PROTOCOL_3_0) + body + b"\0"


def startup_parameters(body: bytes) -> dict[str, str]:
    """The parameters of a startup message without its length and protocol number."""
    parts = body.rstrip(b"\0").split(b"\0")
    if len(parts) % 2:
        raise ProtocolError("a startup parameter without a value")
    names, values = parts[::2], parts[1::2]
    return {name.decode(): value.decode() for name, value in zip(names, values, strict=True)}


_OK, _SASL, _SASL_CONTINUE, _SASL_FINAL = 0, 10, 11, 12
"""Kinds of an Authentication message: the first four bytes of its body."""


def authentication_ok() -> bytes:
    """AuthenticationOk."""
    return message(b"R", struct.pack("!i", _OK))


class ServerLogin:
    """The server's side of a login by password. Raises ProtocolError for what is none."""

    def __init__(self, password: str) -> None:
        self._scram = scram.Server(scram.keys(password))
        self._begun = False

    @staticmethod
    def asks() -> bytes:
        """AuthenticationSASL: which mechanisms there are."""
        return message(b"R", struct.pack("!i", _SASL) + f"{scram.MECHANISM}\0\0".encode())

    def answer(self, response: bytes) -> tuple[bytes, bool]:
        """The answer to a message of the client's, and whether the client has proved its password.

        Raises scram.WrongPasswordError when it has proved that it does not know it.
        """
        if response[:1] != b"p":
            raise ProtocolError("no password message")
        try:
            if not self._begun:
                self._begun = True
                said = self._scram.first(_initial_response(response[5:])).encode()
                return message(b"R", struct.pack("!i", _SASL_CONTINUE) + said), False
            said = self._scram.final(response[5:].decode("utf-8", "replace")).encode()
        except scram.MalformedError as cause:
            raise ProtocolError("no SCRAM") from cause
        return message(b"R", struct.pack("!i", _SASL_FINAL) + said), True


def _initial_response(body: bytes) -> str:
    mechanism, end, rest = body.partition(b"\0")
    if mechanism.decode("utf-8", "replace") != scram.MECHANISM or not end or len(rest) < 4:
        raise ProtocolError("a SASL mechanism that was not offered")
    return rest[4:].decode("utf-8", "replace")


class _ClientLogin:
    """The client's side. Raises DatabaseGoneError."""

    def __init__(self, user: str, password: str) -> None:
        self._scram = scram.client(user, password)

    def answer(self, asked: bytes) -> bytes:
        """What to send after an Authentication message; may be empty."""
        (kind,), said = struct.unpack_from("!i", asked, 5), asked[9:]
        try:
            if kind == _SASL and scram.MECHANISM.encode() in said.split(b"\0"):
                first = self._scram.get_client_first().encode()
                return message(b"p", f"{scram.MECHANISM}\0".encode() + struct.pack("!i", len(first)) + first)
            if kind == _SASL_CONTINUE:
                self._scram.set_server_first(said.decode())
                return message(b"p", self._scram.get_client_final().encode())
            if kind == _SASL_FINAL:
                self._scram.set_server_final(said.decode())
        except ScramException as cause:
            raise DatabaseGoneError("the database does not prove that it knows the password") from cause
        if kind in (_OK, _SASL_FINAL):
            return b""
        raise DatabaseGoneError(f"the database asks for a login of kind {kind}, not for {scram.MECHANISM}")


def error(severity: str, code: str, text: str) -> bytes:
    """An ErrorResponse."""
    # S is for people and may be translated, V is the same for programs: drivers decide on V whether it is fatal.
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
    # Only searched for words: whatever encoding the client uses, they are ASCII, and the rest need not be readable.
    body = request[5:]
    if request[:1] == b"P":
        body = body.split(b"\0", 1)[1]
    return body.split(b"\0", 1)[0].decode(errors="replace")


def statement_name(request: bytes) -> str:
    """The prepared statement that a Parse message makes; empty for the unnamed one."""
    return request[5:].split(b"\0", 1)[0].decode(errors="replace")


class DatabaseConnection(asyncio.Protocol):
    """A logged-in connection to PostgreSQL that hands whole messages to whoever uses it now."""

    def __init__(self, login: Login, password: str) -> None:
        self.login = login
        self._login = _ClientLogin(login.user, password)
        self.on_messages: Callable[[list[bytes]], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self.lost = False
        self._messages = Messages()
        self._transport: asyncio.Transport | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, host: str, port: int, login: Login, password: str, application_name: str) -> DatabaseConnection:
        """Connect and log in. Raises DatabaseGoneError."""
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: cls(login, password), host, port)
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
        # A loss of our own making is no news to whoever used it.
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
        # The answers to the login end here, at ReadyForQuery: the proxy's client had answers of the proxy's own
        # long ago, and must not see parameters and a key a second time.
        for answer in messages:
            if answer[:1] == b"E":
                self.ready.set_exception(DatabaseGoneError(error_text(answer)))
                return
            if answer[:1] == b"R":
                try:
                    if to_send := self._login.answer(answer):
                        self.send(to_send)
                except DatabaseGoneError as cause:
                    self.ready.set_exception(cause)
                    return
            elif answer[:1] == b"Z":
                self.ready.set_result(None)
                return

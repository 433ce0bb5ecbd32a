"""How whoever connects proves a password without sending it: SCRAM-SHA-256, as PostgreSQL speaks it.

The client's side and the keys are `scramp`'s. The server's side is our own: libpq leaves out the user name, which the
startup message has told, and `scramp` takes no empty one.
https://www.rfc-editor.org/rfc/rfc5802, https://www.postgresql.org/docs/18/sasl-authentication.html
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from functools import lru_cache

from scramp import ScramClient, ScramMechanism

MECHANISM = "SCRAM-SHA-256"

_CLIENT_FIRST = re.compile(r"([ny]),,((?:n=[^,]*),r=([\x21-\x2b\x2d-\x7e]+))")
_CLIENT_FINAL = re.compile(r"(c=([A-Za-z0-9+/=]+),r=([\x21-\x2b\x2d-\x7e]+)),p=([A-Za-z0-9+/=]+)")


class WrongPasswordError(Exception):
    """The other side does not know the password."""


class MalformedError(Exception):
    """The other side does not speak SCRAM."""


@dataclass(frozen=True)
class Keys:
    """What a server keeps of a password: enough to check it, not enough to log in with."""

    salt: bytes
    stored: bytes = field(repr=False)
    server: bytes = field(repr=False)
    iterations: int

    def verifier(self) -> str:
        """As `CREATE ROLE ... PASSWORD` takes it: the password itself is in no statement, and so in no log."""
        salt, stored, server = (base64.b64encode(part).decode() for part in (self.salt, self.stored, self.server))
        return f"{MECHANISM}${self.iterations}:{salt}${stored}:{server}"


@lru_cache(maxsize=256)
def keys(password: str) -> Keys:
    """The keys of a password, with a salt of their own. Takes a millisecond, so those of a known one are kept."""
    salt, stored, server, iterations = ScramMechanism(MECHANISM).make_auth_info(password)
    return Keys(salt, stored, server, iterations)


def client(user: str, password: str) -> ScramClient:
    """The client's side; it raises `scramp.ScramException`."""
    return ScramClient([MECHANISM], user, password)


class Server:
    """The server's side of one login."""

    def __init__(self, known: Keys) -> None:
        self._keys = known
        self._flag, self._nonce, self._said = "n", "", ""

    def first(self, message: str) -> str:
        """The answer to the client's first message. Raises MalformedError."""
        found = _CLIENT_FIRST.fullmatch(message)
        if found is None:
            raise MalformedError
        self._flag = found[1]
        self._nonce = found[3] + secrets.token_urlsafe(18)
        salt = base64.b64encode(self._keys.salt).decode()
        answer = f"r={self._nonce},s={salt},i={self._keys.iterations}"
        self._said = f"{found[2]},{answer}"
        return answer

    def final(self, message: str) -> str:
        """The answer to the client's last message. Raises MalformedError or WrongPasswordError."""
        found = _CLIENT_FINAL.fullmatch(message)
        if found is None or found[3] != self._nonce or _decoded(found[2]) != f"{self._flag},,".encode():
            raise MalformedError
        said = f"{self._said},{found[1]}".encode()
        signature = hmac.digest(self._keys.stored, said, "sha256")
        proof = _decoded(found[4])
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=False))
        if len(proof) != len(signature) or not hmac.compare_digest(
            hashlib.sha256(client_key).digest(), self._keys.stored
        ):
            raise WrongPasswordError
        return "v=" + base64.b64encode(hmac.digest(self._keys.server, said, "sha256")).decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise MalformedError from None

"""Takes out of a text what must not be shown: tokens and signatures that a system or AWS repeats in what it answers.

AWS repeats the Authorization header in errors about it, and the whole canonical request, session token included, where
a signature does not match (https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html). An API
Gateway does the same with a bearer token that it cannot read.
"""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "(not shown)"

_TOKEN = re.compile(r"\beyJ[\w-]{5,}(?:\.[\w-]*)*")
"""A JSON web token: base64url of a header that begins with `{"`."""
_AFTER = re.compile(
    r"(?P<name>\b(?:bearer|basic)\s+(?=\S*\d)"
    r"|\b(?:x-amz-security-token|x-amz-signature|signature)['\"]?\s*[=:]\s*['\"]?(?=[^\s'\",;&]{16})"
    r"|(?:password|client_secret|secret_access_key|access_token|refresh_token|id_token)['\"]?\s*[=:]\s*['\"]?)"
    r"(?P<value>[^\s'\",;&<>(){}\\]{4,})",
    re.IGNORECASE,
)
"""What follows a name that announces a secret."""
_IN_URL = re.compile(r"(://[^/\s:@'\"]*:)[^/\s@'\"]+@")
"""The password of a URL."""


def mask(text: str) -> str:
    """The text without the values of tokens, passwords and signatures that it repeats."""
    shorter = _IN_URL.sub(rf"\1{HIDDEN}@", _TOKEN.sub(HIDDEN, text))
    return _AFTER.sub(rf"\g<name>{HIDDEN}", shorter)


def mask_all(value: Any) -> Any:
    """The same for every text of a JSON value; names of fields stay."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {name: mask_all(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask_all(item) for item in value]
    return value

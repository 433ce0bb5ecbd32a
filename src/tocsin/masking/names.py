"""Fields whose value is a secret because of what they are called: one table, with the source of each name.

A name stands for every way to write it: `secret-access-key` is also `SecretAccessKey` and the end of
`AWS_SECRET_ACCESS_KEY`. `secret` alone is not here: in AWS's API, in system files and in arguments of faults it is
the *name* of a secret. Nor are `SecretId` and `AccessKeyId`, which tell a reader which one was meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

_OAUTH = "https://www.rfc-editor.org/rfc/rfc6749#appendix-A"
_AWS_KEYS = "https://docs.aws.amazon.com/STS/latest/APIReference/API_Credentials.html"
_SECRETS_MANAGER = "https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html"
_SIGNATURES = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-authentication-methods.html"
_ASVS = "https://cheatsheetseries.owasp.org/cheatsheets/Logging_Cheat_Sheet.html#data-to-exclude"
_AZURE = "https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string"
_CSRF = "https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html"

NAMES: Mapping[str, str] = {
    "password": _ASVS,
    "passwd": _ASVS,
    "passphrase": _ASVS,
    "private-key": _ASVS,
    "signing-key": _ASVS,
    "secret-key": _ASVS,
    "secret-string": _SECRETS_MANAGER,
    "secret-binary": _SECRETS_MANAGER,
    "secret-access-key": _AWS_KEYS,
    "session-token": _AWS_KEYS,
    "security-token": _SIGNATURES,
    "client-secret": _OAUTH,
    "access-token": _OAUTH,
    "refresh-token": _OAUTH,
    "id-token": "https://openid.net/specs/openid-connect-core-1_0.html#TokenResponse",
    "api-key": "https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-api-key-source.html",
    "api-secret": "https://cloudinary.com/documentation/cloudinary_glossary#api_key_and_secret",
    "app-secret": "https://developers.facebook.com/docs/facebook-login/security#appsecret",
    "consumer-secret": "https://www.rfc-editor.org/rfc/rfc5849#section-3.4.2",
    "token-secret": "https://www.rfc-editor.org/rfc/rfc5849#section-3.4.2",
    "signing-secret": "https://api.slack.com/authentication/verifying-requests-from-slack",
    "webhook-secret": "https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries",
    "shared-secret": "https://www.rfc-editor.org/rfc/rfc2865#section-3",
    "authorization-token": "https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_AuthorizationData.html",
    "auth-token": "https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_CreateReplicationGroup.html",
    "bearer-token": "https://www.rfc-editor.org/rfc/rfc6750",
    "account-key": _AZURE,
    "shared-access-key": _AZURE,
    "connection-string": _AZURE,
    "csrf-token": _CSRF,
    "xsrf-token": _CSRF,
}
"""Strong names: whatever is written after one of them is a secret."""

WEAK_NAMES: Mapping[str, str] = {
    "pwd": "https://learn.microsoft.com/dotnet/api/microsoft.data.sqlclient.sqlconnectionstringbuilder.password",
    "token": _ASVS,
    "signature": _SIGNATURES,
    "sig": "https://learn.microsoft.com/rest/api/storageservices/create-service-sas",
    "jwt": "https://www.rfc-editor.org/rfc/rfc7519",
    "session": _ASVS,
    "session-id": _ASVS,
    "sessionid": "https://docs.djangoproject.com/en/stable/ref/settings/#session-cookie-name",
    "jsessionid": "https://jakarta.ee/specifications/servlet/6.0/jakarta-servlet-spec-6.0#session-tracking-mechanisms",
    "phpsessid": "https://www.php.net/manual/session.configuration.php",
}
"""Names that prose uses too ("the signature: mismatch"), and only where they stand alone or after `_` or `-`: without
quotation marks what follows must look like a secret, with a digit or of 16 characters and more."""

HEADERS: Mapping[str, str] = {
    "authorization": "https://www.rfc-editor.org/rfc/rfc9110#name-authorization",
    "proxy-authorization": "https://www.rfc-editor.org/rfc/rfc9110#name-proxy-authorization",
    "cookie": "https://www.rfc-editor.org/rfc/rfc6265#section-4.2",
    "set-cookie": "https://www.rfc-editor.org/rfc/rfc6265#section-4.1",
}
"""Headers whose whole value is hidden, up to the end of the line."""

NO_SECRETS = frozenset(
    {
        *("host", "hostname", "port", "dbname", "database", "username", "user", "users", "engine"),
        *("dbinstanceidentifier", "dbclusteridentifier", "masterarn", "region", "endpoint", "name", "email"),
        *("clientid", "tenantid", "kid", "alg", "type", "scope", "issuer", "scheme", "schema"),
    }
)
"""Fields beside the password in a secret that is JSON: they tell where it leads, and are shown.
https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html"""


STEMS = ("pass", "secret", "token", "key", "sig", "pwd", "jwt", "sess", "cookie", "authorization", "connection")
"""Every name above has one of these in it: a text without them has no named secret, which is quickly found out."""


def _written(name: str) -> str:
    return name.replace("-", "[-_. ]?")


def _any(names: Mapping[str, str]) -> str:
    # The longest first: an alternation takes the first that fits.
    return "|".join(_written(name) for name in sorted(names, key=lambda one: (-len(one), one)))


STRONG = f"(?:{_any(NAMES)})"
WEAK = f"(?<![A-Za-z0-9])(?:{_any(WEAK_NAMES)})"
HEADER = f"(?<![A-Za-z0-9])(?:{_any(HEADERS)})"
_SECRET = re.compile(rf"(?:.*{STRONG}|(?:.*[^A-Za-z0-9])?(?:{_any(WEAK_NAMES)})|{_any(HEADERS)})", re.IGNORECASE)


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether the value of a field of this name is a secret."""
    return len(name) <= 200 and _SECRET.fullmatch(name) is not None


def leads_only(name: str) -> bool:
    """Whether a field of a secret tells where it leads, and no secret itself."""
    return re.sub(r"[-_. ]", "", name).lower() in NO_SECRETS

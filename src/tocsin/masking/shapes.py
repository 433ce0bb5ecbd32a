"""Secrets that nobody told us of: found by how they look, or by the name that stands before them.

AWS repeats the Authorization header in errors about it, and the whole canonical request, session token included, where
a signature does not match (https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html). An API
Gateway does the same with a bearer token that it cannot read.

Every pattern is bounded, so that no text, however it was made, takes more than a time in proportion to its length.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tocsin.masking.known import HIDDEN
from tocsin.masking.names import HEADER, STEMS, STRONG, WEAK


@dataclass(frozen=True)
class _Kind:
    """Tokens of one giver. A text without any of `marks` holds none, which is quickly found out."""

    marks: tuple[str, ...]
    pattern: re.Pattern[str]


def _kind(*marks: str, looks: str) -> _Kind:
    return _Kind(marks, re.compile(looks))


TOKENS: Mapping[str, _Kind] = {
    # A JSON web token: base64url of a header that begins with `{"` (https://www.rfc-editor.org/rfc/rfc7519#section-3.1)
    "JSON web token": _kind("eyJ", looks=r"\beyJ[\w-]{5,}(?:\.[\w-]*){0,4}"),
    # https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github
    "GitHub": _kind(
        *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        looks=r"\bgh[pousr]_[A-Za-z0-9]{20,255}|\bgithub_pat_\w{20,255}",
    ),
    # https://docs.gitlab.com/security/tokens/#token-prefixes
    "GitLab": _kind("gl", looks=r"\bgl(?:pat|oas|dt|rt|cbt|ptt|ft|soat)-[\w.-]{16,300}"),
    # https://api.slack.com/authentication/token-types
    "Slack": _kind(
        *("xox", "xapp-", "hooks.slack.com"),
        looks=r"\bxox[abceoprs](?:\.xox[bp])?-[\w-]{10,300}|\bxapp-[\w-]{10,300}"
        r"|\bhooks\.slack\.com/(?:services|workflows)/[\w/]{10,200}",
    ),
    # https://docs.stripe.com/keys, https://docs.stripe.com/webhooks/signature
    "Stripe": _kind(
        *("_live_", "_test_", "whsec_"),
        looks=r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{10,250}|\bwhsec_[A-Za-z0-9+/=]{16,250}",
    ),
    # https://cloud.google.com/docs/authentication/api-keys
    "Google": _kind(
        *("AIza", "ya29.", "GOCSPX-"),
        looks=r"\bAIza[\w-]{35}|\bya29\.[\w-]{20,2000}|\bGOCSPX-[\w-]{20,60}",
    ),
    # https://www.twilio.com/docs/glossary/what-is-a-sid
    "Twilio": _kind("SK", "SG.", looks=r"\bSK[0-9a-f]{32}\b|\bSG\.[\w-]{16,64}\.[\w-]{16,64}"),
    # https://docs.npmjs.com/about-access-tokens, https://packaging.python.org/specifications/pypirc/
    "registries": _kind(
        *("npm_", "pypi-", "dckr_pat_"),
        looks=r"\bnpm_[A-Za-z0-9]{36}|\bpypi-[\w-]{16,500}|\bdckr_pat_[\w-]{20,60}",
    ),
    # https://platform.openai.com/docs/api-reference/authentication, https://huggingface.co/docs/hub/security-tokens
    "models": _kind("sk-", "hf_", looks=r"\bsk-[A-Za-z0-9_-]{20,250}|\bhf_[A-Za-z0-9]{30,60}"),
    # https://developer.hashicorp.com/vault/docs/concepts/tokens
    "HashiCorp": _kind(
        *("hvs.", "hvb.", "hvr.", ".atlasv1."),
        looks=r"\bhv[sbr]\.[\w-]{20,400}|\b[A-Za-z0-9]{14}\.atlasv1\.[\w-]{40,100}",
    ),
    # https://shopify.dev/docs/apps/build/authentication-authorization, https://docs.digitalocean.com/reference/api/
    "shops and clouds": _kind("shp", "_v1_", looks=r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|\bdo[opr]_v1_[0-9a-f]{64}"),
    # https://core.telegram.org/bots/api#authorizing-your-bot, https://discord.com/developers/docs/resources/webhook
    "messengers": _kind(
        *(":AA", "/api/webhooks/"),
        looks=r"\b\d{8,10}:AA[\w-]{33}|\bdiscord(?:app)?\.com/api/webhooks/\d{10,20}/[\w-]{20,100}",
    ),
    # 64 bytes in base64: https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string
    "Azure": _kind("==", looks=r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{86}=="),
}
"""Who gives tokens, and how they look."""

_QUOTE = r"(?:\\{0,7}[\"']|&(?:amp;)?(?:quot|apos|#0?34|#0?39|#x27|#x22);|%22|%27)"
_IS = r"(?:\s{0,4}(?:=>|:=|[=:]|%3[ADad])\s{0,4}(?:%20|\+)?)"
_STANDS_FOR_ONE = r"(?!\(not shown\)|\$\{|[{\[]|(?:null|None|true|false|True|False)\b)"
_BARE = (
    rf"{_STANDS_FOR_ONE}"
    r"(?:[^\s\"'\\<&;,)}\]%]|%(?!2[27](?:%(?:2C|7D|3A|5D|20)|[\s&+]|$))|[;,)}\]](?![\s\"'\\)}\]]|$|[\w.-]{1,40}[=:])|&(?!(?:amp;)?[\w.-]{1,40}=|quot;|#|lt;)"
    r"|[\"'\\<](?![\s,;:)}\]>/nrt]|[\"'](?!\w)|$)){4,4096}"
)
"""A value without quotation marks: up to a blank, or to what begins the next field. What of `,;&<("` is followed by
more of the value belongs to it."""

_KEY_PAIR = re.compile(
    r"(?P<before>\bA[KS]IA[A-Z0-9]{16}[\"']?\s{0,4}[:/,;|\s]\s{0,4}[\"']?)(?P<value>[A-Za-z0-9/+=]{40})"
)
"""An access key id with its secret behind it, as a CSV file of the console has them."""
_PEM = re.compile(
    r"-----BEGIN (?P<kind>[A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?)-----"
    r"(?:.{0,16384}?(?:-----END (?P=kind)-----|(?=-----BEGIN )|\Z)|.{16384})",
    re.DOTALL,
)
"""A private key, also one whose end was cut off."""
_IN_URL = re.compile(
    r"(?P<before>://[^/\s:@'\"?#]{0,200}:)(?!\d{1,5}(?:[/?#\s'\",)\]}]|$)|\(not shown\)@)"
    r"(?P<value>(?:[^\s\"'`]|[\"'`](?![\s,;:)}\]>]|$)){1,300})@"
)
"""The password of a URL: also one in which nobody has escaped `@ / , ; & < ( "`. A port is none."""
_ON_THIS_MACHINE = re.compile(r"(?P<before>(?<![\w:@]):)(?P<value>[\w-]{16,100})@(?=127\.0\.0\.1|localhost\b)")
"""The password of an address without a scheme, as the sandbox hands out those of its caches."""
_SCHEME = re.compile(
    r"(?P<before>\b(?:bearer|basic)(?:\s{1,4}|%20|\+)(?=\S{0,4096}?\d|[A-Za-z+/=_.-]{24}))" rf"(?P<value>{_BARE})",
    re.IGNORECASE,
)
_HEADER = re.compile(
    rf"(?P<before>{HEADER}{_QUOTE}?{_IS})(?:(?:b|u)?(?P<quote>{_QUOTE})(?P<inside>.{{0,8192}}?)(?<!\\)(?<!%5C)(?P=quote)"
    r"|(?!\(not shown\))(?P<value>(?:(?:bearer|basic|digest|token|negotiate|aws4-hmac-sha256)\s+)?"
    r"(?=[^\s\"']{16}|[^\s\"']{0,4096}?[\d=])[^\r\n\"']{1,8192}))",
    re.IGNORECASE | re.DOTALL,
)
_NAMED = re.compile(
    rf"(?P<before>(?:{STRONG}|(?P<weak>{WEAK})){_QUOTE}?{_IS})"
    rf"(?:(?:b|u)?(?P<quote>{_QUOTE})(?P<inside>.{{0,8192}}?)(?<!\\)(?<!%5C)(?P=quote)"
    rf"|(?(weak)(?=[^\s'\",;&]{{16}}|[^\s'\",;&]{{0,64}}?\d))(?P<value>{_BARE}))",
    re.IGNORECASE | re.DOTALL,
)
"""What follows a name that announces a secret, in `name=value`, `"name": "value"` and the like, however escaped."""
_ELEMENT = re.compile(
    rf"(?P<before>(?:<|&lt;|\\u003c)(?:[\w-]{{1,40}}:)?[\w.-]{{0,40}}?(?:{STRONG}|{WEAK})(?:\s[^<>]{{0,200}})?(?:>|&gt;|\\u003e))"
    r"(?P<value>(?:<!\[CDATA\[.{0,8192}?\]\]>|(?!<|&lt;/|\\u003c/).{1,8192}?)(?=<|&lt;/|\\u003c/))",
    re.IGNORECASE | re.DOTALL,
)
_PAIR = re.compile(
    rf"(?P<before>{_QUOTE}?\b(?:name|key|parameterkey){_QUOTE}?{_IS}(?P<q>{_QUOTE})[\w.-]{{0,60}}?(?:{STRONG}|{WEAK}|{HEADER})(?P=q)"
    rf"[\s,]{{0,8}}{_QUOTE}?(?:value|parametervalue){_QUOTE}?{_IS})(?P<quote>{_QUOTE})(?P<inside>.{{0,8192}}?)(?<!\\)(?<!%5C)(?P=quote)",
    re.IGNORECASE | re.DOTALL,
)
"""`{"name": "DB_PASSWORD", "value": "..."}`, `<add key="..." value="..."/>`."""


def hide_shapes(text: str) -> str:
    """The text without what looks like a secret, or is called one."""
    for kind in TOKENS.values():
        if any(mark in text for mark in kind.marks):
            text = kind.pattern.sub(HIDDEN, text)
    if "-----BEGIN " in text:
        text = _PEM.sub(HIDDEN, text)
    if "://" in text:
        text = _IN_URL.sub(lambda found: f"{found['before']}{HIDDEN}@", text)
    if "@127.0.0.1" in text or "@localhost" in text:
        text = _ON_THIS_MACHINE.sub(lambda found: f"{found['before']}{HIDDEN}@", text)
    if "AKIA" in text or "ASIA" in text:
        text = _KEY_PAIR.sub(_value, text)
    lower = text.lower()
    if any(stem in lower for stem in STEMS):
        for pattern in (_HEADER, _PAIR, _ELEMENT, _NAMED):
            text = pattern.sub(_quoted_or_bare, text)
    return _SCHEME.sub(_value, text) if "bearer" in lower or "basic" in lower else text


def _value(found: re.Match[str]) -> str:
    return f"{found['before']}{HIDDEN}"


def _quoted_or_bare(found: re.Match[str]) -> str:
    """Hide the value, and keep its quotation marks; an empty one hides nothing."""
    quote = found.groupdict().get("quote")
    if quote is None:
        return _value(found)
    inside = found["inside"]
    shown = inside if inside in ("", HIDDEN) or inside.startswith("${") else HIDDEN
    between = found[0][len(found["before"]) : found.start("quote") - found.start()]
    return f"{found['before']}{between}{quote}{shown}{quote}"

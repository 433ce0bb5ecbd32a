"""More than ninety ways in which a secret turns up in what a system, AWS or an activity says.

Each is a name and what makes the text. `KNOWN` are those of a value that the drill knows; of the others nobody told it,
and they are found by the name of the field or by how they look. Texts are made when they are asked for: nothing here
looks like a secret to whoever scans the sources.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import quopri
import random
import re
import zlib
from collections.abc import Callable, Mapping
from string import ascii_letters, digits
from urllib.parse import quote, quote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

Write = Callable[[str], str]

FRONT, BACK = "Kq7vZ", "mW93x"


def nasty(salt: str) -> str:
    """A password with everything in it that ends one too early; `FRONT` and `BACK` stay readable in most forms."""
    return f"{FRONT}{_letters(salt, 4)}@/,;&<(\"'{_letters(salt[::-1], 4)}{BACK}"


def plain(salt: str) -> str:
    """A value of letters and digits, as most tokens are."""
    return f"{FRONT}{_letters(salt, 14)}{BACK}"


def _letters(salt: str, count: int, alphabet: str = ascii_letters + digits) -> str:
    draw = random.Random(hashlib.sha256(salt.encode()).hexdigest())
    return "".join(draw.choice(alphabet) for _ in range(count))


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _json(value: str, deep: int) -> str:
    return value if deep == 0 else json.dumps(_json(value, deep - 1))


def _lines64(raw: bytes) -> str:
    """As `base64 FILE` prints it, within something longer."""
    return base64.encodebytes(b"what stands before it. " * 5 + raw + b" what stands behind it." * 5).decode()


def _each(text: str, write: Callable[[int], str]) -> str:
    return "".join(write(ord(character)) for character in text)


def _bytes(text: str, write: str) -> str:
    return "".join(write.format(byte) for byte in text.encode())


def _dump(text: str, line: str, digits: int) -> str:
    """As programs show bytes: a line of sixteen, in hex and as letters."""
    parts = [text[at : at + 16] for at in range(0, len(text), 16)]
    told = [" ".join(re.findall(f".{{1,{digits}}}", part.encode().hex())) for part in parts]
    return "\n".join(line.format(16 * at, told[at], part) for at, part in enumerate(parts))


def _in_xml(text: str) -> str:
    said = ElementTree.Element("Said")
    said.text = text
    return ElementTree.tostring(said).decode()


def _twice(value: object) -> str:
    return json.dumps({"body": json.dumps(value)})


def _pem(body: str) -> str:
    kind = "PRIVATE " + "KEY"
    return f"-----BEGIN RSA {kind}-----\n{body}\n{body[::-1]}\n-----END RSA {kind}-----"


def _key_id() -> str:
    return "AK" + "IA" + _letters("key", 16, "ABCDEFGHIJKLMNOP234567")


def _secret_key(value: str) -> str:
    return (value + _letters("secret", 40))[:40]


KNOWN: Mapping[str, Write] = {
    "as it is": lambda v: f"--token {v}",
    "in the middle of a word": lambda v: f"key{v}suffix",
    "in JSON": lambda v: json.dumps({"said": v}),
    "in JSON in JSON": lambda v: _twice({"said": v}),
    "in JSON in JSON in JSON": lambda v: json.dumps({"outer": _twice({"said": v})}),
    "in JSON for HTML": lambda v: json.dumps({"said": v}).replace("<", "\\u003c").replace("&", "\\u0026"),
    "in JSON with escaped slashes": lambda v: json.dumps({"said": v}).replace("/", "\\/"),
    "in Python": lambda v: f"answered {v!r}",
    "in Python's dict": lambda v: str({"stdout": v}),
    "in Python's bytes": lambda v: repr({"content": v.encode()}),
    "in Python's dict in JSON": lambda v: json.dumps({"error": str({"said": v})}),
    "in a query": lambda v: f"http://127.0.0.1:9/state?key={quote(v, safe='')}&page=2",
    "in a query, with plus": lambda v: f"GET /state?{quote_plus('key')}={quote_plus(v)} HTTP/1.1",
    "in a query, lower case": lambda v: f"k={re.sub('%..', lambda escaped: escaped[0].lower(), quote(v, safe=''))}",
    "in a query, twice": lambda v: f"/login?next={quote(quote(v, safe=''), safe='')}",
    "in a path": lambda v: f"GET /reset/{quote(v)}/confirm",
    "in JSON in a query": lambda v: f"/search?filter={quote(json.dumps({'said': v}), safe='')}",
    "in HTML": lambda v: f"<p>You said {html.escape(v)}</p>",
    "in HTML, twice": lambda v: f"<p>{html.escape(html.escape(v))}</p>",
    "in HTML, quotation marks as they are": lambda v: f"<pre>{html.escape(v, quote=False)}</pre>",
    "in HTML of a template": lambda v: f"<p>{escape(v, {chr(39): '&#39;', chr(34): '&#34;'})}</p>",
    "in JSON in HTML": lambda v: f"<pre>{html.escape(json.dumps({'said': v}))}</pre>",
    "in XML": lambda v: f"<Said>{escape(v)}</Said>",
    "in an attribute of XML": lambda v: "<a said='" + escape(v, {"'": "&apos;", '"': "&quot;"}) + "'/>",
    "in CDATA": lambda v: f"<Said><![CDATA[{v}]]></Said>",
    "in base64": lambda v: f"blob {_b64(v)}",
    "in base64 without its end": lambda v: f"blob {_b64(v).rstrip('=')}",
    "in base64 for URLs": lambda v: f"/b/{base64.urlsafe_b64encode(v.encode()).decode()}",
    "in base64 after a user": lambda v: f"x-login: {_b64('user:' + v)}",
    "in base64 after another user": lambda v: f"x-login: {_b64('owner1:' + v)}",
    "in base64 after a third user": lambda v: f"x-login: {_b64('ab:' + v + ':c')}",
    "in base64 of JSON": lambda v: f"state {_b64(json.dumps({'said': v}))}",
    "in base64 for URLs of JSON": lambda v: base64.urlsafe_b64encode(json.dumps({"p": v}).encode()).decode(),
    "in hex": lambda v: f"0x{v.encode().hex()}",
    "in hex, upper case": lambda v: v.encode().hex().upper(),
    "in a shell": lambda v: "echo '" + v.replace("'", "'\"'\"'") + "'",
    "cut off": lambda v: f"answered {v[:-2]}",
    "in a trace": lambda v: f'  File "x.py", line 3\nValueError: no such till {v}\n',
    "in several lines": lambda v: f"one\ntwo {v}\nthree",
    "in JSON, four deep": lambda v: _json(v, 4),
    "in JSON, six deep": lambda v: _json(v, 6),
    "in base64 of several lines": lambda v: _lines64(v.encode()),
    "in base64 of several lines, in JSON": lambda v: json.dumps({"said": _lines64(v.encode())}),
    "in base64 of several lines, in Python": lambda v: repr(_lines64(v.encode()).encode()),
    "in base64 of several lines, indented": lambda v: _lines64(v.encode()).replace("\n", "\r\n    "),
    "in base64 of several lines, as one": lambda v: _lines64(v.encode()).replace("\n", " "),
    "in base64 of several lines, in a query": lambda v: quote(_lines64(v.encode()), safe=""),
    "in base64, twice": lambda v: _b64(_b64(v)),
    "in base64, three times, in a path": lambda v: f"/state/{_b64(_b64(_b64(v)))}",
    "in base64 of a query": lambda v: _b64(f"user=a&said={quote(v, safe='')}"),
    "in base64 of several lines, twice": lambda v: _lines64(_lines64(v.encode()).encode()),
    "in base64 of UTF-16": lambda v: base64.b64encode(v.encode("utf-16")).decode(),
    "in base64 of UTF-16, as PowerShell is told": lambda v: base64.b64encode(f"say {v}".encode("utf-16-le")).decode(),
    "in base64 of UTF-16, the other way": lambda v: base64.b64encode(v.encode("utf-16-be")).decode(),
    "in base64 of Latin-1": lambda v: base64.b64encode(f"it is {v}".encode("latin-1")).decode(),
    "in base32": lambda v: base64.b32encode(v.encode()).decode(),
    "in base32 of JSON": lambda v: base64.b32encode(json.dumps({"said": v}).encode()).decode().rstrip("="),
    "in base32 in small letters": lambda v: base64.b32encode(v.encode()).decode().lower(),
    "in base85": lambda v: base64.b85encode(v.encode()).decode(),
    "in base85 of PostScript": lambda v: base64.a85encode(v.encode(), adobe=True).decode(),
    "in quoted-printable": lambda v: quopri.encodestring(f"{'=' * 30} it is {v}".encode()).decode(),
    "in quoted-printable, all of it": lambda v: _bytes(v, "={:02X}"),
    "in hex with colons": lambda v: v.encode().hex(":"),
    "in hex with blanks": lambda v: f"said {v.encode().hex(' ').upper()}",
    "in hex of several lines": lambda v: "\n".join(re.findall(".{1,20}", v.encode().hex())),
    "in hex as in C": lambda v: "{ " + _bytes(v, "0x{:02x}, ") + "}",
    "in hex of base64": lambda v: _b64(v).encode().hex("-"),
    "as numbers": lambda v: json.dumps({"type": "Buffer", "data": list(v.encode())}),
    "escaped in Python, all of it": lambda v: _bytes(v, "\\x{:02x}"),
    "escaped in JSON, all of it": lambda v: _each(v, "\\u{:04x}".format),
    "escaped in JSON, all of it, twice": lambda v: json.dumps(_each(v, "\\u{:04X}".format)),
    "escaped in JavaScript": lambda v: _each(v, "\\u{{{:x}}}".format),
    "escaped in octal": lambda v: _bytes(v, "\\{:03o}"),
    "escaped in a query, all of it": lambda v: _bytes(v, "%{:02X}"),
    "escaped in a query, all of it, twice": lambda v: _bytes(v, "%25{:02x}"),
    "as JSON in a form": lambda v: f"state={quote_plus(json.dumps({'said': v, 'more': 'to say'}))}",
    "references of all characters": lambda v: _each(v, "&#{};".format),
    "references of all characters, in hex": lambda v: _each(v, "&#x{:x};".format),
    "references of all characters, in JSON": lambda v: json.dumps({"said": _each(v, "&#x{:X};".format)}),
    "references of what is not ASCII": _in_xml,
    "references of what is not ASCII, in XML": lambda v: f"<String>{escape(_in_xml(v))}</String>",
    "in a shell, otherwise": lambda v: "echo '" + v.replace("'", "'\\''") + "'",
    "in a shell, by backslashes": lambda v: "echo " + re.sub(r"(\W)", r"\\\1", v, flags=re.ASCII),
    "in SQL": lambda v: "SELECT '" + v.replace("'", "''") + "'",
    "in CSV": lambda v: '1,"' + v.replace('"', '""') + '",2',
    "read as Latin-1": lambda v: v.encode().decode("latin-1"),
    "beside itself": lambda v: f"{v}{v} {v}",
}

LAID_OUT: Mapping[str, Write] = {
    "cut short": lambda v: f"answered {v[:-3]}... and more",
    "cut short in JSON": lambda v: json.dumps({"said": f"{v[:12]}…"}),
    "cut out of the middle": lambda v: f"input_value='{v[:9]}...{v[-9:]}', input_type=str",
    "broken at a width": lambda v: f"said: {v[:10]}\n{v[10:]}",
    "broken in a box": lambda v: f"│ said {v[:10]} │\n│ {v[10:]}      │",
    "broken in JSON": lambda v: json.dumps({"said": f"{v[:10]}\r\n    {v[10:]}"}),
    "folded in YAML": lambda v: f'said: "{v[:10]}\\\n  {v[10:]}"',
    "found by grep": lambda v: f"{v[:6]}\x1b[01;31m\x1b[K{v[6:12]}\x1b[m\x1b[K{v[12:]}",
    "found by grep, in JSON": lambda v: json.dumps({"said": f"{v[:6]}\x1b[31m{v[6:]}\x1b[0m"}),
    "dumped by hexdump": lambda v: _dump(v, "{0:08x}  {1:<48} |{2}|", 2),
    "dumped by xxd": lambda v: _dump(v, "{0:08x}: {1:<40} {2}", 4),
    "escaped as old JavaScript does": lambda v: _each(v, "%u{:04x}".format),
    "escaped as in Perl": lambda v: _each(v, "\\x{{{:x}}}".format),
    "escaped as in a directory": lambda v: (
        f"cn={re.sub(r'[^A-Za-z0-9]', lambda one: f'{chr(92)}{ord(one[0]):02x}', v)}"
    ),
    "references without an end": lambda v: _each(v, "&#x{:x}".format),
    "in gzip in base64": lambda v: f"body {base64.b64encode(gzip.compress(v.encode())).decode()}",
    "in gzip in hex": lambda v: gzip.compress(f"said {v}".encode()).hex(),
    "in zlib in base64": lambda v: base64.b64encode(zlib.compress(json.dumps({"said": v}).encode())).decode(),
    "in what CloudWatch Logs sends": lambda v: json.dumps(
        {"awslogs": {"data": base64.b64encode(gzip.compress(_twice({"message": v}).encode())).decode()}}
    ),
}
"""The same as a program lays out what it shows, and in encodings that are seldom seen."""

NAMED: Mapping[str, Write] = {
    "password in JSON": lambda v: json.dumps({"user": "a", "password": v, "n": 1}),
    "password in JSON in JSON": lambda v: _twice({"user": "a", "password": v}),
    "password in JSON in JSON in JSON": lambda v: json.dumps({"o": _twice({"password": v, "n": 1})}),
    "password in Python": lambda v: str({"DB_PASSWORD": v, "n": 1}),
    "password in HTML": lambda v: html.escape(json.dumps({"password": v})),
    "password in a query": lambda v: f"/login?user=a&password={quote(v, safe='')}&page=2",
    "password in JSON in a query": lambda v: f"/x?f={quote(json.dumps({'password': v}), safe='')}",
    "password in an environment": lambda v: f"SHOP_DB_PASSWORD={v}",
    "password in YAML": lambda v: f"user: a\npassword: {json.dumps(v)}\nport: 1",
    "password of a connection": lambda v: f"Server=db;User=a;Password={quote(v, safe='')};Timeout=3",
    "password in XML": lambda v: f"<Password>{escape(v)}</Password>",
    "password in XML with a namespace": lambda v: f'<ns2:MasterUserPassword a="1">{escape(v)}</ns2:MasterUserPassword>',
    "password in CDATA": lambda v: f"<password><![CDATA[{v}]]></password>",
    "password in XML in HTML": lambda v: html.escape(f"<password>{v.replace('<', '').replace('&', '')}</password>"),
    "password of a URL": lambda v: f"postgresql://owner:{v}@127.0.0.1:5432/app refused",
    "password of an escaped URL": lambda v: f"redis://:{quote(v, safe='')}@127.0.0.1:6379/0",
    "password of an address on this machine": lambda v: json.dumps({"REDIS_HOST": f":{plain(v)}@127.0.0.1"}),
    "password of a URL in JSON": lambda v: json.dumps({"url": f"amqp://a:{quote(v, safe='')}@mq/x", "mail": "a@b.c"}),
    "password as an argument": lambda v: f"connect(user='a', password={json.dumps(v)}, port=1)",
    "variable of a container": lambda v: json.dumps([{"name": "DB_PASSWORD", "value": v}]),
    "parameter of a stack": lambda v: json.dumps({"ParameterKey": "MasterPassword", "ParameterValue": v}),
    "SecretString": lambda v: json.dumps({"Name": "shop/db", "SecretString": json.dumps({"password": v})}),
    "SecretAccessKey in JSON": lambda v: json.dumps({"AccessKeyId": _key_id(), "SecretAccessKey": v}),
    "SecretAccessKey in XML": lambda v: f"<SecretAccessKey>{escape(v)}</SecretAccessKey>",
    "aws_secret_access_key": lambda v: f"[default]\naws_secret_access_key = {_secret_key(plain(v))}",
    "a key pair in a CSV file": lambda v: f"{_key_id()},{_secret_key(plain(v))}",
    "a key pair of a command line": lambda v: f"login {_key_id()}:{_secret_key(plain(v))}",
    "SessionToken": lambda v: json.dumps({"Credentials": {"SessionToken": v}}),
    "X-Amz-Security-Token": lambda v: f"/x?X-Amz-Security-Token={quote(plain(v))}&X-Amz-Date=1",
    "X-Amz-Signature": lambda v: f"Signature={plain(v)}{'5f1c' * 8}",
    "x-api-key": lambda v: f"x-api-key: {plain(v)}",
    "x-api-key in Python": lambda v: str({"x-api-key": v}),
    "x-vault-token": lambda v: f"X-Vault-Token: {plain(v)}",
    "Authorization, bearer": lambda v: f"Authorization: Bearer {plain(v)}",
    "Authorization, basic": lambda v: f"Authorization: Basic {_b64('a:' + plain(v))}",
    "Authorization in JSON": lambda v: json.dumps({"headers": {"authorization": f"Bearer {plain(v)}"}}),
    "Cookie": lambda v: f"Cookie: theme=dark; sid={plain(v)}",
    "Set-Cookie": lambda v: f"Set-Cookie: session={plain(v)}; Path=/; HttpOnly",
    "cookies in Python": lambda v: str({"set-cookie": f"sid={plain(v)}; Path=/"}),
    "JSESSIONID": lambda v: f"/x;JSESSIONID={plain(v)}",
    "token in JSON": lambda v: json.dumps({"token": v, "expires_in": 3600}),
    "refresh token of a form": lambda v: f"grant_type=refresh_token&refresh_token={quote(v, safe='')}",
    "client secret": lambda v: f"client_id=a&client_secret={quote(v, safe='')}",
    "signature of a shared access": lambda v: f"https://x/y?sv=2024&sig={plain(v)}%3D",
    "account key": lambda v: f"AccountName=a;AccountKey={plain(v)}==;EndpointSuffix=x",
    "PEM": lambda v: _pem(plain(v)),
    "PEM in JSON": lambda v: json.dumps({"key": _pem(plain(v))}),
    "PEM, cut off": lambda v: _pem(plain(v))[:-60],
    "JSON web token": lambda v: ".".join(["ey" + "JhbGciOiJub25lIn0", plain(v), plain(v)]),
    "GitHub": lambda v: f"remote: {'gh' + 'p_'}{plain(v)}{'a' * 12}",
    "GitHub, fine-grained": lambda v: f"{'github' + '_pat_'}{plain(v)}",
    "GitLab": lambda v: f"{'gl' + 'pat-'}{plain(v)}",
    "Slack": lambda v: f"{'xo' + 'xb-'}1234567890-{plain(v)}",
    "Slack's webhook": lambda v: f"https://hooks.slack.com/{'ser' + 'vices'}/T0/B0/{plain(v)}",
    "Stripe": lambda v: f"{'sk_' + 'live_'}{plain(v)}",
    "Google": lambda v: f"{'AI' + 'za'}{(plain(v) + 'a' * 35)[:35]}",
    "SendGrid": lambda v: f"{'S' + 'G.'}{plain(v)}.{plain(v)}",
    "npm": lambda v: f"{'npm' + '_'}{(plain(v) + 'a' * 36)[:36]}",
    "a model": lambda v: f"{'sk' + '-proj-'}{plain(v)}",
    "HashiCorp": lambda v: f"{'hv' + 's.'}{plain(v)}",
}

assert len(KNOWN) + len(NAMED) >= 90

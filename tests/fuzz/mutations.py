"""Files that somebody spoilt: one or a few changes to a file that is well, chosen by a seeded chance.

Most changes are made to the values, which are then written down again: what comes out is well-formed still, but says
something odd. The others are made to the text or to its bytes.
"""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from typing import Any

import yaml

Rng = random.Random
Path = tuple[Any, ...]

_ODD_TEXTS = (
    *(
        "",
        " ",
        "null",
        "~",
        "NaN",
        "1e999",
        "0",
        "-1",
        "${x}",
        "${",
        "x" * 5000,
        "\u202e",
        "\x1b]0;x\x07",
        "\U0001f600",
    ),
    *(
        "2026-13-45",
        "5 minutes",
        "0s",
        "99999999999h",
        "0.0000001ms",
        "../../etc/passwd",
        "a\nb",
        "::error::x",
        "[x](y)",
    ),
    *(
        "é" * 200,
        "tocsin",
        "shop",
        "errors",
        "home",
        "101%",
        "-5%",
        "tag:yaml.org,2002:int",
        "*",
        "(",
        "(a+)+$",
        "\ufeff",
    ),
)
_ODD_NUMBERS = (0, -1, 1, 300, 10**20, 10**99, 2**63, -(10**30), 0.1, -0.0, 1e308, 1e-308, 3.0)
_ODD_LITERALS = (
    *(
        "2026-13-45",
        "2026-01-01",
        "12:30:45",
        "9" * 5000,
        "0x" + "f" * 5000,
        ".inf",
        "-.inf",
        ".nan",
        "1e999",
        "1.0e+999",
    ),
    *(
        "!!int ''",
        "!!bool x",
        "!!set {a}",
        "!!binary x",
        "!!python/object:os.system x",
        "&a [*a]",
        "*nowhere",
        "<<",
        "=",
    ),
    *(
        "~",
        "null",
        "[",
        "{",
        "}",
        "- - - -",
        "? x",
        "'",
        '"',
        "|",
        ">",
        "%",
        "@x",
        "`",
        "\t",
        "on",
        "0777",
        "1_000",
        "0o8",
    ),
    *("[" * 3000, "{a: " * 3000, "- " * 3000, "[" * 90 + "]" * 90, "\x00", "\x07", "\ud7ff", "# x"),
)
_ODD_TIMES = (1e300, -1e18, 1e308, 1e18, 253402300799, 253402300800, 4e9, 86400.0, 0, -1, 1e-300, 10**400)
_NO_NUMBERS = (float("nan"), float("inf"), float("-inf"))
_BYTES = (b"\xff", b"\xc3", b"\x00", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\r", b"\r\n", b"\t", b"\x85", b"\xe2\x80\xa8")


def well_formed(data: Any, rng: Rng) -> Any:
    """The data with one to three values, names or items of it changed."""
    data = json.loads(json.dumps(data))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change(data, rng, (_drop, _repeat, _rename, _replace, _replace, _replace, _swap, _wrap))
    if rng.random() < 0.1:  # last, because written out it may be larger than any memory
        _change(data, rng, (_alias,))
    return data


def _change(data: Any, rng: Rng, ways: tuple[Callable[[Any, list[Path], Rng], None], ...]) -> None:
    places = list(islice(_places(data, ()), 5000))
    if places:
        rng.choice(ways)(data, places, rng)


def _places(data: Any, at: Path) -> Iterator[Path]:
    if isinstance(data, dict | list):
        for key, value in list(data.items() if isinstance(data, dict) else enumerate(data)):
            yield (*at, key)
            if len(at) < 40:
                yield from _places(value, (*at, key))


def _at(data: Any, path: Path) -> Any:
    for key in path:
        data = data[key]
    return data


def _drop(data: Any, places: list[Path], rng: Rng) -> None:
    path = rng.choice(places)
    del _at(data, path[:-1])[path[-1]]


def _repeat(data: Any, places: list[Path], rng: Rng) -> None:
    path = rng.choice(places)
    parent, value = _at(data, path[:-1]), json.dumps(_at(data, path))
    if isinstance(parent, list):
        parent[rng.randrange(len(parent)) : 0] = [json.loads(value) for _ in range(rng.choice((1, 2, 50)))]
    else:
        parent[f"{path[-1]}{rng.choice(('', '2', ' ', 's'))}"] = json.loads(value)


def _rename(data: Any, places: list[Path], rng: Rng) -> None:
    named = [path for path in places if isinstance(path[-1], str)]
    if named:
        path = rng.choice(named)
        parent = _at(data, path[:-1])
        parent[_misspelt(path[-1], rng)] = parent.pop(path[-1])


def _misspelt(name: str, rng: Rng) -> str:
    at = rng.randrange(len(name) + 1)
    letter = rng.choice(string.ascii_letters + "-_. é0")
    return rng.choice(
        (name[:at] + name[at + 1 :], name[:at] + letter + name[at:], name.upper(), name[::-1], rng.choice(_ODD_TEXTS))
    )


def _replace(data: Any, places: list[Path], rng: Rng) -> None:
    path = rng.choice(places)
    _at(data, path[:-1])[path[-1]] = _odd(rng)


def _odd(rng: Rng) -> Any:
    return rng.choice(
        (
            lambda: rng.choice(_ODD_TEXTS),
            lambda: rng.choice(_ODD_NUMBERS),
            lambda: rng.choice((None, True, False, [], {}, [[]], {"": None}, [None], {"a": {"b": {"c": []}}})),
            lambda: _nested(rng.choice((5, 50, 95, 120))),
            lambda: [rng.choice(_ODD_NUMBERS)] * rng.choice((1, 3, 1000)),
            lambda: {f"{rng.choice(_ODD_TEXTS)[:40]}{index}": index for index in range(rng.choice((1, 5, 500)))},
        )
    )()


def _nested(depth: int) -> Any:
    value: Any = "x"
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def _swap(data: Any, places: list[Path], rng: Rng) -> None:
    one, other = rng.choice(places), rng.choice(places)
    if one[: len(other)] == other or other[: len(one)] == one:
        return  # one is inside of the other
    first, second = _at(data, one), _at(data, other)
    _at(data, one[:-1])[one[-1]] = second
    _at(data, other[:-1])[other[-1]] = first


def _wrap(data: Any, places: list[Path], rng: Rng) -> None:
    path = rng.choice(places)
    value = _at(data, path)
    inside = value[0] if isinstance(value, list) and value else value
    _at(data, path[:-1])[path[-1]] = rng.choice(([value], {"value": value}, inside, str(value)))


def _alias(data: Any, places: list[Path], rng: Rng) -> None:
    """The same value in several places: YAML writes an anchor and aliases."""
    path = rng.choice(places)
    shared: Any = [_at(data, path)] * 3
    for _ in range(rng.choice((1, 2, 8))):
        shared = [shared] * 9
    _at(data, path[:-1])[path[-1]] = rng.choice((shared, [shared[0], shared[0]]))


def as_yaml(data: Any, rng: Rng) -> bytes:
    """Written down as YAML, in one of the ways of writing it."""
    text = yaml.dump(
        data,
        Dumper=yaml.SafeDumper,
        allow_unicode=rng.random() < 0.5,
        default_flow_style=rng.choice((None, False)),
        width=rng.choice((20, 120, 10_000)),
        sort_keys=False,
    )
    return text.encode()


def as_json(data: Any, rng: Rng) -> bytes:
    """Written down as JSON; what is in several places is written out, as far as it stays small."""
    text = json.dumps(_cut(data, [20_000]), indent=rng.choice((None, 2)), ensure_ascii=rng.random() < 0.5)
    return text.encode()


def _cut(data: Any, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        return "cut"
    if isinstance(data, dict):
        return {key: _cut(value, left) for key, value in data.items()}
    return [_cut(value, left) for value in data[:200]] if isinstance(data, list) else data


def odd_times(lines: list[str], rng: Rng) -> list[str]:
    """Lines of JSON of which one has other numbers than a clock, or a count, gives."""
    at = rng.randrange(len(lines))
    event = json.loads(lines[at])
    numbers = [path for path in _places(event, ()) if isinstance(_at(event, path), int | float)]
    path = rng.choice([("at",), rng.choice(numbers)]) if numbers and isinstance(event, dict) else ()
    if path:
        _at(event, path[:-1])[path[-1]] = rng.choice((*_ODD_TIMES, *_NO_NUMBERS))
    return [*lines[:at], json.dumps(event), *lines[at + 1 :]]


def cut_lines(text: str, rng: Rng) -> str:
    """Lines as they are, mostly; or what a process leaves that was killed early, or a disk that was full."""
    if rng.random() < 0.8:
        return text
    first = text.index("\n")
    return rng.choice(
        (
            "",
            "\n" * rng.choice((1, 3)),
            text[: rng.randrange(first + 1)],
            text[: first + 1],
            text[first + 1 :],
            text[: rng.randrange(len(text))],
            text[rng.randrange(len(text)) :],
        )
    )


def spoilt_text(text: str, rng: Rng) -> bytes:
    """Text with one to three places changed that need not be well-formed any more."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        text = rng.choice((_odd_value, _odd_value, _odd_line, _cut_off, _insert, _delete, _bomb))(text, rng)
    raw = text.encode("utf-8", "surrogatepass")
    return rng.choice((_as_is, _as_is, _as_is, _odd_bytes, _encoded))(raw, rng)


def _odd_value(text: str, rng: Rng) -> str:
    values = list(re.finditer(r"(?<=[:=] )[^\n,{}\[\]]+", text))
    if not values:
        return text
    value = rng.choice(values)
    return text[: value.start()] + rng.choice((*_ODD_LITERALS, "")) + text[value.end() :]


def _odd_line(text: str, rng: Rng) -> str:
    lines = text.splitlines(keepends=True)
    at = rng.randrange(len(lines) + 1)
    change: Callable[[], list[str]] = rng.choice(
        (
            lambda: [*lines[:at], *lines[max(0, at - 1) : at], *lines[at:]],
            lambda: lines[: max(0, at - 1)] + lines[at:],
            lambda: [*lines[:at], rng.choice(_ODD_LITERALS) + "\n", *lines[at:]],
            lambda: lines[at:] + lines[:at],
            lambda: [*lines[:at], *(line.replace("  ", " \t", 1) for line in lines[at:])],
        )
    )
    return "".join(change())


def _cut_off(text: str, rng: Rng) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _insert(text: str, rng: Rng) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice((*_ODD_LITERALS, *_ODD_TEXTS, *":,[]{}&*#?|-<>=!%@'\"")) + text[at:]


def _delete(text: str, rng: Rng) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + text[at + rng.choice((1, 2, 10, 200)) :]


def _bomb(text: str, rng: Rng) -> str:
    names = [f"a{index}" for index in range(rng.choice((3, 6, 9)))]
    lines = [f"{names[0]}: &{names[0]} [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise(names)]
    return text + "\n" + "\n".join(lines) + "\n"


def _as_is(raw: bytes, _rng: Rng) -> bytes:
    return raw


def _odd_bytes(raw: bytes, rng: Rng) -> bytes:
    at = rng.randrange(len(raw) + 1)
    return raw[:at] + rng.choice(_BYTES) * rng.choice((1, 1, 3)) + raw[at + rng.choice((0, 1)) :]


def _encoded(raw: bytes, rng: Rng) -> bytes:
    text = raw.decode("utf-8", "replace")
    return text.encode(rng.choice(("utf-16", "utf-16-le", "latin-1", "cp1252", "utf-8-sig", "utf-7")), "replace")

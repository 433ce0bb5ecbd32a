"""Random expressions of metric math that CloudWatch would take, and how somebody might have written them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from tests.differential.second_math import ARRAY, SCALAR, SERIES
from tests.differential.second_parser import LEVELS, Node

IDS = ("m1", "m2", "errors4xx", "errors5xx")
_COMPARISONS = LEVELS[2]
_ARITHMETIC = ("+", "-", "*", "/", "^")
_MAPPED = ("ABS", "CEIL", "FLOOR", "LOG", "LOG10", "DIFF", "DIFF_TIME", "RATE", "RUNNING_SUM")
_REDUCED = ("AVG", "DATAPOINT_COUNT", "MAX", "MIN", "STDDEV", "SUM")
_OF_TIME = ("MINUTE", "HOUR", "DAY", "DATE", "MONTH", "YEAR", "EPOCH")


class Writer:
    """Makes trees of a wanted kind; `ids` are the metrics and expressions that they may name."""

    def __init__(self, rng: random.Random, ids: Sequence[str]) -> None:
        self._rng = rng
        self._ids = ids

    def series(self, depth: int) -> Node:
        """A tree that yields one time series."""
        if depth <= 0 or self._rng.random() < 0.15:
            return ("id", self._rng.choice(self._ids))
        make = self._rng.choice(tuple(FOCUSES.values()))
        return self.as_series(*make(self, depth))

    def as_series(self, kind: str, node: Node) -> Node:
        """A tree that yields one time series, around one that yields something else."""
        rng = self._rng
        if kind == SCALAR:
            if rng.random() < 0.4:
                return ("call", "TIME_SERIES", (node,))
            pair = [node, self.series(0)]
            rng.shuffle(pair)
            return (rng.choice((*_ARITHMETIC[:4], *_COMPARISONS)), *pair)
        if kind == ARRAY:
            return ("call", rng.choice((*_REDUCED, "FIRST", "LAST")), (node,))
        return node

    def number(self, depth: int) -> Node:
        """A tree that yields one number."""
        rng = self._rng
        if depth <= 0 or rng.random() < 0.6:
            return ("number", float(rng.choice((0, 1, 1, 2, 3, 4, 5, 10, 0.5, 0.25, 100))))
        return rng.choice(
            (
                lambda: ("call", rng.choice(_REDUCED), (self.series(depth - 1),)),
                lambda: ("call", "METRIC_COUNT", (self.array(depth - 1),)),
                lambda: ("call", "PERIOD", (("id", rng.choice(self._ids)),)),
                lambda: (rng.choice(_ARITHMETIC[:4]), self.number(depth - 1), self.number(depth - 1)),
                lambda: ("minus", self.number(depth - 1)),
            )
        )()

    def array(self, depth: int) -> Node:
        """A tree that yields an array of time series."""
        rng = self._rng
        if depth <= 0 or rng.random() < 0.5:
            return rng.choice(
                (
                    lambda: ("call", "METRICS", ()),
                    lambda: ("call", "METRICS", (("string", rng.choice(("errors", "m", "1", "xx", "none"))),)),
                    lambda: ("array", tuple(self.series(0) for _ in range(rng.randint(1, 3)))),
                )
            )()
        return rng.choice(
            (
                lambda: ("array", (self.series(depth - 1), self.array(depth - 1))),
                lambda: ("call", rng.choice(_MAPPED), (self.array(depth - 1),)),
                lambda: ("call", "REMOVE_EMPTY", (self.array(depth - 1),)),
                lambda: self.sort(depth)[1],
                lambda: self.slice(depth)[1],
                lambda: self.fill("any", array=True)(self, depth)[1],
                lambda: ("minus", self.array(depth - 1)),
                lambda: (rng.choice(_ARITHMETIC[:4]), self.array(depth - 1), self.number(depth - 1)),
            )
        )()

    def sort(self, depth: int) -> tuple[str, Node]:
        rng = self._rng
        words = (("word", rng.choice(("AVG", "MIN", "MAX", "SUM"))), ("word", rng.choice(("ASC", "DESC"))))
        limit = (self._amount(3),) if rng.random() < 0.3 else ()
        return ARRAY, ("call", "SORT", (self.array(depth - 1), *words, *limit))

    def slice(self, depth: int) -> tuple[str, Node]:
        rng = self._rng
        last = (self._amount(4),) if rng.random() < 0.6 else ()
        return ARRAY, ("call", "SLICE", (self.array(depth - 1), self._amount(2), *last))

    def _amount(self, most: int) -> Node:
        """Not less than 0, of which AWS says nothing; sometimes no number at all."""
        rng = self._rng
        if rng.random() < 0.7:
            return ("number", float(rng.randint(0, most)))
        return rng.choice(
            (
                ("/", ("number", 0.0), ("number", 0.0)),
                ("call", "METRIC_COUNT", (self.array(0),)),
                ("call", "DATAPOINT_COUNT", (self.series(0),)),
            )
        )

    @staticmethod
    def fill(how: str, *, array: bool = False) -> Make:
        def make(self: Writer, depth: int) -> tuple[str, Node]:
            rng = self._rng
            chosen = rng.choice(("number", "series", "REPEAT", "LINEAR")) if how == "any" else how
            filler = {
                "number": lambda: self.number(depth - 1),
                "series": lambda: self.series(depth - 1),
            }.get(chosen, lambda: ("word", chosen))()
            wide = array or rng.random() < 0.3
            of = self.array(depth - 1) if wide else self.series(depth - 1)
            return (ARRAY if wide else SERIES), ("call", "FILL", (of, filler))

        return make


Make = Callable[[Writer, int], tuple[str, Node]]


def _mapped(name: str) -> Make:
    def make(writer: Writer, depth: int) -> tuple[str, Node]:
        wide = writer._rng.random() < 0.3
        of = writer.array(depth - 1) if wide else writer.series(depth - 1)
        return (ARRAY if wide else SERIES), ("call", name, (of,))

    return make


def _reduced(name: str, *, array: bool) -> Make:
    def make(writer: Writer, depth: int) -> tuple[str, Node]:
        of = writer.array(depth - 1) if array else writer.series(depth - 1)
        return (SERIES if array else SCALAR), ("call", name, (of,))

    return make


def _operator(sign: str, left: str, right: str) -> Make:
    def make(writer: Writer, depth: int) -> tuple[str, Node]:
        makers = {SCALAR: writer.number, SERIES: writer.series, ARRAY: writer.array}
        a = makers[left](depth - 1)
        # A pair of arrays has the same series on both sides: AWS does not say what becomes of those left over.
        b = ("call", "ABS", (a,)) if left == right == ARRAY else makers[right](depth - 1)
        return next((kind for kind in (ARRAY, SERIES) if kind in (left, right)), SCALAR), (sign, a, b)

    return make


def _if(condition: str, then: str, otherwise: str | None) -> Make:
    def make(writer: Writer, depth: int) -> tuple[str, Node]:
        makers = {SCALAR: writer.number, SERIES: writer.series}
        kinds = [condition, then, *([] if otherwise is None else [otherwise])]
        arguments = [makers[kind](depth - 1) for kind in kinds]
        if condition == SERIES and writer._rng.random() < 0.6:
            arguments[0] = (writer._rng.choice(_COMPARISONS), writer.series(0), writer.number(0))
        return SERIES, ("call", "IF", tuple(arguments))

    return make


def _of_array(name: str, kind: str) -> Make:
    return lambda writer, depth: (kind, ("call", name, (writer.array(depth - 1),)))


_KINDS = ((SCALAR, SERIES), (SERIES, SCALAR), (SERIES, SERIES))
FOCUSES: Mapping[str, Make] = {
    **{f"math {name}": _mapped(name) for name in _MAPPED},
    **{f"math {name} of a series": _reduced(name, array=False) for name in _REDUCED},
    **{f"math {name} of an array": _reduced(name, array=True) for name in _REDUCED},
    **{
        f"math {name}": lambda writer, depth, name=name: (SERIES, ("call", name, (writer.series(depth - 1),)))
        for name in _OF_TIME
    },
    **{f"math {left} {sign} {right}": _operator(sign, left, right) for sign in _ARITHMETIC for left, right in _KINDS},
    **{
        f"math arrays {sign}": _operator(sign, ARRAY, kind)
        for sign, kind in zip(_ARITHMETIC, (ARRAY, SCALAR, SERIES, SERIES, SCALAR), strict=True)
    },
    "math S and TS[]": _operator("/", SCALAR, ARRAY),
    "math S and S": _operator("*", SCALAR, SCALAR),
    "math minus": lambda writer, depth: (SERIES, ("minus", writer.series(depth - 1))),
    "math minus of an array": lambda writer, depth: (ARRAY, ("minus", writer.array(depth - 1))),
    **{f"math {sign}": _operator(sign, SERIES, SERIES) for sign in (*_COMPARISONS, "AND", "OR")},
    "math series and number compared": _operator(">", SERIES, SCALAR),
    **{f"math FILL with {how}": Writer.fill(how) for how in ("number", "series", "REPEAT", "LINEAR")},
    "math IF TS TS TS": _if(SERIES, SERIES, SERIES),
    "math IF TS S TS": _if(SERIES, SCALAR, SERIES),
    "math IF TS TS S": _if(SERIES, SERIES, SCALAR),
    "math IF TS S S": _if(SERIES, SCALAR, SCALAR),
    "math IF S TS TS": _if(SCALAR, SERIES, SERIES),
    "math IF without else": _if(SERIES, SERIES, None),
    "math METRICS()": lambda writer, depth: (ARRAY, ("call", "METRICS", ())),
    'math METRICS("part")': lambda writer, depth: (ARRAY, ("call", "METRICS", (("string", "errors"),))),
    "math METRIC_COUNT": _of_array("METRIC_COUNT", SCALAR),
    "math FIRST": _of_array("FIRST", SERIES),
    "math LAST": _of_array("LAST", SERIES),
    "math REMOVE_EMPTY": _of_array("REMOVE_EMPTY", ARRAY),
    "math SORT": Writer.sort,
    "math SLICE": Writer.slice,
    "math PERIOD": lambda writer, depth: (SCALAR, ("call", "PERIOD", (writer.series(0),))),
    "math TIME_SERIES": lambda writer, depth: (SERIES, ("call", "TIME_SERIES", (writer.number(depth - 1),))),
    "math array": lambda writer, depth: (ARRAY, ("array", (writer.series(depth - 1), writer.series(0)))),
}


# ------------------------------------------------------------------------------------------------ writing it down


def text_of(node: Node, rng: random.Random) -> str:
    """The expression with as few parentheses as it needs, and now and then one more."""
    return _text(node, 0, rng)


def _text(node: Node, loosest: int, rng: random.Random) -> str:
    kind, *rest = node
    own, text = 8, ""
    if kind == "number":
        text = f"{rest[0]:g}"
    elif kind == "string":
        quote = rng.choice("\"'")
        text = f"{quote}{rest[0]}{quote}"
    elif kind in ("id", "word"):
        text = rest[0]
    elif kind == "array":
        text = f"[{_listed(rest[0], rng)}]"
    elif kind == "call":
        text = f"{rest[0]}({_listed(rest[1], rng)})"
    elif kind == "minus":
        own, text = 5, f"-{_text(rest[0], 5, rng)}"
    elif kind == "^":
        own, text = 6, f"{_text(rest[0], 7, rng)}{_space(rng)}^{_space(rng)}{_text(rest[1], 5, rng)}"
    else:
        own = next(number for number, signs in enumerate(LEVELS) if kind in signs)
        sign = rng.choice(({"AND": (" AND ", "&&"), "OR": (" OR ", " || ")}).get(kind, (kind, f" {kind} ")))
        text = f"{_text(rest[0], own + (own == 2), rng)}{sign}{_text(rest[1], own + 1, rng)}"
    return f"({text})" if own < loosest or (own < 8 and rng.random() < 0.1) else text


def _listed(nodes: Sequence[Node], rng: random.Random) -> str:
    return f",{_space(rng)}".join(_text(node, 0, rng) for node in nodes)


def _space(rng: random.Random) -> str:
    return rng.choice(("", " ", " ", "  "))

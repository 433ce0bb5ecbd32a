"""Small pieces of SVG and HTML. Shapes stretch with the page, words never do."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from tocsin.shown import for_html

WIDTH = 1000
"""Units of every drawing's width: ten to the per cent."""


def drawing(height: int, label: str, parts: Iterable[Markup]) -> Markup:
    """A drawing as wide as its place; `label` says in words what it shows."""
    return Markup(
        '<svg class="draw" viewBox="0 0 {width} {height}" style="height:{height}px" preserveAspectRatio="none"'
        ' role="img" aria-label="{label}">{parts}</svg>'
    ).format(width=WIDTH, height=height, label=for_html(label), parts=Markup("").join(parts))


def path(css: str, commands: str, title: str = "") -> Markup:
    """A path; its stroke keeps its width whatever the page does."""
    told = Markup("<title>{}</title>").format(for_html(title)) if title else Markup("")
    return Markup('<path class="{}" d="{}" vector-effect="non-scaling-stroke">{}</path>').format(css, commands, told)


def box(css: str, x: float, width: float, y: float, height: float, title: str = "") -> Markup:
    """A rectangle; `x` and `width` in per cent."""
    told = Markup("<title>{}</title>").format(for_html(title)) if title else Markup("")
    return Markup('<rect class="{}" x="{:g}" y="{:g}" width="{:g}" height="{:g}">{}</rect>').format(
        css, x * 10, y, max(width * 10, 1.5), height, told
    )


def mark(css: str, x: float, title: str, text: str = "") -> Markup:
    """A small HTML element at `x` per cent: a symbol or a few words that must not be stretched."""
    side = " left" if x > 80 else ""
    return Markup('<span class="mark {}{}" style="left:{:g}%" title="{}">{}</span>').format(
        css, side, x, for_html(title), for_html(text)
    )


def bar(css: str, x: float, width: float, title: str, text: str = "") -> Markup:
    """An HTML bar with words in it, cut where they do not fit."""
    return Markup('<span class="bar {}" style="left:{:g}%;width:{:g}%" title="{}">{}</span>').format(
        css, x, width, for_html(title), for_html(text)
    )


def number(value: float) -> str:
    """A coordinate, as short as it can be."""
    return f"{value:.1f}".removesuffix(".0")

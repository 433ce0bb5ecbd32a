"""Text of others as it may be shown: one function each for terminals, CI logs, Markdown and HTML.

An answer of a system, a name in an account, a line of a program: whatever it holds is read, and never obeyed. All that
reaches a terminal may reach the log of a CI too, so both are one way out (`tocsin.commands.terminal`).
"""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape

_ACTING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of Unicode that move a cursor, name a window, change the direction of a line or cannot be encoded."""
_COMMAND = re.compile(r"^(?P<before>\s*):(?=:)|(?P<hash>#)(?=#(?:vso|teamcity)?\[)", re.MULTILINE)
"""What runners read as an order to themselves: `::error::` at the beginning of a line, `##[error]` anywhere
(https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands), `##vso[...]`
(https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands) and `##teamcity[...]`
(https://www.jetbrains.com/help/teamcity/service-messages.html)."""
_MARKDOWN = re.compile(r"[\\`*\[\]!|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""What makes a link, an image, code, a formula or a column of it."""
_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINKED = re.compile(r"(?<=[A-Za-z]):(?=//)|(?<=\bwww)\.|(?<=\bmailto):", re.IGNORECASE)
"""Where GitHub makes a link of an address that stands there (https://github.github.com/gfm/#autolinks-extension-)."""
_BACKTICKS = re.compile("`+")
_COLUMN = "\\|"
"""A table is cut into columns before anything else of it is read, code too."""


def for_terminal(text: str) -> str:
    """Text in which nothing acts on a terminal: what would is written out, as `\\x1b`; line ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(_visible(character) for character in text)


def for_ci_log(text: str) -> str:
    """As `for_terminal`, and no line of it is a command to the runner of a CI."""
    return _COMMAND.sub(_broken, for_terminal(text))


def for_markdown(text: str, at_most: int | None = None) -> str:
    """One line of Markdown that says the text, cut to a number of characters: nothing in it links, loads or formats.

    What stands between two backticks is code, which does nothing either.
    """
    line = " ".join(for_terminal(text).split())
    if at_most is not None and len(line) > at_most:
        line = f"{line[: at_most - 1]}…"
    pieces = _CODE.split(line)
    return "".join(f"`{piece.replace('|', _COLUMN)}`" if at % 2 else _escaped(piece) for at, piece in enumerate(pieces))


def _escaped(line: str) -> str:
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _LINKED.sub(r"\\\g<0>", _MARKDOWN.sub(r"\\\g<0>", line))
    # A zero-width space: whoever is named in an answer is not called to the page that repeats it.
    return line.replace("@", "@&#8203;")


def for_markdown_code(text: str) -> str:
    """The text as code in a line of Markdown: fenced by more backticks than it holds."""
    line = " ".join(for_terminal(text).split())
    fence = "`" * (max((len(run) for run in _BACKTICKS.findall(line)), default=0) + 1)
    beside = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{beside}{line}{beside}{fence}"


def for_html(text: str) -> Markup:
    """The text in HTML, between tags or in an attribute."""
    return escape(for_terminal(text))


def _visible(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in _ACTING:
        return character
    return character.encode("unicode_escape", errors="surrogatepass").decode()


def _broken(found: re.Match[str]) -> str:
    return "# " if found["hash"] else f"{found['before']}: "

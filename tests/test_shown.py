"""Text of others is read and never obeyed: on terminals, in logs of a CI, in Markdown and in HTML; and no other way out
is left open."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.text import Text
from tests.checkers.histories import failing
from tests.house import SOURCE, modules
from tests.report.test_reports import run_of

from tocsin.checkers import judge
from tocsin.commands.console import PlainConsole
from tocsin.commands.terminal import say
from tocsin.report import write_drill, write_run
from tocsin.shown import for_ci_log, for_html, for_markdown, for_markdown_code, for_terminal

ESC, BELL = "\x1b", "\x07"
ACTING = {
    "colour": f"{ESC}[31mred{ESC}[0m",
    "title of the window": f"{ESC}]0;all is well{BELL}",
    "link": f"{ESC}]8;;http://evil.example{ESC}\\here{ESC}]8;;{ESC}\\",
    "clipboard": f"{ESC}]52;c;ZXZpbA=={BELL}",
    "clear": f"{ESC}[2J{ESC}[H",
    "as one character": "\x9b31mred",
    "back over the line": "FAIL\rPASS",
    "backspace": "FAIL\b\b\b\bPASS",
    "direction of the line": "\u202eSSAP\u202c",
    "isolated direction": "\u2066PASS\u2069",
    "line that is none": "a\u2028b\u0085c",
}
COMMANDS = {
    "GitHub": "::error file=x::planted",
    "GitHub, indented": "   ::set-output name=x::y",
    "GitHub, on the second line": "fine\n::add-mask::fine",
    "GitHub, old": "x ##[error]planted",
    "Azure": "##vso[task.setvariable variable=x]y",
    "TeamCity": "##teamcity[buildStatus status='SUCCESS']",
    "GitLab": f"section_start:1:x\r{ESC}[0Kplanted",
}
LIVE = {
    "image": "![seen](http://evil.example/pixel.png)",
    "link": "[click](http://evil.example)",
    "link by a reference": "[click][1]\n\n[1]: http://evil.example",
    "link in angles": "<http://evil.example>",
    "address": "see http://evil.example/x and www.evil.example",
    "mail": "<mailto:a@evil.example>",
    "HTML": "<img src=http://evil.example/pixel.png><script>alert(1)</script>",
    "code": "`code` and ``more``",
    "column": "a | b |\n|---|---|\n| c |",
    "emphasis": "*a* __b__ ~~c~~ $d$",
    "escaped already": "\\[click](http://evil.example) \\\\[again](x)",
}


def acts(text: str) -> list[str]:
    """Characters on which a terminal acts."""
    return [repr(one) for one in text if not one.isprintable() and one not in "\n\t"]


@pytest.mark.parametrize("text", [*ACTING.values(), COMMANDS["GitLab"]], ids=[*ACTING, "GitLab"])
def test_nothing_acts_on_a_terminal(text: str) -> None:
    assert acts(text)
    assert not acts(for_terminal(text))
    assert not acts(for_ci_log(text))


def test_what_is_read_stays() -> None:
    text = "é, 中文, → ✅ “quoted”\n\tline 2: [a] *b* http://x C:: std::vector #1 ## [x]"
    assert for_terminal(text) == for_ci_log(text) == text


@pytest.mark.parametrize("text", COMMANDS.values(), ids=COMMANDS)
def test_no_line_is_a_command(text: str) -> None:
    told = for_ci_log(text)
    assert told != text
    assert not commands(told)
    assert for_ci_log(told) == told


def commands(text: str) -> list[str]:
    """Lines that a runner obeys."""
    lines = text.splitlines()
    marks = ("##[", "##vso[", "##teamcity[")
    return [line for line in lines if line.lstrip().startswith("::") or any(mark in line for mark in marks)]


@pytest.mark.parametrize("text", LIVE.values(), ids=LIVE)
@pytest.mark.parametrize("place", ["{}", "- ❌ {}", "## {}", "| {} | b |"])
def test_markdown_says_it_and_does_nothing(text: str, place: str) -> None:
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(place.format(for_markdown(text)))
    inline = [child.type for token in tokens for child in token.children or ()]
    assert set(inline) <= {"text", "text_special", "code_inline"}, inline
    said = "".join(child.content for token in tokens for child in token.children or ())
    assert "evil.example" not in text or "evil.example" in said


@pytest.mark.parametrize(
    "text", ["http://evil.example", "HTTPS://evil.example", "www.evil.example", "x ftp://evil.example"]
)
def test_no_address_becomes_a_link(text: str) -> None:
    """GitHub links what reads `scheme://` or `www.` in the source; an escaped mark is not looked at."""
    told = for_markdown(text)
    assert re.search(r"(?<!\\):/|www\.", told) is None


@pytest.mark.parametrize("text", ["a", "`", "``a`", "a ``` b", "`a`"])
def test_code_is_one_span(text: str) -> None:
    (token,) = [one for one in MarkdownIt().parse(f"again: {for_markdown_code(text)}.") if one.children]
    assert [(child.type, child.content) for child in token.children or ()] == [
        ("text", "again: "),
        ("code_inline", text),
        ("text", "."),
    ]


def test_html_is_text() -> None:
    assert for_html(f"<b>{ESC}[31m&'\"") == "&lt;b&gt;\\x1b[31m&amp;&#39;&#34;"


# --- the ways out -------------------------------------------------------------------------------------------

HOSTILE = "\n".join([*ACTING.values(), *COMMANDS.values(), *LIVE.values()])


def test_a_colour_of_ours_is_none_where_no_terminal_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"ok {ESC}[31m", colour="green")
    assert capsys.readouterr().out == "ok \\x1b[31m\n"


def test_no_way_out_of_the_command_line_lets_it_act(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    say(HOSTILE, err=True)
    for told in capsys.readouterr():
        assert "planted" in told
        assert not acts(told)
        assert not commands(told)


def test_on_a_console_only_its_own_styles_act() -> None:
    shown = io.StringIO()
    console = PlainConsole(
        file=shown, force_terminal=True, color_system="standard", width=200, soft_wrap=True, highlight=False
    )
    console.print(Text(HOSTILE, style="red"))
    console.print(HOSTILE)
    told = shown.getvalue()
    assert f"{ESC}[31m" in told
    for style in (f"{ESC}[31m", f"{ESC}[0m"):
        told = told.replace(style, "")
    assert "planted" in told
    assert not acts(told)
    assert not commands(told)


OURS = {"text", "text_special", "code_inline", "link_open", "link_close", "strong_open", "strong_close"}
"""What the summary itself makes of a text."""


class Linked(HTMLParser):
    """What a page fetches, links or runs."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if "evil" in (value or "") and name in ("href", "src")]


def test_no_report_lets_it_act(tmp_path: Path) -> None:
    history = failing()
    verdict = judge(history)
    verdict = verdict.model_copy(
        update={
            "title": f"Title {HOSTILE}",
            "command": f"tocsin run `{HOSTILE}`",
            "judgements": tuple(one.model_copy(update={"message": HOSTILE}) for one in verdict.judgements),
        }
    )
    write_drill(tmp_path, history, verdict)
    write_run(tmp_path, run_of(verdict), {verdict.experiment: history})
    for name in ("report.html", "index.html", "summary.md", "junit.xml"):
        assert not acts((tmp_path / name).read_text(encoding="utf-8")), name
    assert not commands((tmp_path / "junit.xml").read_text())
    for name in ("report.html", "index.html"):
        assert Linked((tmp_path / name).read_text(encoding="utf-8")).found == []
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse((tmp_path / "summary.md").read_text())
    children = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in children} <= {
        "text",
        "text_special",
        "code_inline",
        "link_open",
        "link_close",
        *OURS,
    }
    links = [child.attrs["href"] for child in children if child.type == "link_open"]
    assert links == [f"{verdict.experiment}/report.html"]
    assert not [token for token in tokens if token.type == "html_block"]


# --- a new way out is noticed -------------------------------------------------------------------------------

WAYS_OUT = {
    "commands.terminal": "the way out of plain text",
    "commands.console": "the way out of styled text",
    "commands.streams": "an error of the stream itself, when it is gone",
    "load": "Locust's own process: its output is a file, in which secrets are masked",
}


PRINTING = {
    *("print", "rich.print", "click.echo", "click.secho", "echo", "secho", "Console", "PlainConsole"),
    *(f"sys.{stream}.{method}" for stream in ("stdout", "stderr") for method in ("write", "writelines")),
}


def ways_out(tree: ast.AST) -> Iterator[str]:
    """Calls that print, make a console, or call a text markup that is no constant."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called = ast.unparse(call.func)
        made = called.endswith("Markup") and call.args and not isinstance(call.args[0], ast.Constant)
        # `sys.exit` prints a text, and no number.
        if made or called in PRINTING or (called == "sys.exit" and any(map(_is_text, call.args))):
            yield f"{call.lineno}: {called}"


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


HARNESS = [one for one in modules() if not one.startswith("sandbox")]


def test_there_is_no_other_way_out() -> None:
    found = {module for module in HARNESS if list(ways_out(ast.parse(modules()[module].read_text(encoding="utf-8"))))}
    assert found == WAYS_OUT.keys()


@pytest.mark.parametrize(
    "line",
    ["print(x)", "click.echo(x)", "sys.stderr.write(x)", "Console().print(x)", "sys.exit(f'no {x}')", "Markup(x)"],
)
def test_a_new_way_out_is_noticed(line: str) -> None:
    assert list(ways_out(ast.parse(f"def f(x):\n    {line}\n")))


@pytest.mark.parametrize("line", ["say(x)", "sys.exit(3)", "sys.exit(code or 0)", "Markup('<b>{}</b>').format(x)"])
def test_what_is_no_way_out_is_let_be(line: str) -> None:
    assert not list(ways_out(ast.parse(f"def f(x):\n    {line}\n")))


def test_templates_escape_everything() -> None:
    for template in (SOURCE / "report" / "templates").iterdir():
        text = template.read_text(encoding="utf-8")
        assert "autoescape" not in text
        assert not re.search(r"\|\s*safe", text)

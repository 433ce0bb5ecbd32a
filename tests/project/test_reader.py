"""Whatever a file is, reading it ends soon, in values or in one message with file and line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tocsin.errors import InvalidInput, InvalidInputs
from tocsin.project.documents import parse_model, read_document, refuse_empty
from tocsin.project.nodes import Limits
from tocsin.project.text import MIB, is_file, read_lines, read_text


def told(path: Path, content: bytes | str, limits: Limits | None = None) -> str:
    """The message about a file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidInput) as caught:
        read_document(path, *([limits] if limits else []))
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("title: [unclosed\nmethod: []\n", 2, "expected YAML: "),
        ("a: 1\nb: 2\na: 3\n", 3, "expected 'a' once in a mapping, found it again: first on line 1"),
        ("a:\n  - {x: 1}\n  - {x: 1, x: 2}\n", 3, "expected 'x' once"),
        ("a: " + "9" * 5000, 1, "expected a number of at most 100 characters, found 5,000"),
        ("a: 0x" + "f" * 5000, 1, "expected a number of at most 100 characters, found 5,002"),
        ("\na: .inf", 2, "expected a finite number, found .inf"),
        ("\na: .nan", 2, "expected a finite number, found .nan"),
        ("a: 1.0e+999", 1, "expected a finite number"),
        ("a: !!int ''", 1, "expected a number, found ''"),
        ("a: !!bool maybe", 1, "found 'bool' before 'maybe'"),
        ("a: !!python/object:os.system x", 1, "expected no tag"),
        ("a: !!set {x}", 1, "expected no tag, found 'tag:yaml.org,2002:set'"),
        ("? [a, b]\n: 1", 1, "expected a text as name, found a list"),
        ("? \n: 1", 1, "expected a name before ':', found none"),
        ("a: 1\n---\nb: 2", 2, "expected one document, found a second"),
        ("a: &x [*x]", 1, "found '*x' in itself"),
        ("a: *x", 1, "expected an anchor '&x' before '*x'"),
        ("a: 1\n<<: 3", 2, "expected a mapping after '<<:', found a number"),
        ("- 1", 1, "expected a mapping of names to values, found a list"),
        ("", 1, "expected a mapping of names to values, found nothing"),
        ("a: 1\nb: \x1b[31m", 2, "expected YAML: "),
        (b"a: 1\nb: \xff", 2, "expected UTF-8 text, found the byte 0xff at offset 8"),
        ("a: b".encode("utf-16"), 1, "expected UTF-8 text, found UTF-16"),
        ("é: 1\nb: \x00", 2, "expected YAML: "),
    ],
)
def test_yaml(tmp_path: Path, content: bytes | str, line: int, message: str) -> None:
    path = tmp_path / "a.yaml"
    found = told(path, content)
    assert found.startswith(f"{path}:{line}: ")
    assert message in found


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ('{"a": 1,\n "a": 2}', 2, "expected 'a' once in a mapping, found it again: first on line 1"),
        ('{"a": 1,\n}', 2, "expected JSON: a name in double quotes, found '}'"),
        ('{"a": 1\n', 2, "expected JSON: ',', found the end"),
        ('{"a": 1} 2', 1, "expected JSON: the end of the file, found '2'"),
        ('{"a": tru}', 1, "expected JSON: a value, found 'tru}'"),
        ('{"a": NaN}', 1, "expected JSON: a value"),
        ('{"a": 01}', 1, "expected JSON: ','"),
        ('{"a": 1e999}', 1, "expected a finite number"),
        ('{"a": ' + "9" * 5000 + "}", 1, "found 5,000"),
        ('{"a": "\\ud800"}', 1, "half of a pair of surrogates"),
        ('{"a":\n "\\x"}', 2, "expected JSON: Invalid \\escape"),
        ("", 1, "expected JSON: a value, found the end"),
        ("[]", 1, "expected a mapping"),
    ],
)
def test_json(tmp_path: Path, content: str, line: int, message: str) -> None:
    path = tmp_path / "a.json"
    found = told(path, content)
    assert found.startswith(f"{path}:{line}: ")
    assert message in found


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("a = 1\na = 2\n", 2, "expected TOML: Cannot overwrite a value"),
        ("a = 2026-13-45\n", 1, "expected TOML: "),
        ("[t]\na = inf\n", 2, "expected a finite number, found inf"),
        ("a = " + "9" * 5000, 1, "expected TOML: "),
        ("a = " + "[" * 50_000, 1, "expected TOML"),
        ("a = 0x" + "f" * 5000, 1, "expected a number of at most 100 digits"),
        ("a" + ".a" * 200 + " = 1", 1, "inside of each other"),
    ],
)
def test_toml(tmp_path: Path, content: str, line: int, message: str) -> None:
    path = tmp_path / "a.toml"
    found = told(path, content)
    assert found.startswith(f"{path}:{line}: ")
    assert message in found


def test_toml_with_all_its_kinds_of_values(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("yes = true\nwhen = 2026-12-24\nat = 09:30:00\nmany = [1, 2.5, {x = 'y'}]\n")
    assert list(read_document(path).data) == ["yes", "when", "at", "many"]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
@pytest.mark.parametrize("opening", ["[", '{"a": '])
def test_depth_is_limited_long_before_a_parser_dies_of_it(tmp_path: Path, name: str, opening: str) -> None:
    assert "expected at most 100 lists and mappings inside of each other" in told(tmp_path / name, opening * 100_000)


def test_what_aliases_repeat_counts(tmp_path: Path) -> None:
    assert "a.yaml:6: expected at most 100,000 values" in told(tmp_path / "a.yaml", BOMB)


def test_depth_counts_through_aliases(tmp_path: Path) -> None:
    deep = "a: &a " + "[" * 60 + "]" * 60 + "\nb: " + "[" * 60 + "*a" + "]" * 60
    assert "a.yaml:2: expected at most 100 lists" in told(tmp_path / "a.yaml", deep)


def test_values_are_counted(tmp_path: Path) -> None:
    assert "expected at most 10 values" in told(tmp_path / "a.yaml", f"a: [{'1, ' * 20}]", Limits(values=10))


def test_a_file_has_a_size(tmp_path: Path) -> None:
    assert "expected a file of at most 4 MiB" in told(tmp_path / "a.yaml", b"#" * (4 * MIB + 1))


def test_names_are_texts_as_they_are_written_and_dates_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("200: ok\non: push\n2026-01-01: {x: 2026-13-45}\nbig: 12345678901234567890\n")
    assert read_document(path).data == {
        "200": "ok",
        "on": "push",
        "2026-01-01": {"x": "2026-13-45"},
        "big": 12345678901234567890,
    }


def test_a_merged_name_counts_where_it_is_not_said(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n")
    document = read_document(path)
    assert document.data["use"] == {"x": 1, "y": 3}
    assert [document.line(("use", name)) for name in "xy"] == [1, 4]


def test_json_with_what_yaml_has_not(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{\n\t"a": "\\ud83d\\ude00 \\/",\n\t"b": [1, -2.5e3, true, null]\n}')
    document = read_document(path)
    assert document.data == {"a": "\U0001f600 /", "b": [1, -2500.0, True, None]}
    assert document.line(("b", 1)) == 3


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_document(tmp_path / "a.yaml").data == {"a": 1}


def test_nothing_after_a_name_is_told_with_each_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a:\nb: null\nc:\n  -\n  - ''\n")
    with pytest.raises(InvalidInputs) as caught:
        refuse_empty(read_document(path))
    assert [problem.line for problem in caught.value.problems] == [1, 4]
    assert "expected a value after 'a:', found nothing" in str(caught.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    cases = {
        tmp_path / "pipe.yaml": "expected a file, found a pipe",
        tmp_path: "expected a file, found a directory",
        Path("/dev/zero"): "expected a file, found a device",
        tmp_path / "none.yaml": "expected a file, found none. Did you mean 'pipe.yaml'?",
        tmp_path / ("x" * 300): "expected a file that can be read: File name too long",
        tmp_path / "a\0b": "expected a file that can be read: embedded null byte",
        tmp_path / "pipe.yaml" / "x": "expected a file, found none",
    }
    for path, message in cases.items():
        with pytest.raises(InvalidInput) as caught:
            read_text(path)
        assert message in str(caught.value)
        assert not is_file(path)


def test_a_link_to_nothing_is_not_offered_in_its_own_place(tmp_path: Path) -> None:
    path = tmp_path / "dang.yaml"
    path.symlink_to(tmp_path / "gone.yaml")
    with pytest.raises(InvalidInput) as caught:
        read_text(path)
    assert str(caught.value) == f"{path}: expected a file, found a link to nothing. Check the path."
    (tmp_path / "dong.yaml").touch()
    with pytest.raises(InvalidInput, match=r"found a link to nothing\. Did you mean 'dong\.yaml'\?"):
        read_text(path)


@pytest.mark.parametrize("name", ["x" * 5_000, "/".join(["x" * 99] * 50)])
def test_a_long_path_is_shortened_in_the_message(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=" expected a file") as caught:
        read_text(tmp_path / name)
    assert len(str(caught.value)) < 600
    assert len(str(InvalidInput("no", file=name, line=7))) < 600
    assert str(InvalidInput("no", file=name, line=7)).endswith("x:7: no")
    assert caught.value.file == str(tmp_path / name)


def test_lines_of_a_file_of_any_length(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\n" + b"x" * (2 * MIB) + b"\n\nfour\nhalf a li")
    assert [(number, len(line)) for number, line in read_lines(path)] == [(1, 3), (2, 2 * MIB), (3, 0), (4, 4)]
    path.write_bytes(b"one\n\xff\n")
    with pytest.raises(InvalidInput, match="lines:2: expected UTF-8 text"):
        list(read_lines(path))


def test_a_message_is_never_longer_than_a_screen(tmp_path: Path) -> None:
    from tocsin.model.system import System

    path = tmp_path / "a.yaml"
    path.write_text(f"system: {'x' * 100_000}\n{'y' * 1000}: {'z' * 1000}\ntitle: [1, {'2, ' * 1000}]\n")
    document = read_document(path)
    with pytest.raises(InvalidInput) as caught:
        parse_model(System, document.data, document)
    assert all(len(str(problem)) < 1200 for problem in caught.value.problems)


def test_nothing_in_a_message_moves_a_cursor(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text('"\\e]0;owned\\a": 1\n"\\e]0;owned\\a": 2\n')
    with pytest.raises(InvalidInput) as caught:
        read_document(path)
    assert "\\x1b]0;owned\\x07" in str(caught.value)
    assert "\x1b" not in str(caught.value)

"""The first half of the door: the text of a file that somebody named, whatever that name leads to."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from tocsin.errors import InvalidInput, near_match

MIB = 2**20
_LINE_BYTES = 16 * MIB
_BYTE_ORDER_MARKS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def is_file(path: Path) -> bool:
    """Whether there is a file: also for a name that no file can have, or in a directory that may not be looked into."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_directory(path: Path) -> bool:
    """Whether there is a directory, as `is_file`."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def read_text(path: Path, limit: int = 4 * MIB) -> str:
    """The text of a file, without a byte order mark.

    Args:
        path: as the user named it.
        limit: bytes that it may have at most.

    Raises:
        InvalidInput: there is no file of that name, it cannot be read, it is too long, or it is not UTF-8.
    """
    with opened(path) as file:
        raw = file.read(limit + 1)
        if len(raw) > limit:
            raise InvalidInput(
                f"expected a file of at most {limit // MIB} MiB, found a longer one. Is it the right file?", file=path
            )
    return decoded(raw, path)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file of any length that ends each with a newline, with their numbers from 1.

    A last line without its end is left out.

    Raises:
        InvalidInput: as `read_text`; a single line is limited to 16 MiB.
    """
    with opened(path) as file:
        number, rest = 0, b""
        while chunk := file.read(MIB):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                number += 1
                # Nearly all lines are ASCII: that is known at once, and no line is looked at twice.
                yield number, line.decode("ascii") if line.isascii() else decoded(line, path, number)
            if len(rest) > _LINE_BYTES:
                raise InvalidInput("expected lines of at most 16 MiB, found a longer one", file=path, line=number + 1)


@contextmanager
def opened(path: Path) -> Iterator[FileIO]:
    """A regular file, opened for reading bytes.

    Raises:
        InvalidInput: there is none, or it cannot be read.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits until somebody writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        found = "a link to nothing" if path.is_symlink() else "none"
        raise InvalidInput(f"expected a file, found {found}. {_hint(path)}", file=path) from None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"expected a file that can be read: {_reason(error)}", file=path) from None
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        raise InvalidInput(f"expected a file, found {_KINDS.get(kind, 'something else')}", file=path)
    with FileIO(descriptor) as file:
        try:
            yield file
        except OSError as error:
            raise InvalidInput(f"expected a file that can be read: {_reason(error)}", file=path) from None


def _reason(error: OSError | ValueError) -> str:
    return str(getattr(error, "strerror", None) or error)


def _hint(path: Path) -> str:
    try:
        siblings = [one.name for one in path.parent.iterdir() if one.suffix == path.suffix and one.name != path.name]
    except (OSError, ValueError):
        return "Check the path."
    return near_match(path.name, siblings) if siblings else "Check the path."


def decoded(raw: bytes, path: Path, line: int | None = None) -> str:
    """Bytes of a file as text.

    Raises:
        InvalidInput: they are not UTF-8, with the line and the first byte that is not.
    """
    try:
        return raw.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        where = error.start + (len(codecs.BOM_UTF8) if raw.startswith(codecs.BOM_UTF8) else 0)
        other = next((name for mark, name in _BYTE_ORDER_MARKS.items() if raw.startswith(mark)), None)
        found = f"{other}" if other else f"the byte 0x{raw[where]:02x} at offset {where}"
        raise InvalidInput(
            f"expected UTF-8 text, found {found}. Save the file as UTF-8.",
            file=path,
            line=line or raw.count(b"\n", 0, where) + 1,
        ) from None

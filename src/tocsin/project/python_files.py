"""Python that people write, canaries above all: read, compiled and imported at one place."""

from __future__ import annotations

import ast
import contextlib
import faulthandler
import hashlib
import importlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from importlib.abc import Loader
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from tocsin.errors import InvalidInput, InvalidInputs, shortened
from tocsin.project.text import read_text

IMPORT_WITHIN_S = 30.0
"""Wall seconds for an import that is tried out: a busy machine needs some for the libraries that a file uses."""
_SLACK_S = 5.0
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in ', re.MULTILINE)
_HUNG = "Timeout ("
"""How the traceback begins that faulthandler writes of what still goes on."""
_TRIED = "tocsin_tried"
_CHILD = "import sys, {module}; from tocsin.project.python_files import child; child(*sys.argv[1:])"
"""The module that knows how to import comes first: what it patches must not be in use before."""
_FILE, _MODULE = f"{__name__}:try_file", f"{__name__}:try_module"
_Told = tuple[tuple[str, int | None], ...]
"""What is wrong, each with the line of the file where it is known; nothing when nothing is."""


def parse_python(path: Path) -> ast.Module:
    """The syntax tree of a file; nothing of it is run.

    Raises:
        InvalidInput: the file cannot be read, or it is not Python.
    """
    text = read_text(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, filename=str(path))
            compile(text, str(path), "exec", dont_inherit=True)  # finds more: `return` outside of a function
    except SyntaxError as error:
        raise InvalidInput(f"expected Python: {error.msg}", file=path, line=error.lineno or 1) from None
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise InvalidInput(f"expected Python that can be compiled: {said(error)}", file=path, line=1) from None
    return tree


def import_python(path: Path, name: str, within_s: float = IMPORT_WITHIN_S) -> ModuleType:
    """Import a file by its path, as the module `name`, in a thread of its own: what hangs there is left alone.

    Raises:
        InvalidInput: it cannot be read or compiled, what it does when it is imported fails, or it does not come to an
            end within `within_s` wall seconds: with the line there.
    """
    parse_python(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidInput("expected a Python file (*.py)", file=path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    error = _executed(spec.loader, module, path, within_s)
    if error is not None:
        raise InvalidInput(
            f"expected to import it, found {said(error)}", file=path, line=line_in(path, error)
        ) from error
    return module


def _executed(loader: Loader, module: ModuleType, path: Path, within_s: float) -> BaseException | None:
    """What running the module raised, if anything."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            loader.exec_module(module)
        except BaseException as error:  # importing runs somebody else's code, which may even call sys.exit
            raised.append(error)

    thread = threading.Thread(target=run, name=f"import of {path.name}", daemon=True)
    thread.start()
    thread.join(within_s)
    if thread.is_alive():
        with tempfile.TemporaryFile() as dump:
            faulthandler.dump_traceback(dump)
            dump.seek(0)
            line = _hung_at(str(path), dump.read().decode(errors="replace"))
        raise InvalidInput(still_going_on(within_s), file=path, line=line)
    return raised[0] if raised else None


def try_import(
    path: Path, within_s: float = IMPORT_WITHIN_S, *, how: str = _FILE, directory: Path | None = None
) -> None:
    """Import a file in a process of its own, which may hang, crash or end itself without harm.

    `how` is the function that does it there, as `module:function`: it is called with the path and `within_s`, and
    raises InvalidInput. The process works in `directory`, or where this one does.

    Raises:
        InvalidInput: everything that is wrong: as `import_python`, or it does not come to an end.
    """
    parse_python(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    found = _tried(str(path.absolute()), digest, within_s, how, directory)
    if found:
        raise InvalidInputs([InvalidInput(message, file=path, line=line) for message, line in found])


def try_modules(names: Iterable[str], within_s: float = IMPORT_WITHIN_S) -> dict[str, str | None]:
    """What is wrong with each of these modules, None where it can be imported; none is imported in this process.

    All are imported in one other process, one after the other, for at most `within_s` wall seconds each; another takes
    over after a module that hangs or ends it.
    """
    asked = tuple(dict.fromkeys(names))
    told = _try_each(_MODULE, asked, within_s)
    return {name: one[0][0] if one else None for name, one in zip(asked, told, strict=True)}


@lru_cache(maxsize=64)
def _tried(path: str, _digest: str, within_s: float, how: str, directory: Path | None) -> _Told:
    """What is wrong with a file, until it changes."""
    return _try_each(how, (path,), within_s, directory)[0]


def _try_each(how: str, names: Sequence[str], within_s: float, directory: Path | None = None) -> list[_Told]:
    found: list[_Told] = []
    while len(found) < len(names):
        found += _try_until_one_ends_it(how, names[len(found) :], within_s, directory)
    return found


def _try_until_one_ends_it(how: str, names: Sequence[str], within_s: float, directory: Path | None) -> list[_Told]:
    """What one child tells: of all, or of the first ones and that with which it came to its end."""
    with tempfile.TemporaryFile() as answer:
        os.set_inheritable(answer.fileno(), True)
        code = _run(how, names, answer, within_s, directory)
        answer.seek(0)
        told = answer.read().decode(errors="replace")
    documents = [json.loads(line) for line in told.splitlines() if line.startswith("[")]
    found: list[_Told] = [tuple((message, line) for message, line in one) for one in documents]
    if len(found) == len(names):
        return found
    if code is None or _HUNG in told:
        return [*found, ((still_going_on(within_s), _hung_at(names[len(found)], told)),)]
    ended = f"signal {-code}" if code < 0 else f"exit code {code}"
    return [*found, ((f"expected to import it, found that it ends the process ({ended})", None),)]


def still_going_on(within_s: float) -> str:
    """What is said of an import that takes longer than `within_s` wall seconds."""
    return f"expected its import to end within {within_s:g} s, found it still going on"


def _run(how: str, names: Sequence[str], answer: BinaryIO, within_s: float, directory: Path | None) -> int | None:
    """Exit code of the child; None when it had to be ended."""
    program = _CHILD.format(module=how.partition(":")[0])
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", program, how, str(answer.fileno()), str(within_s)],
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        pass_fds=[answer.fileno()],
        start_new_session=True,
    )
    try:
        process.communicate(json.dumps(names).encode(), timeout=within_s * len(names) + _SLACK_S)
        return process.returncode
    except subprocess.TimeoutExpired:
        return None
    finally:
        # Also what the import itself started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def child(how: str, descriptor: str, within_s: str) -> None:
    """The process of `try_import` and `try_modules`: tells by `descriptor` how each went, or, when one hangs, where."""
    answer, (module, _, function) = int(descriptor), how.partition(":")
    attempt: Callable[[str, float], None] = getattr(sys.modules[module], function)
    for name in json.loads(sys.stdin.read()):
        faulthandler.dump_traceback_later(float(within_s), exit=True, file=answer)
        problems: tuple[InvalidInput, ...] = ()
        try:
            attempt(name, float(within_s))
        except InvalidInput as error:
            problems = error.problems
        faulthandler.cancel_dump_traceback_later()
        told = [(problem.message, problem.line) for problem in problems]
        os.write(answer, f"{json.dumps(told)}\n".encode())
    os._exit(0)  # whatever was imported started, threads or what runs at exit, is of no interest


def try_file(path: str, within_s: float) -> None:
    """In the process of `try_import`: a file by its path.

    Raises:
        InvalidInput: as `import_python`.
    """
    import_python(Path(path), _TRIED, within_s + _SLACK_S)  # the process ends before that


def try_module(name: str, within_s: float) -> None:
    """In the process of `try_modules`: a module by its name.

    Raises:
        InvalidInput: its import fails.
    """
    try:
        importlib.import_module(name)
    except BaseException as error:  # nobody interrupts this process: a KeyboardInterrupt is the module's own
        raise InvalidInput(f"expected to import it, found {said(error)}") from error


def _hung_at(path: str, dump: str) -> int | None:
    return next((int(line) for file, line in _FRAME.findall(dump) if file == path), None)


def said(error: BaseException) -> str:
    """An error in words, whosesoever it is."""
    kind = type(error).__name__
    try:
        text = " ".join(str(error).split())
    except Exception as another:  # the class is somebody else's, too
        return f"{kind}, which cannot be shown ({type(another).__name__})"
    return shortened(f"{kind}: {text}" if text else kind, 300)


def line_in(path: Path, error: BaseException) -> int | None:
    """The line of the file itself that failed; of a syntax error in what it imports, the import."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None

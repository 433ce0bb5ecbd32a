"""A load file is imported in Locust's own process before a drill: what would be in no record is refused by its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.project.test_documents import CONTRACT, EXPERIMENT, SYSTEM

from tocsin.actors.locust import try_load_file
from tocsin.commands.validate import validate
from tocsin.errors import InvalidInput

WELL = """\
from tocsin.load import ArrivalUser, Call, arrival
import near_by


class Guest(ArrivalUser):
    @arrival(weight=3, name="GET /tickets")
    def search(self, call: Call) -> None:
        call.get("/tickets", params={"day": "2026-03-04"}, **near_by.OPTIONS)

    @arrival(weight=1, name="POST /photos")
    def photo(self, call: Call) -> None:
        call.post("/photos", files={"photo": ("a.png", b"png")}, data={"name": "a"})
"""
PLAIN = """\
from locust import HttpUser, task


class Visitor(HttpUser):
    @task
    def look(self):
        self.client.get("/tickets/A7", name="ticket")


"""
BESIDE = """\
from locust import LoadTestShape, task
from tocsin.load import ArrivalUser, Call, arrival


class Guest(ArrivalUser):
    def on_start(self):
        self.client.get("/first")

    @task
    def also(self):
        pass

    @arrival(weight=1, name="GET /")
    def look(self, call: Call) -> None:
        call.get("/", parms={})
        call.head("/")


class Nothing(ArrivalUser):
    pass


class Waves(LoadTestShape):
    def tick(self):
        return None
"""


def told(root: Path, python: str, within_s: float = 60.0) -> list[str]:
    """What is said of a load file, without the directory."""
    path = root / "load.py"
    path.write_text(python)
    try:
        try_load_file(path, root, within_s)
    except InvalidInput as error:
        return [str(problem).replace(f"{root}/", "") for problem in error.problems]
    return []


def test_a_load_file_that_is_well(tmp_path: Path) -> None:
    # Beside it, as Locust finds it there.
    (tmp_path / "near_by.py").write_text("OPTIONS = {}\n")
    assert told(tmp_path, WELL) == []


@pytest.mark.parametrize(
    ("python", "expected"),
    [
        (PLAIN, "load.py:4: expected users of tocsin.load, found Visitor, a HttpUser of Locust"),
        (PLAIN + WELL.replace("import near_by\n", ""), "load.py:4: expected users of tocsin.load, found Visitor"),
        ("x = 1\n", "load.py:1: expected a user of tocsin.load, found no user. Write `from tocsin.load import"),
        ("import sys\n\nsys.exit(0)\n", "load.py:3: expected to import it, found SystemExit: 0"),
        ("import os\nos._exit(7)\n", "load.py: expected to import it, found that it ends the process (exit code 7)"),
        ("def guest(:\n", "load.py:1: expected Python: invalid syntax"),
        (
            WELL.replace("weight=3", "weight=0").replace("import near_by", ""),
            "load.py:6: expected to import it, found ValueError: expected a weight above 0 of 'GET /tickets', found 0",
        ),
    ],
    ids=["plain", "mixed", "no user", "sys.exit", "os._exit", "syntax", "weight"],
)
def test_what_is_wrong_is_told_at_its_line(tmp_path: Path, python: str, expected: str) -> None:
    (found,) = told(tmp_path, python)
    assert found.startswith(expected)


def test_the_lines_to_write_are_told(tmp_path: Path) -> None:
    (found,) = told(tmp_path, PLAIN)
    assert "`from tocsin.load import ArrivalUser, Call, arrival`" in found
    assert "`class Visitor(ArrivalUser):`" in found


def test_everything_that_would_be_in_no_record_is_told_at_once(tmp_path: Path) -> None:
    assert [line.partition(". ")[0] for line in told(tmp_path, BESIDE)] == [
        "load.py:5: expected that Guest does what is marked with @arrival, found tasks of Locust: also",
        "load.py:19: expected what arrivals of Nothing do, found nothing: Nothing has no operation: mark methods with "
        "@arrival",
        "load.py:23: expected users and arrivals as the experiment's `load` plans them, found the shape Waves, which "
        "plans others",
        "load.py:7: expected requests that are sent with the `call` of an arrival, found `self.client`: what it sends "
        "would not be in the record",
        "load.py:15: expected an option of a request, found `call.get(..., parms=...)`",
        "load.py:16: expected a method of Call, found `call.head`",
    ]


NEVER = """\
import contextlib
from tocsin.load import ArrivalUser, Call, arrival


class Base(ArrivalUser):
    abstract = True

    @arrival(weight=1, name="GET /shared")
    async def shared(self, call: Call) -> None:
        call.get("/shared")


class Guest(Base):
    @arrival(weight=1, name="GET /yields")
    def yields(self, call: Call):
        yield call.get("/yields")

    @arrival(weight=1, name="GET /lonely")
    def lonely(self):
        pass

    @arrival(weight=1, name="GET /silent")
    def silent(self, call: Call) -> None:
        print("hello")

    @arrival(weight=1, name="GET /handed")
    def handed(self, call: Call) -> None:
        self.hand(call)

    def hand(self, call):
        call.get("/handed")


class Other(Base):
    pass
"""


def test_an_arrival_of_which_nothing_would_run_is_told(tmp_path: Path) -> None:
    assert [line.partition(": nothing")[0] for line in told(tmp_path, NEVER)] == [
        "load.py:8: expected of Base.shared a plain function, found an `async def`",
        "load.py:14: expected of Guest.yields a plain function, found one with `yield`",
        "load.py:18: expected of Guest.lonely that it takes its user and its call, found (self): too many positional "
        "arguments",
        "load.py:23: expected of silent that it sends one request with `call`, found one that does not use it",
    ]


@pytest.mark.parametrize(
    "waits", ["import time\n\ntime.sleep(60)\n", "import os\n\nwhile True: pass\n"], ids=["asleep", "busy"]
)
def test_an_import_that_hangs_is_ended_where_it_hangs(
    tmp_path: Path, waits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The process tells the line when the time is over, which counts from when Locust is there: until then it is waited
    # for here, however long a busy machine takes to start it.
    monkeypatch.setattr("tocsin.project.python_files._SLACK_S", 60.0)
    (found,) = told(tmp_path, waits, within_s=3.0)
    assert found == "load.py:3: expected its import to end within 3 s, found it still going on"


def test_another_client_beside_the_call_is_told(tmp_path: Path) -> None:
    (found,) = told(tmp_path, WELL.replace("import near_by\n", "import requests\n").replace(", **near_by.OPTIONS", ""))
    assert "expected requests that are sent with the `call` of an arrival, found `requests`" in found


def test_validate_imports_the_load_of_a_system(tmp_path: Path) -> None:
    (tmp_path / "systems").mkdir()
    (tmp_path / "systems" / "shop.yaml").write_text(f"{SYSTEM}load: load.py\n")
    (tmp_path / "canaries.py").write_text("def canary_home(api):\n    pass\n")
    (tmp_path / "contract.yaml").write_text(CONTRACT)
    (tmp_path / "load.py").write_text(PLAIN)
    experiment = tmp_path / "one.yaml"
    experiment.write_text(EXPERIMENT)
    (problem,) = validate(tmp_path, [experiment]).problems
    assert (problem.file, problem.line) == (str(tmp_path / "load.py"), 4)
    (tmp_path / "load.py").write_text(WELL.replace("import near_by\n", "").replace(", **near_by.OPTIONS", ""))
    assert validate(tmp_path, [experiment]).problems == ()

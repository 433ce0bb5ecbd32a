"""The tutorial, executed: its files written and its commands run, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.secret_scan import watched

from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.model.events import FaultStage
from tocsin.project.targets import load_target
from tocsin.record.ledger import EntryState, Ledger
from tocsin.sandbox import control

# Groups are handed out first, and this one holds the longest test.
pytestmark = pytest.mark.xdist_group("tutorial")

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```(\w+)[ ]?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANYTHING = "..."


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its attributes, its text and the line it begins at."""

    language: str
    attributes: dict[str, str]
    text: str
    line: int


def blocks(document: Path) -> Iterator[Block]:
    text = document.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        attributes = dict(word.partition("=")[::2] for word in match[2].split())
        yield Block(match[1], attributes, match[3], text.count("\n", 0, match.start()) + 1)


def script(block: Block) -> str:
    """The commands of a console block, as one shell script."""
    lines = re.sub(r"\\\n\s*", "", block.text).splitlines()
    return "\n".join(line.removeprefix("$ ") for line in lines if line.startswith("$ "))


def expected_output(block: Block) -> list[str]:
    lines = re.sub(r"\\\n\s*", "", block.text).splitlines()
    return [line for line in lines if not line.startswith("$ ")]


def missing_output(expected: list[str], output: str) -> str | None:
    """The first expected line that does not follow; `...` stands for anything, also at the beginning of a line."""
    squeezed = [" ".join(line.split()) for line in output.splitlines()]
    for line in (" ".join(line.split()) for line in expected if line.strip() != ANYTHING):
        ending = line.removeprefix(ANYTHING)
        found = next(
            (i for i, one in enumerate(squeezed) if one == line or (ending != line and one.endswith(ending))), None
        )
        if found is None:
            return line
        squeezed = squeezed[found + 1 :]
    return None


def test_missing_output_would_be_noticed() -> None:
    assert missing_output(["...", "  a  b", "... c"], "x\na b\nz c\n") is None
    assert missing_output(["a", "b"], "b\na\n") == "b"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder; a sandbox that was started in it is stopped, whatever happens."""
    try:
        with watched(tmp_path):
            yield tmp_path
    finally:
        control.down(tmp_path)


def run_block(block: Block, folder: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # As a file, not as a pipe: a background command that outlives its shell must not keep us waiting.
    log = folder / "output.txt"
    with log.open("w") as output:
        done = subprocess.run(
            # A reader's machine has nothing else to do; ours may not keep up, and a drill then says that and no more.
            ["bash", "-c", script(block).replace("tocsin run ", "tocsin run --try-again ")],
            cwd=folder,
            env={**os.environ, "PATH": path, "COLUMNS": "200"},
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
        )
    said = log.read_text()
    where = f"docs/TUTORIAL.md:{block.line}"
    assert done.returncode == int(block.attributes.get("exit", "0")), f"{where}: exit code {done.returncode}\n{said}"
    missing = missing_output(expected_output(block), said)
    assert missing is None, f"{where}: expected '{missing}' in\n{said}"


@pytest.mark.timeout(900)
def test_the_tutorial_does_what_it_says(folder: Path) -> None:
    for block in blocks(DOCS / "TUTORIAL.md"):
        if "file" in block.attributes:
            path = folder / block.attributes["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "console" and "skip" not in block.attributes:
            run_block(block, folder)
    assert (folder / "first/stopped/report.html").stat().st_size > 10_000
    assert (folder / "first/junit.xml").is_file()


# ------------------------------------------------------------------------------------------------ the worked example


def example_fault() -> Any:
    """The class that docs/ADDING_A_FAULT.md shows, executed as it stands."""
    block = next(b for b in blocks(DOCS / "ADDING_A_FAULT.md") if b.attributes.get("file") == "fault_example.py")
    module = types.ModuleType("fault_example")
    sys.modules[module.__name__] = module
    exec(compile(block.text, "docs/ADDING_A_FAULT.md", "exec"), vars(module))
    return vars(module)["SqsDelay"]


def test_the_worked_example_of_a_fault_breaks_and_mends(folder: Path) -> None:
    deploy = folder / "replicas/orders/deploy.py"
    deploy.parent.mkdir(parents=True)
    deploy.write_text("def deploy(account):\n    account.client('sqs').create_queue(QueueName='orders')\n")
    control.up("orders", folder)
    fault, target = example_fault(), load_target(folder, "sandbox")
    ledger = Ledger(folder / "ledger.sqlite", target.name)
    faults = FaultLifecycle(target=target, ledger=ledger, drill="d", registry={fault.kind: fault})

    assert faults.inject(fault(queue="orders", delay_s=600)) is FaultStage.EFFECTIVE
    sqs = target.client("sqs")
    url = sqs.get_queue_url(QueueName="orders")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="late")
    assert "Messages" not in sqs.receive_message(QueueUrl=url), "a delayed message is not there yet"

    assert faults.undo_all() == []
    sqs.send_message(QueueUrl=url, MessageBody="at once")
    assert [m["Body"] for m in sqs.receive_message(QueueUrl=url)["Messages"]] == ["at once"]
    assert [entry.state for entry in ledger.entries()] == [EntryState.VERIFIED]
    assert faults.inject(fault(queue="orders", delay_s=0)) is FaultStage.NO_EFFECT
    faults.undo_all()
    ledger.close()

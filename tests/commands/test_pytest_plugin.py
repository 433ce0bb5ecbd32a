"""`pytest ... --target NAME` as a user meets it, in a folder of their own without any conftest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.commands.conftest import CONTRACT, Folder

from tocsin.model.base import Model
from tocsin.project.places import ledger_path
from tocsin.record.ledger import Ledger


def test_without_a_target_nothing_is_collected(folder: Folder) -> None:
    answer = folder.pytest("experiments", "synthetics", "contracts")
    assert "collected 0 items" in answer.stdout
    assert answer.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert not (folder.root / ".tocsin").exists()


def test_the_plugin_itself_loads_nothing_heavy() -> None:
    heavy = ("boto3", "chaoslib", "httpx", "locust", "pydantic", "rich", "schemathesis", "yaml")
    code = f"import sys, tocsin.pytest_plugin; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip() == "[]"


def test_one_item_an_experiment_a_canary_and_a_contract(folder: Folder) -> None:
    """Found by its entry point, as whoever has installed it finds it."""
    look = ("--co", "-q", "experiments", "synthetics", "contracts", "--target", "staging")
    answer = folder.python("-m", "pytest", "-p", "no:cacheprovider", *look)
    assert answer.stdout.splitlines()[:6] == [
        "experiments/shop/lost.yaml::lost",
        "experiments/shop/nothing.yaml::nothing",
        "synthetics/shop.py::canary_home",
        "synthetics/shop.py::canary_stock",
        "synthetics/shop.py::canary_lazy",
        "contracts/shop.yaml::shop",
    ]
    assert folder.requests == []


def test_items_are_chosen_by_name_tag_and_system(folder: Folder) -> None:
    choice = "gate and nothing or canary_stock or shop and contracts"
    answer = folder.pytest("--co", "-q", "experiments", "synthetics", "contracts", "--target", "staging", "-k", choice)
    assert answer.stdout.splitlines()[:3] == [
        "experiments/shop/nothing.yaml::nothing",
        "synthetics/shop.py::canary_stock",
        "contracts/shop.yaml::shop",
    ]
    assert "3/6 tests collected" in answer.stdout


def test_an_unknown_target_is_one_message(folder: Folder) -> None:
    answer = folder.pytest("experiments", "--target", "stagin")
    assert answer.returncode == pytest.ExitCode.USAGE_ERROR
    assert "expected a target, found 'stagin'. Did you mean 'staging'?" in answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr


def test_an_experiment_that_cannot_be_used_fails_with_one_message_and_starts_nothing(folder: Folder) -> None:
    answer = folder.pytest("experiments/shop/lost.yaml", "--target", "sandbox")
    assert answer.returncode == pytest.ExitCode.TESTS_FAILED
    assert "lost.yaml:14: expected a known system" in answer.stdout
    assert "Did you mean 'shop'?" in answer.stdout
    assert "Traceback" not in answer.stdout
    assert not (folder.root / ".tocsin" / "sandbox").exists()


def test_a_refused_drill_fails_with_its_guard(folder: Folder) -> None:
    folder.somebody = False
    answer = folder.pytest("experiments/shop/nothing.yaml", "--target", "staging", "--junitxml", "junit.xml")
    assert answer.returncode == pytest.ExitCode.TESTS_FAILED
    assert "Nothing: unknown, stopped by the guard 'identity'" in answer.stdout
    assert "(refused): " in answer.stdout
    assert "Traceback" not in answer.stdout
    case = ElementTree.parse(folder.root / "junit.xml").getroot().find(".//testcase")
    assert case is not None
    report = case.find("./properties/property[@name='report']")
    assert report is not None
    assert Path(report.attrib["value"]).is_file()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_canaries_pass_fail_and_are_found_broken(folder: Folder, workers: str) -> None:
    answer = folder.pytest("synthetics", "--target", "staging", "-n", workers, "--strict-markers")
    assert "2 failed, 1 passed" in answer.stdout
    assert "canary_stock: stock: AssertionError: no stock" in answer.stdout
    assert "canary_lazy: the canary itself is broken" in answer.stdout
    assert "Traceback" not in answer.stdout


def test_a_broken_contract_fails_with_operation_and_check(folder: Folder) -> None:
    (folder.root / "contracts" / "shop.yaml").write_text(CONTRACT.replace("boolean", "string"))
    answer = folder.pytest("contracts", "--target", "staging")
    assert "1 failed" in answer.stdout
    assert "GET /: response_schema_conformance" in answer.stdout
    assert "Traceback" not in answer.stdout


@pytest.mark.parametrize(("faces", "writer"), [("synthetics/shop.py", "canaries"), ("contracts", "contract")])
def test_an_account_of_which_nobody_said_what_becomes_of_it_is_sent_nothing(
    folder: Folder, faces: str, writer: str
) -> None:
    folder.becomes_an_account()
    answer = folder.pytest(faces, "--target", "staging")
    assert "passed" not in answer.stdout
    assert f"what {writer} would write to account 123456789012, found nothing" in answer.stdout
    assert "Traceback" not in answer.stdout
    assert {path.rstrip("/") for path in folder.requests} == {"/aws"}
    with (folder.root / "systems" / "shop.yaml").open("a") as system:
        system.write(f"test_data: {{reads_only: [{writer}]}}\n")
    folder.pytest(faces, "--target", "staging")
    assert "/" in folder.requests


def test_a_file_that_no_system_names_is_told(folder: Folder) -> None:
    (folder.root / "contracts" / "other.yaml").write_text(CONTRACT)
    answer = folder.pytest("contracts/other.yaml", "--target", "staging")
    assert "that names this file under `contract`, found none" in answer.stdout
    assert answer.returncode == pytest.ExitCode.INTERRUPTED


def test_what_a_gone_sandbox_left_behind_is_closed_before_another_is_started(folder: Folder) -> None:
    ledger = Ledger(ledger_path(folder.root, "sandbox"), "sandbox")
    ledger.intend("dead", "rds_proxy_throttle", "a proxy", Model(), Model())
    answer = folder.pytest("synthetics/shop.py", "--target", "sandbox", "-k", "canary_home")
    assert "expected a replica, found no" in answer.stdout, "nothing can be started in this folder"
    assert ledger.entries(only_open=True) == []
    ledger.close()

"""Drills, canaries and contracts through pytest, on the running sandbox."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.drill.conftest import Checkout, extension

pytestmark = [pytest.mark.drill, pytest.mark.takes(260), pytest.mark.xdist_group("drills"), pytest.mark.timeout(1200)]


def test_what_is_well_passes_and_a_wrong_expectation_fails_by_name(checkout: Checkout) -> None:
    def expect_the_wrong_alarm(document: dict[str, Any]) -> None:
        expect = extension(document)["expect"]
        expect["must"] = [{"alarm": "calendar-dlq", "within": "3m"}]
        expect["quiet"] = []

    wrong = checkout.experiment("throttle-rds-proxy", expect_the_wrong_alarm)
    place = checkout.out() / "experiments"
    place.mkdir(parents=True)
    moved = wrong.rename(place / wrong.name)
    command = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", "--target", "sandbox"),
        *("--junitxml", "faces.xml", "-k", "throttle or canary or contracts"),
        *("synthetics/leave_attendance.py", "contracts/leave-attendance.openapi.yaml"),
        str(moved.relative_to(checkout.root)),
    ]
    for _ in range(2):
        checkout.left = True
        answer = subprocess.run(command, cwd=checkout.root, capture_output=True, text=True, timeout=400, check=False)
        if "(machine_busy)" not in answer.stdout:
            break
        # This face has no `--try-again`.
        checkout.settle()
    assert answer.returncode == pytest.ExitCode.TESTS_FAILED, answer.stdout
    cases = ElementTree.parse(checkout.root / "faces.xml").getroot().findall(".//testcase")
    failed = {case.attrib["name"]: case for case in cases if case.find("failure") is not None}
    assert list(failed) == ["throttle-rds-proxy"], answer.stdout
    assert len(cases) == 8
    message = failed["throttle-rds-proxy"].findtext("failure") or ""
    # Of a silence a drill says no more where the machine did not keep up, twice.
    assert re.search(r"must:calendar-dlq \((did_not_ring|machine_busy)\)", message), message
    assert "report.html" in message
    # The session did not start this sandbox, so it is still there.
    assert checkout.tocsin("sandbox", "status").returncode == 0

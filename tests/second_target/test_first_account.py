"""docs/FIRST_ACCOUNT.md, command by command, on an emulator that is not Tocsin's: ministack as it is installed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.second_target.conftest import group
from tests.second_target.emulators import Emulator
from tests.second_target.gaps import without_gaps
from tests.second_target.shop import NOBODY_PACKS, deploy, tocsin, write

SCALE = 60
"""So that what takes minutes takes seconds."""
PAGE = Path(__file__).parents[2] / "docs" / "FIRST_ACCOUNT.md"


@dataclass(frozen=True)
class Said:
    """What a command of the page has to say, and how it ends."""

    words: str = ""
    codes: tuple[int, ...] = (0,)
    why: str = ""
    """of codes other than 0: what this emulator cannot do"""


SAID: Mapping[str, Said] = {
    "tocsin doctor --target staging": Said("0 gaps"),
    "tocsin permissions experiments --target staging": Said("lambda:UpdateEventSourceMapping"),
    "tocsin validate experiments": Said(),
    "tocsin doctor shop --target staging": Said("0 gaps"),
    "tocsin smoke shop --target staging": Said("passes"),
    "tocsin cleanup shop --target staging": Said("synthetics/shop.py:remove_orders done"),
    "tocsin parity shop --target staging": Said("0 do not, 0 could not be seen"),
    "tocsin parity --target staging --throwaway": Said(
        "gone: queue tocsin-parity-", (1, 3), "it asks no policies, and takes real seconds on a clock that is faster"
    ),
    "tocsin permissions --parity-throwaway": Said("tocsin-parity-*"),
    "tocsin recover --target staging": Said("nothing"),
    "tocsin stop --target staging --reason rehearsal": Said(),
    "tocsin stop --target staging --clear": Said(),
    "tocsin run experiments --target staging --dry-run": Said("could run; nothing was changed"),
    "tocsin ledger --target staging": Said("no open entry"),
    "tocsin run experiments/nobody-packs.yaml --target staging": Said(
        "guard bites: lambda_event_source_disabled", (0, 3, 4), "on a busy machine timers are late for a fast clock"
    ),
}
"""Every command that the page may have. One that is not here is not run, and so may not be there."""


def commands(text: str) -> list[str]:
    """Every command of a page, once, in its order: lines of consoles, and what stands in a sentence."""
    found = re.findall(r"^\$ (.*)$|`(tocsin\s[^`]+)`", text, re.MULTILINE)
    return list(dict.fromkeys(" ".join((line or inline).split()) for line, inline in found))


@group("ministack")
def test_every_command_of_the_page_does_what_it_says(
    emulators: Callable[[str], Emulator], shop: str, tmp_path: Path
) -> None:
    emulator = emulators("ministack")
    deploy(emulator)
    with without_gaps(emulator) as account:
        write(tmp_path, "staging", account.url, shop, SCALE, nobody_packs=NOBODY_PACKS)
        for command in commands(PAGE.read_text(encoding="utf-8")):
            expected = SAID[command]
            done = tocsin(tmp_path, *shlex.split(command)[1:])
            said = f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
            assert done.returncode in expected.codes, said
            assert expected.words in said
            assert "Traceback" not in said


def test_the_commands_of_the_page_are_those_that_are_run() -> None:
    assert set(commands(PAGE.read_text(encoding="utf-8"))) == SAID.keys()
    assert [said for said in SAID.values() if (said.codes != (0,)) != bool(said.why)] == []


def test_a_command_is_found_wherever_it_stands() -> None:
    console = "```console\n$ tocsin run x\n```\n"
    text = f"First `tocsin doctor`, or\n{console}then `tocsin run x`, `tocsin.toml`, `tocsin\nstop`.\n"
    assert commands(text) == ["tocsin doctor", "tocsin run x", "tocsin stop"]


def test_each_command_says_what_it_can_harm_and_costs() -> None:
    """Between a command and the next one, or the end of its section."""
    text = PAGE.read_text(encoding="utf-8")
    after = re.split(r"^```console\n.*?^```$", text, flags=re.MULTILINE | re.DOTALL)[1:]
    assert len(after) >= 7
    assert all(re.match(r"\s*\*Harm: .*Cost: .*?\*", one, re.DOTALL) for one in after)

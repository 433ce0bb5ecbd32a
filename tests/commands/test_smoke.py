"""`tocsin smoke` as a user meets it: it passes what it looked at, and nothing else."""

from __future__ import annotations

from tests.commands.conftest import Folder


def without(folder: Folder, *parts: str) -> None:
    system = folder.root / "systems" / "shop.yaml"
    system.write_text("\n".join(line for line in system.read_text().splitlines() if not line.startswith(parts)))


def test_a_system_with_nothing_to_look_at_is_unknown(folder: Folder) -> None:
    without(folder, "canaries", "contract")
    answer = folder.tocsin("smoke", "shop", "--target", "staging")
    assert answer.returncode == 3
    assert "nothing was looked at: the system 'shop' has no canaries, no contract and no alarms" in answer.stdout


def test_a_canary_that_ends_the_process_is_unknown_and_the_others_are_told(folder: Folder) -> None:
    canaries = (
        "import sys\n\ndef canary_home(api):\n    with api.step('home'):\n        api.get('/')\n\n"
        "def canary_leaves(api):\n    with api.step('home'):\n        api.get('/')\n        sys.exit(0)\n"
    )
    (folder.root / "synthetics" / "shop.py").write_text(canaries)
    without(folder, "contract")
    answer = folder.tocsin("smoke", "shop", "--target", "staging")
    assert answer.returncode == 3
    assert "canary home             passes" in answer.stdout
    assert "the canary itself is broken: home: SystemExit: 0" in answer.stdout


def test_an_account_of_which_nobody_said_what_becomes_of_it_is_sent_nothing(folder: Folder) -> None:
    folder.becomes_an_account()
    answer = folder.tocsin("smoke", "shop", "--target", "staging")
    assert answer.returncode == 4
    assert "what canaries and contract would write to account 123456789012, found nothing" in answer.stderr
    assert {path.rstrip("/") for path in folder.requests} == {"/aws"}
    tell = "test_data: {reads_only: [canaries, contract]}\n"
    with (folder.root / "systems" / "shop.yaml").open("a") as system:
        system.write(tell)
    folder.tocsin("smoke", "shop", "--target", "staging")
    assert "/" in folder.requests

"""Which experiments are run: those with the tags that are asked for, and one tag that nobody writes."""

from __future__ import annotations

import json

import pytest
from tests.checkers.histories import passing
from tests.commands.conftest import EXPERIMENT, Folder

from tocsin.checkers import judge
from tocsin.commands.planned import plan_of
from tocsin.commands.run import plan_all, summarise
from tocsin.drill.options import RunOptions
from tocsin.errors import NothingAsked
from tocsin.report.summary import summary_md

SHOP = EXPERIMENT.replace("SYSTEM", "shop")
FILES = {
    "gate": SHOP,
    "queue": SHOP.replace("tags: [gate]", "tags: [queue, long-running]"),
    "both": SHOP.replace("tags: [gate]", "tags: [queue, gate, gate]"),
    "bare": SHOP.replace("tags: [gate]\n", ""),
    "slow": SHOP.replace("recovery: {within: 5m}", "recovery: {within: 31m}"),
    "edge": SHOP.replace("recovery: {within: 5m}", "recovery: {within: 30m}"),
}


@pytest.fixture
def shop(folder: Folder) -> Folder:
    for file in (folder.root / "experiments").glob("*/*.yaml"):
        file.unlink()
    for name, text in FILES.items():
        (folder.root / "experiments" / "shop" / f"{name}.yaml").write_text(text)
    return folder


def asked(shop: Folder, **options: tuple[str, ...] | float) -> list[str]:
    chosen = RunOptions(root=shop.root, **options)  # type: ignore[arg-type]
    return [plan.loaded.experiment.slug for plan in plan_all([shop.root / "experiments"], chosen)]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, ["bare", "both", "edge", "gate", "queue", "slow"]),
        ({"tags": ("queue",)}, ["both", "queue"]),
        ({"tags": ("queue", "gate")}, ["both", "edge", "gate", "queue", "slow"]),
        ({"not_tags": ("queue",)}, ["bare", "edge", "gate", "slow"]),
        ({"tags": ("queue",), "not_tags": ("gate",)}, ["queue"]),
        ({"tags": ("long",)}, ["slow"]),
        ({"not_tags": ("long", "queue")}, ["bare", "edge", "gate"]),
        ({"tags": ("long",), "time_scale": 59.0}, ["bare", "both", "edge", "gate", "queue", "slow"]),
    ],
)
def test_tags_select(shop: Folder, options: dict[str, tuple[str, ...] | float], left: list[str]) -> None:
    assert asked(shop, **options) == left


def test_nothing_selected_is_unknown_and_says_which_tags_there_are(shop: Folder) -> None:
    with pytest.raises(NothingAsked, match=r"found none .* Did you mean 'queue'\?"):
        asked(shop, tags=("qeue",))
    with pytest.raises(NothingAsked, match=r"Their tags: gate, long, long-running, queue\."):
        asked(shop, tags=("long",), not_tags=("gate",))
    answer = shop.tocsin("run", "experiments", "--tag", "qeue")
    assert answer.returncode == 3
    assert not (shop.root / ".tocsin" / "runs").exists(), "nothing was started"


def test_on_an_account_every_drill_is_long(shop: Folder) -> None:
    options = RunOptions(root=shop.root, target="staging", not_tags=("long",))
    with pytest.raises(NothingAsked, match="at time scale 1"):
        plan_all([shop.root / "experiments"], options)


def test_lists_show_the_tags(shop: Folder) -> None:
    answer = shop.tocsin("validate", "experiments")
    assert "tags: gate (4), long (1), long-running (1), queue (2)\n" in answer.stdout
    told = shop.tocsin("run", "experiments", "--tag", "queue", "--dry-run", "--target", "staging").stdout
    assert "tags       queue, long-running, long" in told
    assert "shop/gate.yaml" not in told


def test_the_plan_and_the_verdicts_have_them(shop: Folder) -> None:
    plans = plan_all([shop.root / "experiments"], RunOptions(root=shop.root))
    tags = {drill.experiment: drill.tags for drill in plan_of(plans, RunOptions(root=shop.root), 60.0).drills}
    assert tags["both"] == ("queue", "gate")
    assert tags["slow"] == ("gate", "long")
    assert tags["bare"] == ()


def test_the_overview_counts_long_drills_apart() -> None:
    short = judge(passing())
    long = short.model_copy(update={"tags": ("long",), "experiment": "other"})
    run = summarise([short, long, short], 0, 1)
    assert "3 drills: 3 pass. Of these long: 1 pass." in summary_md(run)
    assert "3 drills: 3 pass.\n" in summary_md(summarise([short] * 3, 0, 1))
    assert "2 drills, all long: 2 pass." in summary_md(summarise([long] * 2, 0, 1))


def test_a_verdict_without_tags_is_written_as_ever() -> None:
    bare = judge(passing()).model_copy(update={"tags": ()})
    assert "tags" not in json.loads(bare.model_dump_json())

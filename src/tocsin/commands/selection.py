"""Which experiments a run is about, those with certain tags, and in which order they begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tocsin.coverage.results import read_latest
from tocsin.drill.options import RunOptions
from tocsin.drill.plan import Plan
from tocsin.drill.scales import choice_of, choose
from tocsin.errors import InvalidInput, NothingAsked, near_match
from tocsin.project.places import kept_runs


def selected(plans: Sequence[Plan], options: RunOptions, scale: float) -> list[Plan]:
    """Those plans that have one of the tags asked for, where any is, and none of those not wanted; in their order.

    Args:
        plans: of the experiments of which some are asked for.
        options: `tags`, `not_tags`.
        scale: production seconds per second of the target: `long` hangs on it.

    Raises:
        NothingAsked: there is none.
    """
    tagged = [(plan, plan.loaded.experiment.tags_at(choice_of(plan, options, scale).scale)) for plan in plans]
    kept = [plan for plan, found in tagged if _is_asked(set(found), options.tags, options.not_tags)]
    if not kept:
        raise NothingAsked(_nothing([found for _, found in tagged], options, scale))
    return kept


def in_order(plans: Sequence[Plan], options: RunOptions) -> list[Plan]:
    """The order in which drills begin.

    One after the other it is that of the files, those of one time scale together, because each is a sandbox of its own.
    Side by side the longest begin first, so that none of them is alone at the end: by what earlier runs took; where
    there is none, by the deadlines of the experiment.
    """
    if options.parallel is None:
        return _by_scale(plans) if options.auto_scale else list(plans)
    try:
        latest = read_latest(*kept_runs(options.root))
    except InvalidInput:  # a report that cannot be read says nothing of time; whoever asks for it is told
        latest = {}

    def production_s(plan: Plan) -> float:
        experiment = plan.loaded.experiment
        before = latest.get((plan.system.system, experiment.slug))
        if before is None:
            return experiment.extension.longest_drill_s
        return (before.ended_at - before.started_at) * before.scale

    return sorted(plans, key=production_s, reverse=True)


def _by_scale(plans: Sequence[Plan]) -> list[Plan]:
    scales = [choose(plan).scale for plan in plans]
    return [plan for _, plan in sorted(zip(scales, plans, strict=True), key=lambda pair: scales.index(pair[0]))]


def counted(plans: Iterable[Plan]) -> tuple[tuple[str, int], ...]:
    """Each tag, by name, and how many of the plans have it where each drill has a time scale of its own."""
    found = Counter(tag for plan in plans for tag in plan.loaded.experiment.tags_at(choose(plan).scale))
    return tuple(sorted(found.items()))


def _is_asked(found: set[str], tags: Sequence[str], not_tags: Sequence[str]) -> bool:
    return (not tags or not found.isdisjoint(tags)) and found.isdisjoint(not_tags)


def _nothing(tagged: Sequence[Sequence[str]], options: RunOptions, scale: float) -> str:
    asked = [f"--tag {tag}" for tag in options.tags] + [f"--not-tag {tag}" for tag in options.not_tags]
    known = sorted({tag for found in tagged for tag in found})
    strange = [tag for tag in (*options.tags, *options.not_tags) if tag not in known]
    there = near_match(strange[0], known) if strange else f"Their tags: {', '.join(known)}."
    at = "the scale of each" if options.auto_scale else f"time scale {scale:g}"
    return (
        f"expected {' '.join(asked)} to leave at least one of {len(tagged)} experiments, found none at {at}: nothing "
        f"was run, so nothing is known. {there}"
    )

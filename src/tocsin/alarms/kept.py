"""The periods of an alarm, each summed once: what `summed_anew` gives, for less work.

Windows slide by one evaluation. A period of five minutes that ends now is the second newest one in five minutes, and by
then it is known: of all periods of an evaluation only the newest is summed. One that changed since is summed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tocsin.alarms.cloudwatch import Buckets, MetricKey, Point
from tocsin.alarms.metric_functions import Grid
from tocsin.alarms.statistics import statistic_value

LateSince = Callable[[MetricKey, int, int], tuple[int, Sequence[int]]]
"""(metric, period in seconds, an earlier revision) -> the revision now, and the second at which each bucket begins that
changed since although it was over when it was asked for. The first revision is 0."""


class KeptPeriods:
    """The `Points` of one alarm, which is evaluated as its windows slide: its periods end when it is evaluated.

    Of each metric and statistic the periods of the latest window are kept, for each place in a period at which a window
    may begin.
    """

    def __init__(self, buckets: Buckets, late_since: LateSince) -> None:
        self._buckets = buckets
        self._late_since = late_since
        self._kept: dict[tuple[MetricKey, str, int], _Kept] = {}

    def __call__(self, metric: MetricKey, statistic: str, grid: Grid) -> Mapping[int, Point]:
        """Start of each period that has a datapoint -> the datapoint."""
        which = (metric, statistic, grid.period_s)
        kept = self._kept.get(which)
        if kept is None:
            kept = self._kept[which] = _Kept()
        # Before the buckets are read: what comes meanwhile is then late the next time.
        kept.revision, changed = self._late_since(metric, grid.period_s, kept.revision)
        if changed:
            kept.forget(changed, grid.period_s)
        before = kept.windows.get(grid.first_s % grid.period_s, {})
        window = {
            at: before[at]
            if at in before
            else statistic_value(self._buckets(metric, at, at + grid.period_s), statistic)
            for at in grid.starts
        }
        kept.windows[grid.first_s % grid.period_s] = window
        return {at: point for at, point in window.items() if point is not None}


class _Kept:
    """What is kept of one metric and statistic."""

    def __init__(self) -> None:
        self.revision = 0
        self.windows: dict[int, dict[int, Point | None]] = {}
        """Where in a period the window begins -> start of each of its periods -> the datapoint, None where there is
        none."""

    def forget(self, changed: Sequence[int], period_s: int) -> None:
        """Forget the periods in which a bucket has changed."""
        for window in self.windows.values():
            for start in [start for start in window if any(start <= at < start + period_s for at in changed)]:
                del window[start]

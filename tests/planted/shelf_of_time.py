"""Bugs that are a matter of time: what is wrong only after the undo, too late, or for too long."""

from __future__ import annotations

from pathlib import Path

from tests.planted.bench import Bench
from tests.planted.shelf import planted, reaches, replace_fault

from tocsin.aws.target import Aws
from tocsin.faults.awslambda import ConcurrencyState, LambdaReservedConcurrency
from tocsin.model.events import FaultStage
from tocsin.model.verdict import Reason

# --- not as before, though nothing fails --------------------------------------------------------------------

HANDLER = '    """GET /healthz and POST /orders."""\n'


def mark_the_undo(bench: Bench) -> Path:
    """A file that is there as soon as the fault is undone: what is planted looks for it, so there is no race."""
    flag = bench.root / "undone"

    class MarkedUndo(LambdaReservedConcurrency):
        """The undo is right, and leaves a mark."""

        def undo(self, aws: Aws, prior: ConcurrencyState) -> None:
            flag.touch()
            super().undo(aws, prior)

    replace_fault(bench, MarkedUndo)
    bench.after(flag.unlink, True)
    return flag


@planted(
    "slow after the undo", "outage under load", "recovery", Reason.NOT_RECOVERED, "load: .*p95 was .* 300 ms is healthy"
)
def slow_after_the_undo(bench: Bench) -> None:
    flag = mark_the_undo(bench)
    bench.edit("systems/bell.yaml", "p95_ms: 1000", "p95_ms: 300")
    slow = f"    import pathlib, time\n    if pathlib.Path({str(flag)!r}).exists():\n        time.sleep(0.5)\n"
    bench.code(HANDLER, HANDLER + slow)


@planted(
    "orders that stay forbidden after the undo",
    "outage under load",
    "recovery",
    Reason.NOT_RECOVERED,
    "load: .* answers .*were 403, before the fault 0.0%",
)
def forbidden_after_the_undo(bench: Bench) -> None:
    flag = mark_the_undo(bench)
    bench.edit("loadtests/bell.py", '{"item": "bell"}', '{"item": "gong"}')
    refuse = (
        f"    import pathlib\n    if 'gong' in (event.get('body') or '') and pathlib.Path({str(flag)!r}).exists():\n"
    )
    bench.code(HANDLER, f'{HANDLER}{refuse}        return answer(403, {{"message": "no gongs"}})\n')


@planted(
    "three of a hundred orders that fail for good after the undo",
    "outage under load",
    "recovery",
    Reason.NOT_RECOVERED,
    "load: .* answers failed .*that is at least .* of all, and 1 % may",
)
def some_fail_after_the_undo(bench: Bench) -> None:
    flag = mark_the_undo(bench)
    # Two of sixty-five: more than one second in three has none, and no second has so many that no chance explains it.
    some = '{"item": "gong" if next(COUNT) % 65 < 2 else "bell"}'
    bench.edit("loadtests/bell.py", '{"item": "bell"}', some)
    bench.edit("loadtests/bell.py", "class Customer", "COUNT = __import__('itertools').count()\n\n\nclass Customer")
    fail = f"    import pathlib\n    if 'gong' in (event.get('body') or '') and pathlib.Path({str(flag)!r}).exists():\n"
    bench.code(HANDLER, f'{HANDLER}{fail}        return answer(503, {{"message": "no gongs"}})\n')
    bench.document["extensions"][0] |= {"load": {"users": 4, "arrivals_per_s": 40}}
    bench.expect["recovery"] = {"within": "32m"}
    # Where a drill need only show 20 %, this share is soon shown, and the drill ends as soon as the alarm is quiet by
    # chance. No look shows 5 %: the drill goes on until the share is above 1 % beyond doubt.
    bench.edit("systems/bell.yaml", "shown_in_drills: 20%", "shown_in_drills: 5%")


# --- load that is not the planned one -----------------------------------------------------------------------

CUSTOMER = "class Customer(ArrivalUser):\n"


@planted(
    "load that stops after the undo",
    "outage under load",
    "load",
    Reason.LOAD_INVALID,
    "seconds have no record|only .* a second were offered",
)
def stops_after_the_undo(bench: Bench) -> None:
    flag = mark_the_undo(bench)
    stop = (
        "    def _arrive(self, due):\n"
        "        import gevent, pathlib\n"
        f"        if pathlib.Path({str(flag)!r}).exists():\n"
        "            gevent.sleep(600)\n"
        "        super()._arrive(due)\n\n"
    )
    bench.edit("loadtests/bell.py", CUSTOMER, CUSTOMER + stop)


@planted("load at half of its rate", "outage under load", "load", Reason.LOAD_INVALID, "planned were 20")
def half_of_the_rate(bench: Bench) -> None:
    half = "    def __init__(self, environment):\n        super().__init__(environment)\n        self._rate /= 2\n\n"
    bench.edit("loadtests/bell.py", CUSTOMER, CUSTOMER + half)


@planted("load that is refused", "outage under load", "load", Reason.LOAD_INVALID, "refusals or redirects .*x 404")
def load_is_refused(bench: Bench) -> None:
    bench.edit("loadtests/bell.py", 'call.post("/orders"', 'call.post("/order"')


@planted(
    "load too thin to show anything",
    "outage under load",
    "baseline:errors",
    Reason.TOO_FEW_ANSWERS,
    "can be up to .*, and 1 % may; 299 answers like these would do",
)
def load_is_thin(bench: Bench) -> None:
    # Too thin to wait for: 299 are not planned in thirty seconds either, the longest baseline. They arrive at random:
    # in two seconds none of sixteen once in ten million times, and in five, on a busy machine, never 299 of forty.
    bench.document["extensions"][0]["load"] = {"users": 4, "arrivals_per_s": 8}
    bench.edit("systems/bell.yaml", "shown_in_drills: 20%", "shown_in_drills: 1%")


@planted(
    "orders that are forbidden while an alarm rings for something else",
    "poison under load",
    "answers",
    Reason.UNDOCUMENTED_ANSWER,
    "answers of POST /orders were 403, before the fault 0.0%",
)
def forbidden_under_the_fault(bench: Bench) -> None:
    flag = bench.root / "no-gongs"
    bench.when(reaches(FaultStage.ACCEPTED), flag.touch)
    bench.when(reaches(FaultStage.UNDO_REQUESTED), lambda: flag.unlink(missing_ok=True))
    bench.after(flag.unlink, True)
    bench.edit("loadtests/bell.py", '{"item": "bell"}', '{"item": "gong"}')
    refuse = (
        f"    import pathlib\n    if 'gong' in (event.get('body') or '') and pathlib.Path({str(flag)!r}).exists():\n"
    )
    bench.code(HANDLER, f'{HANDLER}{refuse}        return answer(403, {{"message": "no gongs"}})\n')


# --- an alarm that hears silence, and looks back too far ----------------------------------------------------


@planted(
    "heartbeat alarm that looks back too far",
    "silence",
    "must:silence",
    Reason.DID_NOT_RING,
    "no data.*older data still in its evaluation range.*Period",
)
def looks_back_too_far(bench: Bench) -> None:
    # Three periods of ten minutes must be empty, not one: AWS looks at more datapoints than EvaluationPeriods.
    bench.alarm("silence", Period=600)

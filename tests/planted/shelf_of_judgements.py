"""One bug for each judgement that no other bug of the shelf is about: none may be answered with a pass for free."""

from __future__ import annotations

from typing import ClassVar

from tests.planted.bench import Bench
from tests.planted.shelf import ANSWER, JOURNEY, OTHER_400, RUNS, planted, reaches, replace_fault

from tocsin.aws.target import Aws
from tocsin.errors import TargetError
from tocsin.faults.awslambda import ConcurrencyState, LambdaReservedConcurrency
from tocsin.model.events import DrillEnded, Event, FaultStage
from tocsin.model.verdict import Reason
from tocsin.record.history import History

# --- alarms that should have been silent --------------------------------------------------------------------


@planted("a quiet alarm that rings", "outage", "quiet:dead-letters", Reason.RANG_BUT_QUIET, "rang .* after")
def quiet_alarm_rings(bench: Bench) -> None:
    bench.expect["quiet"] = [{"alarm": "dead-letters", "for": "2m"}]
    bench.when(reaches(FaultStage.EFFECTIVE), lambda: bench.send("bell-orders-dlq"))


@planted(
    "a quiet alarm that is harder to ring than the documented one",
    "outage",
    "quiet:backlog",
    Reason.NOT_AS_DOCUMENTED,
    "by Threshold this one is harder",
)
def quiet_alarm_is_harder(bench: Bench) -> None:
    bench.alarm("backlog", Threshold=2000)


@planted("a gap that an alarm refutes", "unheard outage", "gap", Reason.GAP_REFUTED, "no gap: rang dead-letters")
def gap_refuted(bench: Bench) -> None:
    bench.when(reaches(FaultStage.EFFECTIVE), lambda: bench.send("bell-orders-dlq"))


@planted(
    "a gap that hurts nobody", "unheard outage", "gap", Reason.NOBODY_HURT, "nobody was seen to be hurt .*no canary"
)
def gap_without_a_hurt(bench: Bench) -> None:
    bench.document["method"][0]["provider"]["arguments"]["reserved"] = 20


@planted("a blind alarm that sees", "unheard outage", "blind:api-5xx", Reason.NOT_BLIND, "rang")
def blind_alarm_sees(bench: Bench) -> None:
    bench.alarm("api-5xx", Threshold=2)


# --- a system that was not well before, or is not well afterwards ------------------------------------------


@planted("steady state that never was", "outage", "guard:steady-state", Reason.REFUSED, "does not")
def never_steady(bench: Bench) -> None:
    bench.document["steady-state-hypothesis"]["probes"][0]["tolerance"] = 204


@planted("steady state that does not come back", "poison", "steady-state:after", Reason.HYPOTHESIS_NOT_MET, "health")
def not_steady_again(bench: Bench) -> None:
    other = bench.code_at_hand('answer(200, {"status": "ok"})', 'answer(203, {"status": "ok"})')
    bench.when(reaches(FaultStage.VERIFIED), other)


@planted("a canary that failed before the fault", "poison", "canaries:before", Reason.CANARY_FAILED, "the desk is open")
def canary_failed_before(bench: Bench) -> None:
    failing = "        assert not 0 < next(RUNS) < 5, 'closed'\n"
    bench.edit("synthetics/bell.py", JOURNEY, f"{RUNS}{JOURNEY}{failing}")


@planted("errors before the fault", "outage under load", "baseline:errors", Reason.TOO_MANY_ERRORS, "before anything")
def errors_before(bench: Bench) -> None:
    # What canaries order is done: with them failing, the drill would not begin.
    bench.edit("loadtests/bell.py", '{"item": "bell"}', '{"item": "gong"}')
    bench.code(
        "order = str(uuid.uuid4())\n", "order = str(uuid.uuid4())\n    if item == 'gong':\n        raise OSError\n"
    )


@planted("slow before the fault", "outage under load", "baseline:latency", Reason.TOO_SLOW, "p95 was .* before")
def slow_before(bench: Bench) -> None:
    bench.edit("systems/bell.yaml", "p95_ms: 1000", "p95_ms: 1")


@planted(
    "contract broken from the beginning", "lost supplier", "contract:baseline", Reason.CONTRACT_BROKEN, "POST /orders"
)
def broken_from_the_beginning(bench: Bench) -> None:
    bench.code(ANSWER, OTHER_400)


# --- answers that nobody documented -------------------------------------------------------------------------


@planted("degraded answers that nobody documented", "outage under load", "answers", Reason.UNDOCUMENTED_ANSWER, "503")
def undocumented_answers(bench: Bench) -> None:
    del bench.expect["degraded"]


@planted("more degraded answers than allowed", "outage under load", "answers", Reason.TOO_MANY_ERRORS, "and 10 % may")
def too_many_degraded(bench: Bench) -> None:
    bench.expect["degraded"] = {**bench.expect["degraded"], "max_share": 0.1}


# --- what is left, and what did not happen ------------------------------------------------------------------


class UndoRefused(LambdaReservedConcurrency):
    """The account does not let the undo happen."""

    effect_within_s: ClassVar[float] = 1.0

    def undo(self, aws: Aws, prior: ConcurrencyState) -> None:
        raise TargetError("AccessDeniedException: the undo is not allowed")


@planted("a fault that is left behind", "outage", "residue", Reason.RESIDUE, "still open.*tocsin recover")
def left_behind(bench: Bench) -> None:
    replace_fault(bench, UndoRefused)


@planted("a step of the method that fails", "poison", "method", Reason.ACTIVITY_FAILED, "ask-the-till.*exited with 1")
def step_fails(bench: Bench) -> None:
    failing = {"type": "action", "name": "ask-the-till", "provider": {"type": "process", "path": "false"}}
    bench.document["method"].append(failing)


@planted("an action that ends the process", "poison", "method", Reason.ACTIVITY_FAILED, r"leave \(SystemExit")
def action_ends_the_process(bench: Bench) -> None:
    leave = {"type": "python", "module": "sys", "func": "exit"}
    bench.document["method"].append({"type": "action", "name": "leave", "provider": leave})


@planted("a rollback that ends the process", "poison", "rollbacks", Reason.ACTIVITY_FAILED, r"leave \(SystemExit")
def rollback_ends_the_process(bench: Bench) -> None:
    leave = {"type": "python", "module": "sys", "func": "exit"}
    bench.document["rollbacks"].append({"type": "action", "name": "leave", "provider": leave})


@planted("a line taken out of the history", "poison", "history", Reason.HISTORY_BROKEN, "line .* does not follow")
def line_taken_out(bench: Bench) -> None:
    close = History.close

    def close_and_take_one(self: History) -> None:
        close(self)
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        polls = [index for index, line in enumerate(lines) if '"kind":"alarms_polled"' in line]
        del lines[polls[len(polls) // 2]]
        self.path.write_text("".join(lines), encoding="utf-8")

    bench.patch.setattr(History, "close", close_and_take_one)


@planted("a history that ends before the drill", "poison", "drill", Reason.WINDOW_CUT, "ends before the drill did")
def history_ends_early(bench: Bench) -> None:
    whole = History.record

    def forget_the_end(self: History, event: Event) -> None:
        if not isinstance(event, DrillEnded):
            whole(self, event)

    bench.patch.setattr(History, "record", forget_the_end)

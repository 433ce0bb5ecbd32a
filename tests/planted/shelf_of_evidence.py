"""Steps of an experiment that are said to do something, or to undo it, and do not."""

from __future__ import annotations

from tests.planted.bench import Bench
from tests.planted.returns import put_aside
from tests.planted.setups import chaosaws, of_returns
from tests.planted.shelf import planted

from tocsin.model.verdict import Reason

OTHERS = "closed by another extension"


@planted(
    "an action of another extension that does nothing",
    OTHERS,
    "effect",
    Reason.NO_EFFECT,
    "put_function_timeout was accepted and changed nothing .*it held before the action as well: 'it-is-closed'",
)
def does_nothing(bench: Bench) -> None:
    as_it_is = bench.client("lambda").get_function_configuration(FunctionName="bell-api")["Timeout"]
    bench.document["method"] = [
        chaosaws("action", "close-the-desk", "put_function_timeout", arguments={"timeout": as_it_is}),
        chaosaws("probe", "it-is-closed", "get_function_timeout", tolerance=as_it_is),
    ]


@planted(
    "a rollback that says it undid a procedure, and did not",
    "returns brought back",
    "undone:bring-returns-back",
    Reason.UNDO_FAILED,
    "after the rollback put-returns-aside it is not as before: a-return-lies-aside",
)
def undoes_no_procedure(bench: Bench) -> None:
    lies = of_returns("action", "put-returns-aside", "put_nothing_aside")
    bench.document["rollbacks"][1] = lies
    bench.after(put_aside, {})

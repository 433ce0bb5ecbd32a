"""The contract is kept in every act, but for the documented degraded answers."""

from __future__ import annotations

from typing import Any

from tests.checkers.histories import (
    OPERATIONS,
    add,
    drop,
    passing,
    tweak,
)
from tests.checkers.spoiled import (
    BAD,
    F,
    History,
    P,
    Row,
    U,
    check_planted,
    found,
    in_act,
    planted,
)

from tocsin.checkers import judge
from tocsin.model.events import (
    Act,
    ContractRan,
)
from tocsin.model.verdict import Reason

ONE = {"GET /parcels": {"200": 1}}
REFUSALS = {operation: {"401": 3} for operation in OPERATIONS}


def again(**second: Any) -> History:
    """The contract is broken in the recovery, and asked once more."""
    broken = tweak(passing(), in_act(Act.RECOVERY, ContractRan), failures=(BAD,))
    (first,) = (event for event in broken if in_act(Act.RECOVERY, ContractRan)(event))
    return add(broken, first.model_copy(update={"at": first.at + 0.5, **second}))


ROWS: list[Row] = [
    *(
        (
            f"contract broken in {act.value}",
            lambda act=act: tweak(passing(), in_act(act, ContractRan), failures=(BAD,)),
            f"contract:{act.value}",
            F,
            Reason.CONTRACT_BROKEN,
        )
        for act in (Act.BASELINE, Act.FAULT, Act.RECOVERY)
    ),
    *(
        (
            f"contract not run in {act.value}",
            lambda act=act: drop(passing(), in_act(act, ContractRan)),
            f"contract:{act.value}",
            U,
            Reason.NO_EVIDENCE,
        )
        for act in (Act.BASELINE, Act.FAULT, Act.RECOVERY)
    ),
    (
        "contract broken in the recovery, and not when callers were served once more",
        lambda: again(failures=()),
        "contract:recovery",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "contract broken when callers were served once more",
        lambda: again(failures=(BAD,)),
        "contract:recovery",
        F,
        Reason.CONTRACT_BROKEN,
    ),
    (
        "contract run cut short",
        lambda: tweak(passing(), in_act(Act.FAULT, ContractRan), complete=False),
        "contract:fault",
        U,
        Reason.WINDOW_CUT,
    ),
    (
        "contract run without a case",
        lambda: tweak(passing(), in_act(Act.RECOVERY, ContractRan), cases=0),
        "contract:recovery",
        U,
        Reason.NO_TRAFFIC,
    ),
    (
        "one case on one operation",
        lambda: tweak(passing(), in_act(Act.BASELINE, ContractRan), cases=1, operations=1, answers=ONE),
        "contract:baseline",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "an operation that was not tried",
        lambda: tweak(passing(), in_act(Act.RECOVERY, ContractRan), operations=len(OPERATIONS) - 1),
        "contract:recovery",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "one case of a contract of one operation",
        lambda: tweak(passing(), in_act(Act.FAULT, ContractRan), cases=1, operations=1, documented=1),
        "contract:fault",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "one operation, in a history that does not say of how many",
        lambda: tweak(passing(), in_act(Act.BASELINE, ContractRan), operations=1, documented=None, answers={}),
        "contract:baseline",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "four operations, in a history that does not say of how many",
        lambda: tweak(passing(), in_act(Act.BASELINE, ContractRan), documented=None, answers={}),
        "contract:baseline",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "nothing but refusals",
        lambda: tweak(passing(), in_act(Act.BASELINE, ContractRan), answers=REFUSALS, statuses={"401": 12}),
        "contract:baseline",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "nothing but refusals after the recovery",
        lambda: tweak(passing(), in_act(Act.RECOVERY, ContractRan), answers=REFUSALS, statuses={"401": 12}),
        "contract:recovery",
        U,
        Reason.NO_EVIDENCE,
    ),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


def test_what_never_succeeded_is_named() -> None:
    answers = {operation: {"200": 3} for operation in OPERATIONS} | {"POST /labels": {"403": 3}}
    history = tweak(passing(), in_act(Act.BASELINE, ContractRan), answers=answers)
    assert found(judge(history), "contract:baseline").message.endswith("; no success was seen of POST /labels")
    assert "no success" not in found(judge(passing()), "contract:fault").message


def test_refusals_are_counted_in_words() -> None:
    history = tweak(passing(), in_act(Act.BASELINE, ContractRan), answers=REFUSALS, statuses={"401": 12})
    assert found(judge(history), "contract:baseline").message.startswith("no operation answered with success (401: 12)")

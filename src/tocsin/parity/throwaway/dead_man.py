"""Whether the dead man's role of a target ends a fault: tried on a function of our own, with a call of a drill."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tocsin.aws.target import aws_errors
from tocsin.errors import TargetError, Unavailable
from tocsin.faults.awslambda import ConcurrencyState, LambdaReservedConcurrency
from tocsin.parity.model import Key, Measured
from tocsin.parity.throwaway.kinds.function import ParityFunction
from tocsin.parity.throwaway.kinds.role import ParityRole
from tocsin.parity.throwaway.kinds.schedule import RETRIED_FOR_S, ParitySchedule
from tocsin.parity.throwaway.workshop import NotSeen, Workshop, figure

ENDS = "the dead man's role ends the throttle of a function"
DEAD_MAN = ((Key.SCHEDULE, ENDS),)
ACTIONS = ("lambda:GetFunctionConcurrency", "lambda:PutFunctionConcurrency")
"""IAM actions that it takes on the function, beside those that make and delete it."""

_AHEAD_S = 180.0


def ends(shop: Workshop) -> Iterator[Measured]:
    """One function that nobody invokes is throttled, and a schedule under the role of the target ends that."""
    target = shop.ctx.target
    assert target.dead_man_role is not None
    role = shop.make(ParityRole(name=shop.name("throttled"), trusted="lambda.amazonaws.com"))
    function = shop.make(ParityFunction(name=shop.name("throttled"), role=role.arns(shop.aws)[0])).name
    throttle = LambdaReservedConcurrency(function=function, reserved=0)
    call = throttle.dead_man(shop.aws, ConcurrencyState(reserved=None, provisioned={}))
    shop.aws.ask(
        f"throttling function {function}",
        shop.aws.client("lambda").put_function_concurrency,
        FunctionName=function,
        ReservedConcurrentExecutions=0,
    )
    # A schedule is told its time in whole seconds.
    at = math.ceil(shop.ctx.clock.now() + shop.ctx.wall(_AHEAD_S))
    try:
        shop.make(ParitySchedule(name=shop.name("ends"), at=at, call=call, role=target.dead_man_role))
    except (NotSeen, Unavailable):
        raise
    except TargetError as error:
        detail = f"{str(error).rstrip('.')}. A drill could make none either: mend the role, or the right to pass it"
        yield Measured(key=Key.SCHEDULE, about=ENDS, here="no schedule can be made", holds=False, detail=detail)
        return
    ahead_s = shop.ctx.production(max(0.0, at - shop.ctx.clock.now()))
    try:
        shop.seen("the dead man's role has ended it", lambda: _ended(shop, function), ahead_s + RETRIED_FOR_S)
    except NotSeen as error:
        detail = (
            f"{str(error).rstrip('.')}. Allow {target.dead_man_role} lambda:DeleteFunctionConcurrency on "
            "function:tocsin-parity-*, too: then what it may do for your own functions is all that was not tried"
        )
        yield Measured(key=Key.SCHEDULE, about=ENDS, here=None, holds=None, detail=detail)
        return
    yield figure(Key.SCHEDULE, ENDS, shop.since(at), "until it is read; its rights on what drills break were not tried")


def _ended(shop: Workshop, function: str) -> bool | None:
    with aws_errors(f"reading the concurrency of function {function}"):
        found = shop.aws.client("lambda").get_function_concurrency(FunctionName=function)
    return "ReservedConcurrentExecutions" not in found or None

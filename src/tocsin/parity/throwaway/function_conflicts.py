"""What a function that is being changed says to the next change, and how long it is being changed."""

from __future__ import annotations

from collections.abc import Iterator

from botocore.exceptions import ClientError

from tocsin.aws.error_codes import BUSY
from tocsin.aws.target import aws_errors
from tocsin.parity.model import Key, Measured
from tocsin.parity.throwaway.kinds.function import ParityFunction
from tocsin.parity.throwaway.kinds.role import ParityRole
from tocsin.parity.throwaway.workshop import Workshop, figure

NEW, TWICE, UPDATED = "a new function", "its configuration, twice in a row", "its configuration, once"
CONFLICTS = ((Key.FUNCTION_CONFLICT, NEW), (Key.FUNCTION_UPDATE, UPDATED), (Key.FUNCTION_CONFLICT, TWICE))

TAKEN = "nothing"
_SETTLED_S = 300.0


def conflicts(shop: Workshop) -> Iterator[Measured]:
    """Of a function of our own, which is never invoked."""
    role = shop.make(ParityRole(name=shop.name("function"), trusted="lambda.amazonaws.com"))
    name = shop.make(ParityFunction(name=shop.name("function"), role=role.arns(shop.aws)[0])).name
    yield _told(NEW, _change(shop, name, "right after it was created"))
    shop.seen(f"function {name} is settled", lambda: _settled(shop, name), _SETTLED_S)

    first = _change(shop, name, "first")
    began_at = shop.ctx.clock.now()
    second = _change(shop, name, "second")
    shop.seen(f"function {name} is updated", lambda: _settled(shop, name), _SETTLED_S)
    yield figure(Key.FUNCTION_UPDATE, UPDATED, shop.since(began_at))
    yield _told(TWICE, second if first is None else first)


def _change(shop: Workshop, name: str, text: str) -> str | None:
    """Write its description; the code with which that was refused, None when it was taken."""
    client = shop.aws.client("lambda")
    with aws_errors(f"changing function {name}"):
        try:
            client.update_function_configuration(FunctionName=name, Description=text)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if status != 409 and error.response.get("Error", {}).get("Code") not in BUSY:
                raise
            return str(error.response.get("Error", {}).get("Code", ""))
    return None


def _settled(shop: Workshop, name: str) -> bool | None:
    with aws_errors(f"reading function {name}"):
        found = shop.aws.client("lambda").get_function_configuration(FunctionName=name)
    return (found.get("State", "Active"), found.get("LastUpdateStatus", "Successful")) == (
        "Active",
        "Successful",
    ) or None


def _told(about: str, code: str | None) -> Measured:
    """What is refused with a code that faults try again, or not at all, is as drills need it."""
    if code is None:
        detail = "both changes were taken"
        return Measured(key=Key.FUNCTION_CONFLICT, about=about, here=TAKEN, holds=True, detail=detail)
    detail = "" if code in BUSY else "faults take it for final: tell those who maintain Tocsin"
    return Measured(key=Key.FUNCTION_CONFLICT, about=about, here=code, holds=code in BUSY, detail=detail)

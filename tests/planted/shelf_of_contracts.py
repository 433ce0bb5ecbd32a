"""Answers that are none: redirects, second attempts, refusals, and what a second file of a contract promises.

And messages: of the wrong form, kept from the tap, or tapped where a worker needs them.
"""

from __future__ import annotations

from tests.planted.bench import Bench
from tests.planted.shelf import filter_subscription, planted

from tocsin.model.verdict import Reason

SYNTHETICS, CONTRACT = "synthetics/bell.py", "contracts/bell.openapi.yaml"

_SIGN_IN = """\
def stock(event, context):
    return {"statusCode": 302, "headers": {"location": "/login"}}


def supplied_stock(event, context):
"""
_SECOND_TIME = """\
with api.step("there are bells"):
        api.get("/stock")
        assert next(TRIES) % 2, "no bells at first"
"""
_GUARDED = """\
def guarded(handler):
    def guard(event, context):
        if "x-schemathesis-testcaseid" in event["headers"]:
            return answer(403, {"message": "no scanners"})
        return handler(event, context)

    return guard


api, stock = guarded(api), guarded(stock)


def log(event, order):
"""
_IN_WORDS = """\
get:
  responses:
    "200":
      description: what there is
      content:
        application/json:
          schema: {type: object, required: [bells], properties: {bells: {type: string}}}
"""


@planted(
    "a page to sign in taken for an answer",
    "outage",
    "guard:canaries",
    Reason.REFUSED,
    "GET /stock: expected a status of success .2xx., found 302, a redirect to /login",
)
def sign_in(bench: Bench) -> None:
    bench.edit(SYNTHETICS, 'assert api.get("/stock").json()["bells"] > 0', 'api.get("/stock")')
    bench.code("def stock(event, context):\n", _SIGN_IN)


@planted(
    "a canary that lives on its retries",
    "outage",
    "canaries:before",
    Reason.CANARY_FAILED,
    "order passed only at its second attempt in .* no bells at first",
)
def second_time(bench: Bench) -> None:
    bench.edit(SYNTHETICS, "from tocsin.canary import Journey\n", "import itertools\n\nTRIES = itertools.count()\n")
    bench.edit(SYNTHETICS, "(api: Journey)", "(api)")
    old = 'with api.step("there are bells"):\n        assert api.get("/stock").json()["bells"] > 0\n'
    bench.edit(SYNTHETICS, old, _SECOND_TIME)
    # Of a single run nobody could say whether it was a blip.
    bench.document["extensions"][0]["baseline"] = "10m"


@planted(
    "a contract test that is only refused",
    "lost supplier",
    "contract:baseline",
    Reason.NO_EVIDENCE,
    "no operation answered with success .403: ",
)
def only_refused(bench: Bench) -> None:
    path = bench.root / CONTRACT
    away = '"503": {$ref: "#/components/responses/Unavailable"}'
    refused = away.replace("503", "403")
    path.write_text(path.read_text().replace(f"        {away}\n", f"        {away}\n        {refused}\n"))
    bench.code("def log(event, order):\n", _GUARDED)


@planted(
    "a second file of the contract that promises something else",
    "lost supplier",
    "guard:canaries",
    Reason.REFUSED,
    "contract: GET /stock answered 200, but bells: 7 is not of type",
)
def other_promise(bench: Bench) -> None:
    path, other = bench.root / CONTRACT, bench.root / "contracts" / "stock.yaml"
    before, _, after = path.read_text().partition("  /stock:\n")
    path.write_text(f"{before}  /stock: {{$ref: stock.yaml}}\n  /orders:\n{after.partition('  /orders:' + chr(10))[2]}")
    other.write_text(_IN_WORDS)
    bench.after(other.unlink)


# --- messages -----------------------------------------------------------------------------------------------

TAPPED = "poison with tapped messages"


@planted(
    "a worker that announces what nobody documented",
    TAPPED,
    "messages:done:baseline",
    Reason.CONTRACT_BROKEN,
    r"OrdersDone: payload /orders/0: the value is not of type .string., found a mapping of 1 name",
)
def other_announcement(bench: Bench) -> None:
    bench.code('{"orders": done}', '{"orders": [{"order": order} for order in done]}')


@planted(
    "messages that a filter keeps from the tap",
    TAPPED,
    "messages:done:baseline",
    Reason.NO_TRAFFIC,
    r"no message came into bell-done-tap\. Is it still subscribed to bell-done.* filter",
)
def kept_from_the_tap(bench: Bench) -> None:
    filter_subscription(bench, "bell-done", {"kind": ["urgent"]})


@planted(
    "a tap on the queue of a worker",
    TAPPED,
    "guard:taps",
    Reason.REFUSED,
    "found bell-orders, the queue that bell-worker works on",
)
def worker_robbed(bench: Bench) -> None:
    bench.edit("systems/bell.yaml", "{queue: bell-done-tap, topic: bell-done}", "{queue: bell-orders}")

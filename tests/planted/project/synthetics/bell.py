"""The journey of a customer."""

from tocsin.canary import Journey


def canary_order(api: Journey) -> None:
    with api.step("the desk is open"):
        api.get("/healthz", expect=200)
    with api.step("there are bells"):
        assert api.get("/stock").json()["bells"] > 0
    with api.step("order"):
        assert api.post("/orders", json={"item": "bell"}, expect=202).json()["order"]

"""A customer's journey."""

from tocsin.canary import Journey

PATH = "/orders/1"


def canary_home(api: Journey) -> None:
    with api.step("read"):
        order = api.get(PATH, as_="customer").json()
        assert order["id"] == 1

"""Customers."""

from tocsin.load import ArrivalUser, Call, arrival


class Customer(ArrivalUser):
    @arrival(weight=9, name="POST /orders")
    def order(self, call: Call) -> None:
        call.post("/orders", json={"item": "bell"})

    @arrival(weight=1, name="GET /healthz")
    def look(self, call: Call) -> None:
        call.get("/healthz")

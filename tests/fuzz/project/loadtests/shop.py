"""What customers do."""

from tocsin.load import ArrivalUser, Call, arrival


class Customer(ArrivalUser):
    @arrival(weight=1, name="GET /orders/{id}")
    def order(self, call: Call) -> None:
        """Look at an order."""
        call.get("/orders/1", as_="customer")

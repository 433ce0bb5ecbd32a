"""All planted bugs, in the order in which the documentation shows them."""

from __future__ import annotations

from tests.planted import (
    shelf_of_account_alarms,
    shelf_of_actors,
    shelf_of_contracts,
    shelf_of_denials,
    shelf_of_evaluation,
    shelf_of_evidence,
    shelf_of_judgements,
    shelf_of_machines,
    shelf_of_time,
)
from tests.planted.shelf import SHELF, Planted

__all__ = [
    "SHELF",
    "Planted",
    "shelf_of_account_alarms",
    "shelf_of_actors",
    "shelf_of_contracts",
    "shelf_of_denials",
    "shelf_of_evaluation",
    "shelf_of_evidence",
    "shelf_of_judgements",
    "shelf_of_machines",
    "shelf_of_time",
]

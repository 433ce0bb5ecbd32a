"""Production time and wall time of the sandbox."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """Converts durations between production time and wall time.

    `scale` is how many production seconds pass in one wall second (60: a minute in one second). Request
    latency and Lambda timeouts are never converted: a caller waits real milliseconds.
    """

    scale: float

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"expected a time scale above 0, found {self.scale}")

    def wall(self, production_s: float) -> float:
        """Wall seconds that a production duration lasts here."""
        return production_s / self.scale

    def production(self, wall_s: float) -> float:
        """Production seconds that a wall duration stands for."""
        return wall_s * self.scale

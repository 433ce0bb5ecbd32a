"""What a proof is bound to: hashes of what was written when a drill ran."""

from __future__ import annotations

from tocsin.model.base import Model


class Definitions(Model):
    """SHA-256, in hexadecimal, of what people wrote: of its values, so that a comment changes nothing."""

    experiment: str
    system: str
    """what the system file says beside alarms, promises and titles"""
    alarms: dict[str, str]
    """name -> of its definition, for each that the experiment judges; with Prometheus, of all rules"""

    def changed_since(self, then: Definitions, alarm: str | None) -> tuple[str, ...]:
        """What differs from what was written then; of the alarms only `alarm`, or all for None."""
        names = [name for name in then.alarms if alarm in (None, name)]
        changed = [f"alarm {name}" for name in names if self.alarms.get(name) != then.alarms[name]]
        changed += ["experiment"] if self.experiment != then.experiment else []
        return (*changed, "system") if self.system != then.system else tuple(changed)

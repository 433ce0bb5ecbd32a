"""What Chaos Toolkit puts in place of `${name}`: the values of `configuration` and `secrets`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chaoslib import substitute
from chaoslib.configuration import load_configuration
from chaoslib.exceptions import InvalidExperiment
from chaoslib.secret import HAS_HVAC, load_secrets

from tocsin.errors import InvalidInput
from tocsin.masking import KNOWN, KnownSecrets
from tocsin.model.toolkit import Activity, ExperimentFile, FromVault, Location, is_pause

Complaint = Callable[[str, Location], InvalidInput]
"""Makes the error of a message and the place in the file that it is about."""


def _unplaced(message: str, location: Location) -> InvalidInput:
    return InvalidInput(f"{'.'.join(str(part) for part in location)}: {message}")


@dataclass(frozen=True)
class Variables:
    """The values of one run. Controls may change those of `configuration`, as in Chaos Toolkit."""

    configuration: dict[str, Any]
    secrets: dict[str, Any]
    _declared: KnownSecrets = field(default_factory=KnownSecrets, repr=False, compare=False)

    @classmethod
    def of(cls, toolkit: ExperimentFile, invalid: Complaint = _unplaced) -> Variables:
        """Read them from the experiment, the environment and the vault; the secrets are never shown from then on.

        Raises:
            InvalidInput: one of them cannot be had.
        """
        configuration: dict[str, Any] = {}
        secrets: dict[str, Any] = {}
        written = toolkit.document()
        for name, value in written.get("configuration", {}).items():
            configuration |= _loaded(("configuration", name), lambda one: load_configuration(one), value, invalid)
        for name, value in written.get("secrets", {}).items():
            if not HAS_HVAC and any(isinstance(one, FromVault) for one in toolkit.secrets[name].values()):
                raise invalid(
                    "expected hvac for a secret of a vault: install chaostoolkit-lib[vault]", ("secrets", name)
                )
            secrets |= _loaded(("secrets", name), lambda one: load_secrets(one, configuration), value, invalid)
        variables = cls(configuration, secrets)
        for known in (KNOWN, variables._declared):
            known.learn_leaves(secrets)
        KNOWN.learn_named(written)
        return variables

    def have_secret(self, text: str) -> bool:
        """Whether a text holds a value of `secrets`."""
        return self._declared.hide(text) != text

    def fill(self, value: Any) -> Any:
        """A copy of a value with every `${name}` replaced that has a value; a text that is only one takes its type."""
        return substitute(value, self.configuration, self.secrets)

    def filled(self, activity: Activity) -> Activity:
        """The activity with the arguments that it will be called with."""
        provider = activity.provider
        arguments = self.fill(provider.arguments)
        return activity.model_copy(update={"provider": provider.model_copy(update={"arguments": arguments})})

    def pauses(self, activity: Activity) -> tuple[float, float]:
        """Wall seconds to wait before and after an activity.

        Raises:
            InvalidInput: one of them has no number as its value.
        """
        return self.pause(activity, "before"), self.pause(activity, "after")

    def pause(self, activity: Activity, when: str, invalid: Complaint = _unplaced, at: Location = ()) -> float:
        """One of them; `at` is the place of the activity in its file."""
        written = activity.pauses.before if when == "before" else activity.pauses.after
        value = self.fill(written) if isinstance(written, str) else written
        if is_pause(value):
            return float(value)
        kind = "nothing" if value == written else f"a value of the type {type(value).__name__}"
        raise invalid(
            f"expected seconds, a day at most, as the value of {written}, found {kind}. A value of the environment "
            "is a text unless it has an `env_var_type`",
            (*at, "pauses", when),
        )

    def paused_wall_s(self, activities: Iterable[Activity]) -> float:
        """Wall seconds that these activities pause in all."""
        return sum(sum(self.pauses(activity)) for activity in activities)


def _loaded(
    at: Location, load: Callable[[dict[str, Any]], Mapping[str, Any]], value: Any, invalid: Complaint
) -> Mapping[str, Any]:
    try:
        return load({str(at[-1]): value})
    except InvalidExperiment as error:
        raise invalid(f"Chaos Toolkit: {error}", at) from None
    except Exception as error:  # a text that is no number, a vault that does not answer; the text may be a secret
        raise invalid(f"expected a value that can be had, found {type(error).__name__} instead", at) from None

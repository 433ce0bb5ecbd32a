"""Chaos Toolkit's controls: functions that are called before and after an experiment and each of its parts.

Chaos Toolkit leaves out a control that fails and goes on. Here it is told, and what it should have guarded has failed.
A control may look at what it is given and may change the configuration. When it changes what would be done, that is
told too and not done: the guards have been asked about what is written.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any, Literal

from chaoslib.control import get_context_controls
from chaoslib.control.python import apply_python_control, cleanup_control, initialize_control
from chaoslib.exceptions import InterruptExecution

from tocsin.actors.variables import Variables
from tocsin.model.toolkit import Control, Document, ExperimentFile

Level = Literal["experiment", "hypothesis", "method", "rollback", "activity"]
_CALLED = tuple(
    f"{when}_{level}_control"
    for when in ("before", "after")
    for level in ("experiment", "hypothesis", "method", "rollback", "activity")
)
_ACTED_ON = ("steady-state-hypothesis", "method", "rollbacks")


class Controls:
    """The controls of one experiment.

    `interrupt` is told why a control wants the experiment to end (`InterruptExecution` of chaoslib). Each is called
    within `around`: where activities are, too.
    """

    def __init__(
        self,
        toolkit: ExperimentFile,
        variables: Variables,
        interrupt: Callable[[str], None],
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._written = toolkit.document()
        self._shown = toolkit.document()
        self._declared = {control.name: control for _, control in toolkit.every_control()}
        self._variables = variables
        self._interrupt = interrupt
        self._around = around

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self._declared)

    def configure(self) -> None:
        """Let each prepare itself.

        Raises:
            BaseException: whatever one of them raises, sys.exit too.
        """
        configuration, secrets = self._variables.configuration, self._variables.secrets
        with self._around():
            for control in self._declared.values():
                initialize_control(control.document(), self._shown, configuration, secrets)

    def clean_up(self) -> str | None:
        """Let each tidy up; why the first of them failed."""
        with self._around():
            found = [
                _tried(f"control '{one.name}'", cleanup_control, one.document()) for one in self._declared.values()
            ]
        return _first(found)

    def before(self, level: Level, context: Document | None = None) -> str | None:
        """Call those that come before a part; None when all is well, else why the part must not begin.

        `context` is the activity or the hypothesis; the other levels are about the experiment.
        """
        return self._call(level, "before", context, None)

    def after(self, level: Level, context: Document | None, state: Any) -> str | None:
        """Call those that come after a part; `state` is what is known of it by now."""
        return self._call(level, "after", context, state)

    def _call(self, level: Level, scope: str, context: Document | None, state: Any) -> str | None:
        if not self.any:
            return None
        shown = self._shown if context is None else deepcopy(context)
        found = {control["name"]: control for control in get_context_controls(level, self._shown, shown)}
        due = [control for control in found.values() if control.get("scope") in (None, scope)]
        with self._around():
            return _first([self._apply(control, level, scope, shown, context, state) for control in due])

    def _apply(
        self, control: Document, level: Level, scope: str, shown: Document, context: Document | None, state: Any
    ) -> str | None:
        what = f"control '{control['name']}' {scope} the {level}"
        why = _tried(what, self._apply_one, control, f"{level}-{scope}", shown, state)
        if why is not None:
            return why
        if _acts(self._shown) != _acts(self._written) or (context is not None and shown != context):
            return f"{what} changed what would be done: what is written is what the guards are asked about"
        return None

    def _apply_one(self, control: Document, level: str, shown: Document, state: Any) -> None:
        try:
            apply_python_control(
                level=level,
                control=control,
                experiment=self._shown,
                context=shown,
                state=state,
                configuration=self._variables.configuration,
                secrets=self._variables.secrets,
            )
        except InterruptExecution as error:
            self._interrupt(f"control '{control['name']}' ended the drill: {error}")
            raise


def problem_of(control: Control) -> str | None:
    """Why a control cannot be used in a drill; None when it can."""
    module = control.provider.module
    try:
        loaded = importlib.import_module(module)
        configure = getattr(loaded, "configure_control", None)
        asks = () if configure is None else tuple(inspect.signature(configure).parameters)
    except (Exception, SystemExit) as error:  # importing a module is running it
        return f"expected a module of controls, found none that can be imported: {module} ({error})"
    if configure is None and not any(hasattr(loaded, name) for name in _CALLED):
        return f"expected {module} to have one of {', '.join(_CALLED)}, found none: it would never be called"
    if "event_registry" in asks:
        return (
            f"expected a control that is called before and after parts, found that {module} asks for the event "
            "registry of Chaos Toolkit's own runs, which a drill does not have"
        )
    return None


def _acts(experiment: Document) -> list[Any]:
    return [experiment.get(part) for part in _ACTED_ON]


def _tried(what: str, call: Callable[..., Any], *arguments: Any) -> str | None:
    try:
        call(*arguments)
    except BaseException as error:  # a control is anybody's code: whatever it raises, sys.exit too, is that it failed
        return f"{what}: {type(error).__name__}: {error}"
    return None


def _first(found: Iterable[str | None]) -> str | None:
    return next((one for one in found if one is not None), None)

"""The kill switch: a file on this machine, and an SSM parameter that any colleague can set by hand.

    aws ssm put-parameter --name /tocsin/stop --type String --value "paying customers are on this"

Its being there is what counts; the value is the reason. A running drill ends, undoes and reports; no other begins.
As a SecureString it stops as well: it is never decrypted, so that no right to a key is needed to be stopped.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tocsin.aws.target import Target, aws_errors
from tocsin.errors import NotFound, Refused
from tocsin.guards.base import PARAMETERS
from tocsin.project.places import project_directory

PARAMETER = f"{PARAMETERS}stop"
_GUARD = "kill-switch"
_LONGEST_REASON = 1000
"""A parameter holds 4 KB; a reason is a sentence."""
_SECURE = "SecureString"
_ENCRYPTED = f"encrypted, a {_SECURE}: whoever set it knows why"


def stop_file(root: Path, target: str) -> Path:
    """The kill switch of a target on this machine; of all workers of a run side by side."""
    return project_directory(root) / "stop" / target


@dataclass(frozen=True)
class KillSwitch:
    """The kill switch of one target, in both places."""

    root: Path
    target: Target

    def check(self) -> str:
        """Look at both places.

        Raises:
            Refused: somebody pulled it, or the file cannot be read.
            TargetError: the account did not say.
        """
        self.check_here()
        reason = self._parameter()
        if reason is not None:
            raise Refused(_GUARD, self._refusal(f"the parameter {PARAMETER} set: {reason!r}"))
        return f"neither here nor as {PARAMETER}"

    def check_here(self) -> str:
        """Look at the file of this machine only.

        Raises:
            Refused: somebody pulled it, or the file cannot be read.
        """
        path = stop_file(self.root, self.target.name)
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                reason = file.read(_LONGEST_REASON).strip()
        except FileNotFoundError:
            return "not here"
        except OSError as error:
            raise Refused(_GUARD, f"expected to read the kill switch {path}, found: {error.strerror}.") from error
        raise Refused(_GUARD, self._refusal(f"it set on this machine: {reason!r}"))

    def _refusal(self, found: str) -> str:
        return (
            f"expected the kill switch of target '{self.target.name}' to be off, found {found}. "
            f"When whoever set it agrees, call `tocsin stop --clear --target {self.target.name}`."
        )

    def _parameter(self) -> str | None:
        try:
            with aws_errors(f"reading the parameter {PARAMETER}"):
                found = self.target.client("ssm").get_parameter(Name=PARAMETER)["Parameter"]
                value = str(found["Value"])
        except NotFound:
            return None
        return _ENCRYPTED if found.get("Type") == _SECURE else value

    def tell_account(self, reason: str) -> None:
        """Set the parameter. One that somebody set as a SecureString stays as it is: a type cannot be changed.

        Raises:
            TargetError: the account did not take it.
        """
        ssm = self.target.client("ssm")
        with aws_errors(f"setting the parameter {PARAMETER}"), suppress(ssm.exceptions.HierarchyTypeMismatchException):
            # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
            ssm.put_parameter(Name=PARAMETER, Type="String", Value=reason[:_LONGEST_REASON], Overwrite=True)

    def clear_account(self) -> bool:
        """Delete the parameter; whether there was one.

        Raises:
            TargetError: the account did not do it.
        """
        try:
            with aws_errors(f"deleting the parameter {PARAMETER}"):
                self.target.client("ssm").delete_parameter(Name=PARAMETER)
        except NotFound:
            return False
        return True


def set_file(root: Path, target: str, reason: str) -> Path:
    """Pull the kill switch on this machine; where it is then.

    Raises:
        OSError: the file cannot be made.
    """
    path = stop_file(root, target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with suppress(OSError):  # on a full disk the reason has no room: that the file is there is what counts
        path.write_text(f"{reason[:_LONGEST_REASON]}\n", encoding="utf-8")
    return path

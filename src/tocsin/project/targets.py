"""`tocsin.toml`: the named places where drills may run. Without the file there is one, the sandbox."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from pydantic import ConfigDict, Field, model_validator

from tocsin.aws.target import Target
from tocsin.errors import InvalidInput, SandboxError, near_match
from tocsin.model.base import Model
from tocsin.model.rules import GuardRules
from tocsin.model.system import System
from tocsin.project.documents import parse_model, read_document
from tocsin.project.places import work_directory

SANDBOX = "sandbox"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class TargetSpec(GuardRules):
    """One `[targets.NAME]` table: an AWS account and region, or any endpoint that speaks the AWS API."""

    account: str = Field(pattern=r"^\d{12}$", description="account id; a drill is refused anywhere else")
    region: str
    profile: str | None = Field(default=None, description="profile of the AWS configuration files")
    role_arn: str | None = Field(
        default=None, pattern=r"^arn:[a-z-]+:iam::\d{12}:role/.+$", description="role to assume, renewed by itself"
    )
    endpoint_url: str | None = Field(default=None, description="an AWS-compatible API other than AWS")
    dead_man_role: str | None = Field(
        default=None,
        pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$",
        description="role under which EventBridge Scheduler ends a fault that nobody is left to undo",
    )
    scale: float = Field(default=1.0, gt=0, description="production seconds per second; above 1 only for emulators")
    timeout_s: float = Field(
        default=20.0, gt=0, description="how long one call of the AWS API may take, in wall seconds"
    )

    @model_validator(mode="after")
    def _real_accounts_opt_in(self) -> TargetSpec:
        if self.endpoint_url is None and self.opt_in == {}:
            raise ValueError("expected at least one tag in `opt_in` of a real account, found none")
        if self.endpoint_url is None and self.scale != 1.0:
            raise ValueError(f"expected no `scale` without `endpoint_url`: AWS's clock cannot run {self.scale:g}x")
        _need_tags(self.max_percent, self.rules)
        return self

    @property
    def rules(self) -> GuardRules:
        """What its guards keep: on a real account also what is not said."""
        own = {name: getattr(self, name) for name in GuardRules.model_fields}
        rules = GuardRules.model_construct(**own)
        return rules if self.endpoint_url is not None else rules.for_account()


class SandboxSpec(GuardRules):
    """The table `[targets.sandbox]`: guards only, so that they can be tried without an account."""

    @model_validator(mode="after")
    def _share_of_something(self) -> SandboxSpec:
        _need_tags(self.max_percent, self)
        return self


def _need_tags(max_percent: float | None, rules: GuardRules) -> None:
    if max_percent is not None and not rules.opt_in:
        raise ValueError("expected `opt_in` tags beside `max_percent`: it is a share of the resources with them")


class Targets(Model):
    """All `[targets.NAME]` tables. The sandbox needs none."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, TargetSpec]

    sandbox: SandboxSpec = Field(default_factory=SandboxSpec)

    @model_validator(mode="after")
    def _names_of_files(self) -> Targets:
        for name in self.accounts:
            if not is_possible_name(name):
                raise ValueError(
                    f"expected the name of a target to be of letters, digits, '.', '_' and '-' and to begin with one "
                    f"of the first two, found {name!r}: its ledger and its locks are files of that name"
                )
        return self

    @property
    def accounts(self) -> dict[str, TargetSpec]:
        """Every target but the sandbox, by name."""
        return self.__pydantic_extra__ or {}


class ProjectFile(Model):
    """The whole of `tocsin.toml`."""

    targets: Targets = Field(default_factory=Targets)


def load_target(root: Path, name: str) -> Target:
    """The target of that name.

    Raises:
        InvalidInput: `tocsin.toml` cannot be used, or does not name it.
        SandboxError: it is the sandbox, and the sandbox is not running.
    """
    targets = read_project(root).targets
    if name == SANDBOX:
        return _running_sandbox(root, targets.sandbox)
    known = targets.accounts
    if name not in known:
        raise InvalidInput(
            f"expected a target, found '{name}'. {near_match(name, [*known, SANDBOX])} "
            "Targets are tables [targets.NAME] in this file.",
            file=root / "tocsin.toml",
        )
    spec = known[name]
    return Target(
        name=name,
        region=spec.region,
        account=spec.account,
        profile=spec.profile,
        role_arn=spec.role_arn,
        endpoint_url=spec.endpoint_url,
        dead_man_role=spec.dead_man_role,
        scale=spec.scale,
        timeout_s=spec.timeout_s,
        rules=spec.rules,
    )


def in_region(target: Target, system: System) -> Target:
    """The sandbox holds systems of several regions side by side; a target of tocsin.toml is one region."""
    return replace(target, region=system.region) if target.name == SANDBOX else target


def check_target_name(root: Path, name: str) -> None:
    """Whether `name` can be a target at all, without touching it.

    Raises:
        InvalidInput: it cannot.
    """
    if name == SANDBOX:
        read_project(root)
    else:
        load_target(root, name)


def is_possible_name(name: str) -> bool:
    """Whether a target may have this name, whatever `tocsin.toml` says: it is that of a file."""
    return _NAME.fullmatch(name) is not None


def read_project(root: Path) -> ProjectFile:
    """Parse `tocsin.toml`; an absent file is an empty one.

    Raises:
        InvalidInput: not TOML, or with names or values that mean nothing here.
    """
    path = root / "tocsin.toml"
    if not path.exists():
        return ProjectFile()
    document = read_document(path)
    return parse_model(ProjectFile, document.data, document)


def sandbox_state_file(root: Path) -> Path:
    """Where a running sandbox says how it can be reached."""
    return work_directory(root) / "sandbox" / "state.json"


def _running_sandbox(root: Path, rules: GuardRules) -> Target:
    path = sandbox_state_file(root)
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        # Where IAM is enforced there is a user for drills; elsewhere everybody is root.
        key = state.get("drill_user") or state["root"]
        return Target(
            name=SANDBOX,
            region=state["region"],
            account=state["account_id"],
            endpoint_url=state["endpoint_url"],
            scale=float(state["time_scale"]),
            access_key_id=key["access_key_id"],
            secret_access_key=key["secret_access_key"],
            door_token=state["token"],
            rules=rules,
        )
    except (OSError, KeyError, ValueError) as error:
        raise SandboxError(
            f"expected a running sandbox, found none under {path.parent}. Start it with `tocsin sandbox up SYSTEM`."
        ) from error

"""One function with its versions, an alias, and what it reads."""

from __future__ import annotations

import base64
import hashlib
from copy import deepcopy
from typing import Any

from tests.faults.stub.clock import Clock
from tests.faults.stub.errors import Asked, StubError

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:desk"
_QUEUE = "arn:aws:sqs:eu-west-1:123456789012:orders"


class Lambda:
    """`latest` is $LATEST as GetFunctionConfiguration shows it; `code` holds packages by their CodeSha256."""

    def __init__(self, clock: Clock) -> None:
        self.code: dict[str, bytes] = {}
        self.latest: Asked = {
            "FunctionName": "desk",
            "FunctionArn": ARN,
            "Version": "$LATEST",
            "Runtime": "python3.12",
            "Handler": "desk.handle",
            "PackageType": "Zip",
            "CodeSize": 1000,
            "Architectures": ["arm64"],
            "CodeSha256": self._keep(b"the good code"),
            "LastUpdateStatus": "Successful",
            "Environment": {"Variables": {"PASSWORD": "a-long-password", "BASE_URL": "https://till.example.com"}},
        }
        self.source_key: str | None = "arn:aws:kms:eu-west-1:123456789012:key/one"
        self.versions: list[Asked] = []
        self._number = 0
        self.publish_version({"FunctionName": "desk", "Description": "the first"})
        routing: Asked = {"AdditionalVersionWeights": {}}
        self.alias: Asked = {"Name": "live", "FunctionVersion": "1", "RoutingConfig": routing}
        self.reserved: int | None = None
        self.unreserved = 900
        self.provisioned: dict[str, Asked] = {}
        self.mappings: list[Asked] = [
            {"UUID": "0a1b2c3d-0000-4000-8000-000000000001", "EventSourceArn": _QUEUE, "State": "Enabled"}
        ]

    def _keep(self, code: bytes) -> str:
        digest = base64.b64encode(hashlib.sha256(code).digest()).decode()
        self.code[digest] = code
        return digest

    def _at(self, asked: Asked) -> Asked:
        if asked["FunctionName"] != "desk":
            raise StubError("ResourceNotFoundException")
        wanted = asked.get("Qualifier", "$LATEST")
        found = [one for one in (self.latest, *self.versions) if one["Version"] == wanted]
        if not found:
            raise StubError("ResourceNotFoundException")
        return found[0]

    # ------------------------------------------------------------------------------------------------ code

    def get_function_configuration(self, asked: Asked) -> Asked:
        return deepcopy(self._at(asked))

    def update_function_configuration(self, asked: Asked) -> Asked:
        self._at(asked)["Environment"] = deepcopy(asked["Environment"])
        return {}

    def list_versions_by_function(self, asked: Asked) -> Asked:
        self._at(asked)
        return {"Versions": deepcopy([self.latest, *self.versions])}

    def publish_version(self, asked: Asked) -> Asked:
        self._number += 1
        version = {**deepcopy(self.latest), "Version": str(self._number), "Description": asked["Description"]}
        self.versions.append(version)
        return deepcopy(version)

    def delete_function(self, asked: Asked) -> None:
        assert asked["Qualifier"] != "$LATEST"
        self.versions.remove(self._at(asked))

    def get_function(self, asked: Asked) -> Asked:
        found = self._at(asked)
        key = {} if self.source_key is None else {"SourceKMSKeyArn": self.source_key}
        return {"Code": {"Location": f"https://code.example.com/{found['CodeSha256']}", **key}}

    def update_function_code(self, asked: Asked) -> Asked:
        self._at(asked)["CodeSha256"] = self._keep(asked["ZipFile"])
        self._at(asked)["Architectures"] = asked.get("Architectures", ["x86_64"])  # the documented default
        self.source_key = asked.get("SourceKMSKeyArn")
        return {}

    def get_alias(self, asked: Asked) -> Asked:
        return deepcopy(self.alias)

    def update_alias(self, asked: Asked) -> Asked:
        self.alias |= {"FunctionVersion": asked["FunctionVersion"], "RoutingConfig": deepcopy(asked["RoutingConfig"])}
        return {}

    # ------------------------------------------------------------------------------------------------ concurrency

    def get_account_settings(self, asked: Asked) -> Asked:
        return {"AccountLimit": {"UnreservedConcurrentExecutions": self.unreserved}}

    def get_function_concurrency(self, asked: Asked) -> Asked:
        self._at(asked)
        return {} if self.reserved is None else {"ReservedConcurrentExecutions": self.reserved}

    def put_function_concurrency(self, asked: Asked) -> Asked:
        self.reserved = asked["ReservedConcurrentExecutions"]
        return {}

    def delete_function_concurrency(self, asked: Asked) -> None:
        self.reserved = None

    def list_provisioned_concurrency_configs(self, asked: Asked) -> Asked:
        found = [{"FunctionArn": f"{ARN}:{name}", **config} for name, config in self.provisioned.items()]
        return {"ProvisionedConcurrencyConfigs": found}

    def put_provisioned_concurrency_config(self, asked: Asked) -> Asked:
        self.provision(asked["Qualifier"], asked["ProvisionedConcurrentExecutions"])
        return {}

    def provision(self, qualifier: str, count: int, allocated: int | None = None) -> None:
        """Provisioned concurrency that is allocated, as a rule in whole."""
        there = count if allocated is None else allocated
        self.provisioned[qualifier] = {
            "RequestedProvisionedConcurrentExecutions": count,
            "AllocatedProvisionedConcurrentExecutions": there,
            "Status": "READY" if there == count else "IN_PROGRESS",
        }

    def delete_provisioned_concurrency_config(self, asked: Asked) -> None:
        self.provisioned.pop(asked["Qualifier"], None)

    # ------------------------------------------------------------------------------------------------ event sources

    def list_event_source_mappings(self, asked: Asked) -> Asked:
        return {"EventSourceMappings": deepcopy(self.mappings)}

    def get_event_source_mapping(self, asked: Asked) -> Asked:
        return deepcopy(self._mapping(asked["UUID"]))

    def update_event_source_mapping(self, asked: Asked) -> Asked:
        self._mapping(asked["UUID"])["State"] = "Enabled" if asked["Enabled"] else "Disabled"
        return {}

    def _mapping(self, uuid: str) -> dict[str, Any]:
        for mapping in self.mappings:
            if mapping["UUID"] == uuid:
                return mapping
        raise StubError("ResourceNotFoundException")

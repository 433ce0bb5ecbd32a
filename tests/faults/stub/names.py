"""Topics that alarms tell, and parameters that name things."""

from __future__ import annotations

from tests.faults.stub.clock import Clock
from tests.faults.stub.errors import Asked, StubError


class Topics:
    """`attributes` of each, by ARN."""

    def __init__(self, clock: Clock) -> None:
        self.attributes: dict[str, dict[str, str]] = {}

    def get_topic_attributes(self, asked: Asked) -> Asked:
        if asked["TopicArn"] not in self.attributes:
            raise StubError("NotFound", "Topic does not exist")
        return {"Attributes": self.attributes[asked["TopicArn"]]}


class Parameters:
    """Parameters by name: a value, and a key where it is a SecureString."""

    def __init__(self, clock: Clock) -> None:
        self.values: dict[str, str] = {}
        self.keys: dict[str, str] = {}

    def _type(self, name: str) -> str:
        return "SecureString" if name in self.keys else "String"

    def get_parameter(self, asked: Asked) -> Asked:
        name = asked["Name"]
        if name not in self.values:
            raise StubError("ParameterNotFound", name)
        value = self.values[name] if name not in self.keys or asked.get("WithDecryption") else "AQICAHgcipher"
        return {"Parameter": {"Name": name, "Type": self._type(name), "Value": value}}

    def describe_parameters(self, asked: Asked) -> Asked:
        (wanted,) = asked["ParameterFilters"]
        assert (wanted["Key"], wanted["Option"]) == ("Name", "Equals")
        found = [name for name in wanted["Values"] if name in self.values]
        shown = [{"Name": name, "Type": self._type(name)} for name in found]
        return {
            "Parameters": [
                {**one, **({"KeyId": self.keys[one["Name"]]} if one["Name"] in self.keys else {})} for one in shown
            ]
        }

"""A type of resource without a sandbox: what is made, changed and removed, and what is left when that fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import botocore.session
import pytest

from tocsin.sandbox.services.cloudformation import resources
from tocsin.sandbox.services.cloudformation.requests import InvalidProperties, ResourceFailed, handler_code, typed
from tocsin.sandbox.services.cloudformation.resources import Part, Properties, Resource, ResourceType
from tocsin.sandbox.services.cloudformation.table import TABLE


def no_call(service: str, operation: str, **request: Any) -> Mapping[str, Any]:
    raise AssertionError(f"{service} {operation} {request}")


def resource(physical_id: str = "bell-1") -> Resource:
    return Resource(no_call, "123456789012", "eu-west-1", "tower", "Bell", physical_id)


class Foundry:
    """Makes bells of a tone and a weight; the weight cannot be 0."""

    def __init__(self) -> None:
        self.there: dict[str, Any] = {}

    def make(self, made: Resource, properties: Properties) -> str:
        self.there = {"Tone": properties.get("Tone")}
        return made.name(properties.get("Name"), 20)

    def tune(self, made: Resource, new: Properties, old: Properties) -> None:
        del made, old
        self.there["Tone"] = new.get("Tone")

    def tune_once(self, made: Resource, new: Properties, old: Properties) -> None:
        if self.there["Tone"] == "d":
            raise ResourceFailed("it is tuned", "ResourceConflict")
        self.tune(made, new, old)

    def tagged(self, made: Resource, new: Properties, old: Properties) -> None:
        del made, old
        self.there["Weight"] = new["Weight"]["Key"]

    def weigh(self, made: Resource, new: Properties, old: Properties) -> None:
        del made, old
        if new.get("Weight") == 0:
            raise ResourceFailed("too light", "InvalidRequest")
        self.there["Weight"] = new.get("Weight")

    def melt(self, made: Resource, properties: Properties) -> None:
        del made, properties
        if not self.there:
            raise ResourceFailed("no such bell", "NotFound")
        self.there = {}

    @property
    def kind(self) -> ResourceType:
        return ResourceType(
            "My::Bell",
            create=self.make,
            delete=self.melt,
            attributes=lambda made, _: {"Arn": made.arn("bells", made.physical_id)},
            required=("Tone",),
            replaces=("Name",),
            parts=(Part(("Tone",), self.tune, made=True), Part(("Weight",), self.weigh)),
        )


def test_a_resource_is_made_with_all_its_parts() -> None:
    foundry = Foundry()
    made, attributes = resources.create(foundry.kind, resource(""), {"Tone": "c", "Weight": 9, "Name": "big"})
    assert foundry.there == {"Tone": "c", "Weight": 9}
    assert (made.physical_id, attributes["Arn"]) == ("big", "arn:aws:bells:eu-west-1:123456789012:big")


def test_of_a_resource_that_could_not_be_finished_nothing_is_left() -> None:
    foundry = Foundry()
    with pytest.raises(ResourceFailed, match="too light"):
        resources.create(foundry.kind, resource(""), {"Tone": "c", "Weight": 0})
    assert foundry.there == {}


def test_a_change_sends_the_parts_that_differ() -> None:
    foundry = Foundry()
    foundry.there = {"Tone": "by hand", "Weight": 9}
    resources.update(foundry.kind, resource(), {"Tone": "c", "Weight": 8}, {"Tone": "c", "Weight": 9})
    assert foundry.there == {"Tone": "by hand", "Weight": 8}


def test_half_a_change_is_taken_back() -> None:
    foundry = Foundry()
    foundry.there = {"Tone": "c", "Weight": 9}
    with pytest.raises(ResourceFailed, match="too light"):
        resources.update(foundry.kind, resource(), {"Tone": "d", "Weight": 0}, {"Tone": "c", "Weight": 9})
    assert foundry.there == {"Tone": "c", "Weight": 9}


def test_what_cannot_be_taken_back_does_not_hide_the_cause() -> None:
    foundry = Foundry()
    foundry.there = {"Tone": "c", "Weight": 9}
    kind = replace(foundry.kind, parts=(Part(("Tone",), foundry.tune_once), Part(("Weight",), foundry.weigh)))
    with pytest.raises(ResourceFailed, match="too light What was done before stays: it is tuned"):
        resources.update(kind, resource(), {"Tone": "d", "Weight": 0}, {"Tone": "c", "Weight": 9})
    assert foundry.there["Tone"] == "d"


def test_what_is_gone_is_removed() -> None:
    foundry = Foundry()
    resources.remove(foundry.kind, resource(), {"Tone": "c"})


def test_a_property_of_another_form_leaves_nothing_either() -> None:
    foundry = Foundry()
    kind = replace(foundry.kind, parts=(Part(("Tone",), foundry.tune, made=True), Part(("Weight",), foundry.tagged)))
    with pytest.raises(ResourceFailed, match="has not the form that its type wants: KeyError"):
        resources.create(kind, resource(""), {"Tone": "c", "Weight": {}})
    assert foundry.there == {}


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({}, "required key \\[Tone\\] not found"),
        (
            {"Tone": "c", "Colour": "red"},
            "\\[Colour\\] is not permitted: of My::Bell the sandbox has Name, Tone, Weight",
        ),
    ],
)
def test_properties_are_looked_at_before_anything_is_made(properties: Properties, said: str) -> None:
    foundry = Foundry()
    with pytest.raises(InvalidProperties, match=f"Properties validation failed for resource Bell.*{said}"):
        resources.create(foundry.kind, resource(""), properties)
    assert foundry.there == {}


def test_names_that_are_made_up_are_as_long_as_they_may_be_and_never_twice_the_same() -> None:
    names = {resource().generated(20) for _ in range(50)}
    assert len(names) == 50
    assert {len(name) for name in names} == {20}
    assert all(name.startswith("tower-B") for name in names)
    assert resource().name("given", 3) == "given"


def test_a_part_puts_only_what_the_type_has() -> None:
    for kind in TABLE.values():
        names = [name for part in kind.parts for name in part.properties]
        assert len(names) == len(set(names)), kind.name
        assert kind.properties >= set(kind.required), kind.name
        assert not set(names) & set(kind.replaces), kind.name


def shape(service: str, operation: str) -> Any:
    return botocore.session.get_session().get_service_model(service).operation_model(operation).input_shape


def test_text_gets_the_type_of_the_model() -> None:
    asked = {"FunctionName": "f", "BatchSize": "5", "Enabled": "false", "ScalingConfig": {"MaximumConcurrency": "2"}}
    assert typed(asked, shape("lambda", "CreateEventSourceMapping")) == {
        "FunctionName": "f",
        "BatchSize": 5,
        "Enabled": False,
        "ScalingConfig": {"MaximumConcurrency": 2},
    }
    rates = {"AdditionalVersionWeights": {"2": "0.5"}}
    assert typed({"RoutingConfig": rates}, shape("lambda", "CreateAlias")) == {
        "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.5}}
    }
    assert typed({"Description": True}, shape("lambda", "CreateAlias")) == {"Description": "true"}


@pytest.mark.parametrize("asked", [{"ScalingConfig": {"Most": 2}}, {"Enabled": "perhaps"}, {"BatchSize": "many"}])
def test_what_the_model_does_not_have_is_refused(asked: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Most|perhaps|many"):
        typed(asked, shape("lambda", "CreateEventSourceMapping"))


@pytest.mark.parametrize(
    ("code", "handlers"),
    [
        ("ResourceNotFoundException", "NotFound"),
        ("AWS.SimpleQueueService.NonExistentQueue", "NotFound"),
        ("ResourceAlreadyExistsException", "AlreadyExists"),
        ("ResourceConflictException", "ResourceConflict"),
        ("InvalidParameterValueException", "InvalidRequest"),
        ("AccessDenied", "AccessDenied"),
        ("SomethingElse", "GeneralServiceException"),
    ],
)
def test_an_error_of_a_service_has_the_code_of_a_handler(code: str, handlers: str) -> None:
    assert handler_code(code) == handlers

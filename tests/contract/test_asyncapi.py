"""docs/asyncapi.yaml describes the topics as they are: their names, settings, records and keys."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from consent_contracts import Topics, TopicSpec
from consent_contracts import schemas as contracts
from suppression.merge import expiry

DOCS = Path(__file__).parents[2] / "docs"
PAGE: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text("utf-8"))
BY_ADDRESS = {channel["address"]: channel for channel in PAGE["channels"].values()}


def _resolve(reference: str) -> Any:
    node: Any = PAGE
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_it_is_asyncapi_3() -> None:
    assert PAGE["asyncapi"].startswith("3.")
    assert {"info", "channels", "operations", "components"} <= set(PAGE)


def test_every_topic_is_described_and_no_other() -> None:
    assert set(BY_ADDRESS) == {spec.name for spec in Topics().specs()}


@pytest.mark.parametrize("spec", Topics().specs(), ids=lambda spec: spec.name)
def test_a_topic_is_described_as_it_is_created(spec: TopicSpec) -> None:
    channel = BY_ADDRESS[spec.name]
    described = dict(channel["bindings"]["kafka"]["topicConfiguration"]) | channel.get("x-topic-configuration", {})
    (described["cleanup.policy"],) = described["cleanup.policy"]
    assert {name: str(value) for name, value in described.items()} == spec.config
    assert tuple(channel.get("messages", {})) == spec.record_names


@pytest.mark.parametrize("name", contracts.RECORD_NAMES)
def test_a_message_points_at_its_schema(name: str) -> None:
    message = PAGE["components"]["messages"][name]
    assert message["name"] == f"{contracts.NAMESPACE}.{name}"
    schema = json.loads((DOCS / message["payload"]["schema"]["$ref"]).read_text("utf-8"))
    assert schema == contracts.current_schema(name)
    assert message["bindings"]["kafka"]["key"]["description"]


def test_every_operation_and_message_reference_resolves() -> None:
    for operation in PAGE["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert _resolve(operation["channel"]["$ref"])["address"] in BY_ADDRESS
    for channel in PAGE["channels"].values():
        for message in channel.get("messages", {}).values():
            assert _resolve(message["$ref"])["payload"]
    for message in PAGE["components"]["messages"].values():
        assert _resolve(message["headers"]["$ref"])["properties"]["ce_id"]


def test_the_date_of_an_entry_is_described_as_it_is_written() -> None:  # R37
    described = _resolve(PAGE["components"]["messages"]["SuppressionEntry"]["headers"]["$ref"])["properties"]
    name, value = expiry.next_expiry_header(1_790_000_000_000_000)
    assert re.fullmatch(described[name]["pattern"], value.decode())

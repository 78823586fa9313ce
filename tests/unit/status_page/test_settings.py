"""Which processes are asked: a wrong list ends the start, and names what is wrong. # R42"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from status_page.settings import StatusSettings, Target


def settings(tmp_path: Path, **given: Any) -> StatusSettings:
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": []}')
    given.setdefault("status_targets", "api=http://api:9464")
    return StatusSettings(**{"status_keys_file": keys, **given})


def test_targets_are_in_the_order_of_the_path_and_instances_are_numbered(tmp_path: Path) -> None:
    found = settings(tmp_path, status_targets="lag=http://lag:9470, api=http://a:1/, api=https://b:2/below,")
    assert found.targets == (
        Target(name="api 1", process="api", url="http://a:1"),
        Target(name="api 2", process="api", url="https://b:2/below"),
        Target(name="lag", process="lag", url="http://lag:9470"),
    )


def test_an_api_for_webhooks_has_its_name_and_counts_as_an_api(tmp_path: Path) -> None:
    found = settings(tmp_path, status_targets="relay=http://r:1,webhooks=http://w:1,api=http://a:1")
    assert [(each.name, each.process) for each in found.targets] == [
        ("api", "api"),
        ("webhooks", "api"),
        ("relay", "relay"),
    ]


@pytest.mark.parametrize(
    ("targets", "fault"),
    [
        ("webhook=http://a:1", "process number 1 is none of api, webhooks, relay"),
        ("", "1 to 100 processes"),
        ("api", "process number 1 requires a URL"),
        ("api=http://a:1,kafka=http://k:2", "process number 2 is none of api, webhooks, relay"),
        ("api=ftp://a", "process number 1 requires a URL"),
        ("api=http://", "process number 1 requires a URL"),
        ("api=http://a:port", "process number 1 requires a URL"),
        ("api=http://a/?x=1", "process number 1 requires a URL"),
        ("api=http://user:secret@a:1", "process number 1 has a login"),
        ("api=http://a:1,api=http://a:1", "names one process twice"),
    ],
)
def test_a_wrong_target_is_named_and_never_shown(tmp_path: Path, targets: str, fault: str) -> None:
    with pytest.raises(ValidationError) as failed:
        settings(tmp_path, status_targets=targets)
    [error] = failed.value.errors(include_input=False)
    assert fault in error["msg"]
    assert "secret" not in error["msg"]


def test_urls_lose_their_last_slash(tmp_path: Path) -> None:
    found = settings(tmp_path, status_url="https://status.example.com/", status_api_url="http://api:8080/")
    assert (found.status_url, found.status_api_url) == ("https://status.example.com", "http://api:8080")
    assert settings(tmp_path, status_url="").status_url is None

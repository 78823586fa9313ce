"""A source whose secret comes after the process is taken into use, and changes no other. # R45"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from consent_api.domain.validation import ValidationRules
from consent_api.inbound.late_sources import LateSources
from consent_api.inbound.sources import SETTING, WrongSource, followed_secrets, read_sources
from consent_service.health import Health
from consent_service.wrong_entries import WrongEntries, ignore
from tests.support import provider_webhooks as sent

RULES = ValidationRules(channels=("email",), default_region="FR")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three sources; of the second and the third there is no secret."""
    of: dict[str, Any] = {"provider": "mailgun", "channel": "email"}
    entries = [{"id": each, **of, "secrets": [{"file": each}]} for each in ("first", "second", "third")]
    (tmp_path / "first").write_text(sent.secret())
    file = tmp_path / "inbound.yaml"
    file.write_text(yaml.safe_dump({"sources": entries}))
    return file


def test_a_secret_that_comes_later_brings_its_source_into_use(file: Path) -> None:
    registry, health = CollectorRegistry(), Health()
    report = WrongEntries(registry, health, settings=(SETTING,))
    wrong: dict[str | None, int] = {None: 503}
    followed: list[str] = []

    def on_wrong(each: WrongSource) -> None:
        report(each)
        wrong[each.source_id] = each.again

    read = partial(read_sources, file, tenants=("acme",), rules=RULES)
    sources = read(on_wrong=on_wrong)
    secrets = followed_secrets(file, sources)
    late = LateSources(
        read=partial(read, on_wrong=ignore),
        secrets_of=partial(followed_secrets, file),
        follow=lambda *files: followed.extend(each.name for each in files),
        wrong_entries=report,
        sources=sources,
        secrets=secrets,
        wrong=wrong,
    )
    first, of_first = sources["first"], secrets["first"]
    late.turn()
    assert list(sources) == list(secrets) == ["first"]
    secret = sent.secret()
    (file.parent / "second").write_text(secret)
    (file.parent / "first").unlink()
    late.turn()
    assert list(sources) == list(secrets) == ["first", "second"]
    assert (sources["first"], secrets["first"]) == (first, of_first)
    assert secrets["second"].value == (secret,)
    assert followed == ["inbound-second"]
    assert set(wrong) == {None, "third"}
    assert [note.partition(": ")[0] for note in health.notes()] == [f"{SETTING} third"]
    assert registry.get_sample_value("consent_relay_wrong_entries", {"setting": SETTING}) == 1
    content = file.read_text()
    (file.parent / "third").write_text(secret)
    file.write_text("[")
    late.turn()
    assert "third" not in sources
    file.write_text(content)
    late.turn()
    assert list(sources) == ["first", "second", "third"]
    assert health.notes() == []

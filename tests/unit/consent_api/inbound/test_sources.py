"""The inbound sources file: every fault is named with its cure, and no secret is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from consent_api.domain.validation import Purposes, ValidationRules
from consent_api.errors import MisconfiguredError
from consent_api.inbound.providers import PROVIDERS
from consent_api.inbound.sources import WrongSource, followed_secrets, read_sources
from tests.support import provider_webhooks as sent

RULES = ValidationRules(channels=("sms", "email"), default_region="FR")
TOKEN = sent.secret()
GOOD: dict[str, Any] = {"id": "tool", "provider": "mailgun", "channel": "email", "secrets": [{"env": "TOKEN"}]}


def read(folder: Path, content: object, *, tenants: tuple[str, ...] = ("acme",), rules: ValidationRules = RULES) -> Any:
    file = folder / "inbound.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return read_sources(file, tenants=tenants, rules=rules, environ={"TOKEN": TOKEN, "SHORT": "x" * 8})


def test_a_source_has_its_secrets_and_its_tenant(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{TOKEN}\n")
    entry = {**GOOD, "secrets": [{"env": "TOKEN"}, {"file": "secret"}]}
    source = read(tmp_path, {"sources": [entry]})["tool"]
    assert source.keys == (TOKEN, TOKEN)
    assert source.tenant == "acme"
    assert source.purposes == ("*",)
    assert TOKEN not in repr(source)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"provider": "pigeon"}, "sources.0.provider"),
        ({"id": "A b"}, "sources.0.id"),
        ({"channel": "fax"}, "sources.tool.channel"),
        ({"tenant": "other"}, "sources.tool.tenant"),
        ({"purposes": []}, "sources.0.purposes"),
        ({"purposes": ["No slug"]}, "sources.0.purposes"),
        ({"secrets": []}, "sources.tool.secrets"),
        ({"secrets": [{"env": "ABSENT"}]}, "sources.tool.secrets.0"),
        ({"secrets": [{"env": "SHORT"}]}, "sources.tool.secrets.0"),
        ({"secrets": [{"file": "absent"}]}, "sources.tool.secrets.0"),
        ({"secrets": [{"env": "TOKEN", "file": "x"}]}, "sources.0.secrets.0"),
        ({"secrets": [TOKEN]}, "sources.0.secrets.0"),
        ({"keys": [TOKEN]}, "sources.0.keys"),
        ({"url": "consent.example.com"}, "sources.0.url"),
        ({"unknown": 1}, "sources.0.unknown"),
        ({"provider": "twilio", "channel": "sms"}, "sources.tool.url"),
        ({"provider": "aws-sns"}, "sources.tool.topics"),
        ({"provider": "sendgrid"}, "sources.tool.secrets.0"),
        ({"provider": "generic", "secrets": [{"env": "SHORT"}]}, "sources.tool.secrets.0"),
        # Each opt-out would be answered 200, and recorded of no address.
        ({"provider": "brevo", "channel": "sms"}, "sources.tool.channel"),
        ({"channel": "sms"}, "sources.tool.channel"),
        ({"provider": "vonage"}, "sources.tool.channel"),
    ],
)
def test_a_fault_is_named_with_its_cure(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    with pytest.raises(MisconfiguredError) as wrong:
        read(tmp_path, {"sources": [{**GOOD, **change}]})
    message = str(wrong.value)
    assert "CONSENT_RELAY_INBOUND_FILE" in message
    assert f"{named}:" in message
    assert TOKEN not in message


def test_a_wrong_source_concerns_its_tool_alone(tmp_path: Path) -> None:  # R45
    of_acme = {**GOOD, "tenant": "acme"}
    entries = [
        of_acme,
        {**GOOD, "id": "of-globex", "tenant": "globex", "secrets": [{"env": "ABSENT"}]},
        {**of_acme, "id": "brevo", "provider": "brevo", "channel": "fax"},
        {**of_acme, "id": "No slug"},
        of_acme,
        "nothing",
        {**of_acme, "id": "misspelt", "provider": "Brevoo"},
        {**of_acme, "id": "of-none", "provider": ["pigeon"] * 1_000},
        {**of_acme, "id": "last"},
    ]
    file = tmp_path / "inbound.yaml"
    file.write_text(
        yaml.safe_dump({"sources": [{"tenant": "acme", **e} if isinstance(e, dict) else e for e in entries]})
    )
    wrong: list[WrongSource] = []
    found = read_sources(file, tenants=("acme", "globex"), rules=RULES, environ={"TOKEN": TOKEN}, on_wrong=wrong.append)
    assert list(found) == ["last"]
    # Which of two the tool at that URL is, and by whose secrets it signs, is not known.
    assert [(each.entry, each.again) for each in wrong] == [
        ("tool", 503),
        ("of-globex", 503),
        ("brevo", 429),
        ("sources.3", 503),
        ("tool", 503),
        ("sources.5", 503),
        ("misspelt", 429),
        ("of-none", 503),
    ]
    assert [each.source_id for each in wrong if each.entry.startswith("sources.")] == [None, None]
    assert all(each.why.startswith("names a file that is wrong at sources.") for each in wrong)


@pytest.mark.parametrize("content", ["", "sources", "- a", "sources: 3", "{", "!!int x", {"sources": [GOOD, GOOD]}])
def test_a_file_of_another_shape_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(MisconfiguredError):
        read(tmp_path, content)


def test_purposes_are_declared_and_tenants_named_where_there_are_several(tmp_path: Path) -> None:
    declared = ValidationRules(
        channels=("email",), default_region="FR", purposes=Purposes(declared=frozenset({"newsletter"}))
    )
    with pytest.raises(MisconfiguredError, match="purposes"):
        read(tmp_path, {"sources": [{**GOOD, "purposes": ["survey"]}]}, rules=declared)
    with pytest.raises(MisconfiguredError, match="tenant"):
        read(tmp_path, {"sources": [GOOD]}, tenants=("acme", "other"))


def test_docs_show_an_entry_for_every_provider(tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs" / "inbound-webhooks.md").read_text()
    blocks = [block.partition("```")[0] for block in page.split("```yaml\n")[1:]]
    entries = [entry for block in blocks for entry in yaml.safe_load(block)["sources"]]
    assert {entry["provider"] for entry in entries} == set(PROVIDERS)
    for entry in entries:
        keys = {"sendgrid": sent.SendGrid().verification_key, "generic": sent.webhook_secret()}
        (tmp_path / "secret").write_text(keys.get(entry["provider"], TOKEN))
        given = {**entry, **({"secrets": [{"file": "secret"}]} if "secrets" in entry else {})}
        assert read(tmp_path, {"sources": [given]})


def test_the_secrets_of_a_source_are_read_again_and_a_bad_one_keeps_its_own_source_alone_from_it(
    tmp_path: Path,
) -> None:
    first, second = sent.secret(), sent.secret()
    for name in ("a", "b"):
        (tmp_path / name).write_text(first)
    entries = [{**GOOD, "id": name, "secrets": [{"file": name}, {"env": "TOKEN"}]} for name in ("a", "b")]
    sources = read(tmp_path, {"sources": entries})
    followed = followed_secrets(tmp_path / "inbound.yaml", sources, {"TOKEN": TOKEN})
    (tmp_path / "a").write_text("short")
    (tmp_path / "b").write_text(second)
    for file in followed.values():
        file.refresh()
    assert followed["a"].value == (first, TOKEN)
    assert followed["b"].value == (second, TOKEN)
    assert "sources.a.secrets.0" in followed["a"].error
    assert "short" not in followed["a"].error
    assert {file.name for file in followed.values()} == {"inbound-a", "inbound-b"}

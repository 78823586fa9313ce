"""`consent-relay scrub`: a campaign's file on a real list (R25)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consent_client import registers
from consent_client.registers import RegisterLimit
from consent_contracts.topics import Topics
from consent_privacy import keyring_file
from local_stack.ports import free_port
from suppression.__main__ import scrub
from tests.integration.gate.entries import Entries, decision
from tests.support.list_resolved import ResolvedWriter

CAMPAIGN = (
    '\ufeffclient;prénom;Téléphone;ville\r\n1;"Zoé; dite Z";06 39 98 00 01;Lyon\r\n'
    "2;Ann;+33639980002;Nice\n3;Bob;06 39 98 00 03;\r\n4;Eve;voir fiche;Brest\r\n5;Max"
).encode()


@pytest.fixture(autouse=True)
def key_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kafka: str, registry_url: str, topics: Topics, keyring_file_: Path
) -> Path:
    """Hash keys alone, and the settings that name them."""
    target = tmp_path / "acme.hash-keys.toml"
    keyring_file.export(keyring_file_, target, ["acme"], hash_only=True)
    monkeypatch.setenv("CONSENT_RELAY_KAFKA", kafka)
    monkeypatch.setenv("CONSENT_RELAY_REGISTRY", registry_url)
    monkeypatch.setenv("CONSENT_RELAY_TOPIC_PREFIX", topics.prefix)
    monkeypatch.setenv("CONSENT_RELAY_KEYRING_FILE", str(target))
    return target


@pytest.fixture(scope="session", name="keyring_file_")
def installations_keyring(keyring_file: Path) -> Path:
    return keyring_file


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[None]:
    """The command sets what its process does at the end."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    directory = tmp_path / "campaigns"
    directory.mkdir()
    file = directory / "campaign.csv"
    file.write_bytes(CAMPAIGN)
    return file


def run(file: Path, *words: str, code: int = 0) -> Result:
    ended = CliRunner().invoke(scrub, [str(file), "--channel", "sms", "--purpose", "promotions", *words])
    assert ended.exit_code == code, ended.output
    return ended


def files(campaign: Path) -> list[str]:
    return sorted(each.name for each in campaign.parent.iterdir())


def test_a_campaign_is_divided_and_kept_byte_for_byte(
    campaign: Path, entries: Entries, resolving: ResolvedWriter
) -> None:  # R25
    entries.write("sms", "+33639980001", decision("promotions"))
    entries.write("sms", "+33639980002", decision("promotions", "withdrawn"))
    ended = run(campaign)
    lines = CAMPAIGN.splitlines(keepends=True)
    assert campaign.with_name("campaign.allowed.csv").read_bytes() == lines[0] + lines[1]
    assert campaign.with_name("campaign.removed.csv").read_bytes() == (
        lines[0].replace(b"\r\n", b";reason\r\n")
        + lines[2].replace(b"\n", b";withdrawn\n")
        + lines[3].replace(b"\r\n", b";unknown\r\n")
        + lines[4].replace(b"\r\n", b";invalid_address (not_a_phone_number)\r\n")
        + lines[5]
        + b";;;invalid_address (empty)"
    )
    assert "sms addresses in column Téléphone (3), by its name" in ended.stderr
    assert "100 %" in ended.stderr
    assert ended.stdout.splitlines()[:2] == [
        f"allowed  1  {campaign.with_name('campaign.allowed.csv')}",
        f"removed  4  {campaign.with_name('campaign.removed.csv')}",
    ]
    assert "1  withdrawn" in ended.stdout


def test_what_was_acknowledged_before_the_start_is_considered(
    campaign: Path, entries: Entries, resolved: ResolvedWriter
) -> None:  # R25 R63
    """A list that is usable, and older than this moment, is waited for."""
    entries.write("sms", "+33639980001", decision("promotions"))
    resolved.write()
    ended = run(campaign, "--wait", "1", code=75)
    assert "Nothing was written" in ended.stderr
    assert files(campaign) == ["campaign.csv"]


def test_a_list_that_is_stale_leaves_no_files(campaign: Path, resolved: ResolvedWriter) -> None:  # R25 R63
    ended = run(campaign, "--wait", "0.5", code=75)
    assert "the list cannot be answered from: " in ended.stderr
    assert files(campaign) == ["campaign.csv"]


def test_a_register_that_is_too_old_leaves_no_files(
    campaign: Path, tmp_path: Path, entries: Entries, resolving: ResolvedWriter
) -> None:  # R22
    entries.write("sms", "+33639980001", decision("promotions"))
    limit = RegisterLimit(name="tps", tenant="acme", channels=("sms",), purposes=("promotions",), stale_at=0)
    registers.write(tmp_path / "registers.json", [limit])
    ended = run(campaign, "--registers", str(tmp_path / "registers.json"), code=75)
    assert "the register tps is older than it may be" in ended.stderr
    assert files(campaign) == ["campaign.csv"]


def test_an_earlier_result_is_not_taken_for_one_of_this_run(campaign: Path, resolved: ResolvedWriter) -> None:
    old = campaign.with_name("campaign.allowed.csv")
    old.write_bytes(b"of yesterday")
    assert "--replace" in run(campaign, code=1).stderr
    assert old.read_bytes() == b"of yesterday"
    run(campaign, "--replace", "--wait", "0.1", code=75)
    assert files(campaign) == ["campaign.csv"]


@pytest.mark.parametrize(
    ("words", "content", "why"),
    [
        (["--column", "fax"], CAMPAIGN, "there is no column fax"),
        ([], b"id;portable;tel\n1;0639980001;0639980002\n", "portable (2), tel (3): state --column"),
        ([], b"ann;+33639980001\nbob;+33639980002\n", "state --no-header"),
        ([], b'name;phone\n"ann;+33639980001\n', "never closed"),
        (["--removed", "campaign.csv"], CAMPAIGN, "three files"),
    ],
)
def test_a_file_that_would_be_guessed_at_is_refused(
    campaign: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], content: bytes, why: str
) -> None:
    monkeypatch.chdir(campaign.parent)
    campaign.write_bytes(content)
    assert why in run(campaign, *words, code=1).stderr
    assert files(campaign) == ["campaign.csv"]


def test_wrong_words_and_settings_end_with_code_2(campaign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "sms, email, voice" in run(campaign, "--channel", "fax", code=2).stderr
    assert "such as promotions" in run(campaign, "--purpose", "Summer sale", code=2).stderr
    assert "of acme" in run(campaign, "--tenant", "globex", code=2).stderr
    monkeypatch.setenv("CONSENT_RELAY_TOPIC_PREFIX", "elsewhere.")
    assert "elsewhere.suppression.sms.v1-value" in run(campaign, code=2).stderr
    monkeypatch.delenv("CONSENT_RELAY_KEYRING_FILE")
    assert run(campaign, code=2)
    assert files(campaign) == ["campaign.csv"]


def test_servers_that_do_not_answer_end_with_code_75(campaign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA", "REGISTRY"):
        where = f"127.0.0.1:{free_port()}"
        monkeypatch.setenv(f"CONSENT_RELAY_{name}", where if name == "KAFKA" else f"http://{where}")
    run(campaign, "--wait", "0.5", code=75)
    assert files(campaign) == ["campaign.csv"]

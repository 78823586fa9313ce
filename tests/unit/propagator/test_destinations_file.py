"""The destinations file: every error has its line, its field and its fix; no secret is in it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from consent_privacy.keyring import Key, Keyring
from consent_privacy.keyring_file import generate
from consent_service.wrong_entries import WrongEntry
from propagator.cli.destinations import destinations
from propagator.config.model import Destination, live_keys
from propagator.config.reader import read as read_file
from propagator.connectors import CATALOGUE
from propagator.connectors.base import PERMIT, SUPPRESS, Capabilities, ConnectorType, Option
from propagator.errors import InvalidDestinationsFileError


def never_opened(_connection: Any) -> Any:
    raise AssertionError


TYPE = ConnectorType(
    name="tool",
    channels=frozenset({"sms"}),
    credentials={"token": "the API token"},
    options={
        "source": Option(type=str, default="others", choices=("website", "others"), help="shown as the source"),
        "private": Option(type=bool, default=False, help="any host"),
    },
    capabilities=Capabilities(
        max_batch={SUPPRESS: 25, PERMIT: 25}, mixed=False, calls_per_second=2, burst=5, concurrency=3
    ),
    target_error=lambda target: None if target.isdigit() else "not a number: write the group's id",
    url_error=lambda _url, options: "private" if options["private"] else None,
    open=never_opened,
)
GOOD = """\
destinations:
  - name: tool-fr
    connector: tool
    channel: sms
    credentials: {token: {env: TOKEN}}
    purposes:
      newsletter: "12"
      survey: [12, 13]
      "*": 99
      billing: null
    limits: {calls_per_minute: 30, batch: 10}
"""


def keyring(**ids: str) -> Keyring:
    """Tenants and their hash keys in the order of the file: keyring(acme="h1 h2")."""
    keys = {
        tenant: [Key(id=each, secret=bytes(32), primary=each == names.split()[0]) for each in names.split()]
        for tenant, names in ids.items()
    }
    return Keyring(seal_keys=[Key(id="s1", secret=bytes(32))], hash_keys=keys)


ONE_TENANT = keyring(acme="h1")
TWO_TENANTS = keyring(acme="h1", globex="h1")


def read(tmp_path: Path, text: str, keyring: Keyring | None = ONE_TENANT) -> tuple[Destination, ...]:
    path = tmp_path / "destinations.yaml"
    path.write_text(text)
    return read_file(
        path, catalogue={"tool": TYPE}, channels=("sms", "email"), keyring=keyring, environ={"TOKEN": "s3cret"}
    )


def test_a_good_file_gives_complete_destinations(tmp_path: Path) -> None:
    [found] = read(tmp_path, GOOD)
    assert found.purposes.targets == {"newsletter": ("12",), "survey": ("12", "13"), "*": ("99",), "billing": ()}
    assert found.connection.targets == ("12", "13", "99")
    assert found.connection.options == {"source": "others", "private": False}
    assert (found.limits.calls_per_second, found.limits.burst, found.limits.concurrency) == (0.5, 5, 3)
    assert found.limits.max_batch == {SUPPRESS: 10, PERMIT: 10}
    assert (found.push_permissions, found.paused, found.generation) == (False, False, 0)
    assert (found.name, found.tenant, found.channel) == ("tool-fr", "acme", "sms")
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("old", "new", "line", "text"),
    [
        ("name: tool-fr", "name: Tool FR", 2, "name: must be 1 to 63 of a-z"),
        ("connector: tool", "connector: tol", 3, "there is no connector 'tol': use one of tool"),
        ("channel: sms", "channel: fax", 4, "is not a channel of this installation"),
        ("channel: sms", "channel: email", 4, "connector tool serves sms only"),
        ("{env: TOKEN}", "{env: OTHER}", 5, "OTHER is missing or empty: set it"),
        ("{env: TOKEN}", "s3cret", 5, "a secret is never written in this file"),
        ("{env: TOKEN}", "{file: nowhere}", 5, "cannot be read (FileNotFoundError)"),
        ("{token: {env: TOKEN}}", "{}", 5, "`credentials.token` is missing (the API token)"),
        ('newsletter: "12"', "newsletter: abc", 7, "not a number: write the group's id"),
        ('newsletter: "12"', 'News Letter: "12"', 7, "must be a purpose"),
        ("survey: [12, 13]", 'newsletter: "12"', 8, "is given twice"),
        ("calls_per_minute: 30", "calls_per_minute: -1", 11, "must be a number above 0"),
        ("batch: 10", "batch: 1.5", 11, "must be a whole number"),
        ("batch: 10", "bach: 10", 11, "bach: is not known here: use batch, burst"),
        ("destinations:", "destination:", 1, "is not known here: use destinations"),
        ("batch: 10", "batch: .nan", 11, "must be a whole number"),
        ("    channel: sms\n", "", 2, "`channel` is missing"),
        (
            "    channel: sms\n",
            "    channel: sms\n    park_after: 6\n",
            5,
            "park_after: is not known here: use channel",
        ),
        ("    channel: sms\n", "    channel: sms\n    paused: 1\n", 5, "paused: must be true or false"),
        ("    channel: sms\n", "    channel: sms\n    generation: -1\n", 5, "a whole number of at least 0"),
        ("    channel: sms\n", "    channel: sms\n    generation: 1.5\n", 5, "a whole number of at least 0"),
        ("    channel: sms\n", "    channel: sms\n    generation: true\n", 5, "a whole number of at least 0"),
        ("    channel: sms\n", "    channel: sms\n    tenant: globex\n", 5, "no tenant 'globex': use one of acme"),
        ("    channel: sms\n", "    channel: sms\n    tenant: Acme Inc\n", 5, "must be a tenant's name"),
        ("    channel: sms\n", "    channel: sms\n    options: {source: [a]}\n", 5, "must be a text"),
        *(
            (
                "    channel: sms\n",
                f"    channel: sms\n    options: {{source: {value}}}\n",
                5,
                "options.source: must be one of website, others: shown as the source",
            )
            for value in ("webiste", "Website", "' website'", "7", "true")
        ),
        (
            "    channel: sms\n",
            "    channel: sms\n    options: {private: maybe}\n    url: https://x.example.com\n",
            5,
            "options.private: must be true or false: any host",
        ),
        ("    purposes:", "   purposes:", 6, "yaml"),
        ("batch: 10", "batch: null", 11, "11:36: destinations[0].limits.batch: must be a whole number above 0"),
        ("{token: {env: TOKEN}}", "TOKEN", 5, "must be a mapping (name: value): use token"),
        ("    connector: tool\n", "", 2, "2:5: destinations[0]: `connector` is missing (what calls the tool)"),
        ("{calls_per_minute: 30,", "{calls_per_second: 1, calls_per_minute: 30,", 11, "not both"),
        ("    purposes:\n", "    purposes: {}\n    options:\n", 6, "names no target at all"),
    ],
)
def test_each_error_names_its_line_its_field_and_its_fix(
    tmp_path: Path, old: str, new: str, line: int, text: str
) -> None:
    assert old in GOOD
    with pytest.raises(InvalidDestinationsFileError) as caught:
        read(tmp_path, GOOD.replace(old, new))
    lines = str(caught.value).splitlines()
    assert any(f":{line}:" in each and text in each for each in lines), lines
    assert "s3cret" not in str(caught.value)


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidDestinationsFileError) as caught:
        read(tmp_path, GOOD.replace("channel: sms", "channel: fax") + GOOD.partition("\n")[2])
    assert [error.line for error in caught.value.errors] == [2, 4, 12]


def test_an_unknown_connector_hides_no_other_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidDestinationsFileError) as caught:
        read(
            tmp_path, GOOD.replace("connector: tool", "connector: tol").replace("tool-fr", "Tool").replace("sms", "fax")
        )
    assert [(error.line, error.column) for error in caught.value.errors] == [(2, 5), (3, 5), (4, 5)]


@pytest.mark.parametrize(
    "text",
    [
        "destinations: &a [*a]\n",
        '"\\ud800": 1\n',
        'destinations: [{"name\\0": x}]\n',
        "destinations: &a\n  - {name: x, limits: *a}\n",
        "a: &a [x, x]\n"
        + "".join(
            f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghijklmn", "bcdefghijklmno", strict=True)
        ),
    ],
)
def test_strange_names_and_aliases_of_themselves_or_of_many_end(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidDestinationsFileError) as caught:
        read(tmp_path, text)
    assert len(str(caught.value)) < 10_000


ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "docs" / "destinations.schema.json"


def test_the_schema_for_editors_is_that_of_the_models() -> None:
    printed = CliRunner().invoke(destinations, ["schema"]).output
    assert SCHEMA.read_text("utf-8") == printed, "consent-relay destinations schema > docs/destinations.schema.json"


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("", "", None),
        ("connector: twilio", "connector: twillio", "twillio"),
        ("options: {allow_private: true}", "options: {allow_privat: true}", "allow_privat"),
        ("push_permissions: true\n  - name: crm", "push_permissions: maybe\n  - name: crm", "maybe"),
        ("channel: voice", "channel: sms", "sms"),
        ("    credentials: {api_key: {env: SANDBOX_SENDGRID_KEY}}\n", "", "credentials"),
        ("account_sid: {env: SANDBOX_TWILIO_ACCOUNT}", "account_sid: secret", "secret"),
        ("purposes: same", "purposes: all", "all"),
        ("purposes: same", "purposes: {survey: 12, promotions: [12, x], billing: null}", None),
    ],
)
def test_an_editor_finds_by_the_schema_what_check_would(old: str, new: str, wrong: str | None) -> None:
    text = (ROOT / "deploy" / "images" / "destinations.yaml").read_text("utf-8")
    assert (SCHEMA.parent / "destinations.schema.json").samefile(
        ROOT / "deploy" / "images" / text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    )
    validator = Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))
    errors = list(validator.iter_errors(yaml.safe_load(text.replace(old, new))))
    found = [" ".join(map(str, [error, *(error.context or ())])) for error in errors]
    assert [wrong in each for each in found] == ([] if wrong is None else [True])


@pytest.mark.parametrize("text", ["", "destinations: []\n", "- a\n", "destinations: {a: b}\n", "a: [\n", "\tx"])
def test_a_file_that_declares_nothing_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidDestinationsFileError):
        read(tmp_path, text)


def test_the_command_exits_with_2_and_prints_the_line(tmp_path: Path) -> None:
    path = tmp_path / "destinations.yaml"
    path.write_text(GOOD)
    result = CliRunner().invoke(destinations, ["check", str(path)])
    assert result.exit_code == 2
    assert f"{path}:3:" in result.output


def test_the_tenant_may_be_left_out_only_where_the_keyring_has_one(tmp_path: Path) -> None:  # R43
    with pytest.raises(
        InvalidDestinationsFileError, match=r":2:5: .*`tenant` is missing, .*: name one of acme, globex"
    ):
        read(tmp_path, GOOD, TWO_TENANTS)
    [found] = read(tmp_path, GOOD.replace("channel: sms", "channel: sms\n    tenant: globex"), TWO_TENANTS)
    assert found.tenant == found.connection.tenant == "globex"


def test_without_a_keyring_each_destination_names_its_tenant(tmp_path: Path) -> None:
    with pytest.raises(InvalidDestinationsFileError, match="`tenant` is missing"):
        read(tmp_path, GOOD, None)
    [found] = read(tmp_path, GOOD.replace("channel: sms", "channel: sms\n    tenant: globex"), None)
    assert found.tenant == "globex"


@pytest.mark.parametrize(
    ("ids", "expected"), [("h1", ("h1",)), ("h9 h10", ("h9", "h10")), ("h10 h9", ()), ("h1 h3 h2", ("h1", "h2", "h3"))]
)
def test_the_oldest_live_key_has_the_lowest_id_and_is_the_keyrings_first(ids: str, expected: tuple[str, ...]) -> None:
    assert live_keys(keyring(acme=ids), "acme") == expected


def test_a_keyring_that_contradicts_itself_about_the_oldest_key_ends_the_start(tmp_path: Path) -> None:
    """With it, nothing at all could be sent: not even a refusal."""
    with pytest.raises(InvalidDestinationsFileError, match="does not begin with the oldest hash key"):
        read(tmp_path, GOOD, keyring(acme="h10 h9"))


def test_the_rules_of_a_destination_are_those_of_the_file_and_the_keyring(tmp_path: Path) -> None:
    [found] = read(tmp_path, GOOD, keyring(acme="h1 h2"))
    rules = found.rules(keyring(acme="h1 h2"))
    assert (rules.destination, rules.tenant, rules.channel) == ("tool-fr", "acme", "sms")
    assert (rules.live_keys, rules.address_required, rules.push_permissions) == (("h1", "h2"), True, False)


def test_the_fingerprint_changes_with_all_that_the_plan_depends_on_and_with_nothing_else(tmp_path: Path) -> None:
    ring = keyring(acme="h1")
    [found] = read(tmp_path, GOOD, ring)
    before = found.fingerprint(ring)
    others = [
        replace(found, push_permissions=True),
        replace(found, generation=1),
        replace(found, purposes=replace(found.purposes, targets={"newsletter": ("12",)})),
        replace(found, connection=replace(found.connection, options={"source": "website"})),
        replace(found, connection=replace(found.connection, channel="email")),
    ]
    assert len({before, *(each.fingerprint(ring) for each in others)}) == 1 + len(others)
    assert found.fingerprint(keyring(acme="h1 h2")) != before
    assert replace(found, paused=True, limits=replace(found.limits, burst=1)).fingerprint(ring) == before


@pytest.mark.parametrize("clear", [False, True])
def test_a_webhook_needs_addresses_only_when_it_sends_them(tmp_path: Path, clear: bool) -> None:
    text = f"""\
destinations:
  - {{name: crm, connector: webhook, channel: sms, url: https://tool.example.com/in, purposes: same,
     credentials: {{secret: {{env: TOKEN}}}}, options: {{clear_addresses: {str(clear).lower()}}}}}
"""
    path = tmp_path / "destinations.yaml"
    path.write_text(text)
    environ = {"TOKEN": "s3cret"}
    [found] = read_file(path, catalogue=CATALOGUE, channels=("sms",), keyring=ONE_TENANT, environ=environ)
    assert found.capabilities.address_required is clear
    assert found.rules(ONE_TENANT).address_required is clear


def check(tmp_path: Path, *arguments: str) -> Any:
    path = tmp_path / "destinations.yaml"
    (tmp_path / "token").write_text("whsec_" + "A" * 43 + "=")
    path.write_text(
        "destinations:\n  - {name: crm, connector: webhook, channel: sms, url: https://tool.example.com/in,\n"
        "     credentials: {secret: {file: token}}, purposes: same, push_permissions: true, paused: true,\n"
        "     generation: 3}\n"
    )
    return CliRunner().invoke(destinations, ["check", str(path), *arguments])


def test_the_command_prints_what_would_be_sent(tmp_path: Path) -> None:
    generate(tmp_path / "keyring.toml", ["acme"])
    result = check(tmp_path, "--keyring", str(tmp_path / "keyring.toml"))
    assert result.exit_code == 0, result.output
    assert "crm: webhook, tenant acme, sms, refusals and permissions, paused" in result.output
    assert "every purpose, under our own names" in result.output
    assert "sent: address keys, no addresses; generation 3" in result.output
    assert "in force: received by the tool; what it then stops is the tool's own" in result.output


def test_the_command_says_what_is_in_force_by_target(tmp_path: Path) -> None:
    path = tmp_path / "destinations.yaml"
    (tmp_path / "key").write_text("SG.x")
    generate(tmp_path / "keyring.toml", ["acme"])
    path.write_text(
        "destinations:\n  - {name: mail, connector: sendgrid, channel: email, credentials: {api_key: {file: key}},\n"
        '     purposes: {newsletter: "101", survey: "103", "*": global}}\n'
    )
    result = CliRunner().invoke(destinations, ["check", str(path), "--keyring", str(tmp_path / "keyring.toml")])
    assert result.exit_code == 0, result.output
    assert "in force: 101, 103: binds only mail that is tagged with this unsubscribe group" in result.output
    assert "in force: global: binds all mail of the account" in result.output


def test_the_command_needs_the_keyring_where_a_tenant_is_left_out(tmp_path: Path) -> None:
    result = check(tmp_path)
    assert result.exit_code == 2
    assert "`tenant` is missing: name it, or give the keyring" in result.output


def test_the_help_of_every_command_explains_it() -> None:
    for arguments in ([], ["check"], ["list"], ["forget"]):
        result = CliRunner().invoke(destinations, [*arguments, "--help"])
        assert result.exit_code == 0
        assert "destination" in result.output


def of(name: str, **changes: str) -> str:
    """A destination of the file `GOOD`, as lines of a list."""
    text = GOOD.partition("\n")[2].replace("tool-fr", name)
    for field, value in changes.items():
        text = re.sub(rf"^(    {field}:).*$", rf"\1 {value}", text, flags=re.MULTILINE)
    return text


def usable(tmp_path: Path, text: str) -> tuple[list[str], list[WrongEntry]]:
    """The names of those that can be used, and what is wrong with the others."""
    wrong: list[WrongEntry] = []
    path = tmp_path / "destinations.yaml"
    path.write_text(text)
    found = read_file(
        path,
        catalogue={"tool": TYPE},
        channels=("sms", "email"),
        keyring=ONE_TENANT,
        environ={"TOKEN": "s3cret"},
        on_wrong=wrong.append,
    )
    return [each.name for each in found], wrong


def test_a_wrong_destination_concerns_itself_alone(tmp_path: Path) -> None:  # R45
    text = "destinations:\n" + "".join(
        [
            of("first"),
            of("no-secret", credentials="{token: {env: ABSENT}}"),
            of("of-another", channel="sms\n    tenant: globex"),
            of("No name"),
            "  - nothing\n",
            of("first"),
            of("last"),
        ]
    )
    names, wrong = usable(tmp_path, text)
    assert names == ["last"]
    # Which of two is the one that had the name is not known: the other would take over its delivered state.
    assert [each.entry for each in wrong] == [
        "first",
        "no-secret",
        "of-another",
        "destinations[3]",
        "destinations[4]",
        "first",
    ]
    assert "name: is the name on line" in wrong[0].why
    assert {each.setting for each in wrong} == {"CONSENT_RELAY_PROPAGATOR_DESTINATIONS"}
    assert ":15:27: destinations[1]" in wrong[1].why
    assert "the environment variable ABSENT is missing" in wrong[1].why
    with pytest.raises(InvalidDestinationsFileError) as every:
        read(tmp_path, text)
    assert all(line in str(every.value) for each in wrong for line in each.why.split("; "))


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("channel: sms", "channel: fax"),
        f"{GOOD}{of('twice', channel='sms' + chr(10) + '    channel: sms')}",
        f"{GOOD}other: 1\n",
        f"{GOOD}  - [\n",
        "destinations: []\n",
    ],
    ids=["no sound destination is left", "a name is there twice", "not known", "no YAML", "empty"],
)
def test_what_is_not_about_one_destination_refuses_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidDestinationsFileError):
        usable(tmp_path, text)

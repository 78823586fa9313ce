"""The destinations file: every fault has its line, its field and its cure; nothing secret stands in it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from propagator import config
from propagator.__main__ import destinations
from propagator.connector import PERMIT, SUPPRESS, Capabilities, Kind, Option
from propagator.errors import WrongDestinations
from tests.unit.propagator.harness import Provider

KIND = Kind(
    name="tool",
    channels=frozenset({"sms"}),
    credentials={"token": "the API token"},
    options={"source": Option(type=str, default="others", help="shown as the source")},
    capabilities=Capabilities(
        max_batch={SUPPRESS: 25, PERMIT: 25}, mixed=False, calls_per_second=2, burst=5, concurrency=3
    ),
    target_error=lambda target: None if target.isdigit() else "not a number: write the group's id",
    build=lambda _account: Provider(),
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


def read(tmp_path: Path, text: str) -> tuple[config.Destination, ...]:
    path = tmp_path / "destinations.yaml"
    path.write_text(text)
    return config.read(path, catalogue={"tool": KIND}, channels=("sms", "email"), environ={"TOKEN": "s3cret"})


def test_a_good_file_gives_complete_destinations(tmp_path: Path) -> None:
    [found] = read(tmp_path, GOOD)
    assert found.purposes.targets == {"newsletter": ("12",), "survey": ("12", "13"), "*": ("99",), "billing": ()}
    assert found.account.targets == ("12", "13", "99")
    assert found.account.options == {"source": "others"}
    assert (found.limits.calls_per_second, found.limits.burst, found.limits.concurrency) == (0.5, 5, 3)
    assert found.limits.max_batch == {SUPPRESS: 10, PERMIT: 10}
    assert not found.push_permissions
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("name: tool-fr", "name: Tool FR", 2, "name: must be 1 to 63 of a-z"),
        ("connector: tool", "connector: tol", 3, "there is no connector 'tol': use one of tool"),
        ("channel: sms", "channel: fax", 4, "is not a channel of this installation"),
        ("channel: sms", "channel: email", 4, "connector tool serves sms only"),
        ("{env: TOKEN}", "{env: OTHER}", 5, "OTHER is missing or empty: set it"),
        ("{env: TOKEN}", "s3cret", 5, "secrets never stand in this file"),
        ("{env: TOKEN}", "{file: nowhere}", 5, "cannot be read (FileNotFoundError)"),
        ("{token: {env: TOKEN}}", "{}", 2, "`credentials.token` is missing (the API token)"),
        ('newsletter: "12"', "newsletter: abc", 7, "not a number: write the group's id"),
        ('newsletter: "12"', 'News Letter: "12"', 7, "must be a purpose"),
        ("survey: [12, 13]", 'newsletter: "12"', 8, "stands twice"),
        ("calls_per_minute: 30", "calls_per_minute: -1", 11, "must be a number above 0"),
        ("batch: 10", "batch: 1.5", 11, "must be a whole number"),
        ("batch: 10", "bach: 10", 11, "bach: is not known here: use batch, burst"),
        ("destinations:", "destination:", 1, "is not known here: use destinations"),
        ("    channel: sms\n", "", 2, "`channel` is missing"),
        ("    purposes:", "   purposes:", 6, "yaml"),
    ],
)
def test_each_fault_names_its_line_its_field_and_its_cure(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    assert old in GOOD
    with pytest.raises(WrongDestinations) as caught:
        read(tmp_path, GOOD.replace(old, new))
    lines = str(caught.value).splitlines()
    assert any(f":{line}:" in each and says in each for each in lines), lines
    assert "s3cret" not in str(caught.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(WrongDestinations) as caught:
        read(tmp_path, GOOD.replace("channel: sms", "channel: fax") + GOOD.partition("\n")[2])
    assert [fault.line for fault in caught.value.faults] == [4, 12]


@pytest.mark.parametrize("text", ["", "destinations: []\n", "- a\n", "destinations: {a: b}\n", "a: [\n", "\tx"])
def test_a_file_that_declares_nothing_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(WrongDestinations):
        read(tmp_path, text)


def test_the_command_exits_with_2_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "destinations.yaml"
    path.write_text(GOOD)
    result = CliRunner().invoke(destinations, ["check", str(path)])
    assert result.exit_code == 2
    assert f"{path}:3:" in result.output


def test_the_command_says_what_would_be_told(tmp_path: Path) -> None:
    path = tmp_path / "destinations.yaml"
    (tmp_path / "token").write_text("whsec_" + "A" * 43 + "=")
    path.write_text(
        "destinations:\n  - {name: crm, connector: webhook, channel: sms, url: https://tool.example.com/in,\n"
        "     credentials: {secret: {file: token}}, purposes: same, push_permissions: true}\n"
    )
    result = CliRunner().invoke(destinations, ["check", str(path)])
    assert result.exit_code == 0, result.output
    assert "crm: webhook, sms, permissions too" in result.output
    assert "every purpose, under our own names" in result.output

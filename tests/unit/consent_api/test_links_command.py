"""`consent-relay links`: a file of addresses becomes a file of headers. # R19"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from consent_api.__main__ import links
from consent_api.links.token import LinkKind, Links
from consent_privacy.keyring import Keyring
from local_stack.preference_centre import THEME

Run = Callable[..., Result]
PUBLIC_URL = "https://example.com/choices"


@pytest.fixture
def run(tmp_path: Path, keyring_file: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    (tmp_path / "themes.yaml").write_text(THEME, "utf-8")
    monkeypatch.setenv("CONSENT_RELAY_KEYRING_FILE", str(keyring_file))
    monkeypatch.setenv("CONSENT_RELAY_PUBLIC_URL", PUBLIC_URL)
    monkeypatch.setenv("CONSENT_RELAY_THEME_FILE", str(tmp_path / "themes.yaml"))

    def called(content: str, *options: str) -> Result:
        (tmp_path / "in.csv").write_text(content, "utf-8")
        return CliRunner().invoke(links, [str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), *options])

    return called


def test_each_line_gets_the_headers_of_its_message(run: Run, tmp_path: Path, keyring: Keyring) -> None:
    result = run(
        "name;address;subject_ref\nAnn;ann@example.com;c-1\nBob;no address;\n",
        *("--channel", "email", "--purpose", "promotions"),
    )
    assert result.exit_code == 1
    assert result.stdout == f"wrote {tmp_path / 'out.csv'}: 1 lines with links, 1 with an error\n"
    ann, bob = csv.DictReader((tmp_path / "out.csv").read_text("utf-8").splitlines(), delimiter=";")
    assert ann["name"] == "Ann"
    assert ann["list_unsubscribe"] == f"<{ann['unsubscribe']}>"
    assert ann["list_unsubscribe_post"] == "List-Unsubscribe=One-Click"
    found = Links(lambda: keyring).open(ann["unsubscribe"].removeprefix(f"{PUBLIC_URL}/u/"))
    assert (found.kind, found.address, found.purpose) == (LinkKind.ONE_CLICK, "ann@example.com", "promotions")
    assert Links(lambda: keyring).open(ann["preferences"].removeprefix(f"{PUBLIC_URL}/p/")).subject_ref == "c-1"
    assert bob["error"].startswith("address: ")
    assert not bob["unsubscribe"]
    assert (tmp_path / "out.csv").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("content", "options", "why"),
    [
        ("address\nann@example.com\n", [], "has no column channel"),
        ("mail,channel\nann@example.com,email\n", [], "has no column address"),
        ("address,error\nann@example.com,\n", ["--channel", "email"], "need names of their own"),
        ("", ["--channel", "email"], "has no column address"),
    ],
)
def test_a_file_without_its_columns_is_refused_and_nothing_is_left(
    run: Run, tmp_path: Path, content: str, options: list[str], why: str
) -> None:
    result = run(content, *options)
    assert result.exit_code == 1
    assert why in result.output
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.csv", "themes.yaml"]


def test_a_file_is_replaced_only_when_asked(run: Run, tmp_path: Path) -> None:
    line = "address,channel\nann@example.com,email\n"
    assert run(line).exit_code == 0
    assert run(line).exit_code == 1
    assert run(line, "--replace").exit_code == 0

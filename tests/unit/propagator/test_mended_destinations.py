"""Whether a propagator that does without a destination is to start again with it. # R45"""

from __future__ import annotations

from pathlib import Path

import pytest

from consent_privacy.keyring import Keyring
from consent_privacy.keyring_file import generate
from consent_service.wrong_entries import WrongEntry
from propagator.cli.declared import has_mended, read_destinations
from propagator.config.reader import SETTING

ENTRY = """\
  - {{name: {name}, connector: webhook, channel: sms, purposes: same, url: "https://tool.example.com/{name}",
     credentials: {{secret: {{file: {name}}}}}}}
"""
SECRET = "whsec_" + "A" * 43 + "="


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    generate(tmp_path / "keyring.toml", ["acme"])
    return Keyring.load(tmp_path / "keyring.toml")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two destinations, of which the second has no secret yet."""
    path = tmp_path / "destinations.yaml"
    path.write_text("destinations:\n" + "".join(ENTRY.format(name=each) for each in ("first", "second")))
    (tmp_path / "first").write_text(SECRET)
    return path


def test_a_secret_that_comes_later_mends_its_destination(path: Path, keyring: Keyring) -> None:
    wrong: list[WrongEntry] = []
    used = {each.name for each in read_destinations(path, ["sms"], keyring, on_wrong=wrong.append)}
    assert used == {"first"}
    assert [(each.setting, each.entry) for each in wrong] == [(SETTING, "second")]

    def mended() -> bool:
        return has_mended(path, ["sms"], keyring, used=used, wrong={each.entry for each in wrong})

    second = path.parent / "second"
    assert not mended()
    second.write_text("of another form")
    assert not mended()
    second.write_text(SECRET)
    assert mended()
    # None that is in use is given up for it.
    (path.parent / "first").unlink()
    assert not mended()


def test_a_file_that_cannot_be_read_or_has_another_new_one_mends_nothing(path: Path, keyring: Keyring) -> None:
    (path.parent / "third").write_text(SECRET)
    with path.open("a") as file:
        file.write(ENTRY.format(name="third"))
    assert not has_mended(path, ["sms"], keyring, used={"first"}, wrong={"second"})
    path.write_text("[")
    assert not has_mended(path, ["sms"], keyring, used={"first"}, wrong={"second"})

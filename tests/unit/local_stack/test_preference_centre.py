"""The links of a local system: what `up` sets for them, and what a setting of one's own replaces."""

from pathlib import Path

import pytest

from local_stack.preference_centre import THEME, settings

API = "http://127.0.0.1:8080"
THEME_FILE, PUBLIC_URL = "CONSENT_RELAY_THEME_FILE", "CONSENT_RELAY_PUBLIC_URL"


def test_links_lead_to_the_local_api_and_to_a_preference_centre(tmp_path: Path) -> None:
    set_ = settings(tmp_path / "new", API, {"CONSENT_RELAY_PARTITIONS": "2"})
    assert set_ == {PUBLIC_URL: API, THEME_FILE: str(tmp_path / "new" / "theme.yaml")}
    assert Path(set_[THEME_FILE]).read_text("utf-8") == THEME


@pytest.mark.parametrize("name", ["CHANNELS", "PURPOSES", "PURPOSES_FILE", "TENANT_PURPOSES", "THEME_FILE"])
def test_no_theme_of_ours_beside_purposes_channels_or_a_theme_of_ones_own(tmp_path: Path, name: str) -> None:
    assert settings(tmp_path, API, {f"CONSENT_RELAY_{name}": "mine"}) == {PUBLIC_URL: API}
    assert not (tmp_path / "theme.yaml").exists()


@pytest.mark.parametrize("name", ["PUBLIC_URL", "PUBLIC_URL_FILE"])
def test_no_url_of_ours_beside_ones_own(tmp_path: Path, name: str) -> None:
    assert settings(tmp_path, API, {f"CONSENT_RELAY_{name}": "mine"}).keys() == {THEME_FILE}

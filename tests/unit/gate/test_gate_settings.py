"""The policy for `unknown` is deny unless a setting permits (R4)."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from suppression.gate.settings import GateSettings


def settings(tmp_path: Path, **more: str) -> GateSettings:
    file = tmp_path / "file"
    file.write_text("{}")
    return GateSettings(keyring_file=file, gate_keys_file=file, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "policies"),
    [
        ("deny", {"sms": "deny", "voice": "deny"}),
        ("allow", {"sms": "allow", "voice": "allow"}),
        ("voice=allow", {"sms": "deny", "voice": "allow"}),
        ("deny, voice = allow", {"sms": "deny", "voice": "allow"}),
        ("allow,voice=deny", {"sms": "allow", "voice": "deny"}),
    ],
)
def test_a_channel_has_its_own_policy_or_the_general_one_or_deny(
    tmp_path: Path, text: str, policies: dict[str, str]
) -> None:  # R4
    loaded = settings(tmp_path, gate_unknown=text)
    assert {channel: loaded.unknown(channel) for channel in policies} == policies


@pytest.mark.parametrize("text", ["maybe", "sms:allow", "sms=", "deny,,", "sms=allow,voice=perhaps"])
def test_any_other_policy_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValidationError):
        settings(tmp_path, gate_unknown=text)

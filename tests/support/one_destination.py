"""A destinations file that is right, with one destination that is never reached."""

from __future__ import annotations

from pathlib import Path

import pytest

SECRET = "whsec_" + "A" * 43 + "="
TEXT = """\
destinations:
  - name: crm
    connector: webhook
    channel: sms
    url: https://example.com/hook
    credentials: {secret: {env: WEBHOOK}}
    purposes: same
"""


def declare(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, in ``directory``; its secret is in the environment."""
    file = directory / "destinations.yaml"
    file.write_text(TEXT)
    monkeypatch.setenv("WEBHOOK", SECRET)
    return file

"""The evidence of a permission, for tests that submit one."""

from __future__ import annotations

EVIDENCE = {
    "controller": "Example SAS",
    "notice_id": "n-1",
    "notice_version": "3",
    "notice_hash": "sha256:00",
    "notice_language": "fr",
    "capture_method": "web-form",
    "source_system": "shop",
    "actor": "data-subject",
    "withdrawal_method": "link in every message",
}
"""All that a permission needs."""

"""What `consent-relay verify` prints of entries that another client wrote."""

from __future__ import annotations

from consent_api.cli.verify import line_of
from consent_api.operations.verify.compare import DifferenceKind, EntryDifference, EntryLocation


def test_what_a_terminal_obeys_in_a_forged_entry_is_escaped() -> None:
    location = EntryLocation(tenant="a\u202eb", channel="sms", address_key="h1.\x1b[2J", partition=0)
    line = line_of(
        EntryDifference(kind=DifferenceKind.UNREADABLE_ENTRY, location=location, detail="a\nb\x9b"), as_json=False
    )
    assert line == "unreadable_entry: a\\u202eb sms h1.\\u001b[2J: a\\nb\\u009b"

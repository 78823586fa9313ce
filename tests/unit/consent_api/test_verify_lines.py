"""How `consent-relay verify` shows a difference: the writer of a list entry chooses its key and tenant. # R13 R64"""

from __future__ import annotations

import json

from consent_api.cli.verify import line_of
from consent_api.operations.verify.compare import DifferenceKind, EntryDifference, EntryLocation

FORGED = "h1.\x1b[2J\u202eab\nmissing_entry: acme"
DIFFERENCE = EntryDifference(
    kind=DifferenceKind.UNREADABLE_ENTRY,
    location=EntryLocation(tenant="ac\x9bme", channel="sms", address_key=FORGED, partition=0),
    detail="undecodable",
)


def test_a_line_is_one_line_that_no_terminal_obeys() -> None:
    assert line_of(DIFFERENCE, as_json=False).isprintable()
    as_json = line_of(DIFFERENCE, as_json=True)
    assert as_json.isprintable()
    assert json.loads(as_json)["address_key"] == FORGED

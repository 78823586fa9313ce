"""The evidence of a choice (R7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from consent_api.domain.validation.clear_addresses import same_address, shows_address
from consent_api.domain.validation.texts import bounded, printable
from consent_api.errors import InvalidValueError

EVIDENCE = (
    "controller",
    "notice_id",
    "notice_version",
    "notice_hash",
    "notice_language",
    "capture_method",
    "source_system",
    "actor",
    "withdrawal_method",
)
"""What a grant has to prove (R7), beside its purpose, channel, time and expiry."""

LONGEST_EVIDENCE = 2_000
REMOVED = "(removed: held an address)"


def texts(given: Mapping[str, object]) -> Iterator[tuple[str, str | InvalidValueError]]:
    """Each part that is given, by name: its text, or why it cannot be read. A blank text is none."""
    for name in EVIDENCE:
        value = given.get(name)
        if value is None:
            continue
        try:
            text = printable(bounded(value, longest=LONGEST_EVIDENCE), lines=True).strip()
        except InvalidValueError as error:
            yield name, error
        else:
            if text:
                yield name, text


def holds_address(name: str, text: str, *, raw: object, address: str | None, region: str) -> bool:
    """Whether a part of the evidence, which is kept in the clear, holds an address: of this submission, as it was sent
    (``raw``) or canonical (``address``), or any other."""
    if isinstance(raw, str) and len(raw) <= LONGEST_EVIDENCE and raw.strip() and raw.strip() in text:
        return True
    if same_address(text, address):
        return True
    # These name whom the person writes to, so they may well hold the controller's own addresses.
    return name not in ("controller", "withdrawal_method") and shows_address(text, region)

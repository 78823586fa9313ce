"""Whether a failure to deliver is about the address, by its enhanced status code (RFC 3463). Pure.

https://www.iana.org/assignments/smtp-enhanced-status-codes
"""

from __future__ import annotations

import re

from consent_api.inbound.providers.base import Kind

_CODE = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_NO_SUCH_ADDRESS = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
_GENERIC = ("5.0.", "5.1.", "5.4.", "5.5.")
"""What says of an address neither that it is none nor that it is one: the provider's own word counts."""


def bounce(status: object, word: Kind) -> Kind:
    """The kind of a failure with this status, or a text that holds one; ``word``: how the provider calls it.

    A full mailbox (5.2.2), a system, a content or a policy that refuses (5.3, 5.6, 5.7) is not about the address."""
    found = _CODE.search(status) if isinstance(status, str) else None
    if found is None:
        return word
    code = ".".join(str(int(part)) for part in found.groups())
    if code in _NO_SUCH_ADDRESS:
        return Kind.HARD_BOUNCE
    return word if code.startswith(_GENERIC) else Kind.SOFT_BOUNCE

"""What a caller of the client has to expect.

SuppressionListError
├── ListNotReadyError     no answer can be given now: loading, stale, damaged, or a newer hash key is in use
├── ListRefusedError      Kafka or the registry refuses us, or we them: a wrong setting; waiting does not help
├── KeyFileError          the key file cannot be used, or has no keys of the tenant
├── InvalidRegistersError  the file of registers cannot be used
├── RestartRequiredError  within: the topic has to be read from its beginning
└── NotEncodableError       within: an entry holds what no entry of ours holds; a ValueError too
"""

from __future__ import annotations


class SuppressionListError(Exception):
    """Base of this module. No message holds an address or a secret."""


class ListNotReadyError(SuppressionListError):
    """No address may be contacted by this list now. ``reason`` names the cause."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the list cannot be answered from: {reason}")
        self.reason = reason


class ListRefusedError(SuppressionListError):
    """The message names what to correct."""


class KeyFileError(SuppressionListError):
    """The message says where and how to mend it."""


class InvalidRegistersError(SuppressionListError):
    """The message says where and what is wrong. Write the file again: `consent-relay registers export`."""


class RestartRequiredError(SuppressionListError):
    """This reading cannot go on: what it has read may no longer be the topic. The text says why."""


class NotEncodableError(SuppressionListError, ValueError):
    """An entry decodes but holds what no entry of ours holds."""

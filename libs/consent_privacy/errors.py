"""What can be wrong with an address, a key, or a file of addresses. No text here holds an address or a key.

PrivacyError
├── KeyringError
│   ├── InvalidKeyringError    the file cannot be used
│   ├── UnknownTenantError     the keyring has no hash keys of a tenant
│   ├── SealKeysMissingError   the keyring was exported with hash keys only
│   └── DecryptionFailedError  sealed data cannot be opened
├── InvalidAddressError        no address of the channel: `reason` and `cure` are for the caller
├── NotANumberError            a text is no phone number; becomes an InvalidAddressError
├── NoAreaCodeError            a number is written as it is dialled within its area; becomes an InvalidAddressError
└── FileNotReadableError       a file of addresses cannot be divided without a guess that could be wrong

Those about an address are ValueErrors too.
"""

from __future__ import annotations


class PrivacyError(Exception):
    """Base of this package."""


class KeyringError(PrivacyError):
    """Something about the keys."""


class InvalidKeyringError(KeyringError):
    """The text says where the file is wrong, and how to mend it."""


class UnknownTenantError(KeyringError):
    def __init__(self, tenant: str) -> None:
        super().__init__(f"the keyring has no hash keys for tenant {tenant}: add them, or correct the tenant's name")
        self.tenant = tenant


class SealKeysMissingError(KeyringError):
    def __init__(self) -> None:
        super().__init__("this keyring was exported with hash keys only: it neither seals nor opens")


class DecryptionFailedError(KeyringError):
    """`reason`: truncated, unknown_key (retired too early?) or tampered (or bound to something else)."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"sealed data cannot be opened: {reason}")
        self.reason = reason


class InvalidAddressError(PrivacyError, ValueError):
    """`reason` is a code, `cure` says what to send instead."""

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(f"{reason}: {cure}")
        self.reason = reason
        self.cure = cure


class NotANumberError(PrivacyError, ValueError):
    """`reason` is a code, `cure` says what to send instead."""

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cure = cure


class NoAreaCodeError(PrivacyError, ValueError):
    """Which area it is cannot be known."""


class FileNotReadableError(PrivacyError):
    """A file of addresses cannot be divided without a guess that could be wrong; the text says what to state."""

"""What can go wrong with local state.

StateError
├── StateStoreCorruptedError    RocksDB reported an error: destroy the store and restore it from the topics
├── StateStoreLockedError       within: a live process holds the directory
├── StateStoreUnavailableError  the store is closed, or no database can be created in its directory
├── RestoreFailedError          the broker did not answer, or the topics changed meanwhile: try again later
└── RestoreStoppedError         the caller asked to stop
"""

from __future__ import annotations


class StateError(Exception):
    """Base of this package. No message holds a key or a value."""


class StateStoreCorruptedError(StateError):
    """RocksDB reported an error; nothing that this store returns or has accepted may be trusted any more.

    The cure is `StateStore.clear` (or `destroy` and `open`), then a restore from the beginning of the topics.
    """


class StateStoreUnavailableError(StateError):
    """The store is closed, or the file system does not let a database be created in its directory."""


class StateStoreLockedError(StateError):
    """A live process, perhaps this one, holds the directory."""


class RestoreFailedError(StateError):
    """The broker did not answer, or a topic was deleted or truncated meanwhile. Retriable from the stored positions."""


class RestoreStoppedError(StateError):
    """The caller asked to stop before the ends were reached. What was read is in the store."""

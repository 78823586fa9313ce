"""What can go wrong in the merge stage.

MergeError
├── Retriable             nothing was written; the same chunk may be tried again
│   └── Aborted           the broker or the client aborted the transaction
├── StateBroken           the local state cannot be read or written: throw it away, rebuild it from the topics
├── Lost                  a standing entry that cannot be read: its permissions are void
├── Fenced                this writer may write no more: a newer one was opened, or its transaction timed out
└── Abandoned             the partition was revoked or the process stops; the chunk goes to the next owner
"""

from __future__ import annotations


class MergeError(Exception):
    """Base of this module. No message holds an address or the key of one."""


class Retriable(MergeError):
    """The broker or the registry did not do its part this time. Nothing was written."""


class Aborted(Retriable):
    """The transaction was aborted: no reader ever sees what it held."""


class StateBroken(MergeError):
    """RocksDB reports an error. Twice in a row it is the disk, and the process crashes."""


class Lost(MergeError):
    """A standing entry that cannot be read, and why."""


class Fenced(MergeError):
    """Whoever wrote last under our transactional id was not us. Only an owner may open a new writer."""


class Abandoned(MergeError):
    """Told to stop while waiting. Nothing of the chunk at hand may be acknowledged."""

"""What can go wrong in the merge stage.

MergeError
├── RetriableError                  nothing was written; the same chunk may be tried again
│   └── TransactionAbortedError     the broker or the client aborted the transaction
├── EntryUnreadableError            a stored entry cannot be decoded: its permissions are void
├── TopicsChangedError              a topic was created again or lost records: open the partition again
├── WriterFencedError               a newer writer was opened, or a transaction timed out: this one may not write
└── StoppedError                    the partition was revoked or the process stops; the chunk goes to the next owner

Errors of the local state are those of `consent_state`.
"""

from __future__ import annotations


class MergeError(Exception):
    """Base of this module. No message holds an address or the key of one."""


class RetriableError(MergeError):
    """The broker or the registry did not answer as required. Nothing was written."""


class TransactionAbortedError(RetriableError):
    """The transaction was aborted: no reader ever sees what it held."""


class EntryUnreadableError(MergeError):
    """A stored entry cannot be decoded; the message gives the reason."""


class TopicsChangedError(MergeError):
    """A topic of a running partition is another one, or holds less than was read or written. The message names it."""


class WriterFencedError(MergeError):
    """A newer writer has this transactional id, or a transaction timed out. Only an owner opens another one."""


class StoppedError(MergeError):
    """The caller asked to stop during a wait. Nothing of the current chunk may be acknowledged."""

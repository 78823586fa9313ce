"""What ends or interrupts a relay.

RelayError
├── PublishFailedError       some of a batch was not acknowledged, and not because of its records: tried again
│   └── TopicChangedError    the bulk topic was created again or went back during a repair: the repair starts over
└── PartitionsChangedError   the number of partitions differs from the one that the ledger has recorded: exit code 1
"""

from __future__ import annotations


class RelayError(Exception):
    """Base of the relay's errors. No message holds an address."""


class PublishFailedError(RelayError):
    """The text is librdkafka's name of the cause."""


class TopicChangedError(PublishFailedError):
    """What the repair has published so far may be lost."""


class PartitionsChangedError(RelayError):
    """The partition of an address is part of the contract, so the number of partitions never changes."""

    def __init__(self, *, lane: str, recorded: int, configured: int) -> None:
        super().__init__(
            f"the {lane} lane was published to {recorded} partitions, CONSENT_RELAY_PARTITIONS is {configured};"
            f" set CONSENT_RELAY_PARTITIONS={recorded}"
        )

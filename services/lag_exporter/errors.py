"""What can go wrong when lag is read.

LagError
├── BrokerUnavailableError  Kafka did not answer in time, or not completely: try again later
└── UnknownTopicError       the topic was deleted meanwhile
"""

from __future__ import annotations


class LagError(Exception):
    """Base of this service."""


class BrokerUnavailableError(LagError):
    """The message names what is missing."""


class UnknownTopicError(LagError):
    """The topic is gone."""

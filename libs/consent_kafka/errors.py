"""What can go wrong between us and Kafka, beside what its clients raise.

KafkaLinkError
├── ProvisionError            the broker or the registry could not be asked or changed: text with reason and cure
├── TopicMismatchError        topics are not as wanted: records could be lost or go to another partition
├── DeliveryFailedError       the broker did not take a record
├── DuplicateInstanceIdError  another process lives under our static instance id
├── PartitionStuckError       a handler neither finished nor gave up: only the end of the process frees the partition
└── RestartRequestedError     the process is to end in order and start again: what it began with has changed

A server that refuses us is a consent_service.errors.LinkRefusedError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confluent_kafka import KafkaError


class KafkaLinkError(Exception):
    """Base of this package. No text holds an address."""


class ProvisionError(KafkaLinkError):
    """The broker or the registry could not be brought to the required state; the text has the reason and the cure."""


class TopicMismatchError(KafkaLinkError):
    """Topics are not as wanted: a line for each difference, with its cure."""


class DeliveryFailedError(KafkaLinkError):
    """The broker did not take a record; `retriable` when it may later."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error.str())
        self.code: str = error.name()
        self.retriable: bool = not error.fatal()


class DuplicateInstanceIdError(KafkaLinkError):
    """Another process is a member of the group under our static instance id, and alive."""


class PartitionStuckError(KafkaLinkError):
    """A handler neither finished nor gave up in time; only ending the process frees the partition."""


class RestartRequestedError(KafkaLinkError):
    """What the process began with has changed, and it can go on only from its start."""

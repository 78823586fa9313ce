"""The records that were set aside last, by what their processes export: where they are, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from status_page.samples import Samples

OFFSET = "consent_relay_dead_letters_last_offset"
AT = "consent_relay_dead_letters_last_timestamp_seconds"
MOST = 10
"""Dead letters that are shown."""
_LABELS = ("topic", "partition", "reason")
_LATEST = 4_102_444_800.0
"""The year 2100: a time beyond is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """The last one of its partition and reason. ``at``: seconds since the epoch. ``about``: the process that set it
    aside. ``reason``: the contract's."""

    at: float
    about: str
    topic: str
    partition: str
    offset: int
    reason: str

    @property
    def coordinates(self) -> str:
        """As `consent-relay dead-letters` names it."""
        return f"{self.topic}:{self.partition}:{self.offset}"


def last(answers: Mapping[str, Samples]) -> list[DeadLetter]:
    """Of what each process, by name, has answered last; the newest first."""
    found = [letter for name, samples in answers.items() for letter in _of(name, samples)]
    return sorted(found, key=lambda letter: (-letter.at, letter.coordinates))[:MOST]


def _of(name: str, samples: Samples) -> Iterator[DeadLetter]:
    offsets = {_key(each.labels): each.value for each in samples.get(OFFSET, ())}
    for labels, at in samples.get(AT, ()):
        topic, partition, reason = key = _key(labels)
        if key in offsets and 0 < at < _LATEST:
            yield DeadLetter(
                at=at, about=name, topic=topic, partition=partition, offset=int(offsets[key]), reason=reason
            )


def _key(labels: Mapping[str, str]) -> tuple[str, str, str]:
    topic, partition, reason = (labels.get(name, "") for name in _LABELS)
    return topic, partition, reason

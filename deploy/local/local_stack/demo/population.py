"""The people of the demo and what they choose: made up, repeatable by seed, on reserved numbers and domains."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from uuid import UUID

CHANNELS = ("sms", "email", "voice")
PURPOSES = {"sms": ("newsletter", "promotions"), "email": ("newsletter", "survey"), "voice": ("promotions",)}
MOST_PEOPLE = 10_000  # as many as the reserved French mobile range 06 39 98 holds
SECOND = 1_000_000
HOUR = 3600 * SECOND
IMPORT_PURPOSES = {"voice": ("newsletter", "promotions", "survey"), "email": ("newsletter",)}
"""Of historic refusals: what the tools that take many addresses in one call can be informed of within the demo."""
DECLARED_PURPOSES = sorted({name for by in (PURPOSES, IMPORT_PURPOSES) for names in by.values() for name in names})
"""What the demo's installation declares."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """``phone`` serves sms and voice. Households share an e-mail address."""

    subject_ref: str
    phone: str
    email: str

    def address(self, channel: str) -> str:
        """The canonical address, as a destination will see it."""
        return self.email if channel == "email" else self.phone


class Defect(Enum):
    """What is wrong, on purpose, with a choice that is sent."""

    NONE = "none"
    DUPLICATE = "duplicate"
    LATE_GRANT = "late older grant"
    INVALID = "invalid"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One choice on its way to us. Times in micros, UTC. ``written`` is the address as an upstream system has it."""

    event_id: str
    subject_ref: str | None
    channel: str
    address: str
    written: str
    purpose: str
    status: str
    occurred_at: int
    defect: Defect = Defect.NONE


def people(count: int) -> list[Person]:
    """``count`` people, at most MOST_PEOPLE; every fiftieth shares the e-mail address of the one before."""
    if not 1 <= count <= MOST_PEOPLE:
        raise ValueError(f"between 1 and {MOST_PEOPLE} people: the reserved range holds no more numbers")
    return [
        Person(
            subject_ref=f"person-{n:06d}",
            phone=f"+3363998{n:04d}",
            email=f"person-{n - (n % 50 == 1):06d}@example.com",
        )
        for n in range(count)
    ]


def act_themselves(person: Person) -> bool:
    """A tenth of the people; their e-mail addresses are theirs alone."""
    return person.subject_ref.endswith("5")


class Choices:
    """What these people choose by upstream systems: first everything once, then one thing after another, except those
    ``without`` further choices."""

    def __init__(self, population: list[Person], *, seed: int, without: Collection[Person] = ()) -> None:
        self._people = population
        self._choosing = [each for each in population if each not in without] or population
        self._random = random.Random(seed)  # noqa: S311 - a repeatable scenario, not a secret
        self._sent: list[Choice] = []
        self._legacy = len(population)

    def first(self, now: int) -> Iterator[Choice]:
        """Every person's choices of the past days: six in seven permit."""
        for person in self._people:
            for channel in CHANNELS:
                for purpose in PURPOSES[channel]:
                    status = "given" if self._random.random() < 0.86 else "refused"
                    at = now - 48 * HOUR + self._random.randrange(24 * HOUR)
                    yield self._choice(person, channel, purpose, status, at)

    def next(self, now: int) -> Choice:
        """One more choice, made now; one in six is troubled in some way."""
        draw = self._random.random()
        if draw < 0.06 and self._sent:
            return replace(self._random.choice(self._sent), defect=Defect.DUPLICATE)
        person = self._random.choice(self._choosing)
        channel = self._random.choice(CHANNELS)
        purpose = self._random.choice(PURPOSES[channel])
        if draw < 0.12:
            late = self._choice(person, channel, purpose, "given", now - 96 * HOUR)
            return replace(late, defect=Defect.LATE_GRANT)
        if draw < 0.16:
            anonymous = replace(self._choice(person, channel, purpose, "withdrawn", now), subject_ref=None)
            return replace(anonymous, written="no address", defect=Defect.INVALID)
        if draw < 0.24:
            return self._keep(replace(self._choice(person, channel, "*", "withdrawn", now), subject_ref=None))
        if draw < 0.32:
            return self._keep(self._choice(person, channel, "*", "objected", now))
        status = "withdrawn" if draw < 0.82 else "given"
        return self._keep(self._choice(person, channel, purpose, status, now))

    def historic(self, count: int, now: int) -> Iterator[Choice]:
        """``count`` refusals of past years by people who made no choice since: a legacy base that is imported."""
        made = 0
        while True:
            number, self._legacy = self._legacy, self._legacy + 1
            person = Person(
                subject_ref=f"legacy-{number:06d}",
                phone=f"+3363998{number:04d}" if number < MOST_PEOPLE else "",
                email=f"legacy-{number:06d}@example.com",
            )
            for channel, purposes in IMPORT_PURPOSES.items():
                for purpose in purposes if person.address(channel) else ():
                    if made == count:
                        return
                    at = now - 20_000 * HOUR + self._random.randrange(10_000 * HOUR)
                    yield self._choice(person, channel, purpose, "refused", at)
                    made += 1

    @property
    def latest_refusal(self) -> Choice | None:
        """The newest refusal by a known person that ``next`` has made."""
        for choice in reversed(self._sent):
            if choice.status != "given" and choice.subject_ref is not None:
                return choice
        return None

    def _keep(self, choice: Choice) -> Choice:
        self._sent.append(choice)
        return choice

    def _choice(self, person: Person, channel: str, purpose: str, status: str, at: int) -> Choice:
        address = person.address(channel)
        written = address if self._random.random() < 0.5 else _as_people_write(channel, address)
        return Choice(
            event_id=str(UUID(int=self._random.getrandbits(128), version=4)),
            subject_ref=person.subject_ref,
            channel=channel,
            address=address,
            written=written,
            purpose=purpose,
            status=status,
            occurred_at=at,
        )


def _as_people_write(channel: str, address: str) -> str:
    if channel == "email":
        return f" {address.upper()} "
    national = "0" + address.removeprefix("+33")
    return " ".join(national[i : i + 2] for i in range(0, len(national), 2))

"""Submissions from the parts of the grammar. A seed gives the same ones each time, but for when they are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from tests.integration.system.odd.fields import ADDRESS, BODIES, PARTS, REFERENCE, USED, address
from tests.integration.system.odd.model import (
    DAY,
    HOUR,
    PURPOSES,
    REFUSALS,
    Draft,
    History,
    Names,
    Part,
    Person,
    Submission,
    Twist,
    Way,
    fits_avro,
    plain,
)
from tests.integration.system.odd.texts import LINES, Line


@dataclass(kw_only=True, slots=True)
class Grammar:
    """Submissions, each of another person. ``now``: micros; what people choose last is chosen then."""

    now: int
    rng: Random
    _number: int = field(default=0)

    def submissions(self, *, mixtures: int) -> Iterator[Submission]:
        """Each spelling and each twist by itself, so that the smallest submission that fails is among them; then so
        many ``mixtures`` of them."""
        ways = list(Way)
        singles: list[tuple[Line, list[tuple[Part, Twist]]]] = [
            *((line, [(ADDRESS, address(spell))]) for line in LINES for spell in line.spellings),
            *((self.rng.choice(LINES), [(part, twist)]) for part in PARTS for twist in part.twists),
        ]
        for at, (line, twists) in enumerate(singles):
            # Each way in turn; every other one by a second way too, as Kafka cannot carry everything.
            for way in (ways[at % 3], ways[(at + 1) % 3])[: 1 + (at % 2)]:
                history = History.PERMITTED if at % 5 else self.rng.choice(list(History))
                yield from self._one(line, way, history, twists, self.rng.choice(list(Names)))
        for twist in USED.twists:
            for way in ways:
                yield from self._one(self.rng.choice(LINES), way, History.LIFTED, [(USED, twist)], Names.BOTH)
        for way, raw in BODIES:
            for submission in self._one(self.rng.choice(LINES), way, History.PERMITTED, [], Names.BOTH):
                yield replace(submission, raw=raw, parts=("bytes",), needless=False)
        for _ in range(mixtures):
            line = self.rng.choice(LINES)
            chosen = self.rng.sample(PARTS, self.rng.randrange(1, 4))
            twists = [(part, self.rng.choice(part.twists)) for part in chosen]
            if self.rng.random() < 0.6:
                twists.append((ADDRESS, address(self.rng.choice(line.spellings))))
            history = self.rng.choice([*History, History.PERMITTED, History.PERMITTED])
            yield from self._one(line, self.rng.choice(ways), history, twists, self.rng.choice(list(Names)))

    def _one(
        self, line: Line, way: Way, history: History, twists: Sequence[tuple[Part, Twist]], names: Names
    ) -> Iterator[Submission]:
        """One; none where a producer's library would not take it."""
        parts = [part for part, _ in twists]
        for part, name in ((ADDRESS, Names.ADDRESS), (REFERENCE, Names.REFERENCE)):
            if part in parts and names not in (Names.BOTH, name):
                names = name
        self._number += 1
        person = Person(
            number=self._number,
            channel=line.channel,
            address=line.plain.format(n=f"{self._number:04d}"),
            subject_ref=self.rng.choice(("c-{n}", "\u00e9lan {n}", "{n}A", "crm/{n}")).format(n=self._number),
            purpose=self.rng.choice(PURPOSES),
        )
        withdrawal = history in (History.PERMITTED, History.LIFTED)
        # A grant of a person who has withdrawn is older than that: whatever it looks like, it lifts nothing. No twist
        # makes it as young as the withdrawal.
        at = self.now - {History.WITHDRAWN: 4 * DAY, History.NOTHING: HOUR}.get(history, 0)
        draft = Draft(person=person, way=way, at=at, rng=self.rng)
        status = self.rng.choice(REFUSALS) if withdrawal else "given"
        fields = plain(draft, status)
        if names is Names.ADDRESS:
            del fields["subject_ref"]
        if names is Names.REFERENCE:
            del fields["address"]
        for _, twist in twists:
            fields |= twist(draft)
        if way is not Way.KAFKA or fields.get("event_id") is None:
            fields = {name: value for name, value in fields.items() if value is not None or self.rng.random() < 0.5}
        if way is Way.KAFKA:
            fields.setdefault("event_id", f"odd-{person.number}")
            if not fits_avro(fields):
                return
        yield Submission(
            person=person,
            history=history,
            way=way,
            fields=fields,
            parts=tuple(part.name for part in parts),
            needless=not any(part.needed for part in parts),
        )

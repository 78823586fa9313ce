"""People who go on choosing while things break: upstream systems speak HTTP and Kafka, live and in bulk, all at once.

Duplicates, late older grants, records that are no records, and choices that arrive long after later ones. Whatever
was acknowledged is in the book; what was not is sent again until it is.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from uuid import UUID

from consent_contracts import Topics
from consent_service.clock import now_micros
from local_stack.audit.compare import ChannelAddress, ExpectedState
from local_stack.demo.population import CHANNELS, PURPOSES, Choice, Choices, Person, people
from local_stack.demo.upstreams import HttpUpstream, KafkaUpstream
from local_stack.endpoints import Endpoints

TICK = 0.1
BATCH = 200
PATIENCE = 150.0  # longer than any fault keeps a way in closed
FICKLE = 40  # people who change their minds all the time
FICKLE_SHARE = 0.25
LATE_SHARE = 0.05
LATEST = 8.0


Send = Callable[[Sequence[Choice]], None]


class Load:
    """The population and its upstream systems. ``rate``: choices a second, all ways together."""

    def __init__(self, endpoints: Endpoints, *, persons: int, rate: float, seed: int) -> None:
        self.book = ExpectedState()
        self.people = people(persons)
        self.http = HttpUpstream(endpoints.api, endpoints.api_key, self.book)
        topics = Topics(prefix=endpoints.topic_prefix)
        self.kafka = KafkaUpstream(endpoints.kafka, endpoints.registry, topics.inbound, self.book)
        self.http_bulk = HttpUpstream(endpoints.api, endpoints.api_key, self.book)
        self.kafka_bulk = KafkaUpstream(endpoints.kafka, endpoints.registry, topics.inbound_bulk, self.book)
        self._third = HttpUpstream(endpoints.api, endpoints.api_key, self.book)
        """For decisions in the middle of a fault, while the two others are busy in their threads."""
        self.failures: list[BaseException] = []
        self._rate = rate
        # Not the seed of the choices alone: the same stream would give the same event ids.
        self._random = random.Random(f"load {seed}")
        self._choices = Choices(self.people, seed=seed)
        self._drawing = threading.Lock()

    def all_choose(self) -> None:
        """Once, before anything breaks; every way in takes its share."""
        first = list(self._choices.first(now_micros()))
        ways = itertools.cycle(self._ways)
        for start in range(0, len(first), BATCH):
            next(ways)(first[start : start + BATCH])

    def import_historic(self, count: int) -> None:
        """Refusals of people who made no choice so far, in bulk."""
        with self._drawing:
            historic = list(self._choices.historic(count, now_micros()))
        for start in range(0, len(historic), BATCH):
            self._third.send(historic[start : start + BATCH], seconds=PATIENCE, bulk=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Choices keep coming during the block; after it all that were made have been acknowledged."""
        stop = threading.Event()
        threads = [
            threading.Thread(target=self._keep_sending, args=(send, stop), name=f"upstream-{number}")
            for number, send in enumerate(self._ways)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def withdraw(self, wanted: int) -> list[ChannelAddress]:
        """By HTTP, for up to ``wanted`` people who may be called about promotions: from now on they may not. Where
        none of them may, people who have refused already do so again, so that the result is never empty."""
        verdicts = self.book.verdicts()
        permitted = [
            person
            for person in self.people[FICKLE:]
            if (known := verdicts.get(("voice", person.phone))) and known.get("promotions", known["*"]).permitted
        ]
        chosen = (permitted or self.people[FICKLE:])[:wanted]
        now = now_micros()
        choices = [self._choice(person, "voice", "promotions", "withdrawn", now) for person in chosen]
        self._third.send(choices, seconds=PATIENCE)
        return [("voice", person.phone) for person in chosen]

    def close(self) -> None:
        for upstream in (self.http, self.kafka, self.http_bulk, self.kafka_bulk, self._third):
            upstream.close()

    @property
    def _ways(self) -> Sequence[Send]:
        return (
            partial(self.http.send, seconds=PATIENCE),
            partial(self.kafka.send, seconds=PATIENCE),
            partial(self.http_bulk.send, seconds=PATIENCE, bulk=True),
            partial(self.kafka_bulk.send, seconds=PATIENCE),
        )

    def _keep_sending(self, send: Send, stop: threading.Event) -> None:
        try:
            with self._drawing:
                rng = random.Random(self._random.getrandbits(32))
            began, made = time.monotonic(), 0
            late: list[tuple[float, Choice]] = []
            while not stop.is_set():
                stop.wait(TICK)
                due = int((time.monotonic() - began) * self._rate / len(self._ways)) - made
                some = self._draw(min(due, BATCH), rng)
                made += len(some)
                now = time.monotonic()
                late += [(now + rng.uniform(1.0, LATEST), each) for each in some if rng.random() < LATE_SHARE]
                held = {id(each) for _, each in late}
                ripe = [each for when, each in late if when <= now]
                late = [(when, each) for when, each in late if when > now]
                self._send(send, [*(each for each in some if id(each) not in held), *ripe], rng)
            self._send(send, [each for _, each in late], rng)
        except BaseException as failure:
            self.failures.append(failure)

    def _send(self, send: Send, choices: list[Choice], rng: random.Random) -> None:
        if choices:
            rng.shuffle(choices)
            send(choices)

    def _draw(self, count: int, rng: random.Random) -> list[Choice]:
        with self._drawing:
            return [self._change_of_mind(rng) if rng.random() < FICKLE_SHARE else self._next() for _ in range(count)]

    def _next(self) -> Choice:
        return self._choices.next(now_micros())

    def _change_of_mind(self, rng: random.Random) -> Choice:
        channel = rng.choice(CHANNELS)
        status = rng.choice(("given", "withdrawn"))
        return self._choice(
            rng.choice(self.people[:FICKLE]), channel, rng.choice(PURPOSES[channel]), status, now_micros()
        )

    def _choice(self, person: Person, channel: str, purpose: str, status: str, at: int) -> Choice:
        address = person.address(channel)
        return Choice(
            event_id=str(UUID(int=self._random.getrandbits(128), version=4)),
            subject_ref=person.subject_ref,
            channel=channel,
            address=address,
            written=address,
            purpose=purpose,
            status=status,
            occurred_at=at,
        )

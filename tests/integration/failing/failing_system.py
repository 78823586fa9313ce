"""People who choose while a part of the system fails, and a gate that is asked all the while. # R63

Each answer is compared with what had been recorded when it was asked for; the one that permits too much fails the test.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import psycopg
from confluent_kafka import Consumer, Producer

from consent_contracts import Topics, partition_of
from consent_contracts.codec import Codec
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from local_stack.audit.compare import SUPPRESSED
from local_stack.scrape import Samples, scrape
from local_stack.stack import Stack
from tests.support.evidence import EVIDENCE
from tests.support.recreated_topics import recreate

STALE_SECONDS = 6
INBOUND_STALE_SECONDS = 8
SESSION_SECONDS = 6
SETTINGS = {
    "CONSENT_RELAY_GATE_STALE_AFTER": str(STALE_SECONDS),
    "CONSENT_RELAY_GATE_INBOUND_STALE_AFTER": str(INBOUND_STALE_SECONDS),
    "CONSENT_RELAY_GATE_UNKNOWN": "deny,voice=allow",
    "CONSENT_RELAY_SUPPRESSION_SESSION_TIMEOUT": str(SESSION_SECONDS),
}
PATIENCE = 120.0
PURPOSE = "promotions"
PARTITIONS = 4
SECOND = 1_000_000
CLOCKS_DIFFER_SECONDS = 3.0
"""By so much a permission may seem to last longer at most: clocks may differ by 2 s, and the end is on its way."""
_NUMBERS = count()
"""No person is in two tests: they share one system."""
_SHIFTED_CLOCK = Path(__file__).with_name("shifted_clock")


class Person(NamedTuple):
    """A person contacted by voice is permitted until they refuse, as the gate is set to allow the unknown there."""

    channel: str
    address: str

    @property
    def subject_ref(self) -> str:
        return f"subject-{self.channel}-{self.address[-4:]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class People:
    """The first of each is contacted by SMS, the second by voice."""

    staying: tuple[Person, Person]
    withdrawing: tuple[Person, Person]

    def __iter__(self) -> Iterator[Person]:
        return iter((*self.staying, *self.withdrawing))


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdrawal:
    """`answered_at` (monotonic) and `at` (epoch, micros): when it was known to be recorded. Beyond `limit` seconds
    after that no answer may permit the person."""

    answered_at: float
    at: int
    limit: float
    decision_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Times of the gate are micros since the epoch; `asked_at` is monotonic, `asked` the same moment in micros."""

    person: Person
    permitted: bool
    reason: str
    detail: str | None
    decision_id: str | None
    as_of: int | None
    valid_until: int | None
    asked_at: float
    asked: int


Answers = Mapping[Person, Answer]


@dataclass
class FailingSystem:
    """The services of `stack`, which are killed, frozen and misled, and the people who watch the gate."""

    stack: Stack
    _withdrawals: dict[Person, Withdrawal] = field(default_factory=dict)
    _windows: dict[Person, tuple[int, int]] = field(default_factory=dict)
    _asked: list[Person] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.endpoints = self.stack.endpoints
        self.topics = Topics(prefix=self.endpoints.topic_prefix)
        self.keyring = Keyring.load(Path(self.endpoints.keyring_file))
        self.codec = Codec.connect(self.endpoints.registry, self.topics)
        self._client = httpx.Client(timeout=10)

    def close(self) -> None:
        self._client.close()

    # People

    def person(self, channel: str = "sms", *, partition: int | None = None) -> Person:
        """A new person; with `partition`, one whose address is in it."""
        while True:
            person = Person(channel, f"+3363998{next(_NUMBERS):04d}")
            if partition is None or self.partition(person) == partition:
                self._asked.append(person)
                return person

    def people(self) -> People:
        """Every person is permitted. Those of a channel share a partition, so that what hides one hides the other."""
        staying = (self.person(), self.person("voice"))
        withdrawing = (
            self.person(partition=self.partition(staying[0])),
            self.person("voice", partition=self.partition(staying[1])),
        )
        for person, _ in (staying, withdrawing):
            self.permit(person)
        people = People(staying=staying, withdrawing=withdrawing)
        self.eventually("every person is permitted", lambda answers: all(answers[each].permitted for each in people))
        return people

    def partition(self, person: Person) -> int:
        return partition_of(self.address_key(person).encode(), PARTITIONS)

    def address_key(self, person: Person) -> str:
        return self.keyring.live_address_keys(self.endpoints.tenant, person.channel, person.address)[0]

    def permit(self, person: Person, *, begins: float = -10.0, ends: float = 86_400.0) -> bool:
        """By HTTP; seconds from now. False: it was refused, which only one that begins later may be."""
        now = now_micros()
        window = (now + int(begins * SECOND), now + int(ends * SECOND))
        self._windows[person] = window
        times = {"occurred_at": rfc3339(window[0]), "expires_at": rfc3339(window[1])}
        answer = self._submit(person, status="given", evidence=EVIDENCE, **times)
        assert answer.status_code in ((201,) if begins <= 0 else (201, 422)), answer.text
        return answer.status_code == 201

    def permit_by_kafka(self, person: Person, *, begins: float) -> None:
        now = now_micros()
        window = (now + int(begins * SECOND), now + int((begins + 86_400) * SECOND))
        self._windows[person] = window
        self._produce(person, status="given", evidence=EVIDENCE, occurred_at=window[0], expires_at=window[1])

    def withdraw(self, person: Person) -> None:
        """By HTTP, without a time, and answered 201."""
        answer = self._submit(person, status="withdrawn")
        assert answer.status_code == 201, answer.text
        self._remember(person, STALE_SECONDS, answer.json()["decision_id"])

    def withdraw_by_kafka(self, person: Person) -> None:
        """By consent.inbound.v1, and acknowledged by the broker."""
        self._produce(person, status="withdrawn", evidence=None, occurred_at=now_micros(), expires_at=None)
        self._remember(person, INBOUND_STALE_SECONDS, None)

    # The gate

    def ask(self) -> Answers:
        """One answer for each person; empty while the gate does not answer. Fails for what permits too much."""
        found: dict[Person, Answer] = {}
        for channel in ("sms", "voice"):
            people = [each for each in self._asked if each.channel == channel]
            found |= self._check(channel, people)
        for answer in found.values():
            self._judge(answer)
        return found if len(found) == len(self._asked) else {}

    def eventually(self, what: str, condition: Callable[[Answers], object], *, seconds: float = PATIENCE) -> Answers:
        """The first answers for which `condition` holds."""
        deadline = time.monotonic() + seconds
        while not ((answers := self.ask()) and condition(answers)):
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}\n{self._state(answers)}"
            time.sleep(0.2)
        return answers

    def is_right(self, answer: Answer) -> bool:
        """Whether it is what the person chose last. A person who withdrew is denied for that, not for a stale list."""
        withdrawal = self._withdrawals.get(answer.person)
        if withdrawal is not None:
            return answer.reason == "withdrawn" and withdrawal.decision_id in (None, answer.decision_id)
        begins, ends = self._windows.get(answer.person, (0, answer.asked))
        return answer.permitted == (begins <= answer.asked <= ends)

    def are_right(self, answers: Answers) -> bool:
        return all(map(self.is_right, answers.values()))

    def is_over(self, person: Person) -> bool:
        """Whether the permission has ended."""
        return now_micros() > self._windows[person][1]

    def is_suppressed_at_the_tool(self, person: Person) -> bool:
        """By SMS alone."""
        states = self._client.get(f"{self.endpoints.sandbox_control}/_state/twilio").json()["states"]
        return SUPPRESSED in states.get(person.address, {}).values()

    # The processes

    def end(self, name: str) -> None:
        self.stack.supervisor.child(name).stop()

    def kill(self, name: str) -> None:
        self.stack.kill(name)

    def start(self, name: str) -> None:
        """Started and ready, in whatever state it was."""
        self.stack.supervisor.child(name).start()
        self.stack.supervisor.await_ready(name, seconds=PATIENCE)

    def wake(self, name: str) -> None:
        """After a freeze. What ends at waking is started again."""
        self.stack.resume(name)
        deadline = time.monotonic() + PATIENCE
        child = self.stack.supervisor.child(name)
        while self.readiness(name)[0] != 200:
            assert time.monotonic() < deadline, f"{name} was not ready after it was woken: {self.readiness(name)}"
            if not child.running:
                child.start()
            time.sleep(0.2)

    @contextmanager
    def own_clock(self, name: str) -> Iterator[Callable[[int], None]]:
        """Call it to restart the process on a host whose clock is wrong by so many seconds. In the end it is right."""
        child = self.stack.supervisor.child(name)
        right = child.program

        def shift(seconds: int) -> None:
            wrong = {"PYTHONPATH": str(_SHIFTED_CLOCK), "TEST_CLOCK_SHIFT_SECONDS": str(seconds)}
            child.kill()
            child.program = replace(right, env={**right.env, **wrong})
            child.start()

        try:
            yield shift
        finally:
            child.kill()
            child.program = right
            self.start(name)

    def readiness(self, name: str) -> tuple[int, str]:
        """Status and text of /readyz; 0 while the process does not answer."""
        try:
            answer = self._client.get(f"{self.endpoints.metrics[name]}/readyz")
        except httpx.HTTPError as error:
            return 0, type(error).__name__
        return answer.status_code, answer.text

    def await_readiness(self, name: str, status: int, word: str) -> None:
        """The gate is asked meanwhile."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.readiness(name))[0] != status or word not in found[1]:
            assert time.monotonic() < deadline, f"/readyz of {name} is not {status} with {word!r}: {found}"
            self.ask()
            time.sleep(0.2)

    def metrics(self, name: str) -> Samples:
        """Empty while the process does not answer."""
        try:
            return scrape(f"{self.endpoints.metrics[name]}/metrics")
        except httpx.HTTPError:
            return Samples({})

    # The servers

    @contextmanager
    def database(self) -> Iterator[psycopg.Connection[Any]]:
        """As the owner, in a transaction that is rolled back at the end."""
        with psycopg.connect(self.endpoints.database.replace("+psycopg", "", 1)) as connection:
            try:
                yield connection
            finally:
                connection.rollback()

    def await_published(self) -> None:
        """Until no row waits in an outbox."""
        deadline = time.monotonic() + PATIENCE
        with self.database() as connection:
            while connection.execute("SELECT FROM outbox UNION ALL SELECT FROM outbox_bulk LIMIT 1").fetchone():
                connection.rollback()
                assert time.monotonic() < deadline, "rows wait in the outbox"
                time.sleep(0.1)

    @contextmanager
    def reader(self) -> Iterator[Consumer]:
        consumer = Consumer({"bootstrap.servers": self.endpoints.kafka, "group.id": "never-joined"})
        try:
            yield consumer
        finally:
            consumer.close()

    def recreate(self, names: Sequence[str]) -> None:
        """Topics are deleted and made again, empty."""
        endpoints = self.endpoints
        recreate(kafka=endpoints.kafka, registry=endpoints.registry, topics=self.topics, names=names)

    # Inside

    def _submit(self, person: Person, **decision: Any) -> httpx.Response:
        """Waits for an API that is about to listen."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self._post(person, decision)
            except httpx.ConnectError:
                assert time.monotonic() < deadline, "the API does not listen"
                time.sleep(0.2)

    def _post(self, person: Person, decision: Mapping[str, Any]) -> httpx.Response:
        return self._client.post(
            f"{self.endpoints.api}/v1/decisions",
            json={
                "channel": person.channel,
                "address": person.address,
                "subject_ref": person.subject_ref,
                "purpose": PURPOSE,
                **decision,
            },
            headers={"Authorization": f"Bearer {self.endpoints.api_key}", "Idempotency-Key": f'"{uuid4()}"'},
        )

    def _produce(self, person: Person, **decision: Any) -> None:
        datum = {
            "event_id": str(uuid4()),
            "tenant": self.endpoints.tenant,
            "channel": person.channel,
            "purpose": PURPOSE,
            "subject_ref": person.subject_ref,
            "address": person.address,
            **decision,
        }
        producer = Producer({"bootstrap.servers": self.endpoints.kafka})
        producer.produce(self.topics.inbound, self.codec.encode(self.topics.inbound, datum), person.address.encode())
        assert producer.flush(30) == 0

    def _remember(self, person: Person, limit: float, decision_id: str | None) -> None:
        self._withdrawals[person] = Withdrawal(
            answered_at=time.monotonic(), at=now_micros(), limit=limit, decision_id=decision_id
        )

    def _check(self, channel: str, people: Sequence[Person]) -> dict[Person, Answer]:
        if not people:
            return {}
        asked_at, asked = time.monotonic(), now_micros()
        body = {
            "channel": channel,
            "purpose": PURPOSE,
            "addresses": [each.address for each in people],
            "when_stale": "deny",
        }
        headers = {"Authorization": f"Bearer {self.endpoints.check_key}"}
        try:
            answer = self._client.post(f"{self.endpoints.gate}/v1/check", json=body, headers=headers)
        except httpx.HTTPError:
            return {}
        assert answer.status_code == 200, answer.text
        return {
            person: Answer(
                person=person,
                permitted=found["permitted"],
                reason=found["reason"],
                detail=found.get("detail"),
                decision_id=found["decision_id"],
                as_of=micros(found.get("as_of")),
                valid_until=micros(found.get("valid_until")),
                asked_at=asked_at,
                asked=asked,
            )
            for person, found in zip(people, answer.json()["results"], strict=True)
        }

    def _judge(self, answer: Answer) -> None:
        if not answer.permitted:
            return
        assert answer.as_of is not None, answer
        assert answer.valid_until is not None, answer
        assert answer.valid_until <= answer.as_of + STALE_SECONDS * SECOND, answer
        assert answer.asked <= answer.as_of + STALE_SECONDS * SECOND, f"older than the limit: {answer}"
        withdrawal = self._withdrawals.get(answer.person)
        if withdrawal is not None:
            late = answer.asked_at - withdrawal.answered_at
            assert late <= withdrawal.limit, f"permitted {late:.1f} s after the withdrawal was recorded: {answer}"
            by_http = withdrawal.decision_id is not None
            assert not by_http or answer.as_of <= withdrawal.at, f"as of later than the withdrawal: {answer}"
        if (window := self._windows.get(answer.person)) is not None:
            begins, ends = window
            assert begins <= answer.asked, f"permitted before it begins: {answer}"
            assert answer.asked <= ends + CLOCKS_DIFFER_SECONDS * SECOND, f"permitted after its end: {answer}"
            assert answer.valid_until <= ends, f"valid for longer than the permission: {answer}"

    def _state(self, answers: Answers) -> str:
        lines = [str(each) for each in answers.values()]
        return "\n".join([*lines, *(f"{name}: {self.readiness(name)}" for name in self.endpoints.metrics)])


def rfc3339(moment: int) -> str:
    """Of micros since the epoch."""
    return datetime.fromtimestamp(moment / SECOND, UTC).isoformat()


def micros(text: str | None) -> int | None:
    """Of RFC 3339."""
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * SECOND)

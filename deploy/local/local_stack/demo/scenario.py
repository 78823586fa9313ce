"""What happens in the demo, in order: people choose, life goes on, things break, and then everything is compared."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import httpx

from consent_contracts import Topics
from consent_service.clock import now_micros
from local_stack.audit.compare import ExpectedState
from local_stack.demo.personal import PersonalChoices
from local_stack.demo.population import Choice, Choices, act_themselves, people
from local_stack.demo.status import DemoStatus
from local_stack.demo.upstreams import HttpUpstream, KafkaUpstream
from local_stack.demo.view import Snapshot, View
from local_stack.destinations import ADDED_DESTINATION
from local_stack.errors import NotSettledError
from local_stack.stack import Stack

OUTAGE_SECONDS = 5.0
KILL_SECONDS = 2.0
STILL_SECONDS = 90.0
MOST_SETTLE_SECONDS = 600.0
TICK = 0.1
PERSONAL_SECONDS = 0.25
"""Between two choices that people make themselves."""
BATCH = 250
IMPORT_BATCH = 1_000
ADDED = "sendgrid-campaigns"
OUTAGE_OF = "sendgrid"
VICTIMS = ("suppression", "relay", "ingest")
"""A killed propagator is for the chaos tests: a suppression may be repeated after half a minute, too long to watch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoOptions:
    """How large the demo is. ``rate``: live choices a second; ``imported``: historic refusals."""

    people: int
    imported: int
    seconds: float
    rate: float
    seed: int


class Scenario:
    """One demo on a running stack. ``play`` returns when everything that was sent has arrived."""

    def __init__(self, stack: Stack, options: DemoOptions, view: View) -> None:
        endpoints = stack.endpoints
        self.expected = ExpectedState()
        self.snapshot = Snapshot()
        self.http = HttpUpstream(endpoints.api, endpoints.api_key, self.expected)
        topics = Topics(prefix=endpoints.topic_prefix)
        self.kafka = KafkaUpstream(endpoints.kafka, endpoints.registry, topics.inbound, self.expected)
        self.status = DemoStatus(endpoints)
        self._stack = stack
        self._options = options
        self._view = view
        self._random = random.Random(options.seed)  # noqa: S311 - a repeatable scenario, not a secret
        everyone = people(options.people)
        themselves = [each for each in everyone if act_themselves(each)]
        self._choices = Choices(everyone, seed=options.seed, without=themselves)
        self.personal = PersonalChoices(
            endpoints.api, endpoints.api_key, stack.directory, themselves, self.expected, seed=options.seed
        )
        self._importer = HttpUpstream(endpoints.api, endpoints.api_key, self.expected)
        self._import: threading.Thread | None = None
        self._addition: threading.Thread | None = None
        self._ended = threading.Event()
        self._failures: list[BaseException] = []

    def play(self) -> None:
        """Raises NotSettledError, or TimeoutError when the way in stays closed."""
        self._all_choose()
        self._settle("carrying the first choices to every tool", self.status.settled)
        self.status.mark()
        personal = threading.Thread(target=self._choose_themselves, name="personal choices")
        personal.start()
        try:
            self._life_goes_on()
        finally:
            self._ended.set()
            personal.join()
        self._finish()
        self._settle("delivering what is pending", self.status.settled)

    def close(self) -> None:
        """The ways in end; what was sent, and what became of it, stays to be read."""
        self.http.close()
        self.kafka.close()
        self._importer.close()
        self.personal.close()

    def _all_choose(self) -> None:
        choices = list(self._choices.first(now_micros()))
        self._enter("people choose", of=len(choices))
        for number, some in enumerate(_batches(choices, BATCH)):
            if number % 2:
                self.http.send(some, bulk=True)
            else:
                self.kafka.send(some)
            self.snapshot.done += len(some)
            self._show()

    def _life_goes_on(self) -> None:
        total = int(self._options.seconds * self._options.rate)
        self._enter("live traffic", of=total)
        start = time.monotonic()
        events = self._events(start)
        due = next(events)
        while self.snapshot.done < total:
            elapsed = time.monotonic() - start
            if elapsed >= due[0]:
                due[1]()
                due = next(events)
            wanted = min(total, int(elapsed * self._options.rate)) - self.snapshot.done
            if wanted > 0:
                self._send([self._choices.next(now_micros()) for _ in range(min(wanted, BATCH))])
                self.snapshot.done += min(wanted, BATCH)
            self._show()
            time.sleep(TICK)
        while due[0] != float("inf"):
            time.sleep(max(0.0, start + due[0] - time.monotonic()))
            due[1]()
            due = next(events)

    def _choose_themselves(self) -> None:
        """Beside the upstream systems, until the live traffic ends."""
        try:
            while not self._ended.wait(PERSONAL_SECONDS):
                self.personal.next()
        except BaseException as failure:
            self._failures.append(failure)

    def _send(self, choices: Sequence[Choice]) -> None:
        # A damaged record is a thing of Kafka and a wrong field one of HTTP: both ways get their share.
        by_http = [c for c in choices if self._random.random() < 0.5]
        by_kafka = [c for c in choices if c not in by_http]
        if by_http:
            self.http.send(by_http)
        if by_kafka:
            self.kafka.send(by_kafka)

    def _events(self, start: float) -> Iterator[tuple[float, Callable[[], None]]]:
        """(seconds after the start, what happens then), in order; the last one never comes."""
        seconds = self._options.seconds
        victim = self._random.choice(VICTIMS)
        down_at, kill_at = seconds * 0.35, seconds * 0.6
        happenings = [
            (seconds * 0.05, self._start_import),
            (seconds * 0.2, self._add_destination),
            (down_at, lambda: self._outage("reset", f"{OUTAGE_OF} goes down")),
            (down_at + OUTAGE_SECONDS, lambda: self._outage("off", f"{OUTAGE_OF} is back")),
            (kill_at, lambda: self._kill(victim)),
            (kill_at + KILL_SECONDS, lambda: self._revive(victim)),
        ]
        yield from sorted(happenings, key=lambda each: each[0])
        yield float("inf"), lambda: None

    def _start_import(self) -> None:
        """In a thread of its own, so that live choices do not wait for it."""
        if self._options.imported:
            self._report(f"{self._options.imported:,} historic refusals are imported")
            self._import = threading.Thread(target=self._import_historic, name="import")
            self._import.start()

    def _import_historic(self) -> None:
        try:
            historic = list(self._choices.historic(self._options.imported, now_micros()))
            for some in _batches(historic, IMPORT_BATCH):
                self._importer.send(some, bulk=True, seconds=120.0)
                self.snapshot.imported += len(some)
        except BaseException as failure:
            self._failures.append(failure)

    def _finish(self) -> None:
        """What goes on beside the live traffic."""
        for thread in filter(None, (self._import, self._addition)):
            thread.join()
        if self._failures:
            raise TimeoutError(f"what went on beside the live traffic failed: {self._failures[0]}")

    def _add_destination(self) -> None:
        """As an operator would: the file is extended, and the propagator restarted in order."""
        self._report(f"{ADDED} is added, and filled from the list")
        self._addition = threading.Thread(target=self._roll_in_destination, name="addition")
        self._addition.start()

    def _roll_in_destination(self) -> None:
        try:
            self._stack.add_destination(ADDED_DESTINATION)
            self.status.reload_tools()
        except BaseException as failure:
            self._failures.append(failure)

    def _outage(self, mode: str, news: str) -> None:
        answer = httpx.put(
            f"{self._stack.endpoints.sandbox_control}/_control/outage/{OUTAGE_OF}", json={"mode": mode}, timeout=5
        )
        answer.raise_for_status()
        self._report(news)

    def _kill(self, victim: str) -> None:
        self._stack.kill(victim)
        self._report(f"{victim} is killed with -9")

    def _revive(self, victim: str) -> None:
        began = time.monotonic()
        self._stack.restart(victim)
        self._report(f"{victim} is back, ready after {time.monotonic() - began:.1f} s")

    def _settle(self, phase: str, settled: Callable[[], bool]) -> None:
        """Until nothing is on its way: no outbox row, no lag, no push that waits. NotSettledError where nothing more
        arrives for STILL_SECONDS, or after MOST_SETTLE_SECONDS: a busy machine is slow, and loses nothing by it."""
        self._enter(phase, of=1)
        began = moved = time.monotonic()
        delivered = -1
        while not settled():
            self._show()
            now = time.monotonic()
            if (arrived := sum(row.delivered for row in self.snapshot.rows)) > delivered:
                delivered, moved = arrived, now
            if now - moved > STILL_SECONDS or now - began > MOST_SETTLE_SECONDS:
                raise NotSettledError(self.status.waiting_for())
            time.sleep(0.5)
        self.snapshot.done = 1
        self._show()

    def _enter(self, phase: str, *, of: int) -> None:
        self.snapshot.phase, self.snapshot.done, self.snapshot.of = phase, 0, of
        self._show()

    def _report(self, news: str) -> None:
        self.snapshot.news.append(news)

    def _show(self) -> None:
        self.snapshot.accepted = len(self.expected)
        self.snapshot.rows = self.status.rows()
        self.snapshot.outbox = self.status.outbox()
        self._view.show(self.snapshot)

    @property
    def remembered(self) -> Choice | None:
        """A late refusal that a subject made during the live traffic: worth an explanation."""
        return self._choices.latest_refusal

    def counts(self) -> dict[str, int]:
        """How the upstream systems fared, for the report."""
        return {
            "by HTTP": self.http.outcomes["recorded"],
            "imported in bulk": self._importer.outcomes["recorded"],
            "repeated by HTTP": self.http.outcomes["repeated"],
            "refused by HTTP": self.http.outcomes["refused"],
            **self.personal.outcomes,
            "by Kafka": self.kafka.outcomes["produced"],
            "damaged on Kafka": self.kafka.outcomes["damaged"],
        }


def _batches(choices: Sequence[Choice], size: int) -> Iterator[Sequence[Choice]]:
    for start in range(0, len(choices), size):
        yield choices[start : start + size]

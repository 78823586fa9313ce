"""The same checks after every fault: everything is delivered, nothing is wrong, nothing was lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from confluent_kafka import Consumer

from consent_api.ingest.submissions import WITHOUT_EFFECT
from consent_api.operations.dead_letters.reader import DeadLetterReader, Filter
from consent_contracts.topics import SERVICES
from consent_kafka import clients
from consent_service.clock import now_micros
from local_stack.audit.compare import Findings
from local_stack.audit.live import audit
from local_stack.demo.status import DemoStatus
from local_stack.stack import Stack
from tests.chaos.load import Load
from tests.chaos.poison import Poison
from tests.chaos.stale_permissions import stale_permissions
from tests.chaos.story import story

SETTLE_SECONDS = 180.0
HEAL_SECONDS = 20.0
"""What the gate may be behind the tools, at most: it reads by itself."""
SHOWN = 10


def settle(stack: Stack, progress: DemoStatus, say: Callable[[str], None]) -> None:
    """Until nothing is pending and the ledger as it is now is in every destination but those left out; all ready."""
    deadline = time.monotonic() + SETTLE_SECONDS
    progress.begin()
    reported = time.monotonic()
    while not progress.settled():
        no_crash(stack)
        waiting = progress.waiting_for()
        assert time.monotonic() < deadline, f"not settled within {SETTLE_SECONDS:.0f} s: {waiting}"
        if time.monotonic() - reported > 5:
            reported = time.monotonic()
            say(f"    waiting for {waiting}")
        time.sleep(0.25)
    for name in stack.endpoints.metrics:
        stack.supervisor.await_ready(name)


def no_crash(stack: Stack) -> None:
    """No process ended that the test had not killed."""
    crashes = [f"{crash.name} {crash.how}; the end of its log:\n{crash.tail}" for crash in stack.crashes]
    assert not crashes, "\n".join(crashes)


def as_decided(stack: Stack, load: Load, poison: Poison, *, but: Collection[str] = ()) -> Findings:
    """0 lost, 0 wrongly permitted, 0 wrongly suppressed, at every destination (``but`` these) and at the gate."""
    deadline = time.monotonic() + HEAL_SECONDS
    while True:
        findings = audit(stack.endpoints, load.book.verdicts(), but=but)
        if not findings.differences:
            return findings
        if time.monotonic() > deadline:
            kinds = Counter((each.kind, each.where) for each in findings.differences)
            shown = "\n".join(story(stack.endpoints, poison.codec, each) for each in findings.differences[:SHOWN])
            raise AssertionError(f"{dict(kinds)}\n{shown}")
        time.sleep(1.0)


def no_stale_permission(stack: Stack, load: Load, poison: Poison) -> int:
    """No tool got a permission after it had acknowledged the newest refusal. Returns how many histories were judged."""
    now = now_micros()
    judged, wrong = stale_permissions(stack.endpoints, poison.codec, load.book.verdicts(), now=now)
    assert not wrong, "\n".join(wrong[:SHOWN])
    assert judged, "there is no history to judge"
    return judged


def dead_letters_are_the_poison(stack: Stack, load: Load, poison: Poison) -> int:
    """Every record that could not be read is a dead letter, and no other is; how many there are.

    A record of the dead-letter topic that is no dead letter is listed too, and hides no other.
    """
    topics = poison.topics
    reader = DeadLetterReader(connect=lambda: _reader(stack.endpoints.kafka), codec=poison.codec, topics=topics)
    lists = [topics.suppression(channel) for channel in topics.channels]
    sent = {topic: set(places) for topic, places in poison.places.items()}
    for upstream in (load.kafka, load.kafka_bulk):
        sent[upstream.topic] = sent.get(upstream.topic, set()) | upstream.damaged
    found: dict[str, set[str]] = {service: set() for service in SERVICES}
    for letter in reader.letters(Filter()):
        # A withdrawal that was on its way for longer than a newer choice is recorded, and reported so.
        if letter.reason != WITHOUT_EFFECT:
            found[letter.service].add(letter.coordinates)
    for service in SERVICES:
        foreign = _of(sent, topics.dead_letters(service))
        assert foreign <= found[service], f"{service}: not listed: {sorted(foreign - found[service])[:SHOWN]}"
        found[service] -= foreign
    _same("consent-api", found["consent-api"], _of(sent, topics.inbound, topics.inbound_bulk, topics.receipts))
    _same("propagator", found["propagator"], _of(sent, *lists))
    # The merge meets foreign records on the lists only where it has to recover over them.
    of_lists = {each for each in found["suppression"] if each.startswith(tuple(f"{topic}:" for topic in lists))}
    _same("suppression", found["suppression"] - of_lists, _of(sent, topics.changes, topics.changes_bulk))
    assert of_lists <= _of(sent, *lists), "the merge has set good entries aside"
    return len(set().union(*found.values()))


def _reader(bootstrap: str) -> Consumer:
    return clients.consumer(bootstrap, "test-reader", enable_partition_eof=True)


def _of(sent: dict[str, set[str]], *topics: str) -> set[str]:
    return set().union(*(sent.get(topic, set()) for topic in topics))


def _same(service: str, found: Iterable[str], sent: Iterable[str]) -> None:
    missing, unexpected = sorted({*sent} - {*found}), sorted({*found} - {*sent})
    assert not missing, f"{service}: unreadable records without a dead letter: {missing[:SHOWN]}"
    assert not unexpected, f"{service}: good records set aside as dead letters: {unexpected[:SHOWN]}"

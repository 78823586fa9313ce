"""However oddly a withdrawal is spelt, it is refused with its reason, or the gate denies from then on, or its answer
says that it has no effect and why. There is no fourth outcome. # R4, R5, R10, R11, R16"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from consent_api.operations.dead_letters.reader import DeadLetterReader, Filter
from consent_contracts import Topics
from consent_contracts.codec import Codec
from consent_kafka import clients
from consent_service.clock import now_micros
from local_stack.scrape import scrape
from local_stack.servers import ServerEndpoints
from local_stack.stack import Stack
from tests.conftest import own_database
from tests.integration.system.odd.grammar import Grammar
from tests.integration.system.odd.model import (
    DAY,
    EVIDENCE,
    HOUR,
    PURPOSES,
    SECOND,
    Fields,
    History,
    Submission,
    Way,
    body_of,
    written,
)

SEED = 9
MIXTURES = 300
PATIENCE = 60.0
MOST_IN_A_BATCH = 50
APART_SECONDS = 3.0
"""Two choices at nearly the same moment are a near tie, which a refusal wins."""

Asked = tuple[str, str, str]
"""Channel, purpose, address as it is written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What became of a submission. ``why``: of what is refused or has no effect."""

    outcome: str
    why: str = ""

    @property
    def is_refused(self) -> bool:
        return self.outcome == "refused"


@dataclass
class System:
    """The running system, and what is sent to it and asked of it."""

    stack: Stack

    def __post_init__(self) -> None:
        self.endpoints = self.stack.endpoints
        self._topics = Topics(prefix=self.endpoints.topic_prefix)
        self._codec = Codec.connect(self.endpoints.registry, self._topics)
        self._client = httpx.Client(timeout=PATIENCE)

    def close(self) -> None:
        self._client.close()

    def permit(self, submissions: Sequence[Submission], *, at: int, name: str) -> None:
        self._choose(
            {
                "status": "given",
                "occurred_at": written(at),
                "expires_at": written(at + 300 * DAY),
                "event_id": f"{name}-{each.person.number}",
                "evidence": EVIDENCE,
            }
            | _person(each)
            for each in submissions
        )

    def withdraw(self, submissions: Sequence[Submission]) -> None:
        """Without a time."""
        self._choose(
            {
                "status": "withdrawn",
                "event_id": f"withdrawal-{each.person.number}",
                "evidence": {"source_system": "shop"},
            }
            | _person(each)
            for each in submissions
        )

    def send(self, submissions: Sequence[Submission]) -> list[Answer]:
        """By the way of each, in their order."""
        answers: dict[int, Answer] = {}
        by = {way: [at for at, each in enumerate(submissions) if each.way is way] for way in Way}
        for part in _chunks(by[Way.BATCH], MOST_IN_A_BATCH):
            results = self._send_batch([submissions[at].fields for at in part])
            answers |= {at: _answered(result) for at, result in zip(part, results, strict=True)}
        with ThreadPoolExecutor(8) as pool:
            answers |= dict(
                zip(by[Way.HTTP], pool.map(self._send_one, [submissions[at] for at in by[Way.HTTP]]), strict=True)
            )
        by_kafka = self._send_by_kafka([submissions[at] for at in by[Way.KAFKA]])
        return [each for _, each in sorted((answers | dict(zip(by[Way.KAFKA], by_kafka, strict=True))).items())]

    def permitted(self, asked: Sequence[Asked], *, after_seconds: float = 0) -> dict[Asked, bool]:
        """As of a moment so long after this is called."""
        since = now_micros() + int(after_seconds * SECOND)
        deadline = time.monotonic() + PATIENCE
        found: dict[Asked, bool] = {}
        for channel, purpose in sorted({each[:2] for each in asked}):
            addresses = [each[2] for each in asked if each[:2] == (channel, purpose)]
            while True:
                results = self._check(channel, purpose, addresses)
                moments = [at for each in results if (at := each.get("as_of")) is not None]
                if moments and min(map(_micros, moments)) > since:
                    break
                assert time.monotonic() < deadline, f"the gate's answers are as of {min(moments, default=None)}"
                time.sleep(0.2)
            found |= {(channel, purpose, a): each["permitted"] for a, each in zip(addresses, results, strict=True)}
        return found

    # Inside

    def _choose(self, decisions: Iterator[dict[str, Any]]) -> None:
        for part in _chunks(list(decisions), MOST_IN_A_BATCH):
            for decision, result in zip(part, self._send_batch(part), strict=True):
                assert result["outcome"] == "recorded", (decision, result)
                assert result["effect"] == "in_effect", (decision, result)

    def _send_batch(self, decisions: Sequence[Fields]) -> list[dict[str, Any]]:
        answer = self._post("/v1/decisions/batch", body_of({"decisions": list(decisions), "bulk": False}))
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def _send_one(self, submission: Submission) -> Answer:
        body = body_of(submission.fields)
        answer = self._post("/v1/decisions", submission.raw(body) if submission.raw else body)
        if answer.status_code in (200, 201):
            return _answered(answer.json())
        assert 400 <= answer.status_code < 500, f"{answer.status_code} {answer.text}\n{submission}"
        problem = answer.json()
        return Answer(outcome="refused", why=str(problem.get("errors") or problem.get("cure") or ""))

    def _post(self, path: str, body: bytes) -> httpx.Response:
        headers = {
            "Authorization": f"Bearer {self.endpoints.api_key}",
            "Idempotency-Key": str(uuid4()),
            "Content-Type": "application/json",
        }
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._client.post(self.endpoints.api + path, content=body, headers=headers)
            if answer.status_code != 503 or time.monotonic() > deadline:
                return answer
            time.sleep(0.2)

    def _send_by_kafka(self, submissions: Sequence[Submission]) -> list[Answer]:
        topic = self._topics.inbound
        before = self._ingested()
        producer = clients.producer(self.endpoints.kafka)
        places: dict[str, int] = {}
        for at, each in enumerate(submissions):
            value = self._codec.encode(topic, {"tenant": self.endpoints.tenant, **each.fields})
            producer.produce(
                topic,
                each.raw(value) if each.raw else value,
                each.person.address.encode(),
                on_delivery=lambda error, message, at=at: places.update(
                    {f"{message.topic()}:{message.partition()}:{message.offset()}": at} if error is None else {}
                ),
            )
        assert producer.flush(30) == 0
        assert len(places) == len(submissions)
        deadline = time.monotonic() + PATIENCE
        while (done := self._ingested() - before) < len(submissions):
            assert time.monotonic() < deadline, f"{done} of {len(submissions)} records were read"
            time.sleep(0.2)
        letters = DeadLetterReader(
            connect=lambda: clients.consumer(self.endpoints.kafka, "never-joined", enable_partition_eof=True),
            codec=self._codec,
            topics=self._topics,
        ).letters(Filter(service="consent-api"))
        answers = [Answer(outcome="recorded")] * len(submissions)
        for letter in letters:
            outcome = "no effect" if letter.reason == "without_effect" else "refused"
            answers[places[letter.coordinates]] = Answer(outcome=outcome, why=letter.error)
        for place in self._repeats_after_lift():
            answers[places[f"{topic}:{place}"]] = Answer(outcome="no effect", why="repeated after lift")
        return answers

    def _repeats_after_lift(self) -> Iterator[str]:
        """Places of the records of which ingest's log says that they repeat what was lifted since."""
        for line in (Path(self.endpoints.logs) / "ingest.log").read_text().splitlines():
            if "events that a later permission has lifted" in line:
                yield from json.loads(line)["records"]

    def _ingested(self) -> float:
        metrics = scrape(f"{self.endpoints.metrics['ingest']}/metrics", timeout=PATIENCE)
        return metrics.total("consent_relay_ingest_records_total", topic=self._topics.inbound)

    def _check(self, channel: str, purpose: str, addresses: Sequence[str]) -> list[dict[str, Any]]:
        answer = self._client.post(
            f"{self.endpoints.gate}/v1/check",
            json={"channel": channel, "purpose": purpose, "addresses": addresses, "when_stale": "deny"},
            headers={"Authorization": f"Bearer {self.endpoints.check_key}"},
        )
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results


@pytest.fixture(scope="module")
def running(servers: ServerEndpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with own_database(servers) as url:
        environ = {
            "CONSENT_RELAY_KAFKA": servers.kafka,
            "CONSENT_RELAY_REGISTRY": servers.registry,
            "CONSENT_RELAY_DATABASE": url,
            "CONSENT_RELAY_TOPIC_PREFIX": f"t{uuid4().hex[:8]}.",
            "CONSENT_RELAY_PURPOSES": ",".join(PURPOSES),
        }
        directory = tmp_path_factory.mktemp("odd")
        with Stack(directory, environ=environ, report=lambda text: print(text, file=sys.stderr)) as stack:
            stack.start()
            with closing(System(stack)) as system:
                yield system
        assert not stack.crashes, [f"{crash.name} {crash.how}\n{crash.tail}" for crash in stack.crashes]


def test_no_withdrawal_is_recorded_in_silence_and_no_refused_grant_permits(running: System) -> None:
    people = list(_submissions())
    before = {history: [each for each in people if each.history is history] for history in History}
    now = now_micros()
    running.permit(before[History.PERMITTED], at=now - HOUR, name="grant")
    running.permit(before[History.WITHDRAWN], at=now - 5 * DAY, name="grant")
    running.permit(before[History.LIFTED], at=now - HOUR, name="grant")
    running.withdraw([*before[History.WITHDRAWN], *before[History.LIFTED]])
    withdrawn = [_plain(each) for each in (*before[History.WITHDRAWN], *before[History.LIFTED])]
    assert not any(running.permitted(withdrawn, after_seconds=APART_SECONDS).values())
    running.permit(before[History.LIFTED], at=now_micros(), name="again")
    at_first = running.permitted([_plain(each) for each in people])
    wrong = [str(each) for each in people if at_first[_plain(each)] is not each.is_withdrawal]
    assert not wrong, "not as their history says: " + "\n".join(wrong)

    submissions = list(_submissions())
    answers = running.send(submissions)
    found = running.permitted(sorted({asked for each in submissions for asked in _asked(each)}))
    faults = [
        f"{fault}: {each}\n  {answer}"
        for each, answer in sorted(zip(submissions, answers, strict=True), key=lambda pair: len(pair[0].parts))
        if (fault := _fault(each, answer, [found[asked] for asked in _asked(each)])) is not None
    ]
    assert not faults, f"{len(faults)} of {len(submissions)}, the smallest first\n" + "\n".join(faults)
    # No outcome is left out, by none of the ways: else the comparison would be one of nothing.
    outcomes = {(each.way, a.outcome) for each, a in zip(submissions, answers, strict=True) if each.is_withdrawal}
    assert {(way, outcome) for way in Way for outcome in ("recorded", "no effect", "refused")} <= outcomes


def _submissions() -> Iterator[Submission]:
    """The same people at each call; what they choose last, they choose now."""
    grammar = Grammar(now=now_micros(), rng=random.Random(SEED))
    return grammar.submissions(mixtures=MIXTURES)


def _fault(submission: Submission, answer: Answer, permitted: Sequence[bool]) -> str | None:
    """What is wrong with it; None: one of the three outcomes."""
    if answer.outcome != "recorded" and not answer.why:
        return "no reason"
    if submission.history is History.WITHDRAWN:
        return "an older grant lifts a refusal" if any(permitted) else None
    if submission.history is History.NOTHING:
        return "a grant that was refused permits" if answer.is_refused and any(permitted) else None
    if answer.is_refused:
        return "refused for what it does not need" if submission.needless else None
    return "recorded in silence" if answer.outcome == "recorded" and any(permitted) else None


def _answered(result: Mapping[str, Any]) -> Answer:
    """Of a decision by HTTP, by itself or in a batch."""
    if result["outcome"] == "refused":
        return Answer(outcome="refused", why=str(result["errors"]))
    if result["effect"] == "in_effect":
        return Answer(outcome="recorded")
    if result["effect"] == "superseded":
        return Answer(outcome="no effect", why=f"{result['superseded_by']} of {result['superseded_since']}")
    return Answer(outcome="no effect", why=result["effect"])


def _person(submission: Submission) -> dict[str, str]:
    person = submission.person
    return {
        "channel": person.channel,
        "purpose": person.purpose,
        "subject_ref": person.subject_ref,
        "address": person.address,
    }


def _plain(submission: Submission) -> Asked:
    return submission.person.channel, submission.person.purpose, submission.person.address


def _asked(submission: Submission) -> list[Asked]:
    """Plainly, and as it was spelt. A withdrawal is one for the channel that it names, where there is such a one."""
    channel, purpose, plain = _plain(submission)
    named = submission.fields.get("channel")
    if submission.is_withdrawal and named in ("sms", "voice", "email"):
        channel = named
    return [(channel, purpose, plain), (channel, purpose, submission.address)]


def _micros(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * SECOND)


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

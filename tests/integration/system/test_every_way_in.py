"""One choice through every way in: the same decision, the same change for the merge, the same receipts.

Every setting of the local theme, and everything on a channel, is withdrawn by people who had permitted it, a person for
each way. # R3, R18, R19, R20, R28, R52
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, create_engine, text

from consent_contracts import Topics
from consent_contracts.cloudevents import rfc3339
from consent_contracts.codec import Codec
from consent_contracts.decisions import EVERY_PURPOSE
from consent_kafka import clients
from consent_privacy import addresses
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from local_stack.stack import Stack
from tests.conftest import TENANT
from tests.support import provider_webhooks
from tests.support.evidence import EVIDENCE
from tests.support.inbound_sources import secret_of, source_id
from tests.support.topic_records import records
from tests.support.waiting import until

HOUR = 3_600_000_000
SETTINGS = {"email": ("promotions", "newsletter", "survey"), "sms": ("promotions", "survey"), "voice": ("promotions",)}
DELIVERED = ("accepted", "effective")


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Who withdraws ``purpose`` on ``channel`` by the way that is named; ``written``: the address as it is sent."""

    way: str
    channel: str
    purpose: str
    number: int

    @property
    def written(self) -> str:
        if self.channel == "email":
            return f" Way-{self.number}@EXAMPLE.com"
        return f"06 39 98 {self.number // 100:02} {self.number % 100:02}"


class Ways:
    """The running system, by each of its ways in."""

    def __init__(self, stack: Stack) -> None:
        self.endpoints = stack.endpoints
        self.topics = Topics(prefix=self.endpoints.topic_prefix)
        self.codec = Codec.connect(self.endpoints.registry, self.topics)
        self._secret = secret_of(Path(self.endpoints.settings["CONSENT_RELAY_INBOUND_FILE"]))
        self._client = httpx.Client(
            base_url=self.endpoints.api,
            headers={"Authorization": f"Bearer {self.endpoints.api_key}"},
            timeout=60.0,
        )

    def close(self) -> None:
        self._client.close()

    def post(self, path: str, **content: Any) -> httpx.Response:
        answer = self._client.post(path, headers={"Idempotency-Key": str(uuid4())}, **content)
        assert answer.status_code < 300, f"{path} {answer.status_code} {answer.text}"
        return answer

    def permit(self, people: Sequence[Person]) -> None:
        """Every setting of each person's channel."""
        grants = [
            {
                "channel": each.channel,
                "purpose": purpose,
                "address": each.written,
                "status": "given",
                "occurred_at": rfc3339(now_micros() - HOUR),
                "expires_at": "2999-01-01T00:00:00Z",
                "evidence": EVIDENCE,
            }
            for each in people
            for purpose in SETTINGS[each.channel]
        ]
        for start in range(0, len(grants), 50):
            results = self.post("/v1/decisions/batch", json={"decisions": grants[start : start + 50]}).json()["results"]
            assert {each["outcome"] for each in results} == {"recorded"}, results

    def by_request(self, person: Person) -> None:
        self.post("/v1/decisions", json=_withdrawal(person))

    def by_batch(self, person: Person) -> None:
        (result,) = self.post("/v1/decisions/batch", json={"decisions": [_withdrawal(person)]}).json()["results"]
        assert result["outcome"] == "recorded"

    def by_kafka(self, person: Person) -> None:
        submitted = {"tenant": self.endpoints.tenant, **_withdrawal(person), "event_id": str(uuid4())}
        producer = clients.producer(self.endpoints.kafka)
        producer.produce(self.topics.inbound, self.codec.encode(self.topics.inbound, submitted), person.written.strip())
        assert producer.flush(30) == 0

    def by_opt_out_at_a_tool(self, person: Person) -> None:
        self._webhook(person, {"type": "opt_out"})

    def by_reply(self, person: Person) -> None:
        self._webhook(person, {"type": "reply", "text": "Stop svp"})

    def by_reply_in_doubt(self, person: Person) -> None:
        """That a person reads as a withdrawal."""
        self._webhook(person, {"type": "reply", "text": "trop de messages"})
        for review in self._client.get("/v1/reviews").json()["reviews"]:
            self.post(f"/v1/reviews/{review['review_id']}", json={"resolution": "withdrawal"})

    def by_one_click(self, person: Person) -> None:
        self.post(self._links(person, purpose=person.purpose)["unsubscribe"], data={"List-Unsubscribe": "One-Click"})

    def by_preference_page(self, person: Person) -> None:
        page = self._links(person)["preferences"]
        shown = self._client.get(page).text
        form = re.search(r'name="form" value="([^"]+)"', shown)
        assert form is not None, shown
        chosen = (
            {"action": "refuse"}
            if person.purpose == EVERY_PURPOSE
            else {"action": "save", f"{person.channel}.{person.purpose}": "off"}
        )
        self.post(page, data={"form": form[1], **chosen})

    def by_call(self, person: Person) -> None:
        """To an agent, who has the number alone."""
        self.post("/v1/withdrawals/spoken", json={"number": person.written, "call_id": f"call-{person.number}"})

    def ways(self, channel: str, purpose: str) -> Mapping[str, Callable[[Person], None]]:
        """All that can say this."""
        either = {
            "request": self.by_request,
            "batch": self.by_batch,
            "kafka": self.by_kafka,
            "tool": self.by_opt_out_at_a_tool,
            "reply": self.by_reply,
            "doubt": self.by_reply_in_doubt,
            "preferences": self.by_preference_page,
        }
        if purpose != EVERY_PURPOSE:
            return {**either, "one-click": self.by_one_click}
        return {**either, "call": self.by_call} if channel == "voice" else either

    def receipts(self, decision_id: object) -> list[tuple[str, ...]]:
        answer = self._client.get(f"/v1/decisions/{decision_id}/receipts")
        assert answer.status_code == 200, answer.text
        return sorted(
            (each["destination"], str(each.get("target")), each["action"], each["stage"])
            for each in answer.json()["receipts"]
        )

    def _links(self, person: Person, **more: str) -> dict[str, str]:
        wanted = {"channel": person.channel, "address": person.written, **more}
        (made,) = self.post("/v1/links", json={"links": [wanted]}).json()["links"]
        return {name: str(url).removeprefix(self.endpoints.api) for name, url in made.items()}

    def _webhook(self, person: Person, event: Mapping[str, str]) -> None:
        now = now_micros()
        sent = provider_webhooks.standard(
            {"address": person.written, "occurred_at": rfc3339(now), **event},
            key=self._secret,
            now=now // 1_000_000,
        )
        path = f"/v1/inbound/{source_id(person.channel, person.purpose)}"
        answer = httpx.post(self.endpoints.api + path, content=sent.body, headers=dict(sent.headers), timeout=60.0)
        assert answer.status_code == 200, answer.text


@pytest.fixture
def ways(system: Stack) -> Iterator[Ways]:
    with closing(Ways(system)) as ways:
        yield ways


@pytest.fixture
def ledger(system: Stack) -> Iterator[Engine]:
    engine = create_engine(system.endpoints.database)
    yield engine
    engine.dispose()


def test_one_choice_is_the_same_by_every_way_in(ways: Ways, ledger: Engine) -> None:
    choices = [(channel, purpose) for channel, all_of in SETTINGS.items() for purpose in (*all_of, EVERY_PURPOSE)]
    people = [
        Person(way=way, channel=channel, purpose=purpose, number=number)
        for number, (channel, purpose, way) in enumerate((c, p, way) for c, p in choices for way in ways.ways(c, p))
    ]
    ways.permit(people)
    for each in people:
        ways.ways(each.channel, each.purpose)[each.way](each)

    keyring = Keyring.load(Path(ways.endpoints.keyring_file))
    decided = {each: until(lambda each=each: _withdrawn(ledger, keyring, each)) for each in people}
    until(lambda: _all_delivered({each: ways.receipts(found["decision_id"]) for each, found in decided.items()}))
    changed = _changes(ways)
    for channel, purpose in choices:
        seen = {
            each.way: (
                {name: value for name, value in decision.items() if name != "decision_id"},
                changed[str(decision["decision_id"])],
                [receipt[:3] for receipt in ways.receipts(decision["decision_id"])],
            )
            for each, decision in decided.items()
            if (each.channel, each.purpose) == (channel, purpose)
        }
        different = {way: found for way, found in seen.items() if found != seen["request"]}
        assert not different, f"{channel} {purpose}: {different}\nnot as {seen['request']}"


def _withdrawal(person: Person) -> dict[str, Any]:
    return {
        "channel": person.channel,
        "purpose": person.purpose,
        "address": person.written,
        "status": "withdrawn",
        "evidence": {"source_system": "shop"},
    }


def _withdrawn(ledger: Engine, keyring: Keyring, person: Person) -> dict[str, Any] | None:
    """The decision that withdraws, less what differs by nature: its id, times and evidence."""
    canonical = addresses.canonical(person.channel, person.written, default_region="FR")
    key = keyring.address_key(TENANT, person.channel, canonical)
    with ledger.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT d.decision_id, d.tenant, d.subject_id, d.channel, d.purpose, d.status, d.expires_at, d.spreads,"
                " d.bulk FROM decisions d JOIN decision_addresses r USING (decision_id)"
                " JOIN address_keys k ON k.address_id = r.address_id"
                " WHERE k.address_key = :key AND d.status <> 'given'"
            ),
            {"key": key},
        )
        found = [dict(row) for row in rows.mappings()]
    assert len(found) <= 1, found
    return found[0] if found else None


def _changes(ways: Ways) -> dict[str, list[dict[str, Any]]]:
    """By decision: what was written for the merge, less what differs by nature."""
    by_nature = ("event_id", "address_key", "sealed_address", "effective_at", "recorded_at", "source_system")
    found: dict[str, list[dict[str, Any]]] = {}
    for message in records(ways.endpoints.kafka, ways.topics.changes):
        name, change = ways.codec.decode_record(ways.topics.changes, message.value())
        if name == "ConsentChanged":
            kept = {field: value for field, value in change.items() if field not in by_nature}
            found.setdefault(str(kept.pop("decision_id")), []).append(kept)
    return found


def _all_delivered(receipts: Mapping[Person, Sequence[tuple[str, ...]]]) -> bool:
    """To each target of the same choice: the receipts of one may be there before those of the next are queued."""
    most: Counter[tuple[str, str]] = Counter()
    for each, found in receipts.items():
        most[each.channel, each.purpose] = max(most[each.channel, each.purpose], len(found))
    return all(
        len(found) == most[each.channel, each.purpose] and _is_delivered(found) for each, found in receipts.items()
    )


def _is_delivered(receipts: Sequence[tuple[str, ...]]) -> bool:
    return bool(receipts) and all(stage in DELIVERED for *_, stage in receipts)

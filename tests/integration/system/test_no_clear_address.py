"""R13: no clear address at rest, in a log, a metric or an error, except in consent.inbound.v1."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import Producer

from consent_contracts import Topics
from consent_contracts.cloudevents import rfc3339
from consent_contracts.codec import Codec
from consent_service.clock import now_micros
from local_stack.demo.upstreams import EVIDENCE
from local_stack.endpoints import Endpoints
from local_stack.stack import Stack
from tests.integration.system import hiding_places
from tests.integration.system.marked import Marked, email, found_in, phone
from tests.support.topic_records import records
from tests.support.waiting import until

DAY = 86_400 * 1_000_000

SMS = [phone("sms", "0639987341"), phone("sms", "0639988627")]
VOICE = [phone("voice", "0639984719")]
EMAIL = [email("zebrafink.4711"), email("o'quagga+promo")]
MARKED = [*SMS, *VOICE, *EMAIL]
NOT_TAKEN_BY_THE_TOOL, FAILING = SMS[1], EMAIL[1]


@pytest.fixture(scope="module")
def error_bodies(system: Stack) -> list[bytes]:
    """What the API and the gate answer to bad requests that hold marked addresses; before that, good traffic."""
    endpoints = system.endpoints
    with httpx.Client(timeout=30) as client:
        _trouble_at_the_tools(client, endpoints)
        _good_traffic(client, endpoints)
        _kafka_traffic(endpoints)
        bodies = [answer.content for answer in _bad_requests(client, endpoints)]
        _wait_until_delivered(client, endpoints)
    return bodies


def test_the_search_finds_what_is_there(system: Stack, error_bodies: list[bytes]) -> None:
    """consent.inbound.v1 may hold addresses, and does: a search that were blind would show here."""
    inbound = hiding_places.our_topics(system.endpoints)[1]
    found = {
        each for place in hiding_places.topics(system.endpoints, [inbound]) for each in found_in(place.content, MARKED)
    }
    assert found == {each.canonical for each in MARKED}
    for each in MARKED:
        for written in each.written:
            assert found_in(f"x{written}x".encode(), MARKED) == [each.canonical]


def test_no_topic_holds_a_clear_address(system: Stack, error_bodies: list[bytes]) -> None:  # R13
    names = hiding_places.our_topics(system.endpoints)[0]
    renewals = Topics(prefix=system.endpoints.topic_prefix).renewals
    until(lambda: list(records(system.endpoints.kafka, renewals)), what="a renewal is asked for", every=2.0)
    places = list(hiding_places.topics(system.endpoints, names))
    assert {place.name.rpartition(":")[0].rpartition(":")[0] for place in places} >= {
        name for name in names if "suppression.dead" not in name and "propagator.dead" not in name
    }, "a topic that was to be searched is empty"
    _assert_clean(places)


def test_no_table_holds_a_clear_address(system: Stack, error_bodies: list[bytes]) -> None:  # R13
    places = list(hiding_places.tables(system.endpoints))
    assert {"table decisions", "table addresses", "table receipts", "table idempotency_keys"} <= {
        p.name for p in places
    }
    _assert_clean(places)


def test_no_log_holds_a_clear_address(system: Stack, error_bodies: list[bytes]) -> None:  # R13
    places = list(hiding_places.files(Path(system.endpoints.logs), but="sandbox"))
    assert {"api.log", "ingest.log", "propagator.log", "gate.log"} <= {place.name for place in places}
    _assert_clean(places)


def test_no_log_of_a_server_holds_a_clear_address(
    system: Stack, servers_directory: Path, error_bodies: list[bytes]
) -> None:  # R13
    places = list(hiding_places.files(servers_directory / "logs", but="sandbox"))
    assert {"kafka.log", "postgresql.log", "registry.log"} <= {place.name for place in places}
    _assert_clean(places)


def test_no_local_state_holds_a_clear_address(system: Stack, error_bodies: list[bytes]) -> None:  # R13
    places = list(hiding_places.files(system.directory / "state", but="sandbox"))
    assert places
    _assert_clean(places)


def test_no_metric_holds_a_clear_address(system: Stack, error_bodies: list[bytes]) -> None:  # R13
    _assert_clean(hiding_places.metrics(system.endpoints))


def test_no_error_repeats_a_clear_address(error_bodies: list[bytes]) -> None:  # R13
    _assert_clean(hiding_places.Place(f"answer {number}", body) for number, body in enumerate(error_bodies))


def _assert_clean(places: Any) -> None:
    revealed = [(place.name, found) for place in places if (found := found_in(place.content, MARKED))]
    assert not revealed, revealed[:10]


def _trouble_at_the_tools(client: httpx.Client, endpoints: Endpoints) -> None:
    """A provider's refusals name the address; one address fails again and again."""
    faults = [
        {
            "account": "twilio",
            "kind": "reject",
            "times": 0,
            "addresses": [NOT_TAKEN_BY_THE_TOOL.canonical],
            "code": f"30034 {NOT_TAKEN_BY_THE_TOOL.canonical} is not taken now",
        },
        {"account": "webhook/crm", "kind": "status", "times": 2, "status": 500, "body": FAILING.canonical},
        {"account": "sendgrid", "kind": "status", "times": 1, "status": 503, "body": EMAIL[0].canonical},
        {"account": "genesys", "kind": "malformed", "times": 1},
    ]
    client.post(f"{endpoints.sandbox_control}/_control/faults", json=faults).raise_for_status()


def _good_traffic(client: httpx.Client, endpoints: Endpoints) -> None:
    """Every written form, as a permission and as a refusal; links, look-ups and questions to the gate."""
    for each in MARKED:
        for written in each.written:
            for body in (_refusal(each, written), _permission(each, written)):
                _submit(client, endpoints, body).raise_for_status()
            _ask_gate(client, endpoints, {"channel": each.channel, "purpose": "newsletter", "addresses": [written]})
        _submit(client, endpoints, _permission(each, each.written[0]) | {"purpose": "survey"})
        addresses = {"addresses": [{"channel": each.channel, "address": each.written[0]}]}
        url = f"{endpoints.api}/v1/subjects/marked-{uuid4().hex}/addresses"
        for method in ("PUT", "DELETE"):
            client.request(method, url, json=addresses, headers=_key(endpoints.api_key)).raise_for_status()
        question = {"channel": each.channel, "address": each.written[0], "purpose": "newsletter"}
        explained = client.post(f"{endpoints.api}/v1/explain", json=question, headers=_key(endpoints.api_key))
        explained.raise_for_status()
        assert not found_in(explained.content, MARKED)


def _kafka_traffic(endpoints: Endpoints) -> None:
    """Good and bad records with the address as key, in headers and in every field where a sender may put it."""
    topics = Topics(prefix=endpoints.topic_prefix)
    codec = Codec.connect(endpoints.registry, topics)
    producer = Producer({"bootstrap.servers": endpoints.kafka})

    def produce(value: bytes, written: str) -> None:
        producer.produce(topics.inbound, value, written.encode(), headers={"address": written.encode()})

    for each in MARKED:
        for written in each.written:
            good = _submitted(each, written)
            produce(codec.encode(topics.inbound, good), written)
            for wrong in (
                {"purpose": written},
                {"channel": written},
                {"status": written},
                {"tenant": written},
                {"address": f"{written}#{written}"},
                {"subject_ref": f"{written}\n@"},
                {"subject_ref": written},
                {"event_id": written},
                {"event_id": f"stop-{written}"},
            ):
                produce(codec.encode(topics.inbound, good | {"event_id": str(uuid4())} | wrong), written)
            produce(codec.encode(topics.inbound, good)[:-3], written)
            produce(written.encode(), written)
    assert not producer.flush(60)


def _bad_requests(client: httpx.Client, endpoints: Endpoints) -> Iterator[httpx.Response]:
    """Whatever a caller can do wrong with an address in hand; every answer is an error."""
    for each in MARKED:
        for written in each.written:
            yield from _bad_submissions(client, endpoints, each, written)
            yield from _bad_questions(client, endpoints, each, written)


def _bad_submissions(
    client: httpx.Client, endpoints: Endpoints, each: Marked, written: str
) -> Iterator[httpx.Response]:
    good = _refusal(each, written)
    wrong: list[dict[str, Any]] = [
        {"address": f"{written}#{written}"},
        {"purpose": written},
        {"channel": written},
        {"status": written},
        {"occurred_at": written},
        {"subject_ref": f"{written}@"},
        {"subject_ref": written},
        {"event_id": f"stop-{written}"},
        {"evidence": written},
        {written: written},
        {"address": {written: written}},
        _permission(each, written) | {"evidence": {**EVIDENCE, "actor": written}},
    ]
    for change in wrong:
        answer = _post(client, endpoints, good | change)
        # A refusal is recorded without what it does not need, and the answer lists that.
        assert answer.status_code == 422 or "dropped" in answer.json(), (answer.status_code, answer.text)
        yield answer
    headers = _key(endpoints.api_key) | {"Idempotency-Key": f'"{uuid4()}"', "Content-Type": "application/json"}
    url = f"{endpoints.api}/v1/decisions"
    yield _refused(client.post(url, content=f'{{"address": "{written}"', headers=headers))
    yield _refused(client.post(url, content=f'"{written}"', headers=headers))
    yield _refused(client.post(url, json=good, headers=_key(endpoints.api_key)))
    yield _refused(client.post(url, json=good, headers=_key(quote(written))))
    used = f'"{quote(written)}-{uuid4()}"'
    client.post(url, json=good, headers=headers | {"Idempotency-Key": used}).raise_for_status()
    yield _refused(client.post(url, json=good | {"purpose": "survey"}, headers=headers | {"Idempotency-Key": used}))


def _bad_questions(client: httpx.Client, endpoints: Endpoints, each: Marked, written: str) -> Iterator[httpx.Response]:
    key, in_url = _key(endpoints.api_key), quote(written, safe="")
    yield _refused(client.get(f"{endpoints.api}/v1/subjects/{in_url}/state", headers=key))
    yield _refused(client.get(f"{endpoints.api}/v1/{in_url}", params={"address": written}, headers=key))
    yield _refused(client.get(f"{endpoints.api}/v1/decisions/{in_url}/receipts", headers=key))
    asked: dict[str, Any] = {"channel": each.channel, "purpose": "newsletter", "address": written}
    for change in ({"channel": written}, {"address": f"{written}#"}, {written: written}):
        yield _refused(client.post(f"{endpoints.api}/v1/explain", json=asked | change, headers=key))
    question: dict[str, Any] = {"channel": each.channel, "purpose": "newsletter", "addresses": [written]}
    changes: list[dict[str, Any]] = [{"channel": written}, {"addresses": written}, {written: []}]
    for wrong in changes:
        yield _refused(_ask_gate(client, endpoints, question | wrong))
    for asked_wrongly in ({"addresses": [f"{written}#"]}, {"purpose": written}):
        yield _ask_gate(client, endpoints, question | asked_wrongly)
    yield _refused(client.get(f"{endpoints.gate}/v1/check", params={"address": written}))


def _wait_until_delivered(client: httpx.Client, endpoints: Endpoints) -> None:
    """Until the tools hold every marked address: by then it has been everywhere it goes."""

    def delivered() -> bool:
        states = {
            account: client.get(f"{endpoints.sandbox_control}/_state/{account}").json()["states"]
            for account in ("twilio", "sendgrid", "genesys", "webhook/crm")
        }
        return (
            SMS[0].canonical in states["twilio"]
            and VOICE[0].canonical in states["genesys"]
            and all(each.canonical in states["sendgrid"] for each in EMAIL)
            and bool(states["webhook/crm"])
        )

    until(delivered, what="every tool has every address")

    numbers = itertools.count(9_000)

    def failing() -> bool:
        # A failure counts against one address only while others succeed: so other ones have to.
        other = _refusal(SMS[0], f"+3363998{next(numbers)}")
        _submit(client, endpoints, other).raise_for_status()
        page = client.get(f"{endpoints.metrics['propagator']}/metrics").text
        name = 'consent_relay_propagation_receipts_total{destination="twilio-fr",stage="failed"}'
        return any(line.startswith(name) and float(line.split()[-1]) > 0 for line in page.splitlines())

    until(failing, what="the address that keeps failing backs off")
    client.delete(f"{endpoints.sandbox_control}/_control/faults").raise_for_status()
    lag = f"{endpoints.metrics['lag']}/metrics"
    inbound = Topics(prefix=endpoints.topic_prefix).inbound

    def read() -> bool:
        lines = [line for line in client.get(lag).text.splitlines() if f'topic="{inbound}"' in line]
        lags = [
            float(line.rpartition(" ")[2]) for line in lines if line.startswith("consent_relay_consumer_lag_records{")
        ]
        return bool(lags) and not any(lags)

    until(read, what="ingest has read every record")


def _post(client: httpx.Client, endpoints: Endpoints, body: dict[str, Any]) -> httpx.Response:
    headers = _key(endpoints.api_key) | {"Idempotency-Key": f'"{uuid4()}"'}
    return client.post(f"{endpoints.api}/v1/decisions", json=body, headers=headers)


def _submit(client: httpx.Client, endpoints: Endpoints, body: dict[str, Any], *, expected: int = 201) -> httpx.Response:
    answer = _post(client, endpoints, body)
    assert answer.status_code == expected, (answer.status_code, answer.text)
    return answer


def _ask_gate(client: httpx.Client, endpoints: Endpoints, question: dict[str, Any]) -> httpx.Response:
    return client.post(f"{endpoints.gate}/v1/check", json=question, headers=_key(endpoints.check_key))


def _refused(answer: httpx.Response) -> httpx.Response:
    assert 400 <= answer.status_code < 500, (answer.request.url, answer.status_code, answer.text)
    return answer


def _key(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _refusal(each: Marked, written: str) -> dict[str, Any]:
    return {"channel": each.channel, "address": written, "purpose": "newsletter", "status": "withdrawn"}


def _permission(each: Marked, written: str) -> dict[str, Any]:
    return _refusal(each, written) | {
        "subject_ref": f"marked-{uuid4().hex}",
        "status": "given",
        "occurred_at": "2026-01-05T10:00:00Z",
        # Soon: its renewal is asked for.
        "expires_at": rfc3339(now_micros() + 20 * DAY),
        "evidence": EVIDENCE,
    }


def _submitted(each: Marked, written: str) -> dict[str, Any]:
    return {
        "event_id": str(uuid4()),
        "tenant": None,
        "channel": each.channel,
        "purpose": "newsletter",
        "status": "refused",
        "subject_ref": f"marked-{uuid4().hex}",
        "address": written,
        "occurred_at": now_micros(),
        "expires_at": None,
        "evidence": None,
    }

"""One choice is one trace, from the request to each tool's answer, at a real collector."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from consent_contracts import Topics
from consent_contracts.codec import Codec
from consent_kafka import clients
from consent_service import trace_context
from local_stack.destinations import DESTINATIONS
from local_stack.stack import Stack
from tests.conftest import SHUTDOWN_DELAY, ServerEndpoints, own_database
from tests.support.otlp_receiver import TRACES, WEBHOOK, Received, Span, receiver
from tests.support.topic_records import records
from tests.support.waiting import until

OWN_TOOL = """\
  - name: own-tool
    connector: webhook
    channel: email
    url: {url}
    credentials: {{{{secret: {{{{file: secrets/webhook}}}}}}}}
    options: {{{{allow_private: true}}}}
    purposes: same
"""
TOOLS = {"sendgrid-fr", "crm-webhook", "own-tool"}
"""Those of the channel email."""
REQUEST = "POST /v1/decisions"


@pytest.fixture(scope="module")
def collector() -> Iterator[Received]:
    with receiver() as received:
        yield received


@pytest.fixture(scope="module")
def traced(collector: Received, servers: ServerEndpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole system whose processes export their spans."""
    with own_database(servers) as url:
        environ = {
            "CONSENT_RELAY_KAFKA": servers.kafka,
            "CONSENT_RELAY_REGISTRY": servers.registry,
            "CONSENT_RELAY_DATABASE": url,
            "CONSENT_RELAY_TOPIC_PREFIX": f"t{uuid4().hex[:8]}.",
            "CONSENT_RELAY_TRACES_ENDPOINT": f"{collector.url}{TRACES}",
            **SHUTDOWN_DELAY,
        }
        destinations = DESTINATIONS + OWN_TOOL.format(url=f"{collector.url}{WEBHOOK}")
        with Stack(tmp_path_factory.mktemp("traced"), environ=environ, destinations=destinations) as stack:
            stack.start()
            yield stack
    assert not stack.crashes


def withdrawal(number: int) -> dict[str, str]:
    return {
        "channel": "email",
        "purpose": "newsletter",
        "address": f"trace-{number}@example.com",
        "status": "withdrawn",
    }


def submit(stack: Stack, number: int, traceparent: str | None) -> None:
    headers = {"Authorization": f"Bearer {stack.endpoints.api_key}", "Idempotency-Key": str(uuid4())}
    if traceparent is not None:
        headers[trace_context.HEADER] = traceparent
    answer = httpx.post(f"{stack.endpoints.api}/v1/decisions", json=withdrawal(number), headers=headers, timeout=60)
    assert answer.status_code == 201, answer.text


def explained(stack: Stack, number: int) -> dict[str, object]:
    answer = httpx.post(
        f"{stack.endpoints.api}/v1/explain",
        json={"channel": "email", "address": f"trace-{number}@example.com", "purpose": "newsletter"},
        headers={"Authorization": f"Bearer {stack.endpoints.api_key}"},
        timeout=60,
    )
    deciding: dict[str, object] = answer.json()["deciding"]
    return deciding


def whole(collector: Received, trace_id: str, first: str) -> tuple[Span, list[Span]]:
    """The span named ``first`` and all others of a choice, once each tool's answer is among them.

    Each stage is there once, but for the tools; all are below the first; none ends before it begins.
    """
    stages = {first, "ledger commit", "publish", "merge", "push", "tool request"}

    def spans() -> list[Span]:
        found = collector.of(trace_id)
        pushed = {each.attributes["consent_relay.destination"] for each in found if each.name == "push"}
        return found if pushed == TOOLS and stages <= {each.name for each in found} else []

    found = until(spans, what="the spans of each stage", seconds=120)
    assert {each.name for each in found} == stages
    by_id = {each.span_id: each for each in found}
    assert len(by_id) == len(found)
    (root,) = (each for each in found if each.name == first)
    for each in found:
        assert each.start <= each.end
        if each is not root:
            assert by_id[each.parent_id].name == ("push" if each.name == "tool request" else first)
    requests = [each for each in found if each.name == "tool request"]
    assert {by_id[each.parent_id].attributes["consent_relay.destination"] for each in requests} == TOOLS
    assert all(each.attributes["consent_relay.outcome"] == "accepted" for each in found if each.name == "push")
    assert {each.service for each in found} == {root.service, "consent-api-relay", "suppression", "propagator"}
    return root, found


def test_a_request_is_one_trace_to_each_tools_answer(collector: Received, traced: Stack) -> None:
    caller = trace_context.begin(sampled=True)
    submit(traced, 1, str(caller))
    request, found = whole(collector, caller.trace_id, REQUEST)
    assert (request.service, request.parent_id) == ("consent-api", caller.span_id)
    assert request.attributes["http.response.status_code"] == "201"
    assert explained(traced, 1)["trace_id"] == caller.trace_id
    # What the tool got names a span of the trace that the collector knows.
    given = [each for sent in collector.traceparents if (each := trace_context.parse(sent)) is not None]
    (request_to_tool,) = (each for each in given if each.trace_id == caller.trace_id)
    assert request_to_tool.span_id in {each.span_id for each in found if each.name == "tool request"}


def test_a_record_is_one_trace_to_each_tools_answer(collector: Received, traced: Stack) -> None:
    endpoints, producer_span = traced.endpoints, trace_context.begin(sampled=True)
    topics = Topics(prefix=endpoints.topic_prefix)
    codec = Codec.connect(endpoints.registry, topics)
    submitted = {"tenant": endpoints.tenant, **withdrawal(2), "event_id": str(uuid4())}
    producer = clients.producer(endpoints.kafka)
    value = codec.encode(topics.inbound, submitted)
    producer.produce(topics.inbound, value, headers=[(trace_context.HEADER, str(producer_span).encode())])
    assert producer.flush(30) == 0
    ingest, _ = whole(collector, producer_span.trace_id, "ingest")
    assert (ingest.service, ingest.parent_id) == ("consent-api-ingest", producer_span.span_id)


def test_an_unsampled_trace_reaches_the_tool_without_spans(collector: Received, traced: Stack) -> None:
    caller = trace_context.begin(sampled=False)
    submit(traced, 3, str(caller))
    until(
        lambda: [each for each in collector.traceparents if each is not None and caller.trace_id in each],
        what="the webhook of the tool",
        seconds=120,
    )
    # Spans of this later choice are exported after those that this one would have had.
    later = trace_context.begin(sampled=True)
    submit(traced, 4, str(later))
    whole(collector, later.trace_id, REQUEST)
    assert collector.of(caller.trace_id) == []
    receipts = records(traced.endpoints.kafka, Topics(prefix=traced.endpoints.topic_prefix).receipts)
    carried = [trace_context.of_headers(clients.headers(each)) for each in receipts]
    assert caller.trace_id in {each.trace_id for each in carried if each is not None}


def test_a_malformed_trace_is_replaced_by_a_new_one(collector: Received, traced: Stack) -> None:
    submit(traced, 5, "00-" + "0" * 32 + "-" + "1" * 16 + "-01")
    trace_id = explained(traced, 5)["trace_id"]
    assert isinstance(trace_id, str)
    request, _ = whole(collector, trace_id, REQUEST)
    assert request.parent_id == ""

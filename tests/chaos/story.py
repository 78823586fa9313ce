"""What happened to one address at one tool: for the message of a check that failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx

from consent_contracts import Topics
from consent_contracts.codec import Codec
from consent_contracts.errors import UnreadableError
from consent_privacy.keyring import Keyring
from local_stack.audit.compare import Difference
from local_stack.audit.live import oldest_address_key, tools
from local_stack.endpoints import Endpoints
from tests.support.topic_records import records


def story(endpoints: Endpoints, codec: Codec, difference: Difference) -> str:
    """The tool's history of the address, its entries, and every receipt, each with its moment in seconds."""
    key = oldest_address_key(Keyring.load(Path(endpoints.keyring_file)), endpoints.tenant, difference.place)
    return "\n".join([str(difference), *_history(endpoints, difference), *_topics(endpoints, codec, key, difference)])


def _history(endpoints: Endpoints, difference: Difference) -> Iterator[str]:
    for tool in tools(endpoints):
        if tool.destination == difference.where:
            answer = httpx.get(
                f"{endpoints.sandbox_control}/_state/{tool.account}", params={"details": 1}, timeout=30
            ).json()
            history = answer["states"].get(tool.name_of(difference.place), {}).get(difference.asked, {})
            for at, state in history.get("changes", ()):
                yield f"  {at / 1e6:.3f} the tool: {state}"
            last, times = history.get("last_informed_at", 0) / 1e6, history.get("informed", 0)
            yield f"  {last:.3f} informed last, {times} times in all"


def _topics(endpoints: Endpoints, codec: Codec, key: str, difference: Difference) -> Iterator[str]:
    topics = Topics(prefix=endpoints.topic_prefix)
    for topic in (topics.suppression(difference.place[0]), topics.receipts, topics.propagation_state("default")):
        for message in records(endpoints.kafka, topic):
            if key not in (message.key() or b"").decode("utf-8", "replace") or message.value() is None:
                continue
            try:
                datum = codec.decode(topic, message.value())
            except UnreadableError:
                continue
            if datum.get("destination", difference.where) == difference.where and datum.get("address_key") == key:
                at, place = message.timestamp()[1] / 1e3, f"{topic}:{message.partition()}:{message.offset()}"
                yield f"  {at:.3f} {place} {_short(datum)}"


def _short(datum: dict[str, object]) -> str:
    left_out = {"tenant", "channel", "sealed_address", "entry", "address_key", "destination"}
    return ", ".join(f"{name}={value}" for name, value in datum.items() if name not in left_out and value is not None)

"""A client that submits at a steady rate, whatever the answers take, and notes the times of each choice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import uuid4

import aiohttp

from consent_service.clock import now_micros

PURPOSE = "promotions"


class Place(NamedTuple):
    """Where a person is contacted."""

    channel: str
    address: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """One choice that was answered. Times in micros since the epoch."""

    place: Place
    sent_at: int
    answered_at: int
    decision_id: str
    recorded_at: int
    address_key: str


def mobile(number: int) -> str:
    """One of the 10,000 numbers that are reserved for fiction."""
    return f"+3363998{number:04}"


def by_sms(numbers: Sequence[int]) -> list[Place]:
    return [Place("sms", mobile(number)) for number in numbers]


def withdrawal(place: Place, purpose: str = PURPOSE) -> dict[str, Any]:
    """The body of a submission."""
    return {"channel": place.channel, "address": place.address, "purpose": purpose, "status": "withdrawn"}


def revoke(api: str, api_key: str, places: Sequence[Place], *, rate: float, purpose: str = PURPOSE) -> list[Sent]:
    """Revoke one after the other, `rate` a second, each by a request of its own. Raises on anything but 201."""
    return submit(api, api_key, [withdrawal(place, purpose) for place in places], rate=rate)


def submit(api: str, api_key: str, bodies: Iterable[dict[str, Any]], *, rate: float) -> list[Sent]:
    """Submit one after the other, `rate` a second, each by a request of its own; a body is made when its turn comes.
    Raises on anything but 201."""
    return asyncio.run(_submit(api, api_key, bodies, rate))


async def _submit(api: str, api_key: str, bodies: Iterable[dict[str, Any]], rate: float) -> list[Sent]:
    headers = {"Authorization": f"Bearer {api_key}"}
    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(api, headers=headers, connector=connector) as session:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        under_way = []
        for position, body in enumerate(bodies):
            await asyncio.sleep(begin + position / rate - loop.time())
            under_way.append(asyncio.create_task(_one(session, body)))
        return await asyncio.gather(*under_way)


async def _one(session: aiohttp.ClientSession, body: dict[str, Any]) -> Sent:
    sent_at = now_micros()
    async with session.post("/v1/decisions", json=body, headers={"Idempotency-Key": f'"{uuid4()}"'}) as answer:
        found: Any = await answer.json()
        if answer.status != 201:
            raise RuntimeError(f"HTTP {answer.status}: {found}")
    return Sent(
        place=Place(body["channel"], body["address"]),
        sent_at=sent_at,
        answered_at=now_micros(),
        decision_id=found["decision_id"],
        recorded_at=micros(found["recorded_at"]),
        address_key=found["addresses"][0],
    )


def micros(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000_000)

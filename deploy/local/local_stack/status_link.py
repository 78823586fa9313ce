"""The way to the status page by a click."""

from __future__ import annotations

import httpx

from local_stack.endpoints import Endpoints


def status_link(endpoints: Endpoints) -> str:
    """A link that opens the status page once, within an hour. Raises httpx.HTTPError where it does not answer."""
    answer = httpx.post(
        f"{endpoints.status}/status/links", headers={"Authorization": f"Bearer {endpoints.api_key}"}, timeout=10
    )
    answer.raise_for_status()
    return str(answer.json()["url"])

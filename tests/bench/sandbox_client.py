"""What a benchmark asks of the provider sandbox: when it was first informed of an address, and by which calls."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import httpx


class SandboxClient:
    """`url` has no slash at its end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=60)

    def put(self, path: str, body: object) -> None:
        self._client.put(path, json=body).raise_for_status()

    def answer_at_once(self, account: str) -> None:
        self.put(f"/_control/latency/{account}", {"p50_ms": 0, "p99_ms": 0})

    def targets(self, account: str) -> int:
        """How many pairs of address and target the account holds."""
        counts: dict[str, int] = self._get("/_state")["accounts"].get(account, {}).get("counts", {})
        return sum(counts.values())

    def calls(self, account: str, *, after: int = 0) -> list[dict[str, Any]]:
        """The calls that arrived after that call number, oldest first; the sandbox keeps 50,000."""
        found: list[dict[str, Any]] = self._get(f"/_journal/{account}?after={after}")["calls"]
        return found

    def first_informed(self, account: str, target: str) -> dict[str, int]:
        """By address, or address key, the micros at which the account was first given this target's state."""
        states: dict[str, Any] = self._get(f"/_state/{account}?details=1")["states"]
        return {address: each[target]["first_told_at"] for address, each in states.items() if target in each}

    def await_informed(
        self, account: str, target: str, addresses: Collection[str], *, seconds: float
    ) -> dict[str, int]:
        """As `first_informed`, of these addresses; waits for all of them. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while True:
            informed = self.first_informed(account, target)
            missing = [each for each in addresses if each not in informed]
            if not missing:
                return {each: informed[each] for each in addresses}
            if time.monotonic() > deadline:
                raise TimeoutError(f"{account} was not informed of {len(missing)} of {len(addresses)} addresses")
            time.sleep(1.0)

    def close(self) -> None:
        self._client.close()

    def _get(self, path: str) -> Any:
        return self._client.get(path).raise_for_status().json()

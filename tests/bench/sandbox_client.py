"""What a benchmark asks of the provider sandbox: when it was first informed of an address, and by which calls."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import httpx

from local_stack.endpoints import Endpoints


class SandboxClient:
    """`url` has no slash at its end."""

    def __init__(self, url: str, *, token: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, auth=("control", token), timeout=60)

    @classmethod
    def of(cls, endpoints: Endpoints) -> SandboxClient:
        """The sandbox of a local stack."""
        return cls(endpoints.sandbox, token=endpoints.sandbox_token)

    def put(self, path: str, body: object) -> None:
        self._client.put(path, json=body).raise_for_status()

    def answer_at_once(self, account: str) -> None:
        self.put(f"/_control/latency/{account}", {"p50_ms": 0, "p99_ms": 0})

    def pushes(self, account: str, *, after: int = 0) -> list[dict[str, Any]]:
        """The calls about addresses; see `calls`."""
        return [call for call in self.calls(account, after=after) if call["addresses"]]

    def calls(self, account: str, *, after: int = 0) -> list[dict[str, Any]]:
        """The calls that arrived after that call number, oldest first; the sandbox keeps 50,000."""
        found: list[dict[str, Any]] = self._get(f"/_requests/{account}?after={after}")["calls"]
        return found

    def informed(self, account: str) -> dict[str, dict[str, int]]:
        """By address (or address key) and target, the micros at which the account was first given a state."""
        states: dict[str, Any] = self._get(f"/_state/{account}?details=1")["states"]
        return {
            address: {target: state["first_informed_at"] for target, state in targets.items()}
            for address, targets in states.items()
        }

    def await_informed(
        self, account: str, target: str, addresses: Collection[str], *, seconds: float
    ) -> dict[str, int]:
        """When the account was first given this target's state of each address; waits. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while True:
            informed = self.informed(account)
            missing = [each for each in addresses if target not in informed.get(each, {})]
            if not missing:
                return {each: informed[each][target] for each in addresses}
            if time.monotonic() > deadline:
                raise TimeoutError(f"{account} was not informed of {len(missing)} of {len(addresses)} addresses")
            time.sleep(1.0)

    def close(self) -> None:
        self._client.close()

    def _get(self, path: str) -> Any:
        return self._client.get(path).raise_for_status().json()

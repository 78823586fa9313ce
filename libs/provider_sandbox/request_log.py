"""The calls that arrived, newest last: how a test proves what was, and what was not, written to a provider."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Call:
    """One call as it arrived; `status` stays None when the connection was cut instead of answered."""

    number: int
    account: str
    method: str
    path: str
    arrived_at: int
    addresses: list[str] = field(default_factory=list)
    action: str | None = None
    status: int | None = None
    fault: str | None = None
    message_id: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class RequestLog:
    """The last `size` calls over all accounts, and counts since the start that nothing pushes out."""

    def __init__(self, size: int) -> None:
        self._calls: deque[Call] = deque(maxlen=size)
        self._arrived: Counter[str] = Counter()
        self._number = 0

    def arrived(self, account: str, method: str, path: str) -> Call:
        self._number += 1
        self._arrived[account] += 1
        call = Call(self._number, account, method, path, time.time_ns() // 1_000)
        self._calls.append(call)
        return call

    def count(self, account: str) -> int:
        return self._arrived[account]

    def counts(self) -> dict[str, int]:
        return dict(self._arrived)

    def calls(self, account: str, *, after: int = 0) -> list[Call]:
        return [call for call in self._calls if call.account == account and call.number > after]

    def forget(self, account: str | None) -> None:
        kept = [call for call in self._calls if account is not None and call.account != account]
        self._calls.clear()
        self._calls.extend(kept)
        if account is None:
            self._arrived.clear()
        else:
            del self._arrived[account]

"""Who is signed in. In memory: sessions and links end with this process."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from consent_http.api_keys import ApiKey
from consent_service.clock import elapsed_seconds

SCOPE = "operate"
EXPLAIN_SCOPE = "read"
SESSION_SECONDS = 30 * 24 * 3600.0
"""A screen on a wall is signed in once. What it shows is about no person."""
EXPLAIN_IDLE_SECONDS = 30 * 60.0
EXPLAIN_SECONDS = 8 * 3600.0
"""A session explains addresses for so long: as long as one of the console lasts."""
LINK_SECONDS = 3600.0
MOST_SESSIONS, MOST_LINKS = 500, 50

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """A key that was shown to us. ``secret``: itself, for the API, which checks it again; None where it may not
    explain."""

    key: ApiKey
    secret: str | None = field(repr=False)


@dataclass(kw_only=True, slots=True)
class Session:
    """``token``: the browser's secret. Times in seconds of a clock that is never set."""

    login: Login
    token: str = field(repr=False)
    begun_at: float
    explained_at: float

    def secret_to_explain(self, now: float) -> str | None:
        """The key to ask the API with; None where the session may not, or no longer."""
        is_recent = now - self.explained_at < EXPLAIN_IDLE_SECONDS and now - self.begun_at < EXPLAIN_SECONDS
        if not is_recent:
            self.login = Login(key=self.login.key, secret=None)
        return self.login.secret


class Sessions:
    """For one thread. The oldest goes where there are too many."""

    def __init__(self, clock: Callable[[], float] = elapsed_seconds) -> None:
        self._clock = clock
        self._sessions: _Kept[Session] = _Kept(MOST_SESSIONS, SESSION_SECONDS)
        self._links: _Kept[Login] = _Kept(MOST_LINKS, LINK_SECONDS)

    @property
    def now(self) -> float:
        return self._clock()

    def begin(self, login: Login) -> Session:
        now = self._clock()
        session = Session(login=login, token=secrets.token_urlsafe(32), begun_at=now, explained_at=now)
        self._sessions.put(session.token, session, now)
        return session

    def find(self, token: str) -> Session | None:
        return self._sessions.get(token, self._clock())

    def end(self, token: str) -> None:
        self._sessions.pop(token, self._clock())

    def make_link(self, login: Login) -> str:
        """The secret of a link that begins one session, within an hour."""
        link = secrets.token_urlsafe(32)
        self._links.put(link, login, self._clock())
        return link

    def use_link(self, link: str) -> Login | None:
        return self._links.pop(link, self._clock())


class _Kept(Generic[T]):
    """By the digests of secrets, so that looking one up takes no time that depends on what it has in common with
    another."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._kept: OrderedDict[bytes, tuple[float, T]] = OrderedDict()

    def put(self, secret: str, value: T, now: float) -> None:
        self._kept[_digest(secret)] = now, value
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def get(self, secret: str, now: float) -> T | None:
        since, value = self._kept.get(_digest(secret), (0.0, None))
        return value if now - since < self._seconds else None

    def pop(self, secret: str, now: float) -> T | None:
        found = self.get(secret, now)
        self._kept.pop(_digest(secret), None)
        return found


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()

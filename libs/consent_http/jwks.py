"""The public keys of an authorization server (RFC 7517), by which access tokens are verified: from a file, or from the
server's URL.

A key that is no signature key of an algorithm in use is passed over, as a server may publish others beside them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key
from yarl import URL

from consent_http.errors import InvalidJwksError, JwksUnavailableError, KeyNotFetchedError, PrivateTargetError
from consent_http.ssrf import PublicOnlyResolver
from consent_service.secret_files import SecretFile

log = logging.getLogger(__name__)

MAX_BYTES = 262_144
MAX_KEYS = 100
MIN_RSA_BITS = 2_048
FETCH_SECONDS = 5.0
RETRY_SECONDS = 5.0
"""After which a caller is to repeat a token that cannot be verified now."""
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_MEMBERS = ("kty", "n", "e", "crv", "x", "y")
"""Of a public key; all others of an entry say what it is for."""


class KeySource(Protocol):
    """Where the verifier gets its keys from."""

    async def key(self, kid: str | None, algorithm: str) -> Key | None:
        """The key that `kid` names (None: the only one there is), where it is one of `algorithm`; None: there is none.

        Raises JwksUnavailableError where that cannot be known."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class VerificationKey:
    """A public key, and the algorithms whose signatures it verifies: never those of another kind of key."""

    key: Key
    algorithms: frozenset[str]


class Keys:
    """The usable keys of one document. Immutable."""

    def __init__(self, keys: Mapping[str | None, VerificationKey]) -> None:
        """By kid; None: a key without."""
        self._keys = keys

    @classmethod
    def parse(cls, content: bytes, *, algorithms: Collection[str]) -> Keys:
        """Raises InvalidJwksError for what is no JWK set, is too large, or has no key for `algorithms`."""
        if len(content) > MAX_BYTES:
            raise InvalidJwksError(f"is longer than {MAX_BYTES} bytes")
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            raise InvalidJwksError("is no JSON") from None
        entries = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(entries, list) or len(entries) > MAX_KEYS:
            raise InvalidJwksError(f'needs a list "keys" of at most {MAX_KEYS}')
        found: dict[str | None, VerificationKey] = {}
        for entry in entries:
            if not isinstance(entry, dict) or not isinstance(entry.get("kid", ""), str):
                continue
            usable = _usable(entry, algorithms)
            if usable is None:
                continue
            kid = entry.get("kid")
            if kid in found:
                raise InvalidJwksError("has two keys with the same kid, or two without one")
            found[kid] = usable
        if not found:
            raise InvalidJwksError(f"has no public signature key for {', '.join(sorted(algorithms))}")
        return cls(found)

    def find(self, kid: str | None) -> VerificationKey | None:
        """None names the only key that there is."""
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid) if kid is not None else None


def _usable(entry: Mapping[str, Any], algorithms: Collection[str]) -> VerificationKey | None:
    """The key, where it verifies signatures of one of `algorithms`."""
    if entry.get("kty") == "oct" or "d" in entry:
        raise InvalidJwksError("holds a secret or private key: publish public keys alone, and replace that key")
    fitting = frozenset(each for each in algorithms if _fits(entry, each))
    if entry.get("use", "sig") != "sig" or not fitting:
        return None
    try:
        if entry["kty"] == "RSA" and _bits(entry["n"]) < MIN_RSA_BITS:
            return None
        key = JWKRegistry.import_key({name: entry[name] for name in _MEMBERS if name in entry})
        assert key.raw_value  # What is wrong with the numbers shows here.
    except (JoseError, LookupError, ValueError, TypeError, AttributeError, OverflowError):
        return None
    return VerificationKey(key=key, algorithms=fitting)


def _bits(number: str) -> int:
    """Of a number in base64url."""
    return int.from_bytes(urlsafe_b64decode(number + "=" * (-len(number) % 4)), "big").bit_length()


def _fits(entry: Mapping[str, Any], algorithm: str) -> bool:
    """Whether a key verifies signatures of `algorithm` (RFC 7518)."""
    if entry.get("alg", algorithm) != algorithm:
        return False
    if entry.get("kty") == "RSA":
        return algorithm[:2] in ("RS", "PS")
    return entry.get("kty") == "EC" and _CURVES.get(algorithm) == entry.get("crv")


def _verifying(found: VerificationKey | None, algorithm: str) -> Key | None:
    return found.key if found is not None and algorithm in found.algorithms else None


class JwksFile:
    """Keys from a file, which is read again when it changes. ``longest``: seconds for which the keys before count while
    it cannot be used."""

    def __init__(self, file: SecretFile[Keys], *, longest: float) -> None:
        self._file = file
        self._longest = longest

    async def key(self, kid: str | None, algorithm: str) -> Key | None:
        if self._file.failing_seconds > self._longest:
            raise JwksUnavailableError("the file of keys cannot be used for too long", seconds=RETRY_SECONDS)
        return _verifying(self._file.value.find(kid), algorithm)


def read_file(
    path: Path, *, algorithms: Collection[str], clock: Callable[[], float] = time.monotonic
) -> SecretFile[Keys]:
    """Raises InvalidJwksError."""

    def read() -> Keys:
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise InvalidJwksError(f"{path}: cannot be read ({error.strerror})") from None
        try:
            return Keys.parse(content, algorithms=algorithms)
        except InvalidJwksError as error:
            raise InvalidJwksError(f"{path}: {error}") from None

    return SecretFile("access-token-keys", [path], read, errors=(InvalidJwksError,), clock=clock)


@dataclass(frozen=True, kw_only=True, slots=True)
class JwksTimes:
    """Seconds. A set is fetched again once it is `refresh` old, by the next token; a token with a kid that it lacks has
    it fetched at once, but not within `pause` of the fetch before, whatever kids are invented: until then it is not
    known whether its key exists. One older than `longest` verifies nothing."""

    pause: float
    refresh: float
    longest: float


class JwksUrl:
    """Keys from a URL. For one event loop. Makes no connection before the first token.

    `report` is called after each fetch: with why it failed, or with nothing."""

    def __init__(
        self,
        url: str,
        *,
        algorithms: Collection[str],
        times: JwksTimes,
        allow_private: bool,
        report: Callable[[str], None] = lambda _why: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = URL(url, encoded=True)
        self._algorithms = algorithms
        self._times = times
        self._resolver = None if allow_private else PublicOnlyResolver()
        self._report = report
        self._clock = clock
        self._keys: Keys | None = None
        self._reads = 0
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None

    async def key(self, kid: str | None, algorithm: str) -> Key | None:
        reads = self._reads
        if self._age() > self._times.longest:
            await self._fetch_once()
        elif self._age() > self._times.refresh and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = asyncio.create_task(self._fetch_once())
        if self._keys is None or self._age() > self._times.longest:
            raise JwksUnavailableError("no current keys are known", seconds=RETRY_SECONDS)
        found = self._keys.find(kid)
        if found is None:
            await self._fetch_once()
            found = self._keys.find(kid)
            if found is None and self._reads == reads:
                wait = self._tried_at + self._times.pause - self._clock()
                raise KeyNotFetchedError("its key may have been published since the last fetch", seconds=wait)
        return _verifying(found, algorithm)

    def _age(self) -> float:
        return self._clock() - self._read_at

    async def _fetch_once(self) -> None:
        """However many tokens need it at once, one fetch. None within `pause` of the one before."""
        async with self._fetching:
            if self._clock() - self._tried_at < self._times.pause:
                return
            self._tried_at = self._clock()
            try:
                self._keys = Keys.parse(await self._fetch(), algorithms=self._algorithms)
            except InvalidJwksError as error:
                log.error("the keys of access tokens cannot be read", extra={"why": str(error)})
                self._report(str(error))
            else:
                self._reads += 1
                self._read_at = self._clock()
                self._report("")

    async def _fetch(self) -> bytes:
        """The document, at most a byte more of it than is permitted. Raises InvalidJwksError."""
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(resolver=self._resolver, use_dns_cache=False),
                    timeout=aiohttp.ClientTimeout(total=FETCH_SECONDS),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    headers={"User-Agent": "consent-relay", "Accept": "application/json"},
                ) as session,
                # Not followed: a redirect could lead to a host that was not checked.
                session.get(self._url, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise InvalidJwksError(f"its URL answers {response.status}")
                content = bytearray()
                async for part in response.content.iter_chunked(65_536):
                    content += part
                    if len(content) > MAX_BYTES:
                        break
                return bytes(content)
        except PrivateTargetError as error:
            raise InvalidJwksError(f"its URL: {error}") from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise InvalidJwksError(f"its URL does not answer ({type(error).__name__})") from None

"""One channel's list in a tool's own process, opened with one call. Blocking; `AsyncSuppressionList` for asyncio."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

from phonenumbers import SUPPORTED_REGIONS

from consent_client.answers import Answer, Policy
from consent_client.checker import Checker
from consent_client.errors import KeyFileError, ListNotReadyError, ListRefusedError
from consent_client.registers import Registers, RegistersFile
from consent_client.timestamps import ResolvedTimestamps
from consent_client.view import SuppressionView, ViewState
from consent_contracts.codec import Codec, ConfluentRegistry
from consent_contracts.errors import RegistryRefusedError, RegistryUnavailableError
from consent_contracts.topics import Topics, subject
from consent_kafka.refusals import registry_refusal
from consent_kafka.resolved import StalenessLimits
from consent_privacy.errors import InvalidKeyringError
from consent_privacy.keyring import Keyring
from consent_service.errors import LinkRefusedError

log = logging.getLogger(__name__)

Staleness = Literal["raise", "deny"]
"""What `check` does where the list cannot be answered from."""
OnState = Callable[[ViewState], None]

_NO_ANSWER = frozenset({"stale", "hole", "unavailable"})
"""Reasons of denials that say nothing about the address."""
_LOOK_SECONDS = 0.5


class SuppressionList:
    """The list of one channel for one tenant, kept up to date by threads until it is closed. Safe in threads."""

    def __init__(self, view: SuppressionView, checker: Checker, *, on_stale: Staleness) -> None:
        """Of parts that run already; `open` makes them."""
        self._view = view
        self._checker = checker
        self._on_stale = on_stale

    @classmethod
    def open(
        cls,
        kafka: str,
        registry: str,
        key_file: str | Path,
        *,
        channel: str,
        tenant: str | None = None,
        topic_prefix: str = "",
        default_region: str = "FR",
        unknown: Policy = "deny",
        on_stale: Staleness = "raise",
        limits: StalenessLimits | None = None,
        ready_seconds: float | None = 60.0,
        on_state: OnState | None = None,
        registers_file: str | Path | None = None,
        kafka_client: Mapping[str, Any] | None = None,
        registry_client: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read the list of `channel` and return once it can be answered from.

        `kafka`: bootstrap servers, host:port, comma separated. `registry`: URL of the schema registry's Confluent
        interface. `key_file`: what `consent-relay keyring export --hash-only --tenant ...` wrote. `tenant` may be left
        out where the file has one. `topic_prefix` and `default_region`, in which national numbers are read: as the
        installation has them. `unknown`: the answer for an address without any decision.

        `on_stale`: what `check` does while the list is loading, damaged, or too old by `limits`: "raise" is
        ListNotReadyError, "deny" denies each address that is concerned. `ready_seconds`: for how long to wait here;
        None: without end, 0: not at all. `on_state` is called at each change between usable and not, by a reading
        thread, which it must not hold up.

        `registers_file`: what `consent-relay registers export` wrote; it is read again when it changes. Where a
        register in it is too old, the list cannot be answered from for its channels and purposes.

        `kafka_client`, `registry_client`: security settings, by the names of librdkafka and of Confluent's registry
        client.

        Raises ValueError, KeyFileError, InvalidRegistersError, ListRefusedError, and ListNotReadyError after
        `ready_seconds`.
        """
        _require("on_stale", on_stale, get_args(Staleness))
        _require("unknown", unknown, get_args(Policy))
        _require("default_region", default_region, SUPPORTED_REGIONS)
        keyring = _keyring(Path(key_file))
        registers = RegistersFile(Path(registers_file)) if registers_file is not None else Registers
        topics = Topics(prefix=topic_prefix, channels=(channel,))
        codec = _codec(registry, topics.suppression(channel), registry_client)
        watch = _StateWatch(on_state)
        timestamps = ResolvedTimestamps(
            topics=topics, codec=codec, bootstrap=kafka, client_config=kafka_client, on_turn=watch.look
        )
        view = SuppressionView(
            channel,
            topics=topics,
            codec=codec,
            bootstrap=kafka,
            timestamps=timestamps,
            client_config=kafka_client,
            limits=limits,
            on_turn=watch.look,
        )
        watch.view = view
        checker = Checker(
            view,
            keyring,
            _tenant(keyring, tenant, key_file),
            default_region=default_region,
            unknown=unknown,
            registers=registers,
        )
        opened = cls(view, checker, on_stale=on_stale)
        timestamps.start()
        view.start()
        if ready_seconds != 0:
            try:
                opened.wait_ready(ready_seconds)
            except BaseException:
                opened.close()
                raise
        return opened

    def check(self, addresses: Iterable[str], purpose: str) -> list[Answer]:
        """An answer for each address, in order: contact only where it `permits()`, and ask again before each sending.

        An address that cannot be read denies (`invalid_address`). Raises ListNotReadyError, unless opened with
        on_stale="deny", as soon as one of the addresses cannot be answered for.
        """
        if isinstance(addresses, str):
            raise TypeError("check takes a list of addresses; permits takes one")
        answers = self._checker.check(addresses, purpose)
        if self._on_stale == "raise":
            for answer in answers:
                if answer.reason in _NO_ANSWER:
                    self._raise_failure()
                    raise ListNotReadyError(answer.detail or answer.reason)
        return answers

    def permits(self, address: str, purpose: str) -> bool:
        """Whether this address may be contacted now. Raises as `check` does."""
        return self.check([address], purpose)[0].permits()

    def wait_ready(self, seconds: float | None = None) -> None:
        """Return once every address can be answered for. Raises ListNotReadyError after `seconds`, and ListRefusedError
        at once."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self.ready:
            left = _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, deadline - time.monotonic())
            self._raise_failure()
            if left <= 0:
                raise ListNotReadyError(self._hindrance())
            with suppress(LinkRefusedError):
                self._view.wait_until_usable(left)

    @property
    def ready(self) -> bool:
        """Whether every address can be answered for now."""
        return self._view.usable

    @property
    def age(self) -> float | None:
        """How old the ledger is that the list reflects, in seconds; None while that is not known."""
        return self.state.age_seconds

    @property
    def state(self) -> ViewState:
        """Whether it is usable, why not, its age, and how many entries it has."""
        return self._view.state

    def close(self) -> None:
        """End the threads. May be repeated."""
        self._view.timestamps.close()
        self._view.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hindrance(self) -> str:
        reason = self.state.reason or "stale"
        waits_for = self._view.restarted_for if reason == "loading" else None
        return f"{reason} (Kafka: {waits_for})" if waits_for else reason

    def _raise_failure(self) -> None:
        failure = self._view.failure or self._view.timestamps.failure
        if isinstance(failure, LinkRefusedError):
            raise ListRefusedError(str(failure)) from failure
        if failure is not None:
            raise ListNotReadyError(f"reading it has failed: {failure!r}") from failure


class AsyncSuppressionList:
    """The same for asyncio: `async with AsyncSuppressionList.open(...) as list_: await list_.check(...)`.

    Nothing blocks the event loop: what takes time runs in a thread.
    """

    def __init__(self, open_: Callable[[], SuppressionList]) -> None:
        self._open = open_
        self._list: SuppressionList | None = None

    @classmethod
    def open(cls, kafka: str, registry: str, key_file: str | Path, *, channel: str, **options: Any) -> Self:
        """Takes what `SuppressionList.open` takes, and opens it when the block is entered."""
        return cls(partial(SuppressionList.open, kafka, registry, key_file, channel=channel, **options))

    async def check(self, addresses: Iterable[str], purpose: str) -> list[Answer]:
        """As `SuppressionList.check`."""
        return await asyncio.to_thread(self._opened.check, addresses, purpose)

    async def permits(self, address: str, purpose: str) -> bool:
        """As `SuppressionList.permits`."""
        return self._opened.permits(address, purpose)

    async def wait_ready(self, seconds: float | None = None) -> None:
        """As `SuppressionList.wait_ready`."""
        await asyncio.to_thread(self._opened.wait_ready, seconds)

    @property
    def ready(self) -> bool:
        """As `SuppressionList.ready`."""
        return self._opened.ready

    @property
    def age(self) -> float | None:
        """As `SuppressionList.age`."""
        return self._opened.age

    @property
    def state(self) -> ViewState:
        """As `SuppressionList.state`."""
        return self._opened.state

    @property
    def _opened(self) -> SuppressionList:
        if self._list is None:
            raise RuntimeError("the list is not open: use it in `async with`")
        return self._list

    async def __aenter__(self) -> Self:
        self._list = await asyncio.to_thread(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._opened.close)


class _StateWatch:
    """Calls `on_state` when the view becomes usable, or ceases to be. From both reading threads: one may have ended."""

    def __init__(self, on_state: OnState | None) -> None:
        self.view: SuppressionView | None = None
        self._on_state = on_state
        self._usable = False
        self._lock = threading.Lock()

    def look(self) -> None:
        if self._on_state is None or self.view is None:
            return
        with self._lock:
            if self.view.usable == self._usable:
                return
            self._usable = not self._usable
            try:
                self._on_state(self.view.state)
            except Exception:
                log.exception("on_state has failed")


def _require(name: str, given: str, possible: Collection[str]) -> None:
    """Raises ValueError. A region that does not exist would make every national number unreadable, without a word."""
    if given not in possible:
        raise ValueError(f"{name}: there is no {given!r}; such as {', '.join(sorted(possible)[:2])}")


def _keyring(path: Path) -> Keyring:
    try:
        found = Keyring.load(path)
    except InvalidKeyringError as error:
        raise KeyFileError(str(error)) from None
    return found.export(found.tenants, hash_only=True)


def _tenant(keyring: Keyring, tenant: str | None, key_file: str | Path) -> str:
    tenants = keyring.tenants
    if tenant is None and len(tenants) == 1:
        return tenants[0]
    if tenant not in tenants:
        wanted = "tenant: name one of" if tenant is None else f"it has no keys of tenant {tenant}, but of"
        raise KeyFileError(f"{key_file}: {wanted} {', '.join(tenants)}")
    return tenant


def _codec(registry: str, topic: str, client_config: Mapping[str, Any] | None) -> Codec:
    """One that looks schemas up when it meets them: entries of an older and of a newer release are read alike, and a
    registry that does not answer delays the list only."""
    ids = ConfluentRegistry(registry, client_config)
    entries = subject(topic, "SuppressionEntry")
    try:
        if not ids.schemas_of(entries):
            raise ListRefusedError(f"channel, topic_prefix: the registry at {registry} has no {entries}")
    except RegistryRefusedError as error:
        raise ListRefusedError(str(registry_refusal(registry, error))) from None
    except RegistryUnavailableError as error:
        log.warning("the schema registry does not answer yet", extra={"error": str(error)})
    return Codec(ids)

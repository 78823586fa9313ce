"""SuppressionView: one channel's list in memory, as fresh as the broker allows, and honest about it (R31)."""

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Message

from consent_client.feed import Feed, StartAgain
from consent_client.packing import UNREADABLE, Packing, Unpackable
from consent_contracts.codec import Codec
from consent_contracts.errors import RegistryUnavailable, Unreadable
from consent_contracts.topics import Topics
from consent_contracts.verdict import Verdict
from consent_runtime.keyring import age

logger = logging.getLogger(__name__)

_TURN_SECONDS = 0.25
_RETRY_SECONDS = 1.0
_READ_ANEW_AFTER = 86_400.0
_KEY_ID = re.compile(rb"([a-z][a-z0-9]{0,15})\.")


def awake_clock() -> float:
    """Seconds that also pass while the machine sleeps, which monotonic clocks of Linux do not count."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewState:
    """`usable`: answers may be given. Otherwise `reason` says why not: loading, stale or failed."""

    usable: bool
    reason: str
    age_seconds: float | None
    entries: int
    unreadable: int


class SuppressionView:
    """All entries of one channel. Ready once it has read up to the end offsets seen at its start; from then on
    it is usable while it holds all that was committed up to `stale_after` seconds ago.

    One thread reads; any number may ask. A tombstone removes an entry; a record that cannot be read leaves a
    mark in the entry's place, so that it denies until a readable one replaces it."""

    def __init__(
        self,
        channel: str,
        *,
        topics: Topics,
        codec: Codec,
        bootstrap: str,
        client_config: Mapping[str, Any] | None = None,
        stale_after: float = 10.0,
        clock: Callable[[], float] = awake_clock,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_turn` is called several times a second while the reading thread lives, from that thread."""
        self.channel = channel
        self._topic = topics.suppression(channel)
        self._group = topics.group(f"view-{channel}")
        self._codec = codec
        self._bootstrap = bootstrap
        self._client_config = dict(client_config or {})
        self._stale_after = stale_after
        self._clock = clock
        self._on_turn = on_turn
        self._packing = Packing()
        self._entries: dict[bytes, bytes] = {}
        self._unreadable = 0
        self._newest_key_ids: dict[str, bytes] = {}
        self._as_of: float | None = None
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"view-{channel}", daemon=True)
        self.failure: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def wait_until_usable(self, seconds: float) -> bool:
        """Whether it became usable in time. Raises what made the reading thread fail."""
        with self._changed:
            self._changed.wait_for(lambda: self.usable or self.failure is not None, seconds)
        if self.failure is not None:
            raise self.failure
        return self.usable

    @property
    def usable(self) -> bool:
        """Ready, and fresh enough. To be asked before each look at entries, not once."""
        as_of = self._as_of
        return as_of is not None and self._clock() - as_of <= self._stale_after and self.failure is None

    @property
    def state(self) -> ViewState:
        as_of, usable = self._as_of, self.usable
        reason = "failed" if self.failure else "loading" if as_of is None else "" if usable else "stale"
        return ViewState(
            usable=usable,
            reason=reason,
            age_seconds=None if as_of is None else self._clock() - as_of,
            entries=len(self._entries),
            unreadable=self._unreadable,
        )

    def entries(self) -> Mapping[bytes, bytes] | None:
        """The packed entries by address key, for `verdict`; None while the view is not usable. Ask anew for each
        batch of look-ups: the mapping lives on, but may be left behind when the view starts again."""
        # Taken before asking whether it may be used. The other way round, a new and still empty mapping could
        # slip in between, and whoever is not found in it would count as unknown.
        entries = self._entries
        return entries if self.usable else None

    def verdict(self, packed: bytes, purpose: str) -> Verdict | None:
        """What a packed entry says about `purpose`, not yet looked at for expiry; None when it is unreadable."""
        return self._packing.verdict(packed, purpose) if packed else None

    def tenant(self, packed: bytes) -> str | None:
        """Whose entry it is; None when it is unreadable."""
        return self._packing.tenant(packed) if packed else None

    def newest_key_id(self, tenant: str) -> str | None:
        """The id of the newest hash key that any entry of `tenant` was seen under. Also of one that has gone since:
        it has been in use, which is what matters."""
        key_id = self._newest_key_ids.get(tenant)
        return None if key_id is None else key_id.decode("ascii")

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._read_from_the_beginning()
                except StartAgain as reason:
                    logger.warning("reading the list anew", extra={"topic": self._topic, "reason": str(reason)})
                    self._pause(_RETRY_SECONDS)
        except BaseException as failure:
            # A fault of ours. The thread ends, the view never is usable again, and whoever owns it looks here.
            self.failure = failure
            logger.exception("the view has failed", extra={"topic": self._topic})
            self._announce()

    def _read_from_the_beginning(self) -> None:
        self._as_of = None
        self._entries = {}
        self._unreadable = 0
        feed = Feed(
            self._topic,
            bootstrap=self._bootstrap,
            group=self._group,
            client_config=self._client_config,
            probe_seconds=min(1.0, self._stale_after / 4),
            clock=self._clock,
        )
        try:
            while not self._stopping.is_set():
                self._on_turn()
                for message in feed.read(_TURN_SECONDS):
                    if message.error() is None:
                        self._apply(message)
                    feed.done(message)
                self._settle(feed)
        finally:
            self._as_of = None
            feed.close()

    def _settle(self, feed: Feed) -> None:
        feed.freshness.settle()
        as_of = feed.freshness.as_of
        if self._as_of is not None and self._clock() - self._as_of > _READ_ANEW_AFTER:
            # Tombstones stay for seven days only; whoever was away for long may have missed some.
            raise StartAgain("away for too long")
        if as_of != self._as_of:
            self._as_of = as_of
            self._announce()

    def _announce(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _apply(self, message: Message) -> None:
        key, value = message.key(), message.value()
        if not isinstance(key, bytes):
            # Nothing could be found under it, and the broker refuses such a record on a compacted topic.
            logger.error("a record without key on the list", extra=_place(message))
            return
        packed = None if value is None else self._packed(key, value, message)
        self._unreadable += (packed == UNREADABLE) - (self._entries.get(key) == UNREADABLE)
        if packed is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = packed

    def _packed(self, key: bytes, value: bytes, message: Message) -> bytes:
        while True:
            try:
                entry = self._codec.decode(self._topic, value)
                if entry["address_key"].encode() != key or entry["channel"] != self.channel:
                    raise Unpackable("the entry is not that of its key and channel")
                packed = self._packing.pack(entry)
                self._note_key_id(entry["tenant"], key)
                return packed
            except (Unreadable, Unpackable) as error:
                logger.error("an entry cannot be read and denies", extra={**_place(message), "error": str(error)})
                return UNREADABLE
            except RegistryUnavailable:
                # A schema newer than this process, and nobody to ask. The reading stands still, and the view
                # goes stale, until the registry is back.
                self._pause(_RETRY_SECONDS)
                if self._stopping.is_set():
                    raise StartAgain("stopping") from None

    def _note_key_id(self, tenant: str, key: bytes) -> None:
        newest, key_id = self._newest_key_ids.get(tenant, b""), key.partition(b".")[0]
        # What has not the form of a key id is not kept: it would get into logs, and could be anything.
        if key_id != newest and age(key_id) > age(newest) and _KEY_ID.match(key):
            self._newest_key_ids[tenant] = key_id

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping.is_set() and (left := until - time.monotonic()) > 0:
            self._on_turn()
            self._stopping.wait(min(left, _TURN_SECONDS))


def _place(message: Message) -> dict[str, Any]:
    return {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}

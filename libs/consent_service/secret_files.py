"""Secrets in files, read again while the process runs: a secret is replaced without a restart.

What hands over secrets replaces a file by a rename (Kubernetes: the link `..data` beside it), or writes it in place.
Both show in what `stat` reports of the path. Contents that cannot be used change nothing: the process goes on with
those before, and the log, a metric and the health page say so until the file is mended.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from cryptography import x509
from prometheus_client import CollectorRegistry, Counter, Gauge

from consent_service.health import Health

log = logging.getLogger(__name__)

T = TypeVar("T")

WATCH_SECONDS = 1.0
_PART = "secret files"
_UNSETTLED_SECONDS = 2.0
"""A file that was changed so short a time ago is read once more: a second change within the same tick of the file
system's clock shows in no time stamp."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretMetrics:
    """Of the secrets of one process; the label `secret` is a name that does not depend on the contents."""

    reload_errors: Counter
    last_read: Gauge
    valid_until: Gauge

    @classmethod
    def on(cls, registry: CollectorRegistry) -> Self:
        return cls(
            reload_errors=Counter(
                "consent_relay_secret_file_reload_errors",
                "Attempts to read a secret again that failed. There is one each second, so this rises for as long as a"
                " file is bad; /readyz and the log have the reason, and whether the contents before are in use.",
                ["secret"],
                registry=registry,
            ),
            last_read=Gauge(
                "consent_relay_secret_file_last_read_timestamp_seconds",
                "When the contents in use were read (Unix time). After a rotation: whether this process has the new"
                " secret.",
                ["secret"],
                registry=registry,
            ),
            valid_until=Gauge(
                "consent_relay_secret_file_valid_until_timestamp_seconds",
                "When the certificate in use ends (Unix time); of a file of authorities, the one that ends last."
                " Replace it, and restart the process, before.",
                ["secret"],
                registry=registry,
            ),
        )


class SecretFile(Generic[T]):
    """What one secret's files hold, as `read` understands them. Safe in threads.

    `name`: for metrics and messages. `paths`: all that `read` reads. `errors`: what `read` raises where the contents
    cannot be used; its text names the place and the cure, and holds no secret. The first reading raises it; later ones
    leave `value` as it was, unless the secret is one that a bad file revokes (`kept` false).
    """

    def __init__(
        self,
        name: str,
        paths: Iterable[Path],
        read: Callable[[], T],
        *,
        errors: tuple[type[Exception], ...],
        kept: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._paths = tuple(paths)
        self._read = read
        self._errors = errors
        self._kept = kept
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: _Seen | None = None
        self._digest = _digest(self._paths)
        self._read_at = time.time()
        self._value = read()
        self._failure: Exception | None = None
        self._failures = 0
        self._unread_since: float | None = None

    @property
    def value(self) -> T:
        """The newest contents that could be used: the same object for as long as they are the same. Where they are not
        kept, the error of a bad file."""
        failure = self._failure
        if failure is not None and not self._kept:
            raise failure
        return self._value

    @property
    def error(self) -> str:
        """Why the files cannot be used as they are now, and what that means; empty: they can."""
        failure = self._failure
        if failure is None:
            return ""
        return f"{failure}; {'the one before is in use' if self._kept else 'none is in use'}"

    @property
    def read_at(self) -> float:
        """When the contents of `value` were read. Seconds since the epoch."""
        return self._read_at

    @property
    def failing_seconds(self) -> float:
        """For how long the files could not be used, whatever the reason; 0 where they can be."""
        since = self._unread_since
        return 0.0 if since is None else self._clock() - since

    @property
    def failures(self) -> int:
        """How many attempts to read have failed."""
        return self._failures

    def refresh(self) -> None:
        """Read again what has changed, and what could not be used."""
        with self._lock:
            # Before all else: neither a file system that hangs nor an unforeseen error counts as read.
            if self._unread_since is None:
                self._unread_since = self._clock()
            seen, now = _signature(self._paths), time.time()
            if seen == self._seen and seen is not None and self._failure is None:
                self._unread_since = None
                return
            digest = _digest(self._paths)
            try:
                value = self._read()
            except self._errors as error:
                self._fail(error)
                return
            if digest != self._digest:
                self._value, self._digest, self._read_at = value, digest, now
                log.info("a changed secret is in use", extra={"secret": self.name})
            elif self._failure is not None:
                log.info("a secret can be read again, unchanged", extra={"secret": self.name})
            self._failure = self._unread_since = None
            settled = seen is not None and now - max(mtime for mtime, *_ in seen) / 1e9 > _UNSETTLED_SECONDS
            self._seen = seen if settled else None

    def _fail(self, error: Exception) -> None:
        is_news = str(error) != str(self._failure)
        self._failures += 1
        self._failure = error
        if is_news:
            log.error("a secret cannot be read", extra={"secret": self.name, "why": self.error})


class SecretWatch:
    """Looks at the secrets of a process each second, in a thread of its own, and reports on them.

    Readiness does not depend on them: the process works with the secrets that it has, and a bad file comes to all
    processes at once. It does depend on the thread, which a hung file system stops. Liveness does not, however long:
    a process that is started instead would hang at its start, without the secrets that this one has.
    """

    def __init__(self, registry: CollectorRegistry, health: Health, *, every: float = WATCH_SECONDS) -> None:
        """`every`: seconds between two looks."""
        self._every = every
        self._metrics = SecretMetrics.on(registry)
        self._health = health
        self._counted: dict[SecretFile[Any], int] = {}
        """The failures of each that the metric has."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="secret-files", daemon=True)

    def follow(self, *files: SecretFile[Any]) -> None:
        for file in files:
            self._counted[file] = 0
            self._metrics.last_read.labels(file.name).set_function(partial(getattr, file, "read_at"))
            self._metrics.reload_errors.labels(file.name)

    def fetched(self, name: str) -> Callable[[str], None]:
        """To be called after each fetch of a secret that has no file: with why it failed, or with nothing."""
        self._metrics.reload_errors.labels(name)

        def report(why: str) -> None:
            if why:
                self._metrics.reload_errors.labels(name).inc()
            else:
                self._metrics.last_read.labels(name).set_to_current_time()
            self._health.note(f"secret {name}", why)

        return report

    def certificate(self, name: str, path: Path | None) -> None:
        """Report when a certificate, with the chain in its file, ends that a client has read at its start, and does not
        read again."""
        if ends := _ends(path):
            self._metrics.valid_until.labels(name).set(min(ends).timestamp())

    def authorities(self, name: str, path: Path | None) -> None:
        """Report when the last of the authorities in a file ends: older ones stay in it while they are replaced."""
        if ends := _ends(path):
            self._metrics.valid_until.labels(name).set(max(ends).timestamp())

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._health.unregister(_PART)

    def _run(self) -> None:
        while True:
            for file, counted in list(self._counted.items()):
                self._health.heartbeat(_PART, file.name, within=math.inf)
                self._refresh(file)
                failures = self._counted[file] = file.failures
                self._metrics.reload_errors.labels(file.name).inc(failures - counted)
                self._health.note(f"secret {file.name}", file.error)
            self._health.heartbeat(_PART, within=math.inf)
            if self._stop.wait(self._every):
                return

    def _refresh(self, file: SecretFile[Any]) -> None:
        """A bad file comes to all processes at once: none of them ends by what no reader of ours foresaw."""
        try:
            file.refresh()
        except Exception:
            self._metrics.reload_errors.labels(file.name).inc()
            log.exception("a secret cannot be read, for an unforeseen reason", extra={"secret": file.name})


def _ends(path: Path | None) -> Sequence[datetime]:
    """Of the certificates in a file; of one that cannot be read none: no client uses it, and connecting reports it."""
    try:
        return [each.not_valid_after_utc for each in x509.load_pem_x509_certificates(path.read_bytes())] if path else []
    except (OSError, ValueError):
        return []


_Seen = tuple[tuple[int, ...], ...]


def _signature(paths: Iterable[Path]) -> _Seen | None:
    """What changes with the files, the times of change first; None where one cannot be looked at."""
    try:
        found = [path.stat() for path in paths]
    except OSError:
        return None
    # The mode of a file shows in ctime alone.
    return tuple((each.st_mtime_ns, each.st_ctime_ns, each.st_size, each.st_ino, each.st_dev) for each in found)


def _digest(paths: Iterable[Path]) -> bytes:
    """Of the contents; the same for all that cannot be read, of which `read` says why."""
    found = hashlib.sha256()
    for path in paths:
        try:
            found.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError:
            return b""
    return found.digest()

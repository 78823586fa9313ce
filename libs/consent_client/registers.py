"""Registers of oppositions: on which channels and for which purposes the list may not be relied on, because a register
that it rests on is too old. From a file that `consent-relay registers export` writes."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from consent_client.errors import InvalidRegistersError
from consent_privacy import private_files

log = logging.getLogger(__name__)

MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisterLimit:
    """``stale_at``: from when on no address of the channels may be contacted for the purposes, in microseconds; 0: it
    was not loaded for all of them; None: never, as the register has ended."""

    name: str
    tenant: str
    channels: tuple[str, ...]
    purposes: tuple[str, ...]
    stale_at: int | None


class Registers:
    """All of them, as they were exported. The moments are absolute: a file that is not replaced denies once they are
    over, by what was declared when it was written."""

    def __init__(self, limits: Iterable[RegisterLimit] = ()) -> None:
        self.limits = tuple(limits)
        self._by_question: defaultdict[tuple[str, str, str], list[RegisterLimit]] = defaultdict(list)
        for each in self.limits:
            for channel in each.channels:
                for purpose in each.purposes:
                    self._by_question[each.tenant, channel, purpose].append(each)

    def stale(self, tenant: str, channel: str, purpose: str, now: int) -> str | None:
        """The name of a register that is too old to answer the question; None: there is none."""
        limits = self._by_question.get((tenant, channel, purpose), ())
        return next((each.name for each in limits if each.stale_at is not None and each.stale_at <= now), None)


def write(path: Path, limits: Iterable[RegisterLimit]) -> None:
    """Replaces the file as a whole, so that a reader never sees half of it. Raises OSError."""
    registers = [
        {
            "name": each.name,
            "tenant": each.tenant,
            "channels": list(each.channels),
            "purposes": list(each.purposes),
            "stale_at": each.stale_at,
        }
        for each in limits
    ]
    private_files.replace(path, json.dumps({"registers": registers}, indent=2) + "\n")


def read(path: Path) -> Registers:
    """What `write` wrote. Raises InvalidRegistersError."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        document = json.loads(content[:MOST_BYTES])
    except OSError as error:
        raise InvalidRegistersError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise InvalidRegistersError(f"{path}: is no JSON of {MOST_BYTES} bytes at most") from None
    entries = document.get("registers") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise InvalidRegistersError(f'{path}: needs a list "registers"')
    return Registers(_limit(entry, f"{path}: register number {number}") for number, entry in enumerate(entries, 1))


def _limit(entry: object, where: str) -> RegisterLimit:
    if not isinstance(entry, dict):
        raise InvalidRegistersError(f"{where} is no object")
    name, tenant, stale_at = (entry.get(each) for each in ("name", "tenant", "stale_at"))
    channels, purposes = (_texts(entry.get(each), f"{where}: {each}") for each in ("channels", "purposes"))
    if not isinstance(name, str) or not isinstance(tenant, str):
        raise InvalidRegistersError(f"{where} needs name and tenant, both text")
    # One that is missing is not None: it would never become stale.
    if "stale_at" not in entry or not (stale_at is None or (type(stale_at) is int and stale_at >= 0)):
        raise InvalidRegistersError(f"{where} needs stale_at, in microseconds, or null")
    return RegisterLimit(name=name, tenant=tenant, channels=channels, purposes=purposes, stale_at=stale_at)


def _texts(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise InvalidRegistersError(f"{where} is a list of texts")
    return tuple(value)


class RegistersFile:
    """A file that is read again when it has changed. One that cannot be read leaves the one before in use, and is
    logged."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidRegistersError."""
        self._path = path
        self._seen = self._signature()
        self._registers = read(path)
        self._why = ""

    def __call__(self) -> Registers:
        seen = self._signature()
        if seen != self._seen:
            try:
                self._registers, self._seen = read(self._path), seen
            except InvalidRegistersError as error:
                if str(error) != self._why:
                    log.error("the registers file cannot be used; the one before is in use", extra={"why": str(error)})
                self._why = str(error)
                return self._registers
        self._why = ""
        return self._registers

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

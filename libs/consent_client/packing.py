"""The verdicts of one entry in few bytes: a million addresses have to fit into a few hundred megabytes.

A packed value is: tenant (2 bytes), number of verdicts (2), a code for each verdict (2), then what differs from
entry to entry: times (8 bytes each) and decision ids (16). A code stands for all that repeats: purpose,
permitted, reason, and which of the times and ids follow."""

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from consent_contracts.decisions import EVERY_PURPOSE
from consent_contracts.verdict import NO_DECISION, Verdict

UNREADABLE = b""
"""Stands in place of an entry that could not be read: no entry of ours is empty."""

_HEAD = struct.Struct("<HH")
_TIME = struct.Struct("<q")
_TEXT = struct.Struct("<II")
_LATEST = 253_402_300_800_000_000  # the year 10000, which no calendar of ours can write
_SHAPES_KEPT = 10_000
_CODES = 0xFFFF


class Unpackable(ValueError):
    """An entry that decodes but holds what no entry of ours holds. The text has no address in it."""


class _Kind(NamedTuple):
    purpose: str
    permitted: bool
    reason: str
    has_since: bool
    has_expires: bool
    id_as: str  # "" none, "uuid" its 16 bytes, "text" where in the value it is found


class _Slot(NamedTuple):
    """A kind, and where its parts are in a value of one shape; -1: it has no such part."""

    permitted: bool
    reason: str
    since: int
    expires: int
    uuid: int
    text: int


class Packing:
    """Packs and unpacks; one for all the entries of a view. One thread packs, any number may unpack."""

    def __init__(self) -> None:
        self._kinds: list[_Kind] = []
        self._codes: dict[_Kind, int] = {}
        self._tenants: list[str] = []
        self._tenant_codes: dict[str, int] = {}
        self._shapes: dict[bytes, dict[str, _Slot]] = {}

    def pack(self, entry: Mapping[str, Any]) -> bytes:
        """`entry` is a decoded SuppressionEntry. Raises Unpackable."""
        verdicts: Mapping[str, Mapping[str, Any]] = entry["verdicts"]
        if len(verdicts) > _CODES:
            raise Unpackable("too many verdicts in one entry")
        codes = [self._tenant(entry["tenant"]), len(verdicts)]
        parts: list[bytes] = [b""]
        texts: dict[int, bytes] = {}  # by the index of the part that will say where the text is
        for purpose, verdict in verdicts.items():
            since, expires, decision_id = verdict["since"], verdict["expires_at"], verdict["decision_id"]
            if since is not None:
                parts.append(_time(since))
            if expires is not None:
                parts.append(_time(expires))
            id_as = ""
            if decision_id is not None:
                uuid = _uuid(decision_id)
                if uuid is None:
                    texts[len(parts)] = decision_id.encode()
                id_as = "text" if uuid is None else "uuid"
                parts.append(uuid or bytes(_TEXT.size))
            kind = _Kind(
                purpose, verdict["permitted"], verdict["reason"], since is not None, expires is not None, id_as
            )
            codes.append(self._code(kind))
        parts[0] = struct.pack(f"<{len(codes)}H", *codes)
        end = sum(map(len, parts)) if texts else 0
        for index, text in texts.items():
            parts[index] = _TEXT.pack(end, len(text))
            parts.append(text)
            end += len(text)
        return b"".join(parts)

    def tenant(self, packed: bytes) -> str:
        return self._tenants[packed[0] | packed[1] << 8]

    def verdict(self, packed: bytes, purpose: str) -> Verdict:
        """The verdict for `purpose`, or that for every purpose not named."""
        header = packed[: 4 + 2 * (packed[2] | packed[3] << 8)]
        shape = self._shapes.get(header) or self._shape(header)
        slot = shape.get(purpose) or shape.get(EVERY_PURPOSE)
        if slot is None:
            return NO_DECISION
        permitted, reason, since, expires, uuid, text = slot
        decision_id: str | None = None
        if uuid >= 0:
            decision_id = _spelled(packed[uuid : uuid + 16])
        elif text >= 0:
            start, length = _TEXT.unpack_from(packed, text)
            decision_id = packed[start : start + length].decode()
        return Verdict(
            permitted=permitted,
            reason=reason,
            since=_TIME.unpack_from(packed, since)[0] if since >= 0 else None,
            expires_at=_TIME.unpack_from(packed, expires)[0] if expires >= 0 else None,
            decision_id=decision_id,
        )

    def _shape(self, header: bytes) -> dict[str, _Slot]:
        """Where to find things in every value with this header. Few shapes make up a list; should there be
        many after all, the cache starts anew rather than grow with them."""
        at = len(header)
        shape: dict[str, _Slot] = {}
        for (code,) in struct.iter_unpack("<H", header[_HEAD.size :]):
            kind = self._kinds[code]
            since = expires = uuid = text = -1
            if kind.has_since:
                since, at = at, at + 8
            if kind.has_expires:
                expires, at = at, at + 8
            if kind.id_as == "uuid":
                uuid, at = at, at + 16
            elif kind.id_as == "text":
                text, at = at, at + 8
            shape[kind.purpose] = _Slot(kind.permitted, kind.reason, since, expires, uuid, text)
        if len(self._shapes) >= _SHAPES_KEPT:
            self._shapes.clear()
        self._shapes[header] = shape
        return shape

    def _code(self, kind: _Kind) -> int:
        code = self._codes.get(kind)
        if code is None:
            code = len(self._kinds)
            if code > _CODES:
                raise Unpackable("too many different purposes and reasons in one list")
            self._kinds.append(kind)
            self._codes[kind] = code
        return code

    def _tenant(self, tenant: str) -> int:
        code = self._tenant_codes.get(tenant)
        if code is None:
            code = len(self._tenants)
            if code > _CODES:
                raise Unpackable("too many tenants in one list")
            self._tenants.append(tenant)
            self._tenant_codes[tenant] = code
        return code


def _time(micros: int) -> bytes:
    if not 0 <= micros < _LATEST:
        raise Unpackable("a time that no calendar holds")
    return _TIME.pack(micros)


def _uuid(text: str) -> bytes | None:
    """The 16 bytes of a UUID in its usual spelling; None for any other text, which is then kept as it is."""
    if len(text) != 36:
        return None
    try:
        uuid = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return None
    return uuid if len(uuid) == 16 and _spelled(uuid) == text else None


def _spelled(uuid: bytes) -> str:
    digits = uuid.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

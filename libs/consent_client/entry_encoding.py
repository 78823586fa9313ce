"""The verdicts of one entry in few bytes: a million addresses have to fit into a few hundred megabytes.

A packed value is: tenant (2 bytes), number of verdicts (2), a code for each verdict (2), then what differs from
entry to entry: times (8 bytes each) and decision ids (16). A code replaces all that repeats among the entries of one
tenant: purpose, permitted, reason, and which of the times and ids follow.

Where a table of codes is full, an entry is written out instead: invented purposes or tenants make entries larger, and
none unreadable, in whichever order a replica reads them."""

import json
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from consent_client.errors import NotEncodableError
from consent_contracts.reading import EVERY_PURPOSE, NO_DECISION, Verdict

UNREADABLE = b""
"""In the place of an entry that could not be read: no entry of ours is empty."""

_HEAD = struct.Struct("<HH")
_TIME = struct.Struct("<q")
_TEXT = struct.Struct("<II")
_LATEST = 253_402_300_800_000_000  # the year 10000, which no calendar of ours can write
_SHAPES_KEPT = 10_000
CODES = 0xFFFF
KINDS_KEPT = 4_096
_WRITTEN_OUT = b"\xff\xff"
"""Begins an entry without codes, where others have the tenant's."""


class _VerdictKind(NamedTuple):
    purpose: str
    permitted: bool
    reason: str
    has_since: bool
    has_expires: bool
    id_as: str  # "" none, "uuid" its 16 bytes, "text" where in the value it is found


class _VerdictLayout(NamedTuple):
    """A kind, and where its parts are in a value of one shape; -1: it has no such part."""

    permitted: bool
    reason: str
    since: int
    expires: int
    uuid: int
    text: int


class _Tenant:
    """The codes of one tenant's entries, and where to find things in them."""

    def __init__(self, name: str, code: int) -> None:
        self.name = name
        self.code = code
        self.kinds: list[_VerdictKind] = []
        self.codes: dict[_VerdictKind, int] = {}
        self.shapes: dict[bytes, dict[str, _VerdictLayout]] = {}

    def code_of(self, kind: _VerdictKind) -> int | None:
        """None: there is no room for another."""
        code = self.codes.get(kind)
        if code is None and len(self.kinds) < KINDS_KEPT:
            code = len(self.kinds)
            self.kinds.append(kind)
            self.codes[kind] = code
        return code


class EntryEncoding:
    """Packs and unpacks; one for all the entries of a view. One thread packs, any number may unpack."""

    def __init__(self) -> None:
        self.tenants: list[_Tenant] = []
        self._by_name: dict[str, _Tenant] = {}

    def encode(self, entry: Mapping[str, Any]) -> bytes:
        """`entry` is a decoded SuppressionEntry. Raises NotEncodableError."""
        verdicts: Mapping[str, Mapping[str, Any]] = entry["verdicts"]
        if len(verdicts) > CODES:
            raise NotEncodableError("too many verdicts in one entry")
        tenant = self._tenant(entry["tenant"])
        packed = None if tenant is None else self._encode(tenant, verdicts)
        return _written_out(entry["tenant"], verdicts) if packed is None else packed

    def _encode(self, tenant: _Tenant, verdicts: Mapping[str, Mapping[str, Any]]) -> bytes | None:
        """None: the tenant has too many kinds of verdicts already."""
        codes = [tenant.code, len(verdicts)]
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
            kind = _VerdictKind(
                purpose, verdict["permitted"], verdict["reason"], since is not None, expires is not None, id_as
            )
            code = tenant.code_of(kind)
            if code is None:
                return None
            codes.append(code)
        parts[0] = struct.pack(f"<{len(codes)}H", *codes)
        end = sum(map(len, parts)) if texts else 0
        for index, text in texts.items():
            parts[index] = _TEXT.pack(end, len(text))
            parts.append(text)
            end += len(text)
        return b"".join(parts)

    def tenant(self, packed: bytes) -> str:
        if packed[:2] == _WRITTEN_OUT:
            return _read_out(packed)[0]
        return self.tenants[packed[0] | packed[1] << 8].name

    def verdict(self, packed: bytes, purpose: str) -> Verdict:
        """The verdict for `purpose`, or that for every purpose not named."""
        if packed[:2] == _WRITTEN_OUT:
            verdicts = _read_out(packed)[1]
            found = verdicts.get(purpose) or verdicts.get(EVERY_PURPOSE)
            return NO_DECISION if found is None else Verdict(*found)
        header = packed[: 4 + 2 * (packed[2] | packed[3] << 8)]
        tenant = self.tenants[packed[0] | packed[1] << 8]
        shape = tenant.shapes.get(header) or _shape(tenant, header)
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
        # As `Verdict(...)`, in half the time.
        return tuple.__new__(
            Verdict,
            (
                permitted,
                reason,
                _TIME.unpack_from(packed, since)[0] if since >= 0 else None,
                _TIME.unpack_from(packed, expires)[0] if expires >= 0 else None,
                decision_id,
            ),
        )

    def _tenant(self, name: str) -> _Tenant | None:
        """None: there is no room for another."""
        tenant = self._by_name.get(name)
        if tenant is None and len(self.tenants) < CODES:
            tenant = self._by_name[name] = _Tenant(name, len(self.tenants))
            self.tenants.append(tenant)
        return tenant


def _shape(tenant: _Tenant, header: bytes) -> dict[str, _VerdictLayout]:
    """Where to find things in every value with this header. Few shapes make up a list; should there be many after all,
    the cache is emptied rather than grow with them."""
    at = len(header)
    shape: dict[str, _VerdictLayout] = {}
    for (code,) in struct.iter_unpack("<H", header[_HEAD.size :]):
        kind = tenant.kinds[code]
        since = expires = uuid = text = -1
        if kind.has_since:
            since, at = at, at + 8
        if kind.has_expires:
            expires, at = at, at + 8
        if kind.id_as == "uuid":
            uuid, at = at, at + 16
        elif kind.id_as == "text":
            text, at = at, at + 8
        shape[kind.purpose] = _VerdictLayout(kind.permitted, kind.reason, since, expires, uuid, text)
    if len(tenant.shapes) >= _SHAPES_KEPT:
        tenant.shapes.clear()
    tenant.shapes[header] = shape
    return shape


def _written_out(tenant: str, verdicts: Mapping[str, Mapping[str, Any]]) -> bytes:
    for verdict in verdicts.values():
        for micros in (verdict["since"], verdict["expires_at"]):
            if micros is not None:
                _time(micros)
    text = json.dumps((tenant, {purpose: Verdict(**each) for purpose, each in verdicts.items()}))
    return _WRITTEN_OUT + text.encode("ascii")


def _read_out(packed: bytes) -> tuple[str, dict[str, list[Any]]]:
    tenant, verdicts = json.loads(packed[len(_WRITTEN_OUT) :])
    return tenant, verdicts


def _time(micros: int) -> bytes:
    if not 0 <= micros < _LATEST:
        raise NotEncodableError("a time that no calendar holds")
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

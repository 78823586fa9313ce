"""Codes that show that an address is the person's who typed it. One is in force for each address, and counts once.

There is a row for every address that is asked for, known or not, so that asking and trying take the same work. A row
holds neither the address nor, in the clear, the code.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Sequence

from sqlalchemy import Connection, text

from consent_api.domain.addresses import Named
from consent_api.ledger import addresses
from consent_privacy.errors import DecryptionFailedError
from consent_privacy.keyring import Keyring

MINUTE_MICROS = 60 * 1_000_000
VALID_MICROS = 10 * MINUTE_MICROS
MOST_TRIES = 5
LEAST_APART_MICROS = MINUTE_MICROS
"""Between two codes for one address: neither is its owner flooded, nor the code replaced under the hands of who reads
it."""
MOST_A_DAY = 10
"""Codes for one address. With `MOST_TRIES` they bound what guessing can find: 50 of a million a day."""
DAY_MICROS = 24 * 60 * MINUTE_MICROS

_DIGITS = re.compile(r"[0-9]{6}")
_DUMMY = b"no code"

_ASK = text("""
INSERT INTO address_codes (tenant, channel, address_key, sealed_code, made_at, tries, asked, asked_since)
VALUES (:tenant, :channel, :address_key, :sealed_code, :now, 0, 1, :now)
ON CONFLICT (tenant, channel, address_key) DO UPDATE
SET sealed_code = excluded.sealed_code, made_at = excluded.made_at, tries = 0,
    asked = CASE WHEN address_codes.asked_since <= :now - :day THEN 1 ELSE address_codes.asked + 1 END,
    asked_since = CASE WHEN address_codes.asked_since <= :now - :day THEN :now ELSE address_codes.asked_since END
WHERE address_codes.made_at <= :now - :apart
  AND (address_codes.asked < :most OR address_codes.asked_since <= :now - :day)
RETURNING made_at
""")
_TRY = text("""
UPDATE address_codes SET tries = tries + 1
WHERE tenant = :tenant AND channel = :channel AND address_key = ANY(CAST(:keys AS text[]))
  AND made_at > :now - :valid AND tries < :most
RETURNING address_key, made_at, sealed_code
""")
# What is used up has had all its tries.
_USE = text("""
UPDATE address_codes SET tries = :most
WHERE tenant = :tenant AND channel = :channel AND address_key = ANY(CAST(:keys AS text[]))
""")
_FORGET = text("""
DELETE FROM address_codes WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM address_codes WHERE asked_since <= :before AND made_at <= :before LIMIT :most
    FOR UPDATE SKIP LOCKED))
""")
_SUBJECTS = text("""
SELECT DISTINCT s.subject_ref FROM subject_addresses l JOIN subjects s USING (subject_id)
WHERE l.address_id = ANY(CAST(:address_ids AS bigint[])) AND l.unlinked_at IS NULL LIMIT 2
""")


def new_code() -> str:
    return f"{secrets.randbelow(1_000_000):06}"


def typed_code(text: str) -> str:
    """What a person typed, without the blanks and dashes that make it easier to read."""
    return re.sub(r"[\s-]", "", text[:40])


def ask(connection: Connection, keyring: Keyring, named: Named, code: str, *, forms: Sequence[Named], now: int) -> bool:
    """Make ``code`` the one in force for the address; whether it is to be sent. Not to an address that the ledger has
    in none of its ``forms``, and not where the last one is too recent, or there were too many: then that one stays."""
    tenant, channel, _ = named
    key = keyring.address_key(*named)
    made = connection.execute(
        _ASK,
        {
            "tenant": tenant,
            "channel": channel,
            "address_key": key,
            "sealed_code": keyring.seal_record(code.encode(), _bound(key, now)),
            "now": now,
            "day": DAY_MICROS,
            "apart": LEAST_APART_MICROS,
            "most": MOST_A_DAY,
        },
    ).one_or_none()
    known = [addresses.find(connection, keyring, each) for each in forms]
    return made is not None and any(each is not None for each in known)


def use(connection: Connection, keyring: Keyring, named: Named, typed: str, *, now: int) -> bool:
    """Whether the code in force for the address was typed. Each call is a try; a code that is right has no other."""
    tenant, channel, _ = named
    place = {"tenant": tenant, "channel": channel, "keys": list(keyring.live_address_keys(*named)), "most": MOST_TRIES}
    rows = connection.execute(_TRY, {**place, "now": now, "valid": VALID_MICROS}).all()
    row = max(rows, key=lambda each: each.made_at, default=None)
    code = _DUMMY
    if row is not None:
        try:
            code = keyring.open_record(bytes(row.sealed_code), _bound(row.address_key, row.made_at))
        except DecryptionFailedError:
            code = _DUMMY
    right = hmac.compare_digest(code, typed.encode("utf-8", "replace")) and _DIGITS.fullmatch(typed) is not None
    if right:
        connection.execute(_USE, place)
    return right


def only_subject(connection: Connection, keyring: Keyring, forms: Sequence[Named]) -> str | None:
    """The subject of an address, where it is linked to one alone: who reads its mail is that person."""
    found = [address for each in forms if (address := addresses.find(connection, keyring, each)) is not None]
    rows = connection.execute(_SUBJECTS, {"address_ids": [each.address_id for each in found]}).scalars().all()
    return str(rows[0]) if len(rows) == 1 else None


def delete_expired(connection: Connection, *, now: int, most: int) -> int:
    """Delete up to `most` rows of which nothing counts any more; how many."""
    return connection.execute(_FORGET, {"before": now - DAY_MICROS, "most": most}).rowcount


def _bound(address_key: str, made_at: int) -> bytes:
    return f"code {address_key} {made_at}".encode()

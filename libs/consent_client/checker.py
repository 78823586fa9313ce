"""May these addresses be contacted for this purpose, now? The rule that every asker needs, and fails closed."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec

from consent_client.view import SuppressionView
from consent_contracts.verdict import UNKNOWN, Verdict, applicable
from consent_runtime.addresses import InvalidAddress, canonical
from consent_runtime.clock import now_micros
from consent_runtime.keyring import Keyring

logger = logging.getLogger(__name__)

_SKEW_MICROS = 2_000_000
_ADDRESS_KEY = re.compile(r"([a-z][a-z0-9]{0,15})\.[A-Za-z0-9_-]{43}", re.ASCII)

Policy = Literal["allow", "deny"]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`reason` is the status of the deciding decision, or one of: unknown, expired, future_dated, stale,
    unreadable, invalid_address, unavailable. `detail` says more where the caller can mend it.
    `since` is in microseconds, UTC."""

    permitted: bool
    reason: str
    since: int | None = None
    decision_id: str | None = None
    detail: str | None = None


STALE = Answer(permitted=False, reason="stale", detail="the list is not loaded, or not as fresh as it has to be")
UNREADABLE = Answer(permitted=False, reason="unreadable", detail="the entry of this address cannot be read")
NOT_A_KEY = Answer(permitted=False, reason="invalid_address", detail="not_an_address_key")
UNKNOWN_KEY_ID = Answer(permitted=False, reason="unavailable", detail="the key id is retired or not of this tenant")
NOT_YET_PRIMARY = Answer(permitted=False, reason="unavailable", detail="entries under this key id are not complete yet")

OUTDATED = Answer(
    permitted=False,
    reason="unavailable",
    detail="a newer hash key is in use than this process has: restart it with the new keyring",
)


class Checker:
    """One tenant's questions about one channel. Safe in threads."""

    def __init__(
        self,
        view: SuppressionView,
        keyring: Keyring,
        tenant: str,
        *,
        default_region: str,
        unknown: Policy = "deny",
        now: Callable[[], int] = now_micros,
    ) -> None:
        """`unknown` decides where no decision is known at all. Raises UnknownTenant."""
        self._view = view
        self._keyring = keyring
        self._tenant = tenant
        self._region = default_region
        self._now = now
        self._hashers = keyring.hashers(tenant, view.channel)
        # In the file keys stand by age. Those up to the primary have seen every decision; those after it are
        # being filled (a rotation under way): what they forbid counts, what they permit does not yet.
        ids = [key.id for key in keyring.hash_keys[tenant]]
        self._live_ids = frozenset(ids)
        self._complete_ids = frozenset(ids[: ids.index(self._hashers[0].key_id) + 1])
        self._no_decision = Answer(permitted=unknown == "allow", reason=UNKNOWN)
        self._told_of: str | None = None

    def outdated_by(self) -> str | None:
        """The id of a hash key that is in use and newer than all in the keyring. Where there is one, decisions may
        stand under it alone, out of our sight, and every answer is `unavailable`."""
        newest = self._view.newest_key_id(self._tenant)
        if newest is None or not self._keyring.outdated_by(self._tenant, newest):
            return None
        if newest != self._told_of:
            self._told_of = newest
            logger.error(
                "a hash key is in use that the keyring lacks: every answer is no until restarted with the new keyring",
                extra={"tenant": self._tenant, "channel": self._view.channel, "key_id": newest},
            )
        return newest

    def check(self, addresses: Iterable[str], purpose: str) -> list[Answer]:
        """An answer for each address, in order. An invalid one denies with its reason."""
        entries = self._view.entries()
        if entries is None:
            return [STALE for _ in addresses]
        if self.outdated_by() is not None:
            return [OUTDATED for _ in addresses]
        now = self._now()
        return [self._address(entries, address, purpose, now) for address in addresses]

    def check_keys(self, address_keys: Iterable[str], purpose: str) -> list[Answer]:
        """The same for callers that hold address keys."""
        entries = self._view.entries()
        if entries is None:
            return [STALE for _ in address_keys]
        if self.outdated_by() is not None:
            return [OUTDATED for _ in address_keys]
        now = self._now()
        return [self._key(entries, address_key, purpose, now) for address_key in address_keys]

    def _address(self, entries: Mapping[bytes, bytes], address: str, purpose: str, now: int) -> Answer:
        try:
            spelled = canonical(self._view.channel, address, default_region=self._region)
        except InvalidAddress as error:
            return Answer(permitted=False, reason="invalid_address", detail=f"{error.reason}: {error.cure}")
        answer = self._no_decision
        for hasher in self._hashers:
            packed = entries.get(hasher.key_bytes(spelled))
            if packed is None:
                continue
            found = self._answer(packed, purpose, now)
            if not found.permitted and found.reason != UNKNOWN:
                return found  # A refusal under any live key denies.
            if answer is self._no_decision:
                answer = found if found.permitted else answer
        return answer

    def _key(self, entries: Mapping[bytes, bytes], address_key: str, purpose: str, now: int) -> Answer:
        match = _ADDRESS_KEY.fullmatch(address_key)
        if match is None:
            return NOT_A_KEY
        if match[1] not in self._live_ids:
            return UNKNOWN_KEY_ID
        packed = entries.get(address_key.encode("ascii"))
        if packed is not None and self._view.tenant(packed) not in (None, self._tenant):
            packed = None  # Another tenant's entry is none of this caller's business.
        answer = self._no_decision if packed is None else self._answer(packed, purpose, now)
        return NOT_YET_PRIMARY if answer.permitted and match[1] not in self._complete_ids else answer

    def _answer(self, packed: bytes, purpose: str, now: int) -> Answer:
        verdict = self._view.verdict(packed, purpose)
        if verdict is None:
            return UNREADABLE
        if verdict.permitted:
            if verdict.since is not None and verdict.since > now + _SKEW_MICROS:
                return _denied(verdict, "future_dated")
            if verdict.expires_at is not None:
                verdict = applicable({purpose: verdict}, purpose, now)
        elif verdict.reason == UNKNOWN:
            return self._no_decision
        return Answer(
            permitted=verdict.permitted,
            reason=verdict.reason,
            since=verdict.since,
            decision_id=verdict.decision_id,
        )


def _denied(verdict: Verdict, reason: str) -> Answer:
    return Answer(permitted=False, reason=reason, since=verdict.since, decision_id=verdict.decision_id)

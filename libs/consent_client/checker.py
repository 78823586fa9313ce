"""May these addresses be contacted for this purpose, now? The rule that every asker needs, and fails closed."""

import logging
import re
from collections.abc import Callable, Iterable

from consent_client.answers import Answer, Basis, Policy, Question
from consent_client.registers import Registers
from consent_client.view import SuppressionView
from consent_contracts.reading import KEY_ID, UNKNOWN, effective_verdict
from consent_privacy.addresses import canonical
from consent_privacy.errors import InvalidAddressError
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros

log = logging.getLogger(__name__)

_SKEW_MICROS = 2_000_000
_ADDRESS_KEY = re.compile(rf"({KEY_ID})\.[A-Za-z0-9_-]{{43}}")

_UNREADABLE = "the entry of this address cannot be read"
_NOT_A_KEY = "not_an_address_key"
_UNKNOWN_KEY_ID = "the key id is retired or not of this tenant"
_KEY_NOT_PROMOTED = "entries under this key id are not complete yet"
_REGISTER_STALE = "register_stale: the register {} is older than it may be; who has objected since is not known"
_OUTDATED = "a newer hash key is in use than this process has: give it the new keyring"


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
        registers: Callable[[], Registers] = Registers,
        now: Callable[[], int] = now_micros,
    ) -> None:
        """`unknown` decides where no decision is known at all; `registers` are those of the moment. Raises
        UnknownTenantError."""
        self._view = view
        self._keyring = keyring
        self._tenant = tenant
        self._region = default_region
        self._now = now
        self._hashers = keyring.hashers(tenant, view.channel)
        # In the file keys are in order of age. Those up to the primary have seen every decision; those after it are
        # being filled (a rotation under way): what they forbid counts, what they permit does not yet.
        ids = [key.id for key in keyring.hash_keys[tenant]]
        self._live_ids = frozenset(ids)
        self._complete_ids = frozenset(ids[: ids.index(self._hashers[0].key_id) + 1])
        self._unknown = unknown
        self._registers = registers
        self._logged_key: str | None = None

    def is_older_than(self) -> str | None:
        """The id of a hash key that is in use and newer than all in the keyring. Where there is one, decisions may
        are under it alone, out of our sight, and every answer is `unavailable`."""
        newest = self._view.newer_key_in_use(self._tenant, self._keyring)
        if newest is None:
            return None
        if newest != self._logged_key:
            self._logged_key = newest
            log.error(
                "a hash key is in use that the keyring lacks: every answer is no until it has the new keyring",
                extra={"tenant": self._tenant, "channel": self._view.channel, "key_id": newest},
            )
        return newest

    def check(self, addresses: Iterable[str], purpose: str) -> list[Answer]:
        """An answer for each address, in order. An invalid one denies with its reason."""
        question = self._question(purpose)
        if (denied := self._denied(question)) is not None:
            return [denied for _ in addresses]
        return [self._address(question, address) for address in addresses]

    def check_keys(self, address_keys: Iterable[str], purpose: str) -> list[Answer]:
        """The same for callers that hold address keys."""
        question = self._question(purpose)
        if (denied := self._denied(question)) is not None:
            return [denied for _ in address_keys]
        return [self._key(question, address_key) for address_key in address_keys]

    def _denied(self, question: Question) -> Answer | None:
        """The answer for every address, where there is one."""
        if question.loading is not None:
            return question.loading
        stale = self._registers().stale(self._tenant, self._view.channel, question.purpose, question.clock)
        if stale is not None:
            return question.refused("stale", _REGISTER_STALE.format(stale), list_unusable=True)
        return None if self.is_older_than() is None else question.refused("unavailable", _OUTDATED, list_unusable=True)

    def _question(self, purpose: str) -> Question:
        return Question(
            self._view.snapshot(),
            purpose,
            limits=self._view.limits,
            unknown=self._unknown,
            clock=self._now(),
            elapsed=self._view.elapsed(),
        )

    def _address(self, question: Question, address: str) -> Answer:
        try:
            spelled = canonical(self._view.channel, address, default_region=self._region)
        except InvalidAddressError as error:
            return question.refused("invalid_address", f"{error.reason}: {error.cure}")
        keys = [hasher.key_bytes(spelled) for hasher in self._hashers]
        basis = question.basis(keys)
        if basis.hindered is not None:
            return basis.hindered
        answer = basis.no_decision
        for key in keys:
            packed = question.entries.get(key)
            if packed is None:
                continue
            found = self._answer(question, basis, packed)
            if not found.permitted and found.reason != UNKNOWN:
                return found  # A refusal under any live key denies.
            if answer is basis.no_decision:
                answer = found if found.permitted else answer
        return answer

    def _key(self, question: Question, address_key: str) -> Answer:
        match = _ADDRESS_KEY.fullmatch(address_key)
        if match is None:
            return question.refused("invalid_address", _NOT_A_KEY)
        if match[1] not in self._live_ids:
            return question.refused("unavailable", _UNKNOWN_KEY_ID)
        key = address_key.encode("ascii")
        basis = question.basis([key])
        if basis.hindered is not None:
            return basis.hindered
        packed = question.entries.get(key)
        if packed is not None and self._view.tenant(packed) not in (None, self._tenant):
            packed = None  # Another tenant's entry is none of this caller's business.
        answer = basis.no_decision if packed is None else self._answer(question, basis, packed)
        if answer.permitted and match[1] not in self._complete_ids:
            return basis.refused("unavailable", _KEY_NOT_PROMOTED)
        return answer

    def _answer(self, question: Question, basis: Basis, packed: bytes) -> Answer:
        verdict = self._view.verdict(packed, question.purpose)
        if verdict is None:
            return basis.refused("unreadable", _UNREADABLE)
        if verdict.permitted:
            if verdict.since is not None and verdict.since > question.clock + _SKEW_MICROS:
                return basis.answer(verdict, reason="future_dated")
            if verdict.expires_at is not None:
                verdict = effective_verdict({question.purpose: verdict}, question.purpose, question.clock)
        elif verdict.reason == UNKNOWN:
            return basis.no_decision
        return basis.answer(verdict)

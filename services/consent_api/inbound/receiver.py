"""A webhook on its way into the ledger: verified, read, recorded by the live lane, answered after the commit."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import anyio
import anyio.to_thread
from sqlalchemy import Connection

from consent_api.domain.validation import ValidationRules, ValidDecision, micros, named_address, validate
from consent_api.errors import (
    InvalidTokenError,
    KeyReusedError,
    LedgerUnavailableError,
    NotFetchedError,
    RefusedWebhook,
    RequestInFlightError,
    SubmissionInvalidError,
    WebhookNotRecordedError,
    WebhookRefusedError,
)
from consent_api.http.group_commit import MAX_GROUP_SIZE, MAX_LOCK_WAITERS, GroupCommit
from consent_api.http.tenant_turns import TenantTurns
from consent_api.inbound.certificates import Certificates, fetch
from consent_api.inbound.metrics import ACCEPTED, UNAVAILABLE, InboundMetrics
from consent_api.inbound.providers.base import Account, InboundEvent, Kind, Payload, Webhook
from consent_api.inbound.report_commits import ReportCommits
from consent_api.inbound.sources import Source
from consent_api.inbound.translation import Finding, Outcome, Withdrawal, translate
from consent_api.inbound.turns import LoopTurns
from consent_api.ledger import echoes, reviews
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.deliverability import Report
from consent_api.ledger.idempotency import Request, StoredResponse
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.submissions import Completed, Parsed, Results, Submission
from consent_api.links.token import Links
from consent_service.clock import now_micros

log = logging.getLogger(__name__)

_MOST_HELD = 1_000
_BYTES_HELD = 67_108_864
"""Requests of one source that are held at once, and the most that their bodies may take together: anyone can send one
that is refused only once it is read."""
_IN_ONE = 50
"""Withdrawals in one live transaction."""
_REST = 1.0
"""A storm's transactions take half of the time at most; the other half is for other ways in."""
_FETCHES = 4
_LOGGED_EVERY_SECONDS = 60.0
_STORED = StoredResponse(status=200, body=b"{}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Inbound:
    """The sources of an installation, and what it takes to receive from them. ``sources`` and ``wrong`` change while it
    runs: a source that was wrong comes into use."""

    sources: Mapping[str, Source]
    metrics: InboundMetrics
    secrets: Callable[[Source], Sequence[str]] = field(default=lambda source: source.keys)
    """Of a source, as of now."""
    fetch: Callable[[str], bytes] = field(default=fetch)
    clock: Callable[[], int] = field(default=now_micros)
    wrong: Mapping[str | None, int] = field(default_factory=dict)
    """Of each source whose entry is wrong, by its id: the status after which the tool sends again. By None, where an
    entry has no id that can be used: it may be the one that an unknown URL was meant for."""


class Receiver:
    """For one event loop."""

    def __init__(
        self,
        ledger: Ledger,
        rules: ValidationRules,
        inbound: Inbound,
        *,
        on_bulk: Callable[[], None],
        turns: TenantTurns | None = None,
        lock_waiters: int = MAX_LOCK_WAITERS,
    ) -> None:
        """`turns` and `lock_waiters`: as for `GroupCommit`."""
        self._ledger = ledger
        self._rules = rules
        self._metrics = inbound.metrics
        self._clock = inbound.clock
        self._fetch = inbound.fetch
        self._secrets = inbound.secrets
        self._links = Links(lambda: ledger.context.keyring)
        self._certificates = Certificates(inbound.fetch)
        # Of its own: a storm of webhooks waits for its own writer, and delays no decision of another way in.
        self._commits = GroupCommit(ledger, turns=turns, lock_waiters=lock_waiters, on_bulk=on_bulk, rest=_REST)
        self._reports = ReportCommits(ledger)
        self._fetches: defaultdict[str, anyio.CapacityLimiter] = defaultdict(lambda: anyio.CapacityLimiter(_FETCHES))
        # The others wait here, and not in the queue of the event loop, where decisions would wait behind them. A source
        # has its own, so that one whose certificates do not come keeps no other from reporting an opt-out.
        self._active: defaultdict[str, anyio.CapacityLimiter] = defaultdict(
            lambda: anyio.CapacityLimiter(MAX_GROUP_SIZE)
        )
        self._turns = LoopTurns()
        self._held: Counter[str] = Counter()
        self._bytes_held: Counter[str] = Counter()
        self._logged: dict[tuple[str, str], float] = {}

    @contextmanager
    def held(self, source: Source, *, declared: str) -> Iterator[None]:
        """While a request is read and answered. ``declared``: its Content-Length, which the server holds it to.
        WebhookNotRecordedError while the source has too many of them."""
        longest = source.called.longest_body
        size = min(int(declared[:12]), longest) if declared.isdecimal() else longest
        if self._held[source.id] >= _MOST_HELD or self._bytes_held[source.id] + size > _BYTES_HELD:
            self._count(source, UNAVAILABLE, why="too many at once")
            raise WebhookNotRecordedError
        self._held[source.id] += 1
        self._bytes_held[source.id] += size
        try:
            yield
        finally:
            self._held[source.id] -= 1
            self._bytes_held[source.id] -= size

    def cut_off(self, source: Source) -> None:
        """A request of which the body has not come whole."""
        self._count(source, UNAVAILABLE, why="incomplete body")

    async def receive(self, source: Source, webhook: Webhook) -> None:
        """Returns once all of it is recorded or counted.

        WebhookRefusedError for what is not genuine; WebhookNotRecordedError: the provider is to send it again.
        """
        try:
            async with self._active[source.id]:
                await self._turns.wait()
                payload = await self._read(source, webhook)
                if payload.confirm is not None:
                    await anyio.to_thread.run_sync(self._fetch, payload.confirm, limiter=self._fetches[source.id])
                counted, findings = await self._record(source, webhook, payload)
            # These wait for the bulk lane, and an opt-out of the same tool does not wait for them.
            counted += await self._report(source, findings)
            self._count_events(source, counted)
            # A group that was committed is answered over several turns too.
            await self._turns.wait()
        except WebhookRefusedError as error:
            self._count(source, error.reason.value)
            raise
        except (WebhookNotRecordedError, NotFetchedError, LedgerUnavailableError, RequestInFlightError) as error:
            self._count(source, UNAVAILABLE, why=type(error).__name__)
            raise WebhookNotRecordedError from None
        except Exception as error:
            # Some providers send again after one status only, and discard after 500.
            self._count(source, UNAVAILABLE, why=type(error).__name__, error=error)
            raise WebhookNotRecordedError from None
        self._count(source, ACCEPTED)

    async def _read(self, source: Source, webhook: Webhook) -> Payload:
        now = self._clock() // 1_000_000
        account = Account(
            secrets=self._secrets(source),
            url=source.url,
            topics=frozenset(source.topics),
            fetch=self._certificates,
            open_link=_opener(self._links, source),
        )
        if source.called.in_thread:
            limiter = self._fetches[source.id]
            return await anyio.to_thread.run_sync(source.called.read, webhook, account, now, limiter=limiter)
        return source.called.read(webhook, account, now)

    async def _record(
        self, source: Source, webhook: Webhook, payload: Payload
    ) -> tuple[list[Outcome], Sequence[Finding]]:
        """What became of the events, and the findings among them, which are not recorded yet."""
        found = [translate(event, keyed=lambda text: self._keyed(source, text)) for event in payload.events]
        withdrawals = [each for each in found if isinstance(each, Withdrawal)]
        counted = [each for each in found if isinstance(each, Outcome)]
        counted += [Outcome.UNREADABLE] * payload.unreadable
        if source.destination is not None and any(each.event.kind is Kind.OPT_OUT for each in withdrawals):
            echoed = await anyio.to_thread.run_sync(self._echoes, source, withdrawals)
            counted += [Outcome.ECHO] * len(echoed)
            withdrawals = [each for number, each in enumerate(withdrawals) if number not in echoed]
        portions = [withdrawals[at : at + _IN_ONE] for at in range(0, len(withdrawals), _IN_ONE)]
        for number, portion in enumerate(portions or ([[]] if payload.once is not None else [])):
            counted += await self._commit(source, portion, _request(source, webhook, payload, portion, number))
        return counted, [each for each in found if isinstance(each, Finding)]

    def _count_events(self, source: Source, counted: Sequence[Outcome]) -> None:
        """WebhookNotRecordedError where one of them was not recorded."""
        for outcome, count in Counter(counted).items():
            self._metrics.event(source.id, outcome, count)
        if unheard := {each.value: counted.count(each) for each in _CHANGE_NOTHING if each in counted}:
            log.warning("events of a tool that may be opt-outs change nothing", extra={"source": source.id, **unheard})
        if Outcome.NOT_RECORDED in counted:
            raise WebhookNotRecordedError

    async def _report(self, source: Source, findings: Sequence[Finding]) -> list[Outcome]:
        """Bounces and deliveries, kept once this returns. Of what is no address of the channel nothing can be kept."""
        reports = []
        for each in findings:
            try:
                address = named_address(source.channel, each.event.address, self._rules)
            except SubmissionInvalidError:
                continue
            reports.append(
                Report(
                    named=(source.tenant, source.channel, address),
                    status=each.status,
                    occurred_at=each.event.occurred_at,
                    evidence=each.evidence(source),
                )
            )
        if reports:
            await self._reports.commit(reports)
        return [each.outcome for each in findings]

    async def _commit(self, source: Source, withdrawals: Sequence[Withdrawal], request: Request) -> list[Outcome]:
        submitted = [(each, fields) for each in withdrawals for fields in each.fields(source)]

        def read(now: int) -> Parsed:
            return [self._accepted(source, fields, now) for _, fields in submitted]

        def keep(connection: Connection, results: Results, now: int) -> None:
            reviews.insert(connection, self._ledger.context.keyring, _reviews(source, submitted, results), now=now)

        submission = Submission(request=request, parse=read, answer=_answer, also=keep)
        try:
            done = await self._commits.commit_grouped(submission)
        except KeyReusedError:
            raise WebhookRefusedError(
                RefusedWebhook.REPLAYED, field="signature.token", cure="sign each webhook with a token of its own"
            ) from None
        if not done.parsed:
            return [Outcome.REPEATED] * len(withdrawals)
        return self._outcomes(source, submitted, done)

    def _outcomes(
        self, source: Source, submitted: Sequence[tuple[Withdrawal, Mapping[str, object]]], done: Completed
    ) -> list[Outcome]:
        """One a withdrawal: the worst of its decisions'."""
        worst: dict[str, Outcome] = {}
        for (withdrawal, _), read, result in zip(submitted, done.parsed, done.results, strict=True):
            outcome = _outcome(withdrawal, read, result)
            if outcome is Outcome.NOT_RECORDED:
                assert isinstance(result, SubmissionInvalidError)
                log.error(
                    "an opt-out was not recorded",
                    extra={"source": source.id, "code": ",".join(fault.code for fault in result.faults)},
                )
            known = worst.setdefault(withdrawal.event_id, outcome)
            worst[withdrawal.event_id] = max(known, outcome, key=_BAD.index)
        return list(worst.values())

    def _accepted(
        self, source: Source, fields: Mapping[str, object], now: int
    ) -> ValidDecision | SubmissionInvalidError:
        try:
            found = validate(fields, tenant=source.tenant, rules=self._rules, now=now, read_time=micros)
        except SubmissionInvalidError as error:
            return error
        return replace(found, sender=f"inbound {source.id}")

    def _echoes(self, source: Source, withdrawals: Sequence[Withdrawal]) -> set[int]:
        """Which of them are our own pushes that come back."""

        def look(connection: Connection) -> set[int]:
            return {
                number
                for number, each in enumerate(withdrawals)
                if each.event.kind is Kind.OPT_OUT and self._is_echo(connection, source, each.event)
            }

        return self._ledger.transact(look)

    def _is_echo(self, connection: Connection, source: Source, event: InboundEvent) -> bool:
        assert source.destination is not None
        try:
            address = named_address(source.channel, event.address, self._rules)
        except SubmissionInvalidError:
            return False
        return echoes.find(
            connection,
            self._ledger.context.keyring,
            named=(source.tenant, source.channel, address),
            destination=source.destination,
            target=event.target,
            purposes=source.purposes,
            now=self._ledger.clock(),
        )

    def _keyed(self, source: Source, text: str) -> str:
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        return self._ledger.context.keyring.address_key(source.tenant, "inbound event", digest)

    def _count(self, source: Source, outcome: str, *, why: str = "", error: Exception | None = None) -> None:
        self._metrics.webhooks.labels(source.id, outcome).inc()
        if outcome == ACCEPTED:
            return
        # Anyone can cause these, as often as they like.
        now = time.monotonic()
        if now - self._logged.get((source.id, outcome), -_LOGGED_EVERY_SECONDS) >= _LOGGED_EVERY_SECONDS:
            self._logged[source.id, outcome] = now
            log.warning(
                "a webhook was not accepted",
                extra={"source": source.id, "outcome": outcome, "why": why},
                exc_info=error,
            )


_CHANGE_NOTHING = (Outcome.SUPERSEDED, Outcome.NO_ADDRESS, Outcome.UNREADABLE)
_BAD = (
    Outcome.REPEATED,
    Outcome.WITHDRAWN,
    Outcome.NEEDS_REVIEW,
    Outcome.SUPERSEDED,
    Outcome.NO_ADDRESS,
    Outcome.NOT_RECORDED,
)


def _opener(links: Links, source: Source) -> Callable[[str], str | None]:
    """The address of a link of the source's tenant, on its channel."""

    def address_of(token: str) -> str | None:
        try:
            link = links.open(token)
        except InvalidTokenError:
            return None
        return link.address if (link.tenant, link.channel) == (source.tenant, source.channel) else None

    return address_of


def _outcome(withdrawal: Withdrawal, read: ValidDecision | SubmissionInvalidError, result: object) -> Outcome:
    if isinstance(read, SubmissionInvalidError):
        return Outcome.NO_ADDRESS
    if not isinstance(result, RecordedDecision):
        return Outcome.NOT_RECORDED
    if result.repeated:
        return Outcome.REPEATED
    if result.without_effect:
        return Outcome.SUPERSEDED
    return Outcome.NEEDS_REVIEW if withdrawal.needs_review else Outcome.WITHDRAWN


def _answer(parsed: Parsed, results: Results) -> StoredResponse | None:
    """None where the ledger refused what could be read: the same may be tried again."""
    refused = any(
        isinstance(read, ValidDecision) and not isinstance(result, RecordedDecision)
        for read, result in zip(parsed, results, strict=True)
    )
    return None if refused else _STORED


def _reviews(
    source: Source, submitted: Sequence[tuple[Withdrawal, Mapping[str, object]]], results: Results
) -> list[reviews.NewReview]:
    by_event: dict[str, tuple[Withdrawal, list[str]]] = {}
    for (withdrawal, _), result in zip(submitted, results, strict=True):
        if withdrawal.needs_review and isinstance(result, RecordedDecision) and not result.repeated:
            by_event.setdefault(withdrawal.event_id, (withdrawal, []))[1].append(result.decision_id)
    return [
        reviews.NewReview(
            tenant=source.tenant,
            channel=source.channel,
            source=source.id,
            rule=withdrawal.rule,
            decision_ids=decision_ids,
            reply=withdrawal.event.text or "",
        )
        for withdrawal, decision_ids in by_event.values()
    ]


def _request(
    source: Source, webhook: Webhook, payload: Payload, withdrawals: Sequence[Withdrawal], number: int
) -> Request:
    """What is carried out once: what may be used once if the provider says so, else these very events."""
    content = repr([(each.event_id, each.event) for each in withdrawals]).encode("utf-8", "replace")
    content += "\0".join(each.event.address for each in withdrawals).encode("utf-8", "replace")
    if payload.once is not None:
        return Request(tenant=source.tenant, key=f"inbound {source.id} {payload.once} {number}", content=webhook.body)
    return Request(
        tenant=source.tenant, key=f"inbound {source.id} {hashlib.sha256(content).hexdigest()}", content=content
    )

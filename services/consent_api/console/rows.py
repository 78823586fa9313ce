"""What the ledger holds, as pages show it: in the tenant's own words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from consent_api.console import reading
from consent_api.console.pages import Page
from consent_api.domain.effects import Effect, Outcome
from consent_api.http import rendering
from consent_api.http.explain_text import Tools, explain_text
from consent_api.ledger.queries import AddressState, Explanation, LedgerDecision
from consent_api.links.pauses import DAY_MICROS
from consent_api.rights import due_dates
from consent_api.rights.due_dates import Urgency
from consent_api.rights.erasure import wording
from consent_api.rights.erasure.model import Certificate, Delivery
from consent_api.rights.requests import RightsRequest
from consent_api.rights.requests import State as RequestState
from consent_contracts.decisions import DELIVERED, DELIVERY, EVERY_PURPOSE, GIVEN
from consent_contracts.verdict import UNKNOWN, Verdict

_OF_URGENCY = {Urgency.IN_TIME: "none", Urgency.SOON: "doubt", Urgency.LATE: "no"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One purpose at an address. ``kind``: yes, no, or none where nothing is decided. ``sentences``: why, where it was
    asked for."""

    title: str
    permitted: bool
    kind: str
    state: str
    since: str | None
    until: str | None
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One address on one channel. ``page_id`` leads to its own page."""

    channel: str
    address: str
    rows: tuple[Row, ...]
    decisions: tuple[DecisionRow, ...] = ()
    tools: tuple[ToolRow, ...] = ()
    page_id: str | None = None
    more: bool = False
    """There are more decisions than these."""

    @property
    def permitted(self) -> tuple[Row, ...]:
        return tuple(each for each in self.rows if each.permitted)


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionRow:
    """A decision with its evidence, and whether it counts still."""

    what: str
    choice: str
    is_yes: bool
    when: str
    recorded: str
    effect: str
    counts: bool
    evidence: tuple[tuple[str, str], ...]
    reference: str
    subject_ref: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolRow:
    """A tool, and since when it has the refusal or the permission that decides."""

    purpose: str
    name: str
    text: str
    knows: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestRow:
    """A request of a person by right. ``pill``: the kind of the mark beside it, and its text: what became of it, or how
    long there is."""

    request_id: str
    kind: str
    state: str
    is_open: bool
    is_erasing: bool
    may_be_extended: bool
    opened: str
    due: str
    pill: str
    pill_text: str
    identity: str
    note: str | None
    reason: str | None
    resolved: str | None
    whom: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificateItem:
    """Something that an erasure takes or leaves; ``notes``: until when, and why."""

    what: str
    count: int | None
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificateRows:
    """What an erasure would take and leave, or has taken and left, and what became of the objection at the tools."""

    goes: tuple[CertificateItem, ...]
    stays: tuple[CertificateItem, ...]
    tools: tuple[ToolRow, ...]


def purpose_title(page: Page, purpose: str) -> str:
    known, words = page.theme.purpose(purpose), page.words
    if known is not None:
        return known.title.in_(page.language)
    return {EVERY_PURPOSE: words("every_purpose"), DELIVERY: words("delivery")}.get(purpose, purpose)


def channel_title(page: Page, channel: str) -> str:
    return page.words.of_channel("channels", channel)


def of_explanations(page: Page, channel: str, address: str, found: Mapping[str, Explanation]) -> Card:
    """Every purpose; the one for all that are not named last."""
    whole = found[EVERY_PURPOSE]
    deciding = [decision(page, whole.deciding, Effect.IN_EFFECT)] if whole.deciding is not None else []
    others = sorted(whole.others, key=_recorded, reverse=True)
    return Card(
        channel=channel_title(page, channel),
        address=address,
        rows=tuple(_row(page, each, of.verdict, _sentences(page, channel, each, of)) for each, of in found.items()),
        decisions=(*deciding, *(decision(page, each, outcome.effect) for each, outcome in others)),
        tools=tuple(tool for each, of in found.items() for tool in tools(page, each, of)),
        more=whole.more_after is not None,
    )


def of_state(page: Page, found: AddressState, address: str | None, page_id: str | None) -> Card:
    """Of a person's address, masked."""
    chosen = [each for each in found.verdicts.items() if each[0] != DELIVERY]
    verdicts = sorted(chosen, key=lambda each: (each[0] == EVERY_PURPOSE, each[0]))
    return Card(
        channel=channel_title(page, found.channel),
        address=reading.masked(address) if address is not None else page.words("person.unreadable"),
        rows=tuple(_row(page, purpose, each) for purpose, each in verdicts),
        page_id=page_id,
    )


def decision(page: Page, found: LedgerDecision, effect: Effect) -> DecisionRow:
    words, own = page.words, found.decision
    return DecisionRow(
        what=f"{purpose_title(page, own.purpose)} – {channel_title(page, found.channel)}",
        choice=words.of_channel("reasons", own.status),
        is_yes=own.status in (GIVEN, DELIVERED),
        when=words.moment(own.effective_at),
        recorded=words.moment(own.recorded_at),
        effect=words(f"effects.{effect}"),
        counts=effect is not Effect.SUPERSEDED,
        evidence=tuple((words.of_channel("evidence", name), text) for name, text in found.evidence.items()),
        reference=own.decision_id,
        subject_ref=own.subject_ref,
    )


def request(page: Page, found: RightsRequest, *, now: int) -> RequestRow:
    words, person = page.words, found.person
    whom = None
    if person is not None:
        whom = person.subject_ref or (reading.masked(person.address) if person.address is not None else None)
    pill, pill_text = _pill(page, found, now=now)
    return RequestRow(
        request_id=found.request_id,
        kind=words(f"requests.kinds.{found.kind}"),
        state=words(f"requests.states.{found.state}"),
        is_open=found.state is RequestState.OPEN,
        is_erasing=found.is_erasing,
        may_be_extended=found.state is RequestState.OPEN and found.extended_at is None and not found.is_overdue(now),
        opened=words.day(found.opened_at),
        due=words.day(found.due_at),
        pill=pill,
        pill_text=pill_text,
        identity=words(f"requests.identities.{found.identity}"),
        note=found.identity_note,
        reason=found.reason,
        resolved=words.moment(found.resolved_at) if found.resolved_at is not None else None,
        whom=whom,
    )


def certificate(page: Page, found: Certificate) -> CertificateRows:
    words, language = page.words, page.language

    def date(text: str, at: int | None) -> tuple[str, ...]:
        return (words(text, at=words.day(at)),) if at is not None else ()

    return CertificateRows(
        goes=tuple(
            CertificateItem(
                what=wording.in_language(each.what, language),
                count=each.count,
                notes=date("erasure.gone_by", each.gone_by),
            )
            for each in found.goes
        ),
        stays=tuple(
            CertificateItem(
                what=wording.in_language(each.what, language),
                count=each.count,
                notes=(wording.in_language(each.ground, language), *date("erasure.review_at", each.review_at)),
            )
            for each in found.stays
        ),
        tools=tuple(
            ToolRow(
                purpose="",
                name=name,
                text=words(f"erasure.outcomes.{delivered}"),
                knows=delivered is Delivery.DELIVERED,
            )
            for name, delivered in sorted(found.destinations.items())
        ),
    )


def _pill(page: Page, found: RightsRequest, *, now: int) -> tuple[str, str]:
    words = page.words
    if found.is_erasing:
        return "doubt", words("requests.erasing")
    if found.state is not RequestState.OPEN:
        return ("yes" if found.state is RequestState.DONE else "none"), words(f"requests.states.{found.state}")
    urgency = due_dates.urgency(found.due_at, now)
    days = abs(found.due_at - now) // DAY_MICROS
    return _OF_URGENCY[urgency], words(f"requests.days.{urgency}", days=days)


def tools(page: Page, purpose: str, found: Explanation) -> Iterator[ToolRow]:
    """What each tool knows of the decision that decides."""
    title, words = purpose_title(page, purpose), page.words
    known = Tools.of([rendering.to_receipt(each) for each in found.receipts])
    for name, since in known.known:
        yield ToolRow(
            purpose=title, name=name, text=words("tools.known", since=words.moment(_micros(since))), knows=True
        )
    for name in known.pending:
        yield ToolRow(purpose=title, name=name, text=words("tools.pending"), knows=False)
    for name in known.impossible:
        yield ToolRow(purpose=title, name=name, text=words("tools.impossible"), knows=False)


def _row(page: Page, purpose: str, found: Verdict, sentences: Sequence[str] = ()) -> Row:
    words = page.words
    return Row(
        title=purpose_title(page, purpose) if purpose != EVERY_PURPOSE else words("other_purposes"),
        permitted=found.permitted,
        kind="yes" if found.permitted else "none" if found.reason == UNKNOWN else "no",
        state=words.of_channel("reasons", found.reason),
        since=words.day(found.since) if found.since is not None else None,
        until=words.day(found.expires_at) if found.expires_at is not None else None,
        sentences=tuple(sentences),
    )


def _sentences(page: Page, channel: str, purpose: str, found: Explanation) -> Sequence[str]:
    return explain_text(rendering.to_explanation(channel, purpose, found), page.language).splitlines()


def _recorded(found: tuple[LedgerDecision, Outcome]) -> tuple[int, str]:
    own = found[0].decision
    return own.recorded_at, own.decision_id


def _micros(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1_000_000)

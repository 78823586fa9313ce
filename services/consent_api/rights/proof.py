"""The proof of a person's own permissions: a document to keep, also after they were withdrawn (R51)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import Connection

from consent_api.domain.effects import Effect
from consent_api.http.models import Evidence
from consent_api.ledger import notices
from consent_api.links.theme import Theme
from consent_api.rights.access import model
from consent_api.rights.access.reading import Export
from consent_api.rights.access.report import MOST_SHOWN
from consent_api.rights.documents.document import Document, Item, Line, Section
from consent_api.rights.phrases import Phrases
from consent_contracts.decisions import GIVEN
from consent_http.words import Language

NamedNotice = tuple[str, str, str, str]
"""As evidence names it: id, version, language, hash."""
_NONE = ("", "", "", "")


def given(export: Export) -> list[model.HeldDecision]:
    """The permissions, the newest first, `MOST_SHOWN` at most. LedgerUnavailableError."""
    newest: deque[model.HeldDecision] = deque(maxlen=MOST_SHOWN)
    for page in export.pages():
        newest.extend(each for each in page if each.status == GIVEN)
    return list(reversed(newest))


def document(
    permissions: Sequence[model.HeldDecision],
    head: model.Head,
    theme: Theme,
    language: Language,
    *,
    texts: Mapping[NamedNotice, str],
    actions: Sequence[Line] = (),
) -> Document:
    """``texts``: those that are kept of the notices which the permissions name. Pure."""
    phrases = Phrases(theme, language)
    t = phrases.words
    items = [
        Item(
            title=phrases.setting(each.purpose, each.channel),
            state=t("proof.in_force" if _in_force(each) else "proof.ended"),
            lines=list(_lines(each, phrases, texts.get(named_notice(each.evidence) or _NONE))),
        )
        for each in permissions
    ]
    consents = Section(title=t("proof.consents_title"), items=items)
    retained = Section(
        title=t("access.kept_title"),
        text=t("access.kept_text"),
        items=[phrases.retained(each) for each in head.retained_proofs],
    )
    return Document(
        language=language,
        theme=theme,
        title=t("proof.title"),
        lead=t("proof.lead" if items or retained.items else "proof.nothing", name=theme.name),
        lines=list(phrases.about(head)),
        sections=[each for each in (consents, retained) if each.items],
        closing=t.texts["proof"]["closing"],
        actions=actions,
    )


def named_notice(evidence: Evidence) -> NamedNotice | None:
    if evidence.notice_id is None or evidence.notice_version is None or evidence.notice_language is None:
        return None
    return evidence.notice_id, evidence.notice_version, evidence.notice_language.lower(), evidence.notice_hash or ""


def texts_of(connection: Connection, tenant: str, permissions: Iterable[model.HeldDecision]) -> dict[NamedNotice, str]:
    """Of the notices that the permissions name, those which the registry has with the very text that was shown."""
    found: dict[NamedNotice, str] = {}
    for named in {name for each in permissions if (name := named_notice(each.evidence)) is not None}:
        *place, sha256 = named
        notice = notices.find(connection, tenant, *place)
        if notice is not None and notice.hash == sha256.lower():
            found[named] = notice.text
    return found


def _in_force(each: model.HeldDecision) -> bool:
    return each.effect == Effect.IN_EFFECT


def _lines(each: model.HeldDecision, phrases: Phrases, text: str | None) -> Iterator[Line]:
    t = phrases.words
    yield t("proof.given_at"), phrases.moment(each.stated_at or each.effective_at)
    yield t("proof.recorded"), phrases.moment(each.recorded_at)
    if each.expires_at is not None:
        yield t("proof.valid_until"), phrases.moment(each.expires_at)
    if not _in_force(each) and each.superseded_since is not None:
        yield t("proof.ended_at"), phrases.moment(each.superseded_since)
    if each.addresses:
        yield t("access.reached"), ", ".join(map(phrases.clear, each.addresses))
    yield from phrases.evidence(each)
    yield t("proof.shown"), text if text is not None else t("proof.not_kept", name=phrases.theme.name)
    if text is None and (described := phrases.described(each.purpose)) is not None:
        yield t("proof.content"), described
    yield t("proof.number"), each.decision_id

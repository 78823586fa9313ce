"""An export as a document that a person can read. Of many decisions it has the newest; JSON and CSV have them all."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from consent_api.links.theme import Theme
from consent_api.rights.access import model
from consent_api.rights.access.reading import Export
from consent_api.rights.documents.document import Document, Item, Line, Section
from consent_api.rights.phrases import Phrases
from consent_contracts.decisions import EVERY_PURPOSE
from consent_http.words import Language

MOST_SHOWN = 500
"""Decisions: some hundred and fifty pages, which take a second and a hundred megabytes to make."""


def report(export: Export, theme: Theme, language: Language) -> Document:
    """Reads the whole export. LedgerUnavailableError."""
    newest: deque[model.HeldDecision] = deque(maxlen=MOST_SHOWN)
    count = 0
    for page in export.pages():
        newest.extend(page)
        count += len(page)
    return document(export.head, list(reversed(newest)), export.tail, theme, language, count=count)


def document(
    head: model.Head,
    decisions: Sequence[model.HeldDecision],
    tail: model.Tail,
    theme: Theme,
    language: Language,
    *,
    count: int,
) -> Document:
    """``decisions``: those to show, of ``count``. Pure."""
    return _Writer(theme, language).document(head, decisions, tail, count=count)


class _Writer(Phrases):
    def document(
        self, head: model.Head, decisions: Sequence[model.HeldDecision], tail: model.Tail, *, count: int
    ) -> Document:
        t, name = self.words, self.theme.name
        sections = [
            self._section("current", [self._address(each) for each in head.addresses]),
            self._section(
                "decisions", [self._decision(each) for each in decisions], text=self._shown(decisions, count)
            ),
            self._section("others", [self._other(each) for each in head.decided_by_another]),
            self._section("recipients", [self._recipient(each) for each in tail.recipients]),
            self._section("kept", [self.retained(each) for each in head.retained_proofs]),
            self._section("registers", [self._register(each) for each in head.registers]),
            self._section("holds", [self._hold(each) for each in head.holds]),
            self._section("pauses", [self._pause(each) for each in head.pauses], text=""),
            self._section("reviews", [self._review(each) for each in tail.reviews], text=""),
            self._section("requests", [self._request(each) for each in head.requests], text=""),
        ]
        nothing = Section(title=t("access.nothing_title"), text=t("access.nothing"))
        return Document(
            language=self.language,
            theme=self.theme,
            title=t("access.title", name=name),
            lead=t("access.lead" if head.held else "access.nothing_lead", name=name),
            lines=list(self.about(head)),
            sections=[*([] if head.held else [nothing]), *(each for each in sections if each.items)],
            closing=t.texts["access"]["closing"],
        )

    def _section(self, name: str, items: Sequence[Item], *, text: str | None = None) -> Section:
        t = self.words
        return Section(
            title=t(f"access.{name}_title"), text=t(f"access.{name}_text") if text is None else text, items=items
        )

    def _shown(self, decisions: Sequence[object], count: int) -> str:
        if len(decisions) == count:
            return self.words("access.decisions_text")
        return self.words("access.decisions_newest", shown=len(decisions), all=count)

    def _address(self, each: model.HeldAddress) -> Item:
        lines: list[Line] = [(self.words("access.known_since"), self.day(each.known_since))]
        if each.unlinked_at is not None:
            lines.append((self.words("access.unlinked"), self.day(each.unlinked_at)))
        elif each.linked_at is not None:
            lines.append((self.words("access.linked"), self.day(each.linked_at)))
        for name in ("erased", "bounced", "delivered", "code", "confirmed"):
            if (at := getattr(each, f"{name}_at")) is not None:
                lines.append((self.words(f"access.{name}"), self.moment(at)))
        for current in sorted(each.current, key=lambda one: one.purpose == EVERY_PURPOSE):
            if current.purpose == EVERY_PURPOSE:
                label = self.words("access.everything_else")
            else:
                label = self.purpose(current.purpose)
            lines.append((label, self._current(current)))
        return Item(title=self.clear(each.address), state=self.channel(each.channel), lines=lines)

    def _current(self, current: model.Current) -> str:
        t = self.words
        parts = [t("access.yes" if current.permitted else "access.no")]
        if current.since is not None:
            parts.append(t("access.since", since=self.day(current.since)))
        if current.permitted and current.expires_at is not None:
            parts.append(t("access.until", until=self.day(current.expires_at)))
        if not current.permitted:
            parts.append(f"({t.of_channel('status', current.reason)})")
        return " ".join(parts)

    def _decision(self, each: model.HeldDecision) -> Item:
        return Item(
            title=self.setting(each.purpose, each.channel),
            state=self.words.of_channel("status", each.status),
            lines=list(self._decision_lines(each)),
        )

    def _decision_lines(self, each: model.HeldDecision) -> Iterator[Line]:
        t = self.words
        if each.stated_at is not None:
            yield t("access.stated"), self.moment(each.stated_at)
        if each.effective_at != (each.stated_at or each.recorded_at):
            yield t("access.counts_from"), self.moment(each.effective_at)
        yield t("access.recorded"), self.moment(each.recorded_at)
        if each.expires_at is not None:
            yield t("access.ends"), self.moment(each.expires_at)
        if each.renewal_asked_at is not None:
            yield t("access.renewal"), self.moment(each.renewal_asked_at)
        yield t("access.effect"), t.of_channel("effect", each.effect)
        if each.addresses:
            yield t("access.reached"), ", ".join(map(self.clear, each.addresses))
        yield from self.evidence(each)
        if each.event_source is not None:
            yield t("access.source"), each.event_source
        if each.event_id is not None:
            yield t("access.event"), each.event_id
        yield from map(self._passed_on, each.passed_on)

    def _passed_on(self, each: model.PassedOn) -> Line:
        t = self.words
        value = t(
            "access.passed_on_value",
            action=t.of_channel("action", each.action),
            stage=t.of_channel("stage", each.stage),
            at=self.moment(each.at),
        )
        return t("access.passed_on", recipient=each.recipient), value

    def _other(self, each: model.DecidedByAnother) -> Item:
        t = self.words
        lines: list[Line] = [
            (t("access.reached"), self.clear(each.address)),
            (t("access.counts_from"), self.moment(each.effective_at)),
        ]
        if each.expires_at is not None:
            lines.append((t("access.ends"), self.moment(each.expires_at)))
        return Item(
            title=self.setting(each.purpose, each.channel),
            state=t.of_channel("status", each.status),
            lines=[*lines, *map(self._passed_on, each.passed_on)],
        )

    def _recipient(self, each: model.Recipient) -> Item:
        lines = [
            (self.words("access.first"), self.moment(each.first_at)),
            (self.words("access.last"), self.moment(each.last_at)),
        ]
        return Item(title=each.recipient, state=self.channel(each.channel), lines=lines)

    def _register(self, each: model.RegisterEntry) -> Item:
        t = self.words
        return Item(
            title=each.register,
            state=self.setting(each.purpose, each.channel),
            lines=[(t("access.reached"), self.clear(each.address)), (t("access.register_as_of"), self.day(each.as_of))],
        )

    def _hold(self, each: model.HeldHold) -> Item:
        t = self.words
        lines: list[Line] = [(t("access.hold_set"), self.day(each.set_at))]
        if each.until is not None:
            lines.append((t("access.kept_until"), self.day(each.until)))
        if each.released_at is not None:
            lines.append((t("access.hold_released"), self.day(each.released_at)))
        return Item(title=each.reason, lines=lines)

    def _pause(self, each: model.HeldPause) -> Item:
        t = self.words
        return Item(
            title=self.setting(each.purpose, each.channel),
            lines=[
                (t("access.paused_at"), self.moment(each.paused_at)),
                (t("access.pause_ends"), self.moment(each.ends_at)),
                (t("access.pause_then"), self.moment(each.permission_expires_at)),
            ],
        )

    def _review(self, each: model.HeldReview) -> Item:
        t = self.words
        lines: list[Line] = [(t("access.received"), self.moment(each.received_at))]
        if each.reply is not None:
            lines.append((t("access.reply"), each.reply))
        resolved = each.resolution
        meaning = t.of_channel("resolution", resolved) if resolved is not None else t("access.review_open")
        lines.append((t("access.resolution"), meaning))
        return Item(title=self.channel(each.channel), lines=lines)

    def _request(self, each: model.HeldRequest) -> Item:
        t = self.words
        identity = t.of_channel("identity", each.identity)
        lines: list[Line] = [
            (t("access.opened"), self.moment(each.opened_at)),
            (t("access.due"), self.day(each.due_at)),
            (t("access.identity"), f"{identity} ({each.identity_note})" if each.identity_note else identity),
        ]
        if each.extended_at is not None:
            lines.append((t("access.extended"), self.moment(each.extended_at)))
            lines.append((t("access.extension"), each.extension_reason or ""))
        if each.resolved_at is not None:
            lines.append((t("access.resolved"), self.moment(each.resolved_at)))
        if each.reason is not None:
            lines.append((t("access.reason"), each.reason))
        return Item(title=t.of_channel("kind", each.kind), state=t.of_channel("state", each.state), lines=lines)

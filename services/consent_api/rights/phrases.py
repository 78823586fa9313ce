"""The words of documents and pages about rights, and how they name what is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from consent_api.links.texts import WORDS as LINK_WORDS
from consent_api.links.theme import Theme
from consent_api.rights.access import model
from consent_api.rights.documents.document import Item, Line
from consent_api.rights.erasure import wording
from consent_contracts.decisions import DELIVERY, EVERY_PURPOSE, GIVEN
from consent_http.words import LANGUAGES, Language, Words

WORDS: Mapping[Language, Words] = {each: Words(each, __package__ or "consent_api.rights") for each in LANGUAGES}


class Phrases:
    """Texts of one tenant in one language, as its documents have them."""

    def __init__(self, theme: Theme, language: Language) -> None:
        self.theme = theme
        self.language = language
        self.words = WORDS[language]

    def about(self, head: model.Head) -> Iterator[Line]:
        t, person = self.words, head.person
        if person.address is not None:
            yield t("access.address"), person.address
        refs = dict.fromkeys(
            [*([person.subject_ref] if person.subject_ref else []), *(s.subject_ref for s in head.subjects)]
        )
        for ref in refs:
            yield t("access.reference"), ref
        if head.controller is not None:
            yield t("access.controller"), head.controller
        yield t("access.made_at"), self.moment(head.generated_at)

    def clear(self, address: str | None) -> str:
        return address if address is not None else self.words("unreadable")

    def channel(self, channel: str) -> str:
        return LINK_WORDS[self.language].of_channel("channels", channel)

    def purpose(self, purpose_id: str) -> str:
        purpose = self.theme.purpose(purpose_id)
        if purpose is not None:
            return purpose.title.in_(self.language)
        if purpose_id == EVERY_PURPOSE:
            found = self.words("all_purposes")
        elif purpose_id == DELIVERY:
            found = self.words("delivery")
        else:
            found = purpose_id.replace("-", " ").replace("_", " ")
        return found[:1].upper() + found[1:]

    def setting(self, purpose_id: str, channel: str) -> str:
        return f"{self.purpose(purpose_id)} – {self.channel(channel)}"

    def described(self, purpose_id: str) -> str | None:
        """A purpose in the tenant's own words; None where they are not known."""
        purpose = self.theme.purpose(purpose_id)
        return purpose.text.in_(self.language) if purpose is not None else None

    def evidence(self, each: model.HeldDecision) -> Iterator[Line]:
        evidence = msgspec.structs.asdict(each.evidence)
        evidence["source_system"] = evidence["source_system"] or each.source_system
        for name, label in self.words.texts["evidence"].items():
            if (value := evidence[name]) is not None:
                yield label, value

    def retained(self, each: model.RetainedProof) -> Item:
        t = self.words
        labels = t.texts["evidence"]
        lines: list[Line] = [(t("access.given"), self.moment(each.effective_at))]
        if each.expires_at is not None:
            lines.append((t("access.ends"), self.moment(each.expires_at)))
        lines += [(labels.get(name, name), value) for name, value in each.notice.items()]
        ground = wording.in_language(each.ground, self.language)
        lines += [(t("access.kept_ground"), ground), (t("access.kept_until"), self.day(each.kept_until))]
        return Item(title=self.setting(each.purpose, each.channel), state=t.of_channel("status", GIVEN), lines=lines)

    def day(self, at: str) -> str:
        return self.words.day(_micros(at))

    def moment(self, at: str) -> str:
        return self.words.moment(_micros(at))


def _micros(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1_000_000)

"""An explanation in six sentences, for people who do not read JSON: what holds, who chose what, when, by which means,
which tools know it since when, and what else there is. In English or French. Pure; times in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from consent_api.http.models import Decision, Explanation, Receipt
from consent_api.ledger.notices import STALE
from consent_contracts.decisions import EVERY_PURPOSE, GIVEN, UNDELIVERABLE
from consent_http.words import Language, written

_KNOWN = ("accepted", "effective")
_CHOICES: dict[Language, dict[str, str]] = {
    "en": {
        GIVEN: "gave consent",
        "refused": "refused consent",
        "withdrawn": "withdrew the consent",
        "objected": "objected to being contacted",
        "expired": "had a consent, which was recorded as expired,",
        "invalidated": "had a consent, which was declared invalid,",
    },
    "fr": {
        GIVEN: "a donné son consentement",
        "refused": "a refusé son consentement",
        "withdrawn": "a retiré son consentement",
        "objected": "s'est opposée à être contactée",
        "expired": "avait un consentement, enregistré comme expiré,",
        "invalidated": "avait un consentement, déclaré invalide,",
    },
}

_CHANNELS_FR = {"email": "e-mail", "sms": "SMS", "voice": "téléphone"}
_REASONS_FR = {
    GIVEN: "consentement donné",
    "refused": "refus",
    "withdrawn": "retrait",
    "objected": "opposition",
    "expired": "consentement expiré",
    "invalidated": "consentement qui n'est plus valable",
    "unknown": "aucune décision connue",
    UNDELIVERABLE: "les messages n'arrivent pas",
}
"""To be read out on the telephone."""
_STALE: dict[Language, str] = {
    "en": "had a consent, which rested on an older version of the notice,",
    "fr": "avait un consentement, qui reposait sur une ancienne version de la notice,",
}


def explain_text(found: Explanation, language: Language) -> str:
    """The sentences, a line each."""
    return "\n".join((_french if language == "fr" else _english)(found)) + "\n"


def _english(found: Explanation) -> Sequence[str]:
    where = f"by {found.channel} for {_purpose(found.purpose, 'any purpose')}"
    may = "may" if found.verdict.permitted else "may not"
    what = f"This address {may} be contacted {where} ({found.verdict.reason})."
    decision = found.deciding
    if decision is None:
        return [
            what,
            "No decision about it is recorded.",
            "So there is no time of a choice.",
            "There is no evidence.",
            "No tool has been informed.",
            _others_en(found),
        ]
    if decision.status == UNDELIVERABLE:
        return [
            what,
            f"A hard bounce was reported as of {_en(decision.effective_at)}: the address takes no messages.",
            "No person has refused: every consent stays as it is.",
            _means_en(decision),
            "No tool is informed; a reported delivery ends it.",
            _others_en(found),
        ]
    who = f"The person {decision.subject_ref}" if decision.subject_ref is not None else "The person at this address"
    chose = _STALE["en"] if decision.evidence.capture_method == STALE else _CHOICES["en"][decision.status]
    return [
        what,
        f"{who} {chose} for {_purpose(decision.purpose, 'every purpose')} on {decision.channel}.",
        f"The choice counts from {_en(decision.effective_at)} and was recorded on {_en(decision.recorded_at)}"
        + (f" in trace {decision.trace_id}" if decision.trace_id is not None else "")
        + (f"; it ends on {_en(decision.expires_at)}." if decision.expires_at is not None else "."),
        _means_en(decision),
        _tools_en(Tools.of(found.receipts)),
        _others_en(found),
    ]


def _french(found: Explanation) -> Sequence[str]:
    reason = found.verdict.reason
    where = f"par {_channel_fr(found.channel)} pour {_purpose(found.purpose, 'toute finalité')}"
    may = "peut" if found.verdict.permitted else "ne peut pas"
    what = f"Cette adresse {may} être contactée {where} ({_REASONS_FR.get(reason, reason)})."
    decision = found.deciding
    if decision is None:
        return [
            what,
            "Aucune décision n'est enregistrée à son sujet.",
            "Il n'y a donc pas de date de choix.",
            "Il n'y a pas de preuve.",
            "Aucun outil n'a été informé.",
            _others_fr(found),
        ]
    if decision.status == UNDELIVERABLE:
        return [
            what,
            f"Un rejet définitif a été signalé en date du {_fr(decision.effective_at)} :"
            " l'adresse ne reçoit pas de messages.",
            "Personne n'a refusé : chaque consentement reste tel quel.",
            _means_fr(decision),
            "Aucun outil n'en est informé ; une remise signalée y met fin.",
            _others_fr(found),
        ]
    who = f"La personne {decision.subject_ref}" if decision.subject_ref is not None else "La personne à cette adresse"
    chose = _STALE["fr"] if decision.evidence.capture_method == STALE else _CHOICES["fr"][decision.status]
    return [
        what,
        f"{who} {chose} pour {_purpose(decision.purpose, 'toutes les finalités')} par {_channel_fr(decision.channel)}.",
        f"Le choix compte à partir du {_fr(decision.effective_at)} et a été enregistré le {_fr(decision.recorded_at)}"
        + (f" dans la trace {decision.trace_id}" if decision.trace_id is not None else "")
        + (f" ; il prend fin le {_fr(decision.expires_at)}." if decision.expires_at is not None else "."),
        _means_fr(decision),
        _tools_fr(Tools.of(found.receipts)),
        _others_fr(found),
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """By the receipts of every target: those that know it, with the time since when; those that have not
    taken it yet; those that cannot."""

    known: tuple[tuple[str, str], ...]
    pending: tuple[str, ...]
    impossible: tuple[str, ...]

    @classmethod
    def of(cls, receipts: Sequence[Receipt]) -> Tools:
        by_tool: dict[str, dict[str | None, list[Receipt]]] = {}
        for each in receipts:
            by_tool.setdefault(each.destination, {}).setdefault(each.target, []).append(each)
        known, pending, impossible = [], [], []
        for name, targets in by_tool.items():
            since = [at for of_target in targets.values() if (at := _known_since(of_target)) is not None]
            if len(since) == len(targets):
                known.append((name, max(since, key=datetime.fromisoformat)))
            elif any(each.stage == "impossible" for of_target in targets.values() for each in of_target):
                impossible.append(name)
            else:
                pending.append(name)
        return cls(known=tuple(known), pending=tuple(pending), impossible=tuple(impossible))


def _known_since(receipts: Sequence[Receipt]) -> str | None:
    times = [each.reached_at for each in receipts if each.stage in _KNOWN]
    return min(times, key=datetime.fromisoformat, default=None)


def _tools_en(found: Tools) -> str:
    known = "; ".join(f"{name} since {_en(at)}" for name, at in found.known)
    parts = [
        f"These tools know it: {known}" if known else "No tool is known to have taken it",
        *([f"not confirmed yet: {', '.join(found.pending)}"] if found.pending else []),
        *([f"cannot take it: {', '.join(found.impossible)}"] if found.impossible else []),
    ]
    return "; ".join(parts) + "."


def _tools_fr(found: Tools) -> str:
    known = " ; ".join(f"{name} depuis le {_fr(at)}" for name, at in found.known)
    parts = [
        f"Ces outils le savent : {known}" if known else "Aucun outil n'a confirmé en être informé",
        *([f"pas encore confirmé : {', '.join(found.pending)}"] if found.pending else []),
        *([f"ne peuvent pas le prendre : {', '.join(found.impossible)}"] if found.impossible else []),
    ]
    return " ; ".join(parts) + "."


def _means_en(decision: Decision) -> str:
    found = decision.evidence
    parts = [
        *([f"by {found.capture_method}"] if found.capture_method else []),
        *([f"in {found.source_system}"] if found.source_system else []),
        *([f"by the hand of {found.actor}"] if found.actor else []),
        *([f"on the notice {found.notice_id} ({found.notice_version or '-'})"] if found.notice_id else []),
    ]
    return f"It was captured {', '.join(parts)}." if parts else "By which means it was captured is not stated."


def _means_fr(decision: Decision) -> str:
    found = decision.evidence
    parts = [
        *([f"par {found.capture_method}"] if found.capture_method else []),
        *([f"dans {found.source_system}"] if found.source_system else []),
        *([f"saisi par {found.actor}"] if found.actor else []),
        *(
            [f"avec la mention d'information {found.notice_id} ({found.notice_version or '-'})"]
            if found.notice_id
            else []
        ),
    ]
    if not parts:
        return "Le moyen par lequel il a été recueilli n'est pas indiqué."
    return f"Il a été recueilli {', '.join(parts)}."


def _others_en(found: Explanation) -> str:
    count, more = len(found.others), " or more" if found.more_after is not None else ""
    if not count:
        return "No other decision concerns this address."
    superseded = sum(each.effect == "superseded" for each in found.others)
    noun = "other decision concerns" if count == 1 and not more else "other decisions concern"
    return f"{count}{more} {noun} this address, {superseded} of them superseded."


def _others_fr(found: Explanation) -> str:
    count, more = len(found.others), " ou plus" if found.more_after is not None else ""
    if not count:
        return "Aucune autre décision ne concerne cette adresse."
    superseded = sum(each.effect == "superseded" for each in found.others)
    noun = "autre décision concerne" if count == 1 and not more else "autres décisions concernent"
    replaced = f"{superseded or 'aucune'} remplacée{'s' if superseded > 1 else ''}"
    return f"{count}{more} {noun} cette adresse, dont {replaced}."


def _channel_fr(channel: str) -> str:
    return _CHANNELS_FR.get(channel, channel)


def _purpose(purpose: str, every: str) -> str:
    return every if purpose == EVERY_PURPOSE else purpose


def _en(time: str) -> str:
    moment = datetime.fromisoformat(time)
    return f"{moment:%Y-%m-%d at %H:%M:%S} UTC"


def _fr(time: str) -> str:
    return written(datetime.fromisoformat(time), "fr")

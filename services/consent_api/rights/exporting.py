"""An export as a file in the format that is asked for, with its audit entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from consent_api.ledger import database
from consent_api.ledger.ledger import Ledger
from consent_api.links.theme import Theme
from consent_api.rights import audit
from consent_api.rights.access import files, report
from consent_api.rights.access.reading import Export
from consent_api.rights.audit import Act
from consent_api.rights.documents import html, pdf
from consent_api.rights.person_ref import PersonRef
from consent_http.words import Language


class Format(StrEnum):
    JSON = "json"
    CSV = "csv"
    HTML = "html"
    PDF = "pdf"

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv; charset=utf-8",
    Format.HTML: f"{html.MEDIA_TYPE}; charset=utf-8",
    Format.PDF: pdf.MEDIA_TYPE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedFile:
    """``pieces`` reads on in the ledger while it is iterated over: LedgerUnavailableError."""

    name: str
    format: Format
    held: bool
    pieces: Iterator[bytes] = field(repr=False)


def export(
    ledger: Ledger,
    person: PersonRef,
    theme: Theme,
    *,
    format: Format,  # noqa: A002 - as it is called everywhere else
    language: Language,
    who: str,
    request_id: str | None = None,
) -> ExportedFile:
    """Begin an export; it is in the audit even where the caller does not read it to its end.

    ``request_id``: of the request that it answers; without, the audit has the keyed hash of the person.
    LedgerUnavailableError.
    """
    keyring = ledger.context.keyring
    by_operator = who != audit.PERSON
    found = Export(ledger.transact, keyring, person, theme=theme, language=language, names_subject=by_operator)
    object_id = request_id or person.keys(keyring)[0]
    ledger.transact(
        lambda c: audit.add(
            c, tenant=person.tenant, who=who, act=Act.DATA_EXPORTED, object_id=object_id, at=database.clock(c)
        )
    )
    day = found.head.generated_at[:10]
    return ExportedFile(
        name=f"personal-data-{day}.{format.value}",
        format=format,
        held=found.head.held,
        pieces=_pieces(found, theme, format, language),
    )


def _pieces(found: Export, theme: Theme, format_: Format, language: Language) -> Iterator[bytes]:
    if format_ is Format.JSON:
        return files.json_pieces(found)
    if format_ is Format.CSV:
        return files.csv_pieces(found)
    document = report.report(found, theme, language)
    return iter([html.render(document) if format_ is Format.HTML else pdf.render(document)])

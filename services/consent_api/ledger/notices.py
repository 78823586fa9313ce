"""The registry of notices (R60): what a person read before choosing, as it was, in each version and language.

A version never changes: what was recorded under it stays provable. It can become stale: no permission rests on it then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, text

from consent_api.domain.validation import ValidDecision
from consent_api.errors import ChosenVersionsError, FieldViolation, NoticeChangedError, SubmissionInvalidError
from consent_contracts.decisions import GIVEN

PAGE = 100
STALE = "stale_notice"
"""Why a permission is refused that names a stale version, and how those recorded before have ended."""
_MOST_NAMED = 10


class RequiredNotices(StrEnum):
    """Which notices a permission may name."""

    ANY = "any"
    """Those of the registry as they are there, and any that it does not have."""
    REGISTERED = "registered"


@dataclass(frozen=True, kw_only=True, slots=True)
class Screenshot:
    """A picture of how it looked, by reference."""

    media_type: str
    sha256: str
    place: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """``valid_from``, ``registered_at`` and ``stale_at`` in micros."""

    notice_id: str
    version: str
    language: str
    title: str
    text: str
    valid_from: int | None = None
    screenshot: Screenshot | None = None
    registered_at: int | None = None
    stale_at: int | None = None

    @property
    def name(self) -> str:
        """Of a version in one language, for a person."""
        return f"{self.notice_id} {self.version} {self.language.lower()}"

    @property
    def hash(self) -> str:
        """As evidence has it."""
        return notice_hash(self.text)


class Named(NamedTuple):
    """What a permission names."""

    tenant: str
    notice_id: str
    version: str
    language: str
    hash: str
    goes_on: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """Of one notice: the hashes by version and language, the newest first, and the versions that are stale.
    ``required``: those that older ones were ended for, also such as are not registered."""

    hashes: dict[tuple[str, str], str] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)
    required: set[str] = field(default_factory=set)


_COLUMNS = """notice_id, version, language, title, text, valid_from, screenshot, registered_at, stale_at"""
_ADD = text("""
INSERT INTO notices
    (tenant, notice_id, version, language, sha256, title, text, valid_from, screenshot, registered_at, stale_at)
VALUES
    (:tenant, :notice_id, :version, :language, :sha256, :title, :text, :valid_from, CAST(:screenshot AS jsonb), :now,
     (SELECT min(stale_at) FROM notices WHERE tenant = :tenant AND notice_id = :notice_id AND version = :version))
ON CONFLICT DO NOTHING
""")
_ONE = text(f"""
SELECT {_COLUMNS} FROM notices
WHERE tenant = :tenant AND notice_id = :notice_id AND version = :version AND language = :language
""")  # noqa: S608 - constants
_PAGE = text(f"""
SELECT {_COLUMNS} FROM notices
WHERE tenant = :tenant AND (notice_id, version, language) > (:notice_id, :version, :language)
ORDER BY notice_id, version, language LIMIT :most
""")  # noqa: S608 - constants
_REGISTERED = text("""
SELECT tenant, notice_id, version, language, sha256, stale_at IS NOT NULL AS stale,
       ended_older_at IS NOT NULL AS ended_older
FROM notices JOIN unnest(CAST(:tenants AS text[]), CAST(:ids AS text[])) AS named (tenant, notice_id)
    USING (tenant, notice_id)
ORDER BY registered_at DESC, version DESC, language
""")
_VERSIONS = text("""
SELECT version, min(registered_at) AS registered_at, bool_or(stale_at IS NOT NULL) AS stale,
       array_agg(language ORDER BY language) AS languages FROM notices
WHERE tenant = :tenant AND notice_id = :notice_id GROUP BY version ORDER BY 2, 1
""")
_END_OLDER = text("""
UPDATE notices SET ended_older_at = :now
WHERE tenant = :tenant AND notice_id = :notice_id AND version = ANY(CAST(:versions AS text[]))
""")
_MAKE_STALE = text("""
UPDATE notices SET stale_at = :now
WHERE tenant = :tenant AND notice_id = :notice_id AND version = ANY(CAST(:versions AS text[])) AND stale_at IS NULL
""")


def notice_hash(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def add(connection: Connection, tenant: str, notice: Notice, *, now: int) -> bool:
    """Whether it is new; False where the same is there. NoticeChangedError where another text is."""
    shot = notice.screenshot
    added = connection.execute(
        _ADD,
        {
            "tenant": tenant,
            "notice_id": notice.notice_id,
            "version": notice.version,
            "language": notice.language.lower(),
            "sha256": notice.hash,
            "title": notice.title,
            "text": notice.text,
            "valid_from": notice.valid_from,
            "screenshot": json.dumps([shot.media_type, shot.sha256, shot.place]) if shot is not None else None,
            "now": now,
        },
    ).rowcount
    if added:
        return True
    found = find(connection, tenant, notice.notice_id, notice.version, notice.language)
    if found is None or _content(found) != _content(notice):
        raise NoticeChangedError(notice.notice_id, notice.version, notice.language)
    return False


def find(connection: Connection, tenant: str, notice_id: str, version: str, language: str) -> Notice | None:
    row = connection.execute(
        _ONE, {"tenant": tenant, "notice_id": notice_id, "version": version, "language": language.lower()}
    ).one_or_none()
    return _notice(row) if row is not None else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """Of a notice, in all its languages; ``registered_at``: the first of them (micros)."""

    version: str
    languages: tuple[str, ...]
    registered_at: int
    is_stale: bool


def versions(connection: Connection, tenant: str, notice_id: str) -> list[Version]:
    """The oldest first."""
    rows = connection.execute(_VERSIONS, {"tenant": tenant, "notice_id": notice_id})
    return [
        Version(
            version=row.version,
            languages=tuple(row.languages),
            registered_at=row.registered_at,
            is_stale=row.stale,
        )
        for row in rows
    ]


def older(known: Sequence[Version], chosen: Collection[str]) -> list[Version]:
    """Those of the ``known`` versions that people read before the chosen ones. Pure.

    ChosenVersionsError where they leave out a language in which an older one was read, and for one that is unknown or
    stale.
    """
    by_name = {each.version: each for each in known}
    for name in chosen:
        if name not in by_name:
            raise ChosenVersionsError(f"version {name} is not registered: see consent-relay notices list")
        if by_name[name].is_stale:
            raise ChosenVersionsError(f"version {name} is stale itself: name a newer one")
    newest = max(by_name[name].registered_at for name in chosen)
    languages = {language for name in chosen for language in by_name[name].languages}
    found = [each for each in known if each.version not in chosen and each.registered_at < newest]
    for each in found:
        if left_out := sorted(set(each.languages) - languages):
            raise ChosenVersionsError(
                f"version {each.version} is in {', '.join(left_out)} too, and none that you name is: register the new"
                " text in that language, or name its version as well"
            )
    return found


def end_older(
    connection: Connection,
    tenant: str,
    notice_id: str,
    *,
    chosen: Collection[str],
    stale: Collection[str],
    now: int,
) -> None:
    """From now on a permission that names one of the ``stale`` versions is refused, for the ``chosen`` ones."""
    notice = {"tenant": tenant, "notice_id": notice_id, "now": now}
    connection.execute(_END_OLDER, {**notice, "versions": list(chosen)})
    connection.execute(_MAKE_STALE, {**notice, "versions": list(stale)})


def listed(
    connection: Connection, tenant: str, *, after: tuple[str, str, str] = ("", "", ""), most: int = PAGE
) -> list[Notice]:
    """By id, version and language; ``after`` this one."""
    notice_id, version, language = after
    rows = connection.execute(
        _PAGE, {"tenant": tenant, "notice_id": notice_id, "version": version, "language": language, "most": most}
    )
    return [_notice(row) for row in rows]


def refusals(
    connection: Connection, accepted: Sequence[ValidDecision], required: RequiredNotices
) -> Mapping[Named, SubmissionInvalidError]:
    """What is wrong with the notices that permissions name; one statement, none where there is none."""
    new = {name for each in accepted if (name := named(each)) is not None}
    if not new:
        return {}
    known = registered(connection, {(each.tenant, each.notice_id) for each in new})
    found = {each: fault(each, known.get((each.tenant, each.notice_id), Registered()), required) for each in new}
    return {each: SubmissionInvalidError([wrong]) for each, wrong in found.items() if wrong is not None}


def registered(connection: Connection, notices: Collection[tuple[str, str]]) -> dict[tuple[str, str], Registered]:
    """By tenant and id, in one statement; absent where the registry has nothing of it."""
    ids = sorted(notices)
    rows = connection.execute(_REGISTERED, {"tenants": [each for each, _ in ids], "ids": [each for _, each in ids]})
    known: dict[tuple[str, str], Registered] = {}
    for row in rows:
        of_id = known.setdefault((row.tenant, row.notice_id), Registered())
        of_id.hashes[row.version, row.language] = row.sha256
        if row.stale:
            of_id.stale.add(row.version)
        if row.ended_older:
            of_id.required.add(row.version)
    return known


def named(each: ValidDecision) -> Named | None:
    """The notice of a permission."""
    if each.status != GIVEN:
        return None
    evidence = each.evidence
    return Named(
        tenant=each.tenant,
        notice_id=evidence.get("notice_id", ""),
        version=evidence.get("notice_version", ""),
        language=evidence.get("notice_language", "").lower(),
        hash=evidence.get("notice_hash", "").lower().removeprefix("sha256:"),
        goes_on=each.goes_on,
    )


def fault(named: Named, known: Registered, required: RequiredNotices) -> FieldViolation | None:
    """What is wrong with a notice that is named. Pure. A permission that goes on names what was right when it began:
    of it only that is asked whether permissions rest on that version still."""
    version = named.version
    current = [each for each, _ in known.hashes if each not in known.stale]
    if version in known.stale or (named.goes_on and known.required and version not in current):
        return _wrong("notice_version", STALE, f"ask the person again; {_one_of(current)}")
    if named.goes_on:
        return None
    if not known.hashes:
        if required is RequiredNotices.ANY:
            return None
        return _wrong("notice_id", "unregistered_notice", "register it first: POST /v1/notices")
    languages = [each for of_version, each in known.hashes if of_version == version]
    if not languages:
        return _wrong("notice_version", "unknown_notice_version", _one_of(current))
    if named.language not in languages:
        return _wrong("notice_language", "unknown_notice_language", _one_of(languages))
    right = known.hashes[version, named.language]
    if right.removeprefix("sha256:") != named.hash:
        cure = f"send {right}, or register the text that was shown as a version of its own"
        return _wrong("notice_hash", "other_notice_hash", cure)
    return None


def _one_of(names: Iterable[str]) -> str:
    known = list(dict.fromkeys(names))
    more = f", and {len(known) - _MOST_NAMED} older" if len(known) > _MOST_NAMED else ""
    return f"send one that is registered: {', '.join(known[:_MOST_NAMED])}{more}"


def _wrong(name: str, code: str, cure: str) -> FieldViolation:
    return FieldViolation(pointer=f"/evidence/{name}", code=code, cure=cure)


def _content(notice: Notice) -> tuple[object, ...]:
    return notice.title, notice.text, notice.valid_from, notice.screenshot


def _notice(row: Row[Any]) -> Notice:
    shot = row.screenshot
    return Notice(
        notice_id=row.notice_id,
        version=row.version,
        language=row.language,
        title=row.title,
        text=row.text,
        valid_from=row.valid_from,
        screenshot=Screenshot(media_type=shot[0], sha256=shot[1], place=shot[2]) if shot is not None else None,
        registered_at=row.registered_at,
        stale_at=row.stale_at,
    )

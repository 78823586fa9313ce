"""Which notices a permission may name. # R7 R60"""

from __future__ import annotations

from pathlib import Path

import pytest

from consent_api.errors import ChosenVersionsError
from consent_api.ledger.notices import Named, Registered, RequiredNotices, Version, fault, notice_hash, older
from consent_api.links.page_notices import notice, notices_of
from tests.support.themes import themes

OLD, NEW = notice_hash("the old text"), notice_hash("the new text")
HASHES = {("2026-03", "fr"): NEW, ("2026-03", "en"): notice_hash("the new text in English"), ("2025-11", "fr"): OLD}
KNOWN, NONE = Registered(hashes=HASHES), Registered()
STALE = Registered(hashes=HASHES, stale={"2025-11"}, required={"2026-03"})
REQUIRED = Registered(hashes={("2026-03", "fr"): NEW}, required={"2026-03"})


def named(version: str = "2026-03", language: str = "fr", digest: str = NEW, *, goes_on: bool = False) -> Named:
    digest = digest.removeprefix("sha256:")
    return Named(tenant="acme", notice_id="signup", version=version, language=language, hash=digest, goes_on=goes_on)


@pytest.mark.parametrize(
    ("given", "known", "required", "code", "cure"),
    [
        (named(), KNOWN, "any", None, ""),
        (named("2025-11", digest=OLD), KNOWN, "registered", None, ""),
        (named("2025-11", digest=OLD), STALE, "any", "stale_notice", ": 2026-03"),
        (named("2025-11", digest=OLD, goes_on=True), STALE, "any", "stale_notice", "ask the person again"),
        (named("2024", goes_on=True), STALE, "any", "stale_notice", ": 2026-03"),
        (named("2024", goes_on=True), REQUIRED, "any", "stale_notice", ": 2026-03"),
        (named("2024", goes_on=True), KNOWN, "registered", None, ""),
        (named("2024"), STALE, "any", "unknown_notice_version", ": 2026-03"),
        (named(), STALE, "any", None, ""),
        (named(), NONE, "any", None, ""),
        (named(), NONE, "registered", "unregistered_notice", "POST /v1/notices"),
        (named("2026-04"), KNOWN, "any", "unknown_notice_version", ": 2026-03, 2025-11"),
        (named(language="de"), KNOWN, "any", "unknown_notice_language", ": fr, en"),
        (named("2025-11", language="en"), KNOWN, "any", "unknown_notice_language", ": fr"),
        (named(digest=OLD), KNOWN, "any", "other_notice_hash", NEW),
        (named(digest=""), KNOWN, "registered", "other_notice_hash", NEW),
    ],
)
def test_a_registered_notice_is_named_as_it_is(
    given: Named,
    known: Registered,
    required: str,
    code: str | None,
    cure: str,
) -> None:
    found = fault(given, known, RequiredNotices(required))
    assert (found.code if found is not None else None) == code
    assert found is None or cure in found.cure


def version(name: str, languages: str, at: int, *, is_stale: bool = False) -> Version:
    return Version(version=name, languages=tuple(languages.split()), registered_at=at, is_stale=is_stale)


VERSIONS = [version("1", "en fr", 10), version("1a", "de", 10, is_stale=True), version("2", "fr", 20)]
OF_LANGUAGES = [version("a-fr", "fr", 10), version("a-en", "en", 10), version("b-fr", "fr", 20)]


@pytest.mark.parametrize(
    ("known", "chosen", "found"),
    [
        ([*VERSIONS, version("2e", "en de", 30)], ["2", "2e"], ["1", "1a"]),
        (OF_LANGUAGES, ["b-fr", "a-en"], ["a-fr"]),
        ([version("1", "fr", 10), version("2", "fr", 10)], ["2"], []),
        ([version("1", "fr", 10), version("2", "fr", 20), version("3", "fr", 30)], ["2"], ["1"]),
    ],
)
def test_older_is_what_was_registered_before_and_is_not_named(
    known: list[Version], chosen: list[str], found: list[str]
) -> None:
    assert [each.version for each in older(known, chosen)] == found


@pytest.mark.parametrize(
    ("known", "chosen", "why"),
    [
        (VERSIONS, ["2"], "version 1 is in en too"),
        (OF_LANGUAGES, ["b-fr"], "version a-en is in en too"),
        (VERSIONS, ["3"], "version 3 is not registered"),
        (VERSIONS, ["1a"], "version 1a is stale itself"),
    ],
)
def test_no_language_is_left_without_a_version_that_counts(known: list[Version], chosen: list[str], why: str) -> None:
    with pytest.raises(ChosenVersionsError, match=why):
        older(known, chosen)


def test_hundreds_of_versions_are_not_all_named() -> None:
    found = fault(named("new"), Registered(hashes={(f"v{i}", "fr"): NEW for i in range(300)}), RequiredNotices.ANY)
    assert found is not None
    assert found.cure.endswith("v9, and 290 older")


def test_each_question_of_a_page_has_a_notice_with_all_that_is_read_beside_it(tmp_path: Path) -> None:
    theme = themes(tmp_path)["acme"]
    promotions = theme.purposes[0]
    found = notice(theme, promotions, "email", "fr")
    assert found.notice_id == "preference-centre.promotions.email"
    assert found.text.splitlines() == [
        promotions.title.fr,
        promotions.text.fr,
        f"Un oui prend fin de lui-même après {promotions.valid_days} jours au plus tard.",
        "Pouvons-nous vous écrire par e-mail\N{NO-BREAK SPACE}?",
        f"Responsable de ces messages\N{NO-BREAK SPACE}: {theme.controller}",
    ]
    changed = promotions.model_copy(update={"valid_days": 30})
    assert found.version.startswith(f"{theme.notice.version}.")
    assert notice(theme, changed, "email", "fr").version != found.version  # Whatever changes, a version does not.
    of_page = list(notices_of(theme, "fr"))
    assert len({each.notice_id for each in of_page}) == len(of_page) == sum(len(e.channels) for e in theme.purposes)

"""What the preference centre shows beside each question, as a notice of the registry: what is recorded as evidence is
what a person read (R7, R60)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from consent_api.errors import LedgerUnavailableError
from consent_api.ledger import database, notices
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.notices import Notice, notice_hash
from consent_api.links.texts import WORDS
from consent_api.links.theme import Purpose, Theme, Themes
from consent_http.words import LANGUAGES, Language

_DIGITS = 8
"""Of the hash, in the version."""

log = logging.getLogger(__name__)


def notice(theme: Theme, purpose: Purpose, channel: str, language: Language) -> Notice:
    """The texts of one question: each line as the page has it."""
    words = WORDS[language]
    title = purpose.title.in_(language)
    lines = (
        title,
        purpose.text.in_(language),
        words("preferences.valid", days=purpose.valid_days),
        words.of_channel("question", channel),
        words("preferences.controller", controller=theme.controller),
    )
    text = "\n".join(lines)
    _, _, digest = notice_hash(text).partition(":")
    return Notice(
        notice_id=f"{theme.notice.id}.{purpose.id}.{channel}",
        # With the text in it: a version never changes, and some of the words are ours, of this release.
        version=f"{theme.notice.version}.{digest[:_DIGITS]}",
        language=language,
        title=title,
        text=text,
    )


def notices_of(theme: Theme, language: Language) -> Iterator[Notice]:
    for purpose in theme.purposes:
        for channel in purpose.channels:
            yield notice(theme, purpose, channel, language)


class PageNotices:
    """Has the registry hold what the pages show. Thread-safe: what two threads add at once is there once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._registered: set[tuple[str, Notice]] = set()

    def register(self, tenant: str, shown: Collection[Notice]) -> None:
        """LedgerUnavailableError. What this process has registered takes no statement."""
        new = [each for each in shown if (tenant, each) not in self._registered]
        if new:
            self._ledger.transact(lambda connection: _add(connection, tenant, new))
            self._registered.update((tenant, each) for each in new)

    def register_all(self, themes: Themes) -> None:
        """At the start; later, with the first choice, where the database does not answer."""
        for tenant, theme in themes.items():
            try:
                self.register(tenant, [each for language in LANGUAGES for each in notices_of(theme, language)])
            except (LedgerUnavailableError, ProgrammingError) as error:  # The database monitor says so too.
                log.warning("the notices of the pages are registered later", extra={"why": type(error).__name__})
                return


def _add(connection: Connection, tenant: str, new: Collection[Notice]) -> None:
    now = database.clock(connection)
    for each in new:
        notices.add(connection, tenant, each, now=now)
    known = notices.registered(connection, {(tenant, each.notice_id) for each in new})
    for each in new:
        if each.version in known[tenant, each.notice_id].stale:
            what = {"tenant": tenant, "notice": each.notice_id, "version": each.version}
            log.error(
                "a page shows a stale notice, and can take no yes: change notice.version of its theme", extra=what
            )

"""What the preference centre shows beside each question, as a notice of the registry: what is recorded as evidence is
what a person read (R7, R60)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from consent_api.errors import LedgerUnavailableError, MisconfiguredError, NoticeChangedError
from consent_api.ledger import database, notices
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.notices import Notice
from consent_api.links.texts import WORDS
from consent_api.links.theme import LANGUAGES, Language, Purpose, Theme, Themes

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
    return Notice(
        notice_id=f"{theme.notice.id}.{purpose.id}.{channel}",
        version=theme.notice.version,
        language=language,
        title=title,
        text="\n".join(lines),
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
        """NoticeChangedError, LedgerUnavailableError. What this process has registered takes no statement."""
        new = [each for each in shown if (tenant, each) not in self._registered]
        if new:
            self._ledger.transact(lambda connection: _add(connection, tenant, new))
            self._registered.update((tenant, each) for each in new)

    def register_all(self, themes: Themes) -> None:
        """At the start; later, with the first choice, where the database does not answer. MisconfiguredError where a
        text was changed under the same version."""
        for tenant, theme in themes.items():
            try:
                self.register(tenant, [each for language in LANGUAGES for each in notices_of(theme, language)])
            except (LedgerUnavailableError, ProgrammingError) as error:  # The database monitor says so too.
                log.warning("the notices of the pages are registered later", extra={"why": type(error).__name__})
                return
            except NoticeChangedError as error:
                raise MisconfiguredError(
                    f"CONSENT_RELAY_THEME_FILE: tenant {tenant}: {error}: raise notice.version with each change of the"
                    " texts."
                ) from None


def _add(connection: Connection, tenant: str, new: Collection[Notice]) -> None:
    now = database.clock(connection)
    for each in new:
        notices.add(connection, tenant, each, now=now)

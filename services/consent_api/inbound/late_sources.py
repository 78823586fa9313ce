"""Sources that were wrong at the start and can be used by now: the file of a secret came after the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from consent_api.errors import MisconfiguredError
from consent_api.inbound.sources import SETTING, Source
from consent_service.secret_files import SecretFile
from consent_service.wrong_entries import RECHECK_SECONDS, WrongEntries

Secrets = SecretFile[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class LateSources:
    """Takes them into use, in a thread of its own. A source that is in use is not looked at.

    ``read`` the file again, without what is wrong; ``secrets_of`` those of some sources, by id. Both raise
    MisconfiguredError. ``follow`` reads a secret again when it changes.
    """

    read: Callable[[], Mapping[str, Source]]
    secrets_of: Callable[[Mapping[str, Source]], Mapping[str, Secrets]]
    follow: Callable[..., Any]
    wrong_entries: WrongEntries
    sources: MutableMapping[str, Source]
    secrets: MutableMapping[str, Secrets]
    wrong: MutableMapping[str | None, int]

    def run(self, stop: threading.Event) -> None:
        """Until ``stop``, or until no source that has an id is wrong."""
        while any(each is not None for each in self.wrong) and not stop.wait(RECHECK_SECONDS):
            self.turn()

    def turn(self) -> None:
        try:
            late = {each.id: each for each in self.read().values() if each.id in self.wrong}
            secrets = self.secrets_of(late)
        except MisconfiguredError:
            return  # The file is being written, or is wrong as a whole by now: what is in use stays so.
        self.follow(*secrets.values())
        self.secrets.update(secrets)
        self.sources.update(late)  # After its secrets: from here on its webhooks are taken.
        for source_id in late:
            del self.wrong[source_id]
            self.wrong_entries.mended(SETTING, source_id)

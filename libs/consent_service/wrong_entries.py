"""Files of which each entry concerns one tenant: an entry that is wrong is not in use, and the others are (R45).

Commands that check a file refuse all of it. A process that serves goes on without the entry, and reports it: in the
log, on the health page and by a metric.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge

from consent_service.health import Health
from consent_service.zero_series import from_zero

log = logging.getLogger(__name__)

RECHECK_SECONDS = 15.0
"""Between two looks at whether an entry that was wrong can be used: its secret may come after the process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WrongEntry:
    """`setting`: the variable that names the file. `entry`: its name there, or its place. `why`: what is wrong at which
    place, with the cure; no secret is in it."""

    setting: str
    entry: str
    why: str


def refuse(wrong: WrongEntry) -> None:
    """For what checks a file. ValueError."""
    raise ValueError(wrong.why)


def ignore(_: WrongEntry) -> None:
    """For what reads a file that another reader of this process reports on."""


class WrongEntries:
    """Reports the entries that a process does not use. Call it with each."""

    def __init__(self, registry: CollectorRegistry, health: Health, *, settings: Collection[str]) -> None:
        """`settings`: those that name the files which the process reads."""
        self._health = health
        self._count = from_zero(
            Gauge(
                "consent_relay_wrong_entries",
                "Entries of a file that are wrong and not in use, since this process started: a tenant's purposes or"
                " pages, an inbound source, a register, a destination. /readyz and the log name each, with the cure."
                " All other entries are in use. Mend the entry and restart; where a secret's file was missing, no"
                " restart is needed.",
                ["setting"],
                registry=registry,
            ),
            settings,
        )
        self.found: list[WrongEntry] = []

    def __call__(self, wrong: WrongEntry) -> None:
        self.found.append(wrong)
        self._count.labels(wrong.setting).inc()
        self._health.note(f"{wrong.setting} {wrong.entry}", f"not in use: {wrong.why}")
        log.error(
            "an entry is wrong and not in use",
            extra={"setting": wrong.setting, "entry": wrong.entry, "why": wrong.why},
        )

    def mended(self, setting: str, entry: str) -> None:
        """The entry is in use now."""
        gone = [each for each in self.found if (each.setting, each.entry) == (setting, entry)]
        self.found = [each for each in self.found if each not in gone]
        self._count.labels(setting).dec(len(gone))
        self._health.note(f"{setting} {entry}", "")
        log.info("an entry that was wrong is in use", extra={"setting": setting, "entry": entry})

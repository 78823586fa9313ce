"""Where a run was when it was interrupted: a small file, replaced as a whole after each page."""

import json
from dataclasses import asdict
from pathlib import Path

from .history import Place, Selection


class OtherRun(Exception):
    """The file belongs to an unfinished run with another selection."""


class ProgressFile:
    """The last acknowledged place of an unfinished run. Losing it costs time, never events."""

    def __init__(self, path: Path, selection: Selection, prefix: str) -> None:
        self.path = path
        self._run = {**asdict(selection), "topic_prefix": prefix}

    def load(self) -> Place | None:
        """Where to go on; None when nothing was left unfinished. Raises OtherRun."""
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if document["run"] != self._run:
            raise OtherRun(str(self.path))
        return Place(**document["place"])

    def save(self, place: Place) -> None:
        document = {"run": self._run, "place": asdict(place)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(document), encoding="utf-8")
        fresh.replace(self.path)

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)

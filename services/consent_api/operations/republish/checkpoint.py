"""Where a run was when it was interrupted: a small file, replaced as a whole after each page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from consent_api.errors import CheckpointMismatchError
from consent_api.operations.republish.pages import Cursor, Selection


class CheckpointFile:
    """The last acknowledged cursor of an unfinished run. Losing it costs time, never events; going on from one
    that was reached under other hash keys, or before the topics were created again, would leave events out."""

    def __init__(
        self, path: Path, selection: Selection, *, hash_keys: Mapping[str, Sequence[str]], topics: Mapping[str, str]
    ) -> None:
        """`hash_keys`: the ids of the live ones by tenant; `topics`: the broker's id of each topic by name."""
        self.path = path
        self._run = {
            **asdict(selection),
            "hash_keys": {tenant: sorted(ids) for tenant, ids in hash_keys.items()},
            "topics": dict(topics),
        }

    def load(self) -> Cursor | None:
        """Where to go on; None when nothing was left unfinished. Raises CheckpointMismatchError."""
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if document.get("run") != self._run:
            raise CheckpointMismatchError(str(self.path))
        return Cursor(**document["cursor"])

    def save(self, cursor: Cursor) -> None:
        document = {"run": self._run, "cursor": asdict(cursor)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(document), encoding="utf-8")
        fresh.replace(self.path)

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)

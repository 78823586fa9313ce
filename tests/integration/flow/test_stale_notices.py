"""`consent-relay notices end-older`, as an operator runs it. # R60"""

from __future__ import annotations

from pathlib import Path

from consent_api.ledger.lanes import Lane
from tests.integration.flow.rig import Rig, grant
from tests.support.evidence import EVIDENCE
from tests.support.waiting import until


def test_the_command_says_what_becomes_stale_asks_and_ends_it(rig: Rig, tmp_path: Path) -> None:
    hashes = {}
    for version in ("1", "2"):
        (tmp_path / version).write_text(f"text {version}", "utf-8")
        said = rig.run(
            *("notices", "add", str(tmp_path / version), "--tenant", "acme", "--id", "signup"),
            *("--version", version, "--language", "fr", "--title", "Offres"),
        )
        hashes[version] = said.split()[0]
    given = [
        grant(evidence={**EVIDENCE, "notice_id": "signup", "notice_version": version, "notice_hash": digest})
        for version, digest in hashes.items()
    ]
    with rig.ingest():
        rig.submit(rig.encoded(given))
        until(lambda: rig.ask("SELECT count(*) FROM decisions") == 2)

    command = ("notices", "end-older", "signup", "2", "--tenant", "acme")
    refused = rig.run(*command, code=1)
    assert "older: 1 (fr, since 20" in refused
    assert rig.ask("SELECT count(*) FROM decisions WHERE status = 'invalidated'") == 0
    assert "ended at 1 addresses" in rig.run(*command, "--yes")
    assert rig.ask("SELECT count(*) FROM audit_entries WHERE act = 'notices_made_stale' AND tenant = 'acme'") == 1
    assert "ended at 0 addresses" in rig.run(*command, "--yes")
    assert "not registered: see consent-relay notices list" in rig.run(*command[:3], "3", *command[4:], code=1)
    assert "is stale itself" in rig.run(*command[:3], "1", *command[4:], code=1)
    with rig.relay():
        until(lambda: rig.pending(Lane.BULK) == 0)
    assert len(rig.changes(Lane.BULK)) == 1

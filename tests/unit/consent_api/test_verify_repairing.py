"""One address that cannot be repaired keeps no other from it. # R64"""

from __future__ import annotations

from typing import Any

import pytest

from consent_api.operations.verify import repairing
from consent_api.operations.verify.compare import DifferenceKind, EntryDifference, EntryLocation
from consent_api.operations.verify.job import Checked
from consent_api.operations.verify.repair import Repair
from consent_api.operations.verify.repairing import RepairWriter
from consent_privacy.errors import DecryptionFailedError


class ALedger:
    context = None

    def write(self, lane: object, work: Any) -> Any:
        return work(None, 0)


class NoWait:
    def __init__(self, *_: object, **__: object) -> None: ...

    def wait(self) -> None: ...


def checked(key: str) -> Checked:
    location = EntryLocation(tenant="acme", channel="sms", address_key=key, partition=0)
    return Checked(
        location=location,
        differences=(EntryDifference(kind=DifferenceKind.MISSING_ENTRY, location=location, detail=""),),
        found=None,
        ledger=None,
    )


def test_an_address_that_the_keyring_cannot_open_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def repair(connection: object, context: object, found: list[Checked], *, now: int) -> list[Repair]:
        if any(each.location.address_key == "h1.b" for each in found):
            raise DecryptionFailedError("unknown_key")
        return [Repair.REWRITTEN for _ in found]

    monkeypatch.setattr(repairing, "repair", repair)
    monkeypatch.setattr(repairing, "BulkPacing", NoWait)
    sent = RepairWriter(ALedger(), partitions=4).repair([checked(key) for key in ("h1.a", "h1.b", "h1.c")])  # type: ignore[arg-type]
    assert (sent.sent, sent.kinds) == (2, {DifferenceKind.MISSING_ENTRY: 2})

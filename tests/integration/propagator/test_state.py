"""The tables, the committer and the terms of the active sender, on real Kafka."""

import pytest

from tests.integration.propagator.state_rig import StateRig, until


async def test_a_withdrawal_leads_to_a_delivery_a_row_and_a_receipt(state_rig: StateRig) -> None:
    process = state_rig.process()
    await process.activate()
    key = state_rig.decide(1)
    state_rig.flush()
    await until(lambda: (key, "newsletter") in process.held(), what="delivered")
    await until(lambda: process.pending() == 0, what="the pending row is gone")
    rows = state_rig.rows()
    [target] = rows[f"crm/{key}".encode()]["targets"]
    assert (target["target"], target["action"], target["in_doubt"]) == ("newsletter", "suppress", False)
    assert [each["stage"] for each in state_rig.receipts()] == ["accepted"]
    assert [each.live for each in process.sent] == [True]

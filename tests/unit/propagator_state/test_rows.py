"""Rows of an address with very many decisions: they fit into a record, and are compared as if they were whole."""

from __future__ import annotations

from uuid import uuid4

import pytest
from msgspec.structs import replace

from consent_contracts import schemas
from consent_contracts.codec import Codec, ConfluentRegistry
from consent_contracts.decisions import Decision
from consent_contracts.topics import Topics
from consent_contracts.verdict import verdicts
from propagator.desired import outcomes
from propagator.desired.model import DeliveredTarget, DestinationRules, ListEntry, Plan, Purposes, own_entry
from propagator.desired.plan import plan
from propagator.desired.receipt import MAX_DECISIONS, Receipt
from propagator.state.rows import address_datum, delivered_of
from suppression.partition.serde import MAX_ENTRY_BYTES

RECORD_BYTES = 2 * 1024 * 1024
TOPICS = Topics(prefix="rows.")
TOPIC = TOPICS.propagation_state("default")


@pytest.fixture(scope="module")
def codec() -> Codec:
    registry = ConfluentRegistry("mock://rows")
    registry.register(f"{TOPIC}-value", schemas.schema_text("PropagationState"))
    return Codec(registry)


def decision(number: int, purpose: str, status: str = "withdrawn") -> Decision:
    return Decision(
        decision_id=str(uuid4()),
        subject_ref=f"s{number}",
        purpose=purpose,
        status=status,
        effective_at=number + 1,
        recorded_at=number + 1,
    )


def entry(*decisions: Decision) -> ListEntry:
    return ListEntry(
        tenant="acme",
        channel="sms",
        address_key="h1.a",
        sealed_address=None,
        decisions=decisions,
        verdicts=verdicts(decisions),
        written_at=10_000,
    )


def rules(purposes: Purposes) -> DestinationRules:
    return DestinationRules(
        destination="crm",
        tenant="acme",
        channel="sms",
        purposes=purposes,
        push_permissions=True,
        address_required=False,
        live_keys=("h1",),
    )


class Tool:
    """One destination and its rows, which go through Kafka's format after each change."""

    def __init__(self, codec: Codec, purposes: Purposes) -> None:
        self.codec, self.rules = codec, rules(purposes)
        self.rows: dict[str, DeliveredTarget] = {}
        self.bytes = 0

    def plan(self, wanted: ListEntry) -> Plan:
        return plan(own_entry(self.rules, wanted), self.rows, self.rules, fill_began_at=0, now=20_000)

    def take(self, wanted: ListEntry) -> None:
        """Everything that is planned is accepted."""
        for push in self.plan(wanted).pushes:
            row = outcomes.accepted(
                None, push, version=20_000, now=20_000, fill_began_at=0, settles_at=0, reference=str(uuid4())
            )
            assert row is not None
            self.rows[push.state.target] = row
        self.store()

    def store(self) -> None:
        datum = address_datum(
            destination="crm", tenant="acme", address_key="h1.a", rows=self.rows.values(), written_at=20_000
        )
        value = self.codec.encode(TOPIC, datum)
        self.bytes = len(value)
        self.rows = delivered_of(self.codec.decode(TOPIC, value))


SAME = Purposes(targets={}, same=True)


@pytest.mark.parametrize(
    "decisions",
    [
        [decision(each, "*") for each in range(3_000)] + [decision(each, f"purpose{each}") for each in range(100)],
        [decision(each, f"p{each}") for each in range(MAX_ENTRY_BYTES // 155)],
    ],
    ids=["many of all purposes", "many purposes"],
)
@pytest.mark.long
def test_the_rows_of_the_widest_entries_fit_into_a_record(codec: Codec, decisions: list[Decision]) -> None:
    tool, wanted = Tool(codec, SAME), entry(*decisions)
    tool.take(wanted)
    assert tool.bytes < RECORD_BYTES
    assert tool.plan(wanted).empty


def many(status: str) -> list[Decision]:
    return [decision(each, "newsletter", status) for each in range(6_000)]


@pytest.mark.long
def test_one_more_refusal_is_taken_over_without_a_call(codec: Codec) -> None:
    tool, known = Tool(codec, SAME), many("withdrawn")
    tool.take(entry(*known))
    more = tool.plan(entry(*known, decision(7_000, "newsletter")))
    assert [len(each.decision_ids) for each in more.adoptions] == [6_001]
    assert not more.pushes


def test_one_more_permission_is_delivered(codec: Codec) -> None:
    tool, known = Tool(codec, SAME), many("given")
    tool.take(entry(*known))
    assert tool.plan(entry(*known)).empty
    [push] = tool.plan(entry(*known, decision(7_000, "newsletter", "given"))).pushes
    assert push.state.action == "permit"


def test_the_backoff_of_an_address_with_many_decisions_is_kept(codec: Codec) -> None:
    tool, known = Tool(codec, SAME), many("withdrawn")
    tool.rows["newsletter"] = outcomes.failed(
        None, tool.plan(entry(*known)).pushes[0], reason="server_error", retry_at=30_000
    )
    tool.store()
    [push] = tool.plan(entry(*known)).pushes
    assert (push.attempts, push.not_before) == (1, 30_000)


def test_a_target_that_leaves_the_mapping_with_many_decisions_names_none_of_them(codec: Codec) -> None:
    tool, known = Tool(codec, SAME), many("given")
    tool.take(entry(*known))
    tool.rules = rules(Purposes(targets={"survey": ("other",)}))
    [push] = tool.plan(entry(*known)).pushes
    assert (push.leaving, push.state.action, push.state.decision_ids) == (True, "suppress", ())


def test_a_receipt_of_many_decisions_is_several(codec: Codec) -> None:
    ids = tuple(str(uuid4()) for _ in range(2 * MAX_DECISIONS + 1))
    receipt = Receipt(
        tenant="acme",
        destination="crm",
        channel="sms",
        address_key="h1.a",
        target="newsletter",
        action="suppress",
        stage="accepted",
        decision_ids=ids,
        version=1,
        recorded_at=1,
        queued_at=1,
        reached_at=1,
        attempts=1,
    )
    parts = receipt.parts()
    assert tuple(each for part in parts for each in part.decision_ids) == ids
    assert len({part.receipt_id for part in parts}) == 3
    assert replace(receipt, decision_ids=()).parts() == [replace(receipt, decision_ids=())]

"""Choices are pushed to tools, bounces never are (R21)."""

from consent_contracts.codec import Codec
from consent_contracts.decisions import AddressEntry, Decision
from consent_contracts.records import entry_to_avro
from consent_contracts.schemas import RECORD_NAMES, schema_text
from propagator.desired.model import ListEntry
from propagator.state.planning import RecordDecoder

LIST = "suppression.sms.v1"


class Ids:
    def id_of(self, subject: str, text: str) -> int:
        return 1 + [schema_text(name) for name in RECORD_NAMES].index(text)

    def schemas_of(self, subject: str) -> dict[int, str]:
        return {}


def decision(decision_id: str, purpose: str, status: str, at: int) -> Decision:
    return Decision(
        decision_id=decision_id,
        subject_ref=None,
        purpose=purpose,
        status=status,
        effective_at=at,
        recorded_at=at,
        expires_at=None,
    )


def read(*decisions: Decision) -> ListEntry:
    codec = Codec(Ids())
    entry = AddressEntry(tenant="acme", channel="sms", address_key="h1.a", sealed_address=b"", decisions=decisions)
    value = codec.encode(LIST, entry_to_avro(entry, 30))
    decoder = RecordDecoder(codec, list_topics={"sms": LIST}, state_topic="propagation.state.default.v1")
    return decoder.entry("sms", "h1.a", value, append_time=30)


def test_a_bounce_changes_nothing_of_what_a_tool_is_to_hold() -> None:
    given = decision("d1", "newsletter", "given", 10)
    for finding in ("undeliverable", "delivered"):
        found = read(given, decision("d2", "@delivery", finding, 20))
        assert (found.decisions, found.verdicts) == (read(given).decisions, read(given).verdicts)
        assert found.verdicts["newsletter"].permitted


def test_a_bounce_alone_is_no_decision() -> None:
    found = read(decision("d1", "@delivery", "undeliverable", 20))
    assert found.decisions == ()
    assert [each.reason for each in found.verdicts.values()] == ["unknown"]

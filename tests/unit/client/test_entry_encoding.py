"""Packed verdicts say what the entry said, in few bytes."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_client import entry_encoding as encoding_module
from consent_client.entry_encoding import EntryEncoding
from consent_client.errors import NotEncodableError
from consent_contracts.verdict import NO_DECISION, Verdict

times = st.none() | st.integers(min_value=0, max_value=253_402_300_799_999_999)
ids = st.none() | st.uuids().map(str) | st.text(max_size=40) | st.uuids().map(lambda uuid: str(uuid).upper())
verdicts = st.builds(
    Verdict,
    permitted=st.booleans(),
    reason=st.sampled_from(["given", "withdrawn", "unknown", "objected"]),
    since=times,
    expires_at=times,
    decision_id=ids,
)
maps = st.dictionaries(st.sampled_from(["*", "newsletter", "survey", "offers", "a"]), verdicts, max_size=5)


def entry(verdicts: Mapping[str, Verdict], tenant: str = "acme") -> dict[str, Any]:
    return {
        "tenant": tenant,
        "verdicts": {purpose: verdict._asdict() for purpose, verdict in verdicts.items()},
    }


@given(st.lists(st.tuples(st.sampled_from(["acme", "other"]), maps), min_size=1, max_size=5))
def test_what_is_unpacked_is_what_was_packed(entries: list[tuple[str, dict[str, Verdict]]]) -> None:
    encoding = EntryEncoding()
    packed = [encoding.encode(entry(verdicts, tenant)) for tenant, verdicts in entries]
    for (tenant, verdicts), value in zip(entries, packed, strict=True):
        assert value
        assert encoding.tenant(value) == tenant
        for purpose in ("newsletter", "survey", "offers", "a", "*", "never-named"):
            expected = verdicts.get(purpose) or verdicts.get("*") or NO_DECISION
            assert encoding.verdict(value, purpose) == expected


def test_a_usual_entry_is_small() -> None:
    given_ = Verdict(
        permitted=True, reason="given", since=1, expires_at=2, decision_id="0" * 8 + "-0000" * 3 + "-" + "0" * 12
    )
    packed = EntryEncoding().encode(entry({"*": NO_DECISION, "newsletter": given_, "survey": given_}))
    assert len(packed) <= 80


@pytest.mark.parametrize("micros", [-1, 253_402_300_800_000_000, 2**63 - 1])
def test_a_time_that_no_calendar_holds_is_refused(micros: int) -> None:  # R4
    with pytest.raises(NotEncodableError):
        EntryEncoding().encode(entry({"*": Verdict(permitted=True, reason="given", since=micros)}))


def test_invented_purposes_cannot_fill_the_memory() -> None:
    encoding = EntryEncoding()
    for number in range(encoding_module.KINDS_KEPT + 100):
        encoding.encode(entry({f"p{number}": NO_DECISION}))
    [tenant] = encoding.tenants
    assert len(tenant.kinds) == len(tenant.codes) == encoding_module.KINDS_KEPT


@pytest.mark.long
def test_many_shapes_are_forgotten_and_found_again() -> None:
    encoding = EntryEncoding()
    purposes = [f"p{number}" for number in range(150)]
    packed = {
        (a, b): encoding.encode(entry({a: NO_DECISION, b: Verdict(permitted=True, reason="given", since=7)}))
        for a in purposes
        for b in purposes
        if a != b
    }
    for (a, b), value in packed.items():
        assert encoding.verdict(value, a) == NO_DECISION
        assert encoding.verdict(value, b).permitted


def test_one_tenant_s_invented_purposes_leave_every_entry_readable(monkeypatch: pytest.MonkeyPatch) -> None:  # R45
    monkeypatch.setattr(encoding_module, "KINDS_KEPT", 20)
    encoding = EntryEncoding()
    held = {}
    for number in range(100):
        verdict = Verdict(permitted=bool(number % 2), reason="given", since=number, expires_at=number + 1)
        held[number] = encoding.encode(entry({f"p{number}": verdict, "*": NO_DECISION}, "noisy"))
    other = encoding.encode(entry({"newsletter": Verdict(permitted=True, reason="given", since=1)}, "quiet"))
    assert len(other) == 14
    assert (encoding.tenant(other), encoding.verdict(other, "newsletter").permitted) == ("quiet", True)
    for number, packed in held.items():
        assert encoding.tenant(packed) == "noisy"
        assert encoding.verdict(packed, f"p{number}").since == number
        assert encoding.verdict(packed, "another") == NO_DECISION


def test_invented_tenants_leave_every_entry_readable(monkeypatch: pytest.MonkeyPatch) -> None:  # R45
    monkeypatch.setattr(encoding_module, "CODES", 5)
    encoding = EntryEncoding()
    refused = Verdict(permitted=False, reason="withdrawn", since=3, decision_id="d-1")
    held = {f"t{number}": encoding.encode(entry({"*": refused}, f"t{number}")) for number in range(12)}
    assert {name: encoding.tenant(packed) for name, packed in held.items()} == {name: name for name in held}
    assert all(encoding.verdict(packed, "any") == refused for packed in held.values())


def test_a_replica_that_read_them_in_another_order_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding_module, "KINDS_KEPT", 3)
    entries = [entry({f"p{number}": Verdict(permitted=True, reason="given", since=number)}) for number in range(10)]
    one, two = EntryEncoding(), EntryEncoding()
    first = [one.encode(each) for each in entries]
    second = [two.encode(each) for each in reversed(entries)][::-1]
    for number, (here, there) in enumerate(zip(first, second, strict=True)):
        assert one.verdict(here, f"p{number}") == two.verdict(there, f"p{number}")


def test_what_is_written_out_is_held_to_the_calendar_too(monkeypatch: pytest.MonkeyPatch) -> None:  # R4
    monkeypatch.setattr(encoding_module, "KINDS_KEPT", 0)
    with pytest.raises(NotEncodableError):
        EntryEncoding().encode(entry({"*": Verdict(permitted=True, reason="given", since=-1)}))

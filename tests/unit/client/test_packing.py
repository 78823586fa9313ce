"""Packed verdicts say what the entry said, in few bytes."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_client import packing as packing_module
from consent_client.errors import UnpackableError
from consent_client.packing import Packing
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
    packing = Packing()
    packed = [packing.pack(entry(verdicts, tenant)) for tenant, verdicts in entries]
    for (tenant, verdicts), value in zip(entries, packed, strict=True):
        assert value
        assert packing.tenant(value) == tenant
        for purpose in ("newsletter", "survey", "offers", "a", "*", "never-named"):
            expected = verdicts.get(purpose) or verdicts.get("*") or NO_DECISION
            assert packing.verdict(value, purpose) == expected


def test_a_usual_entry_is_small() -> None:
    given_ = Verdict(
        permitted=True, reason="given", since=1, expires_at=2, decision_id="0" * 8 + "-0000" * 3 + "-" + "0" * 12
    )
    packed = Packing().pack(entry({"*": NO_DECISION, "newsletter": given_, "survey": given_}))
    assert len(packed) <= 80


@pytest.mark.parametrize("micros", [-1, 253_402_300_800_000_000, 2**63 - 1])
def test_a_time_that_no_calendar_holds_is_refused(micros: int) -> None:  # R4
    with pytest.raises(UnpackableError):
        Packing().pack(entry({"*": Verdict(permitted=True, reason="given", since=micros)}))


def test_invented_purposes_cannot_fill_the_memory() -> None:
    packing = Packing()
    for number in range(packing_module.KINDS_KEPT + 100):
        packing.pack(entry({f"p{number}": NO_DECISION}))
    [tenant] = packing.tenants
    assert len(tenant.kinds) == len(tenant.codes) == packing_module.KINDS_KEPT


def test_many_shapes_are_forgotten_and_found_again() -> None:
    packing = Packing()
    purposes = [f"p{number}" for number in range(150)]
    packed = {
        (a, b): packing.pack(entry({a: NO_DECISION, b: Verdict(permitted=True, reason="given", since=7)}))
        for a in purposes
        for b in purposes
        if a != b
    }
    for (a, b), value in packed.items():
        assert packing.verdict(value, a) == NO_DECISION
        assert packing.verdict(value, b).permitted


def test_one_tenant_s_invented_purposes_leave_every_entry_readable(monkeypatch: pytest.MonkeyPatch) -> None:  # R45
    monkeypatch.setattr(packing_module, "KINDS_KEPT", 20)
    packing = Packing()
    held = {}
    for number in range(100):
        verdict = Verdict(permitted=bool(number % 2), reason="given", since=number, expires_at=number + 1)
        held[number] = packing.pack(entry({f"p{number}": verdict, "*": NO_DECISION}, "noisy"))
    other = packing.pack(entry({"newsletter": Verdict(permitted=True, reason="given", since=1)}, "quiet"))
    assert len(other) == 14
    assert (packing.tenant(other), packing.verdict(other, "newsletter").permitted) == ("quiet", True)
    for number, packed in held.items():
        assert packing.tenant(packed) == "noisy"
        assert packing.verdict(packed, f"p{number}").since == number
        assert packing.verdict(packed, "another") == NO_DECISION


def test_invented_tenants_leave_every_entry_readable(monkeypatch: pytest.MonkeyPatch) -> None:  # R45
    monkeypatch.setattr(packing_module, "CODES", 5)
    packing = Packing()
    refused = Verdict(permitted=False, reason="withdrawn", since=3, decision_id="d-1")
    held = {f"t{number}": packing.pack(entry({"*": refused}, f"t{number}")) for number in range(12)}
    assert {name: packing.tenant(packed) for name, packed in held.items()} == {name: name for name in held}
    assert all(packing.verdict(packed, "any") == refused for packed in held.values())


def test_a_replica_that_read_them_in_another_order_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing_module, "KINDS_KEPT", 3)
    entries = [entry({f"p{number}": Verdict(permitted=True, reason="given", since=number)}) for number in range(10)]
    one, two = Packing(), Packing()
    first = [one.pack(each) for each in entries]
    second = [two.pack(each) for each in reversed(entries)][::-1]
    for number, (here, there) in enumerate(zip(first, second, strict=True)):
        assert one.verdict(here, f"p{number}") == two.verdict(there, f"p{number}")


def test_what_is_written_out_is_held_to_the_calendar_too(monkeypatch: pytest.MonkeyPatch) -> None:  # R4
    monkeypatch.setattr(packing_module, "KINDS_KEPT", 0)
    with pytest.raises(UnpackableError):
        Packing().pack(entry({"*": Verdict(permitted=True, reason="given", since=-1)}))

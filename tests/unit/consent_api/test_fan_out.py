"""Which addresses a decision reaches. # R14 R34"""

from __future__ import annotations

from consent_api.domain.addresses import Address
from consent_api.domain.fan_out import PublishableDecision, SubjectChannel, spreads
from consent_contracts.decisions import STATUSES, Decision


def address(number: int) -> Address:
    return Address(address_id=number, tenant="acme", channel="sms", sealed={f"h1.{number}": b""})


def choice(status: str, *, at: int = 1, purpose: str = "survey", subject: str | None = "s1") -> PublishableDecision:
    decision = Decision(
        decision_id=f"{at}-{status}",
        subject_ref=subject,
        purpose=purpose,
        status=status,
        effective_at=at,
        recorded_at=at,
    )
    return PublishableDecision(decision=decision, spreads=spreads(subject, decision), source_system=None)


A, B, C = address(1), address(2), address(3)


def test_a_refusal_reaches_every_linked_address_whichever_it_names() -> None:
    channel = SubjectChannel([A, B])
    assert channel.addresses_for(choice("withdrawn"), A) == [A, B]
    assert channel.addresses_for(choice("objected"), None) == [A, B]


def test_a_permission_reaches_the_address_it_names_or_those_linked_now() -> None:
    channel = SubjectChannel([A, B])
    assert channel.addresses_for(choice("given"), B) == [B]
    assert channel.addresses_for(choice("given"), None) == [A, B]


def test_an_address_linked_later_inherits_refusals_and_no_permissions() -> None:
    channel = SubjectChannel([A])
    channel.addresses_for(choice("given", at=1, purpose="newsletter"), None)
    older, newer, everything = choice("refused", at=2), choice("withdrawn", at=3), choice("objected", purpose="*")
    for each in (newer, older, everything):
        channel.addresses_for(each, None)
    assert channel.link(B) == [newer, everything]
    assert channel.link(B) == []
    assert channel.addresses_for(choice("given", at=9), None) == [A, B]


def test_a_refusal_is_inherited_even_after_a_newer_permission_elsewhere() -> None:
    """The permission was given for the addresses of its moment; on a new one the refusal still counts."""
    channel = SubjectChannel([A])
    refusal = choice("withdrawn", at=1)
    channel.addresses_for(refusal, None)
    channel.addresses_for(choice("given", at=10), A)
    assert channel.link(C) == [refusal]


def test_a_choice_without_a_subject_reaches_its_address_alone() -> None:
    assert SubjectChannel().addresses_for(choice("withdrawn", subject=None), A) == [A]


def test_everything_but_a_permission_reaches_the_aliases() -> None:  # R11
    assert {status for status in STATUSES if choice(status).reaches_aliases} == STATUSES - {"given"}
    assert choice("of a later release").reaches_aliases

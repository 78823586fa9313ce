"""The ledger's database: what is judged a fault, and with which cure."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from consent_api.ledger.backlog import OutboxBacklog
from consent_api.ledger.tables import FUNCTIONS, GRANTS
from consent_api.operations.doctor.ledger import (
    KeyAge,
    ServerFacts,
    judge_api_keys,
    judge_clock,
    judge_outbox,
    judge_partitions,
    judge_server,
)
from consent_api.operations.doctor.privileges import RoleFacts, judge_role, parse_grants
from consent_service.doctor.findings import Finding, Result

SERVER = ServerFacts(version=170_004, encrypted=True, standby=False, durable=True, schema_version="0007")
NEEDED = parse_grants(GRANTS)
ROLE = RoleFacts(
    name="services", attributes=(), member_of=(), owns=(), creates=False, tables=NEEDED, functions=FUNCTIONS
)


def judged(role: RoleFacts) -> list[Finding]:
    return list(judge_role(role, NEEDED, FUNCTIONS))


@pytest.mark.parametrize(
    ("change", "result", "cure"),
    [
        ({}, Result.OK, ""),
        ({"version": 160_009}, Result.FAULT, "run PostgreSQL 17 or later"),
        ({"standby": True}, Result.FAULT, "name the primary in CONSENT_RELAY_API_DATABASE"),
        ({"schema_version": None}, Result.FAULT, "run: consent-relay migrate"),
        ({"schema_version": "0006"}, Result.FAULT, "run: consent-relay migrate"),
        ({"schema_version": "0008"}, Result.WARNING, "go on with the upgrade"),
        ({"durable": False}, Result.WARNING, "switch both on"),
        ({"encrypted": False}, Result.WARNING, "set sslmode=verify-full"),
    ],
)
def test_a_server_is_one_that_this_release_can_use(change: dict[str, object], result: Result, cure: str) -> None:
    [found] = judge_server(replace(SERVER, **change), required="0007")  # type: ignore[arg-type]
    assert found.result is result
    assert found.cure.startswith(cure)


def test_grants_are_read_as_postgresql_writes_them() -> None:
    assert parse_grants({"t": "SELECT, INSERT, UPDATE (a, b), DELETE"}) == {
        "t": {"SELECT", "INSERT", "UPDATE (a)", "UPDATE (b)", "DELETE"}
    }


def test_a_role_with_what_it_needs_and_no_more_is_as_it_should_be() -> None:
    assert [each.result for each in judged(ROLE)] == [Result.OK]


def test_a_privilege_that_is_missing_takes_a_migration() -> None:
    tables = {**NEEDED, "decisions": frozenset({"SELECT"})}
    [found] = judged(replace(ROLE, tables=tables))
    assert (found.found, found.cure) == ("services may not INSERT decisions", "run: consent-relay migrate")
    [function] = judged(replace(ROLE, functions=FUNCTIONS[1:]))
    assert function.found == f"services may not call {FUNCTIONS[0]}"


@pytest.mark.parametrize(
    ("table", "privilege"),
    [("decisions", "UPDATE"), ("receipts", "DELETE"), ("subjects", "UPDATE (tenant)"), ("key_exports", "SELECT")],
)
def test_a_privilege_too_many_is_a_fault(table: str, privilege: str) -> None:
    tables = {**NEEDED, table: NEEDED.get(table, frozenset()) | {privilege}}
    [found] = judged(replace(ROLE, tables=tables))
    assert found.result is Result.FAULT
    assert found.found.startswith(f"services may {privilege} {table}, which it does not need")


@pytest.mark.parametrize(
    ("change", "result", "cure"),
    [
        ({"attributes": ["SUPERUSER"]}, Result.FAULT, "ALTER ROLE services NOSUPERUSER"),
        ({"attributes": ["CREATEROLE"]}, Result.FAULT, "ALTER ROLE services NOCREATEROLE"),
        ({"member_of": ["owner"]}, Result.FAULT, "REVOKE owner FROM services"),
        ({"owns": ["decisions"]}, Result.FAULT, "give them to the owner of the database"),
        ({"creates": True}, Result.WARNING, "REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
    ],
)
def test_a_power_over_the_record_is_named_with_its_cure(change: dict[str, object], result: Result, cure: str) -> None:
    [found] = judged(replace(ROLE, **change))  # type: ignore[arg-type]
    assert found.result is result
    assert found.cure.startswith(cure)


@pytest.mark.parametrize(
    ("offset", "result"), [(0.0, Result.OK), (1.0, Result.OK), (1.1, Result.FAULT), (-7.0, Result.FAULT)]
)
def test_a_clock_that_differs_from_the_databases_is_a_fault(offset: float, result: Result) -> None:
    found = judge_clock(offset)
    assert found.result is result
    assert found.cure == ("synchronise both hosts (NTP)" if result is Result.FAULT else "")


@pytest.mark.parametrize(
    ("lane", "oldest", "resolved", "result"),
    [
        ("live", 0.0, 1.0, Result.OK),
        ("live", 16.0, 1.0, Result.WARNING),
        ("live", 0.0, 16.0, Result.WARNING),
        ("live", 0.0, 31.0, Result.FAULT),
        ("live", 0.0, math.nan, Result.FAULT),
        ("bulk", 400.0, 100.0, Result.OK),
        ("bulk", 460.0, 100.0, Result.WARNING),
        ("bulk", 0.0, 901.0, Result.FAULT),
    ],
)
def test_an_outbox_that_does_not_drain_is_named_by_its_lane(
    lane: str, oldest: float, resolved: float, result: Result
) -> None:
    [found] = judge_outbox({lane: OutboxBacklog(pending=3, oldest_seconds=oldest)}, {lane: resolved})
    assert found.result is result
    if result is not Result.OK:
        assert lane in found.found


def test_a_number_of_partitions_that_relays_have_not_found_is_a_fault() -> None:
    assert judge_partitions({"live": 4, "bulk": 0}, 4) == []
    [found] = judge_partitions({"live": 4, "bulk": 4, "none": 3}, 4)
    assert (found.result, found.cure.partition(",")[0]) == (Result.FAULT, "set CONSENT_RELAY_PARTITIONS=3")


def test_an_old_api_key_is_named_by_its_id() -> None:
    keys = [KeyAge(id="a1b2c3", tenant="acme", days=400.0), KeyAge(id="d4e5f6", tenant="acme", days=3.0)]
    [found] = judge_api_keys(keys, 365.0)
    assert (found.result, found.found) == (Result.WARNING, "key a1b2c3 of acme is 400 days old")
    assert found.cure.endswith("consent-relay keys revoke a1b2c3")
    assert [each.result for each in judge_api_keys(keys[1:], 365.0)] == [Result.OK]

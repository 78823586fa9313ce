"""The ledger from a backup, an empty Kafka, an empty registry: what was decided is in force again. # R33, R43, R44"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from click.testing import CliRunner
from psycopg import sql

from consent_api.ledger.tables import metadata
from consent_contracts import Topics, effective_verdict
from consent_contracts.cloudevents import rfc3339
from consent_contracts.codec import Codec
from consent_privacy.keyring import Keyring
from consent_service.cli import cli
from consent_service.clock import now_micros
from local_stack.audit.compare import Findings
from local_stack.audit.live import audit, tools
from local_stack.demo.population import CHANNELS, PURPOSES, Choice
from local_stack.demo.status import DemoStatus
from local_stack.endpoints import Endpoints
from local_stack.servers import ServerEndpoints, postgres
from local_stack.stack import Stack
from tests.chaos import checks
from tests.chaos.load import Load
from tests.conftest import own_database
from tests.support import inbound_sources, provider_webhooks
from tests.support.evidence import EVIDENCE
from tests.support.topic_records import records
from tests.support.waiting import until

PERSONS = 60
HOUR = 3_600_000_000
ERASED, HELD, PAUSED, IN_DOUBT, CONFIRMED = (f"+3363998{number:04}" for number in range(7001, 7006))


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A running system, and its API as an operator uses it."""

    stack: Stack
    api: httpx.Client

    @property
    def endpoints(self) -> Endpoints:
        return self.stack.endpoints

    def permit(self, number: str) -> str:
        """For surveys by text; whose it is."""
        answer = self.post("/v1/decisions", json=permission(number))
        assert answer.status_code == 201, answer.text
        return person_of(number)

    def post(self, path: str, **content: Any) -> httpx.Response:
        return self.api.post(path, headers={"Idempotency-Key": f'"{uuid4()}"'}, **content)

    def webhook(self, number: str, text: str) -> None:
        """A reply by text."""
        sent = provider_webhooks.standard(
            {"type": "reply", "address": number, "occurred_at": rfc3339(now_micros()), "text": text},
            key=inbound_sources.secret_of(Path(self.endpoints.settings["CONSENT_RELAY_INBOUND_FILE"])),
            now=now_micros() // 1_000_000,
        )
        path = f"/v1/inbound/{inbound_sources.source_id('sms', 'survey')}"
        answer = self.api.post(path, content=sent.body, headers=dict(sent.headers))
        assert answer.status_code == 200, answer.text

    def pause(self, number: str) -> None:
        """Surveys, for 30 days, on the person's own page."""
        (made,) = self.post("/v1/links", json={"links": [{"channel": "sms", "address": number}]}).json()["links"]
        page = made["preferences"].removeprefix(self.endpoints.api)
        form = re.search(r'name="form" value="([^"]+)"', self.api.get(page).text)
        assert form is not None
        saved = self.post(page, data={"form": form[1], "action": "save", "sms.survey": "pause_30"})
        assert saved.status_code == 200, saved.text

    def answer_of_gate(self, number: str, **asked: str) -> Mapping[str, Any]:
        """For a survey by text, unless `asked` names another purpose."""
        answer = httpx.post(
            f"{self.endpoints.gate}/v1/check",
            json={"channel": "sms", "purpose": "survey", "addresses": [number], **asked},
            headers={"Authorization": f"Bearer {self.endpoints.check_key}"},
            timeout=30,
        )
        found: dict[str, Any] = answer.json()["results"][0]
        return found

    def settle(self) -> None:
        checks.settle(self.stack, DemoStatus(self.endpoints), to_stderr)

    def entries(self) -> dict[str, Mapping[str, Any]]:
        """What the lists say, by address key, without the times of their writing."""
        topics = Topics(prefix=self.endpoints.topic_prefix)
        codec = Codec.connect(self.endpoints.registry, topics)
        found: dict[str, Mapping[str, Any]] = {}
        for topic in map(topics.suppression, CHANNELS):
            for record in records(self.endpoints.kafka, topic):
                entry = codec.decode(topic, record.value() or b"")
                found[str(entry["address_key"])] = {
                    "verdicts": entry["verdicts"],
                    "sealed_address": entry["sealed_address"],
                    "erased_at": entry["erased_at"],
                    "decisions": sorted(entry["decisions"], key=itemgetter("decision_id")),
                }
        return found

    def run(self, *command: str) -> str:
        """What a command prints, as `consent-relay env` has an operator run it."""
        ran = CliRunner().invoke(cli, command, env=dict(self.endpoints.settings))
        assert ran.exit_code == 0, ran.output
        return ran.output


def test_a_backup_and_an_empty_kafka_give_the_same_verdicts(servers: ServerEndpoints, tmp_path: Path) -> None:
    inbound = {"CONSENT_RELAY_INBOUND_FILE": str(inbound_sources.write(tmp_path))}
    dump, keyring = tmp_path / "ledger.dump", tmp_path / "keyring.toml"
    shared = {"CONSENT_RELAY_KAFKA": servers.kafka, "CONSENT_RELAY_REGISTRY": servers.registry}
    with own_database(servers) as database, own_database(servers) as restored:
        prefix = f"t{uuid4().hex[:8]}."
        lost = {**inbound, **shared, "CONSENT_RELAY_DATABASE": database, "CONSENT_RELAY_TOPIC_PREFIX": prefix}
        with installation(tmp_path / "lost", lost) as old, closing(population(old)) as load:
            load.all_choose()
            rare_cases(old)
            old.settle()
            entries = old.entries()
            old.stack.supervisor.child("relay").stop()
            late = withdrawn_late(load)
            shutil.copy(old.endpoints.keyring_file, keyring)
            old_key = old.endpoints.api_key
        # No process works any more: what is dumped can be compared row by row.
        postgresql("pg_dump", "--format=custom", f"--file={dump}", address(database))
        arguments = ("--no-owner", "--no-privileges", "--exit-on-error")
        postgresql("pg_restore", *arguments, f"--dbname={address(restored)}", str(dump))
        assert content(restored) == content(database)
        assert content(restored)["outbox"][0] > 0, "some decisions were not published before the loss"
        with owner(restored) as connection:
            connection.execute("TRUNCATE outbox, outbox_bulk")

        (tmp_path / "new").mkdir()
        shutil.copy(keyring, tmp_path / "new" / "keyring.toml")
        environ = {**inbound, "CONSENT_RELAY_DATABASE": restored, "CONSENT_RELAY_TOPIC_PREFIX": prefix}
        with installation(tmp_path / "new", environ) as new:
            new.run("republish", "--restart")
            new.settle()
            assert "no differences" in new.run("verify")
            as_decided(new, load, entries, late)
            rare_cases_hold(new, restored)
            recent = new.api.get("/v1/rights/holds", headers={"Authorization": f"Bearer {old_key}"})
            assert recent.status_code == 200, "an API key of the backup is valid"


def rare_cases(old: Installation) -> None:
    """An erased person, a hold, a pause, a reply in doubt, and a STOP whose one confirmation has been sent."""
    persons = {number: old.permit(number) for number in (ERASED, HELD, PAUSED, IN_DOUBT, CONFIRMED)}
    until(lambda: all(old.answer_of_gate(each)["permitted"] for each in persons), what="all are permitted")
    held = old.post("/v1/rights/holds", json={"subject_ref": persons[HELD], "reason": "a claim in court"})
    assert held.status_code == 201, held.text
    old.pause(PAUSED)
    old.webhook(IN_DOUBT, "trop de messages")
    old.webhook(CONFIRMED, "STOP")
    token = old.post("/v1/allow-once", json={"channel": "sms", "address": CONFIRMED}).json()["token"]
    until(lambda: not old.answer_of_gate(CONFIRMED)["permitted"], what="the STOP is in force")
    assert old.answer_of_gate(CONFIRMED, purpose="opt-out-confirmation", allow_once=token)["permitted"]

    begun = old.post("/v1/rights/erasures", json={"subject_ref": persons[ERASED]})
    assert begun.status_code == 202, begun.text

    def ended() -> bool:
        with owner(old.endpoints.database) as connection:
            connection.execute("UPDATE erasures SET notify_until = 0, next_turn_at = 0")
        state = old.api.get(f"/v1/rights/erasures/{begun.json()['erasure_id']}").json()["state"]
        return bool(state == "ended")

    until(ended, what="the erasure ends")


def rare_cases_hold(new: Installation, database: str) -> None:
    for number in (ERASED, PAUSED, IN_DOUBT, CONFIRMED):
        assert not new.answer_of_gate(number)["permitted"], number
    assert new.answer_of_gate(HELD)["permitted"]
    again = new.post("/v1/decisions", json=permission(ERASED))
    assert (again.status_code, again.json()["errors"][0]["detail"]) == (422, "erased")
    erasure = new.post("/v1/rights/erasures", json={"subject_ref": person_of(HELD)})
    assert erasure.status_code == 409, erasure.text
    assert len(new.api.get("/v1/reviews").json()["reviews"]) == 1
    with owner(database) as connection:
        assert connection.execute("SELECT count(*) FROM allow_once_uses").fetchone() == (1,)
        connection.execute("UPDATE pauses SET ends_at = 0")
    until(lambda: new.answer_of_gate(PAUSED)["permitted"], what="the permission after the pause")


def as_decided(new: Installation, load: Load, before: Mapping[str, Any], late: set[tuple[str, str]]) -> None:
    """List, gate and tools, by the published rule; and each entry as it was before the loss."""
    findings = until(lambda: right(new, load), what="gate and tools hold what was decided")
    for name in ("gate", *(tool.destination for tool in tools(new.endpoints))):
        assert findings.matches[name], f"nothing was compared at {name}"
    entries, keyring, now = new.entries(), Keyring.load(Path(new.endpoints.keyring_file)), now_micros()
    keys = {place: keyring.address_key(new.endpoints.tenant, *place) for place in load.book.verdicts()}
    for place, known in load.book.verdicts().items():
        listed = entries[keys[place]]["verdicts"]
        for purpose in PURPOSES[place[0]]:
            verdict = listed.get(purpose, listed["*"])
            assert verdict["permitted"] == effective_verdict(known, purpose, now).permitted, (place, purpose)
    changed = {keys[place] for place in late}
    assert changed
    different = {key for key in before.keys() | entries.keys() if before.get(key) != entries.get(key)}
    assert different <= changed, {key: (before.get(key), entries.get(key)) for key in different - changed}


def right(new: Installation, load: Load) -> Findings | None:
    found = audit(new.endpoints, load.book.verdicts())
    if found.differences:
        to_stderr(f"different: {found.differences[:3]}")
        return None
    return found


def withdrawn_late(load: Load) -> set[tuple[str, str]]:
    """By some, recorded and not published any more."""
    now = now_micros()
    choices = [
        Choice(
            event_id=str(uuid4()),
            subject_ref=person.subject_ref,
            channel="sms",
            address=person.address("sms"),
            written=person.address("sms"),
            purpose=PURPOSES["sms"][0],
            status="withdrawn",
            occurred_at=now,
        )
        for person in load.people[:5]
    ]
    load.http.send(choices)
    return {("sms", each.address) for each in choices}


def person_of(number: str) -> str:
    return f"person-{number[-4:]}"


def permission(number: str) -> dict[str, Any]:
    return {
        "subject_ref": person_of(number),
        "channel": "sms",
        "address": number,
        "purpose": "survey",
        "status": "given",
        "occurred_at": rfc3339(now_micros() - HOUR),
        "expires_at": "2999-01-01T00:00:00Z",
        "evidence": EVIDENCE,
    }


@contextmanager
def installation(directory: Path, environ: Mapping[str, str]) -> Iterator[Installation]:
    with Stack(directory, environ=environ, report=to_stderr) as stack:
        stack.start()
        headers = {"Authorization": f"Bearer {stack.endpoints.api_key}"}
        with httpx.Client(base_url=stack.endpoints.api, headers=headers, timeout=60) as client:
            yield Installation(stack=stack, api=client)
        assert not stack.crashes, [(each.name, each.how, each.tail) for each in stack.crashes]


def population(old: Installation) -> Load:
    return Load(old.endpoints, persons=PERSONS, rate=1.0, seed=44)


def postgresql(name: str, *arguments: str) -> None:
    ran = subprocess.run([postgres.program(name), *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr


def address(database: str) -> str:
    """As PostgreSQL's own programs take it."""
    return database.replace("+psycopg", "", 1)


@contextmanager
def owner(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(address(database), autocommit=True) as connection:
        yield connection


def content(database: str) -> dict[str, tuple[int, str]]:
    """By table: how many rows, and a hash over them."""
    query = "SELECT count(*), md5(coalesce(string_agg(t::text, '' ORDER BY t::text), '')) FROM {} t"
    found = {}
    with owner(database) as connection:
        for table in metadata.tables:
            row = connection.execute(sql.SQL(query).format(sql.Identifier(table))).fetchone()
            assert row is not None
            found[table] = (int(row[0]), str(row[1]))
    return found


def to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

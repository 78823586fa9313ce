"""What is done to the running system, so that an alert fires."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from confluent_kafka import Producer
from psycopg import sql
from sqlalchemy import make_url

from consent_contracts import Topics
from consent_contracts.cloudevents import rfc3339
from consent_service.clock import now_micros
from local_stack.stack import Stack
from tests.drill.drill import Scene
from tests.support import provider_webhooks, registers
from tests.support.access_tokens import Issuer
from tests.support.certificates import Authority
from tests.support.evidence import EVIDENCE
from tests.support.inbound_sources import source_id
from tests.support.recreated_topics import recreate
from tests.support.tls_fronts import registry_front
from tests.support.topic_records import records
from tests.support.truncated_topics import truncate
from tests.support.waiting import until

Cause = Callable[[Scene], None]

NOT_AVRO = b"no record of ours"
TOKENS = 20
TOOL_ADDRESS, LIST_ADDRESS, UNMAPPED_ADDRESS = "+33639989001", "+33639989002", "+33639989003"
PAUSED_ADDRESS = "drill-paused@example.com"
UNMAPPED_PURPOSE = "winback"
DATED_BACK_DAYS = 40
UNCOMPARED_DAYS = 3
SHORT_DAYS, LONG_DAYS = 10, 90
PAUSE_LEFT_MICROS = 2_000_000
"""Until a pause that is dated back is over: it is held by then."""
CLOCK_SHIFT_SECONDS = 5
SHIFTED_CLOCK = Path(__file__).parents[1] / "integration" / "failing" / "shifted_clock"
_OF_SHIFT = ("PYTHONPATH", "TEST_CLOCK_SHIFT_SECONDS")
DISK_MIB, FILLED_MIB = 128, 118
OTHER_DATA = "core.4711"
OWN_TRANSACTION_MILLISECONDS = 600_000
"""Longer than the drill needs: the broker aborts it by itself after that."""


def topics_of(stack: Stack) -> Topics:
    return Topics(prefix=stack.endpoints.topic_prefix)


def kill(name: str) -> Cause:
    return lambda scene: scene.stack.kill(name)


def freeze(name: str) -> Cause:
    return lambda scene: scene.stack.pause(name)


def control(scene: Scene, what: str, body: object) -> None:
    """One switch of the sandbox."""
    url = f"{scene.stack.endpoints.sandbox_control}/_control/{what}"
    httpx.put(url, json=body, timeout=10).raise_for_status()


def switch(what: str, body: object) -> Cause:
    return lambda scene: control(scene, what, body)


def decide(scene: Scene, **decision: object) -> None:
    endpoints = scene.stack.endpoints
    answer = httpx.post(
        f"{endpoints.api}/v1/decisions",
        json=decision,
        headers={"Authorization": f"Bearer {endpoints.api_key}", "Idempotency-Key": f'"{uuid4()}"'},
        timeout=30,
    )
    assert answer.status_code == 201, answer.text


def set_aside(file: Path, content: str) -> Path:
    """Another content beside the file, to be renamed into its place."""
    beside = file.with_suffix(".right")
    beside.touch(mode=0o600)
    beside.write_text(content)
    return beside


def damaged(file: Path, wrong: str) -> None:
    """The file has other contents; what it had is beside it."""
    set_aside(file, file.read_text())
    file.write_text(wrong)


def leave_transaction_open(scene: Scene) -> None:
    """On the first partition of consent.inbound.v1, by a client that is not ours."""
    settings = {
        "bootstrap.servers": scene.stack.endpoints.kafka,
        "transactional.id": f"{scene.stack.endpoints.topic_prefix}foreign",
        "transaction.timeout.ms": OWN_TRANSACTION_MILLISECONDS,
    }
    producer = Producer(settings)
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topics_of(scene.stack).inbound, NOT_AVRO, b"foreign", 0)
    assert not producer.flush(30)
    scene.undo.callback(producer.purge)  # It lives until then: one that is collected would abort its transaction.


def withdraw_without_target(scene: Scene) -> None:
    """A purpose that twilio-fr has no target for."""
    decide(scene, channel="sms", address=UNMAPPED_ADDRESS, purpose=UNMAPPED_PURPOSE, status="withdrawn")


def wrong_credentials(scene: Scene) -> None:
    """The token of twilio-fr is replaced by one that the tool does not know."""
    damaged(twilio_token(scene.stack), "0" * 32)


def misspell_connector(scene: Scene) -> None:
    """In the entry of twilio-fr, and the propagator is restarted with it."""
    file = destinations_file(scene.stack)
    damaged(file, file.read_text().replace("connector: twilio", "connector: twillio"))
    scene.stack.restart("propagator")


def destinations_file(stack: Stack) -> Path:
    return Path(stack.endpoints.destinations_file)


def twilio_token(stack: Stack) -> Path:
    return stack.directory / "secrets" / "twilio-token"


def damage_gate_keys(scene: Scene) -> None:
    gate_keys(scene.stack).write_text("{")


def gate_keys(stack: Stack) -> Path:
    return Path(stack.endpoints.settings["CONSENT_RELAY_GATE_KEYS_FILE"])


def campaigns_name_no_list(scene: Scene) -> None:
    """And the propagator is restarted, since it looks every ten minutes only."""
    control(scene, "genesys", {"campaigns": {}})
    scene.stack.restart("propagator")


def campaigns_name_lists(scene: Scene) -> None:
    control(scene, "genesys", {"campaigns": None})
    scene.stack.restart("propagator")


def send_unreadable_record(scene: Scene) -> None:
    producer = Producer({"bootstrap.servers": scene.stack.endpoints.kafka})
    producer.produce(topics_of(scene.stack).inbound, NOT_AVRO, b"drill")
    assert not producer.flush(30)


def delete_unread_records(scene: Scene) -> None:
    """Records of consent.inbound.v1 are deleted while ingest does not run, as by a retention that is too short."""
    kafka, topic = scene.stack.endpoints.kafka, topics_of(scene.stack).inbound
    scene.stack.supervisor.child("ingest").stop()
    producer = Producer({"bootstrap.servers": kafka})
    for partition in range(4):
        producer.produce(topic, NOT_AVRO, b"drill", partition)
    assert not producer.flush(30)
    truncate(kafka, [topic])
    scene.stack.restart("ingest")


def lose_changes(scene: Scene) -> None:
    """consent.changes.v1 is created again, and the merge dies as soon as it has reported the holes: the relay publishes
    the ledger again at once, and it is the merge that closes them."""
    stack, topics = scene.stack, topics_of(scene.stack)
    stack.supervisor.child("relay").stop()
    recreate(kafka=stack.endpoints.kafka, registry=stack.endpoints.registry, topics=topics, names=[topics.changes])
    until(lambda: scene.prometheus.query("consent_relay_list_holes_open > 0"), what="the merge reports a hole")
    stack.kill("suppression")
    stack.supervisor.child("relay").start()


def write_old_entry(scene: Scene) -> None:
    """A client that is not ours writes an entry over the newer one of the same address."""
    kafka, topic = scene.stack.endpoints.kafka, topics_of(scene.stack).suppression("sms")
    for purpose in ("newsletter", "survey"):
        decide(scene, channel="sms", address=LIST_ADDRESS, purpose=purpose, status="withdrawn")

    def older() -> Any:
        by_key: dict[bytes | None, list[Any]] = {}
        for record in records(kafka, topic):
            by_key.setdefault(record.key(), []).append(record)
        return next((each[-2] for each in by_key.values() if len(each) > 1), None)

    entry = until(older, what="an address with two entries", every=0.5)
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(topic, entry.value(), entry.key(), entry.partition(), headers=entry.headers())
    assert not producer.flush(30)


def post_webhook(scene: Scene, event: object, *, key: str) -> int:
    """The status of the answer to a tool's webhook."""
    sent = provider_webhooks.standard(event, key=key, now=now_micros() // 1_000_000)
    url = f"{scene.stack.endpoints.api}/v1/inbound/{source_id('sms', 'promotions')}"
    return httpx.post(url, content=sent.body, headers=dict(sent.headers), timeout=60).status_code


def opt_out(address: str = TOOL_ADDRESS) -> dict[str, str]:
    return {"type": "opt_out", "address": address, "occurred_at": rfc3339(now_micros())}


def inbound_secret(stack: Stack) -> Path:
    return Path(stack.endpoints.settings["CONSENT_RELAY_INBOUND_FILE"]).parent / "inbound-secret"


def change_webhook_secret(scene: Scene) -> None:
    """The tool signs with another secret than ours, and someone opts out there."""
    new = provider_webhooks.webhook_secret()
    set_aside(inbound_secret(scene.stack), new)
    status = post_webhook(scene, opt_out(), key=new)
    assert status == 403, f"the webhook was answered {status}"


def send_signed_webhook(scene: Scene) -> None:
    """Again until it is taken, as tools do: a secret is read within a second."""
    key = inbound_secret(scene.stack).read_text()
    until(lambda: post_webhook(scene, opt_out(), key=key) == 200, what="a webhook with the new secret is taken")


def report_without_address(scene: Scene) -> None:
    """One event of two has no address."""
    nameless = {"type": "opt_out", "occurred_at": rfc3339(now_micros())}
    status = post_webhook(scene, {"events": [opt_out(), nameless]}, key=inbound_secret(scene.stack).read_text())
    assert status == 200, f"the webhook was answered {status}"


def open_old_request(scene: Scene) -> None:
    """A request for access, dated back in the database: the law's months cannot be waited for."""
    endpoints = scene.stack.endpoints
    answer = httpx.post(
        f"{endpoints.api}/v1/rights/requests",
        json={"kind": "access", "subject_ref": "drill-1", "identity_note": "passport seen at the counter"},
        headers={"Authorization": f"Bearer {endpoints.api_key}", "Idempotency-Key": f'"{uuid4()}"'},
        timeout=30,
    )
    assert answer.status_code == 201, answer.text
    micros = DATED_BACK_DAYS * 86_400 * 1_000_000
    with database(scene.stack) as connection:
        connection.execute(
            "UPDATE rights_requests SET opened_at = opened_at - %s, due_at = due_at - %s WHERE state = 'open'",
            (micros, micros),
        )


def database(stack: Stack) -> psycopg.Connection[Any]:
    """As its owner, without transactions."""
    return psycopg.connect(stack.endpoints.database.replace("+psycopg", "", 1), autocommit=True)


def revoke_right_to_compare(scene: Scene) -> None:
    """The relays may read how far the comparison has come, and no more: as after a restore without privileges. The two
    days that the alert takes cannot be waited for."""
    role = make_url(scene.stack.endpoints.settings["CONSENT_RELAY_API_DATABASE"]).username or ""
    compared = "SELECT FROM list_scrub WHERE completed_at IS NOT NULL"
    with database(scene.stack) as connection:
        until(lambda: connection.execute(compared).rowcount, what="the lists have been compared")
        connection.execute(sql.SQL("REVOKE INSERT, UPDATE ON list_scrub FROM {}").format(sql.Identifier(role)))
        connection.execute(
            "UPDATE list_scrub SET completed_at = completed_at - %s", (UNCOMPARED_DAYS * 86_400 * 1_000_000,)
        )


def hold_pauses(scene: Scene) -> None:
    """A person pauses by the preference centre; the pause is dated back, and over once a session holds it: someone's,
    who has looked at it in a transaction and gone home."""
    purpose = {"channel": "email", "address": PAUSED_ADDRESS, "purpose": "promotions"}
    given = {"status": "given", "occurred_at": rfc3339(now_micros()), "expires_at": "2999-01-01T00:00:00Z"}
    decide(scene, **purpose, **given, evidence=EVIDENCE)
    until(lambda: permitted(scene), what="the permission is recorded")
    path = preference_centre(scene)
    found = re.search(r'name="form" value="([^"]+)"', httpx.get(path, timeout=30).text)
    assert found is not None, "the preference centre has no form"
    answer = httpx.post(path, data={"form": found[1], "email.promotions": "pause_30"}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert not permitted(scene)
    session = psycopg.connect(scene.stack.endpoints.database.replace("+psycopg", "", 1), application_name="psql")
    scene.undo.callback(session.close)
    with database(scene.stack) as connection:
        connection.execute("UPDATE pauses SET ends_at = %s", (now_micros() + PAUSE_LEFT_MICROS,))
    assert session.execute("SELECT * FROM pauses FOR UPDATE").rowcount == 1


def await_end_of_pause(scene: Scene) -> None:
    until(lambda: permitted(scene), what="the pause has ended")


def permitted(scene: Scene) -> bool:
    """Whether PAUSED_ADDRESS may be contacted, by the ledger."""
    endpoints = scene.stack.endpoints
    answer = httpx.post(
        f"{endpoints.api}/v1/explain",
        json={"channel": "email", "address": PAUSED_ADDRESS, "purpose": "promotions"},
        headers={"Authorization": f"Bearer {endpoints.api_key}"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["verdict"]["permitted"])


def preference_centre(scene: Scene) -> str:
    """The URL of the preference centre of PAUSED_ADDRESS."""
    endpoints = scene.stack.endpoints
    answer = httpx.post(
        f"{endpoints.api}/v1/links",
        json={"links": [{"channel": "email", "address": PAUSED_ADDRESS}]},
        headers={"Authorization": f"Bearer {endpoints.api_key}"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["links"][0]["preferences"])


def use_short_certificate(scene: Scene) -> None:
    """The registry takes, at one address, none without a certificate of ours; the relay starts with one that ends soon.
    One that lasts longer is issued beside it."""
    directory = client_certificate(scene.stack).parent
    directory.mkdir()
    authority = Authority.create(directory, "authority", days=LONG_DAYS)
    new = authority.sign("relay", days=LONG_DAYS).both.read_text()
    file = authority.sign("relay", days=SHORT_DAYS).both
    set_aside(file, new)
    front = registry_front(scene.stack.endpoints.registry, authority.sign("registry"), clients=authority.file)
    settings = {
        "CONSENT_RELAY_REGISTRY": scene.undo.enter_context(front),
        "CONSENT_RELAY_REGISTRY_SSL_CA_FILE": str(authority.file),
        "CONSENT_RELAY_REGISTRY_SSL_CERTIFICATE_FILE": str(file),
    }
    child = scene.stack.supervisor.child("relay")
    child.program = replace(child.program, env={**child.program.env, **settings})
    scene.stack.restart("relay")


def await_new_certificate(scene: Scene) -> None:
    """An alert is gone for a moment whenever its process starts."""
    metric = 'consent_relay_secret_file_valid_until_timestamp_seconds{process="relay",secret="registry-certificate"}'
    shown = f"{metric} - time() > {SHORT_DAYS * 86_400}"
    until(lambda: scene.prometheus.query(shown), what="the relay uses the new certificate")


def client_certificate(stack: Stack) -> Path:
    """Of the relay, with its key."""
    return stack.directory / "certificates" / "relay.pem"


def date_register_back(scene: Scene) -> None:
    """In the database, as its weeks cannot be waited for; and the gate is given that."""
    micros = DATED_BACK_DAYS * 86_400 * 1_000_000
    with database(scene.stack) as connection:
        connection.execute("UPDATE register_loads SET as_of = as_of - %s", (micros,))
    registers.export(scene.stack.endpoints)
    until(lambda: gate_answers(scene) == "stale", what="the gate denies for a stale register")


def be_answered_by_the_gate(scene: Scene) -> None:
    until(lambda: gate_answers(scene) == "unknown", what="the gate answers by the new register")


def gate_answers(scene: Scene) -> str:
    """The reason for an address that is not in the register, for the purpose of the register."""
    endpoints = scene.stack.endpoints
    asked = {"channel": "voice", "purpose": registers.PURPOSE, "addresses": [TOOL_ADDRESS], "when_stale": "deny"}
    headers = {"Authorization": f"Bearer {endpoints.check_key}"}
    answer = httpx.post(f"{endpoints.gate}/v1/check", json=asked, headers=headers, timeout=30)
    [result] = answer.json()["results"]
    return str(result["reason"])


def submit_opt_out(scene: Scene) -> None:
    decide(scene, channel="sms", address=TOOL_ADDRESS, purpose="promotions", status="withdrawn")


def shift_clock(scene: Scene) -> None:
    """The relay runs with a clock that is fast, as on a host without NTP."""
    child = scene.stack.supervisor.child("relay")
    child.kill()
    wrong = {"PYTHONPATH": str(SHIFTED_CLOCK), "TEST_CLOCK_SHIFT_SECONDS": str(CLOCK_SHIFT_SECONDS)}
    child.program = replace(child.program, env={**child.program.env, **wrong})
    child.start()


def set_clock_right(scene: Scene) -> None:
    child = scene.stack.supervisor.child("relay")
    right = {name: value for name, value in child.program.env.items() if name not in _OF_SHIFT}
    child.kill()
    child.program = replace(child.program, env=right)
    scene.stack.restart("relay")


def fill_disk(scene: Scene) -> None:
    """The propagator's state gets a small file system of its own, which takes the right to mount one; other data fill
    it up."""
    directory = scene.stack.state_directory("propagator")
    scene.stack.supervisor.child("propagator").stop()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=700", "tmpfs", str(directory)]
    ended = subprocess.run(mounted, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"a file system cannot be mounted by this user: {ended.stderr}"
    scene.undo.callback(subprocess.run, ["umount", "--lazy", str(directory)], check=False)
    (directory / OTHER_DATA).write_bytes(bytes(FILLED_MIB * 1024 * 1024))
    scene.stack.restart("propagator")


class TokenCallers:
    """Callers with access tokens of an authorization server that has changed its keys."""

    def __init__(self, file: Path) -> None:
        """`file`: with the key set, for CONSENT_RELAY_OAUTH_JWKS_FILE."""
        self._issuer = Issuer()
        self.file = file
        file.write_bytes(self._issuer.jwks())

    def rotate_and_ask(self, scene: Scene) -> None:
        self._issuer.rotate("r1", "r2")
        set_aside(self.file, self._issuer.jwks().decode())
        answers = {self._ask(scene) for _ in range(TOKENS)}
        assert answers == {401}, f"the gate answered {answers}"

    def succeed(self, scene: Scene) -> None:
        until(lambda: self._ask(scene) == 200, what="the callers' tokens are taken")

    def _ask(self, scene: Scene) -> int:
        answer = httpx.post(
            f"{scene.stack.endpoints.gate}/v1/check",
            json={"channel": "sms", "purpose": "promotions", "addresses": [TOOL_ADDRESS], "when_stale": "deny"},
            headers={"Authorization": f"Bearer {self._issuer.token(kid='r2')}"},
            timeout=30,
        )
        return answer.status_code

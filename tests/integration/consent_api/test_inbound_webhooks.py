"""What people say to tools, through the API into the ledger: each provider, retries, echoes, reviews."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, text

from consent_api.domain.validation import ValidationRules
from consent_api.errors import LedgerUnavailableError, NotFetchedError, WebhookNotRecordedError
from consent_api.http.app import create_app
from consent_api.http.group_commit import MAX_GROUP_SIZE
from consent_api.http.metrics import ApiMetrics
from consent_api.inbound.metrics import InboundMetrics
from consent_api.inbound.providers import PROVIDERS
from consent_api.inbound.receiver import Inbound, Receiver
from consent_api.inbound.sources import Source, read_sources
from consent_api.ledger import key_store, reviews
from consent_api.ledger.ledger import Ledger
from consent_api.links.token import Link, LinkKind, Links
from consent_contracts.cloudevents import rfc3339
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from consent_service.health import Health
from tests.support import provider_webhooks as sent
from tests.support.evidence import EVIDENCE
from tests.support.provider_webhooks import Sent

CHANNELS = ("sms", "email", "voice")
RULES = ValidationRules(channels=CHANNELS, default_region="FR")
URL = "https://consent.example.com/v1/inbound/twilio"
NUMBER, EMAIL = "+33639980001", "person@example.com"
TOKEN, WEBHOOK_SECRET = sent.secret(), sent.webhook_secret()
SENDGRID, SNS = sent.SendGrid(), sent.Sns()
SOURCES: dict[str, dict[str, Any]] = {
    "twilio": {"channel": "sms", "url": URL},
    "vonage": {"channel": "sms"},
    "aws-sns": {"channel": "email", "topics": [sent.TOPIC]},
    "aws-sms": {"provider": "aws-sns", "channel": "sms", "topics": [sent.TOPIC]},
    "sendgrid": {"channel": "email", "secrets": [{"env": "SENDGRID_KEY"}]},
    "mailgun": {"channel": "email"},
    "mailchimp": {"channel": "email"},
    "brevo": {"channel": "email"},
    "mailjet": {"channel": "email"},
    "generic": {"channel": "email", "secrets": [{"env": "WEBHOOK_SECRET"}], "destination": "crm"},
    "mail": {"channel": "email", "secrets": [{"env": "WEBHOOK_SECRET"}]},
}


@dataclass(kw_only=True)
class Tools:
    """The API as tools call it, and as our own systems do."""

    client: TestClient
    engine: Engine
    registry: CollectorRegistry
    fetched: list[str] = field(default_factory=list)

    def send(self, source: str, request: Sent) -> Any:
        url = f"/v1/inbound/{source}" + (f"?{request.query}" if request.query else "")
        return self.client.post(
            url,
            content=request.body,
            headers={**request.headers, "Authorization": request.headers.get("authorization", "")},
        )

    def decide(self, **fields: object) -> Any:
        answer = self.client.post("/v1/decisions", json=fields, headers={"Idempotency-Key": str(uuid4())})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def grant(self, address: str, channel: str = "sms", **fields: object) -> Any:
        grant = {"purpose": "newsletter", "status": "given", "evidence": EVIDENCE, "subject_ref": "s1"}
        times = {"occurred_at": "2026-01-05T10:00:00Z", "expires_at": "2029-01-05T10:00:00Z"}
        return self.decide(**{**grant, **times, "channel": channel, "address": address, **fields})

    def permitted(self, address: str, channel: str = "sms", purpose: str = "newsletter") -> bool:
        body = {"channel": channel, "address": address, "purpose": purpose}
        return bool(self.client.post("/v1/explain", json=body).json()["verdict"]["permitted"])

    def decisions(self) -> list[Mapping[str, Any]]:
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT * FROM decisions WHERE source_system LIKE 'inbound-%'"))
            return [dict(row) for row in rows.mappings()]

    def events(self, source: str, outcome: str) -> float:
        labels = {"source": source, "outcome": outcome}
        return self.registry.get_sample_value("consent_relay_api_inbound_events_total", labels) or 0.0

    def webhooks(self, source: str, outcome: str) -> float:
        labels = {"source": source, "outcome": outcome}
        return self.registry.get_sample_value("consent_relay_api_inbound_webhooks_total", labels) or 0.0


Build = Callable[..., Tools]


@pytest.fixture
def build(ledger: Ledger, owner_engine: Engine, metrics_registry: CollectorRegistry, tmp_path: Path) -> Iterator[Build]:
    """The API with these sources, over a ledger that a test may damage."""
    entries = [
        {"id": name, "provider": name, "secrets": [{"env": "TOKEN"}], "tenant": "acme", **members}
        for name, members in SOURCES.items()
    ]
    file = tmp_path / "inbound.yaml"
    file.write_text(yaml.safe_dump({"sources": entries}))
    environ = {"TOKEN": TOKEN, "SENDGRID_KEY": SENDGRID.verification_key, "WEBHOOK_SECRET": WEBHOOK_SECRET}
    with owner_engine.begin() as connection:
        scopes = ["submit", "read", "admin", "check"]
        key = key_store.create(connection, tenant="acme", scopes=scopes, name="tests", now=now_micros())
    opened: list[TestClient] = []

    def make(ledger: Ledger = ledger, **changes: Any) -> Tools:
        sources = read_sources(file, tenants=ledger.context.keyring.tenants, rules=RULES, environ=environ)
        fetched: list[str] = []

        def fetch(url: str) -> bytes:
            fetched.append(url)
            return SNS.fetch(url) if url == sent.CERTIFICATE_URL else b""

        registry = metrics_registry if not opened else CollectorRegistry()
        inbound = Inbound(sources=sources, metrics=InboundMetrics.on(registry, sources=sources), fetch=fetch)
        app = create_app(
            ledger=ledger,
            key_store=key_store.ApiKeyStore(ledger.engine),
            rules=RULES,
            metrics=ApiMetrics.on(registry, channels=CHANNELS),
            health=Health(),
            inbound=replace(inbound, **changes),
        )
        client = TestClient(app, headers={"Authorization": f"Bearer {key}"}, raise_server_exceptions=False)
        opened.append(client.__enter__())
        return Tools(client=client, engine=owner_engine, registry=registry, fetched=fetched)

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def tools(build: Build) -> Tools:
    return build()


def opt_outs(now: int) -> dict[str, Sent]:
    """A withdrawal by each source."""
    ses = {"eventType": "Complaint", "complaint": {"complainedRecipients": [{"emailAddress": EMAIL}]}}
    reply = {"originationNumber": NUMBER, "messageBody": "Arrêt svp", "inboundMessageId": "m1"}
    sms = {"msisdn": NUMBER[1:], "to": "38000", "messageId": "0B01", "text": "désabonnez-moi"}
    return {
        "twilio": sent.twilio_reply("Stop svp", token=TOKEN, url=URL, number=NUMBER, sid="SM01"),
        "vonage": sent.vonage_sms(sms, key=TOKEN),
        "aws-sns": SNS.notification(ses),
        "aws-sms": SNS.notification(reply),
        "sendgrid": SENDGRID.events(
            {"event": "group_unsubscribe", "email": EMAIL, "timestamp": now, "sg_event_id": "x"}
        ),
        "mailgun": sent.mailgun({"event": "unsubscribed", "recipient": EMAIL, "timestamp": now}, key=TOKEN, now=now),
        "mailchimp": sent.mailchimp(
            {"type": "unsubscribe", "fired_at": "2026-11-26 10:00:00", "data[email]": EMAIL}, key=TOKEN
        ),
        "brevo": sent.bearer({"event": "unsubscribed", "email": EMAIL, "ts_epoch": now * 1000}, key=TOKEN),
        "mailjet": sent.basic([{"event": "unsub", "email": EMAIL, "time": now, "MessageID": 5}], key=TOKEN),
        "generic": sent.standard({"type": "opt_out", "address": EMAIL}, key=WEBHOOK_SECRET, now=now),
        "mail": sent.mail(sent.complaint(EMAIL), key=WEBHOOK_SECRET, now=now),
    }


def test_an_opt_out_by_any_provider_withdraws_once_however_often_it_is_sent(tools: Tools) -> None:  # R18, R21
    requests = opt_outs(int(time.time()))
    assert {SOURCES[name].get("provider", name) for name in requests} == set(PROVIDERS)
    for number, (source, request) in enumerate(requests.items()):
        channel = SOURCES[source]["channel"]
        address = NUMBER if channel == "sms" else EMAIL
        tools.grant(address, channel, occurred_at=f"2026-02-{number + 1:02}T10:00:00Z")
        for _ in range(2):
            answer = tools.send(source, request)
            assert answer.status_code == 200, (source, answer.text)
        assert len(tools.decisions()) == number + 1, source
        assert not tools.permitted(address, channel)
        assert tools.events(source, "withdrawn") == 1.0
        assert tools.events(source, "repeated") == 1.0
        assert tools.webhooks(source, "accepted") == 2.0
    assert tools.send("twilio", requests["twilio"]).text == "<Response></Response>"
    found = {row["source_system"]: row for row in tools.decisions()}
    assert {row["purpose"] for row in found.values()} == {"*"}
    objected = {name for name, row in found.items() if row["status"] == "objected"}
    assert objected == {"inbound-aws-sns", "inbound-mail"}
    assert {row["status"] for row in found.values()} == {"withdrawn", "objected"}
    assert found["inbound-twilio"]["evidence"]["capture_method"] == "reply"
    assert found["inbound-aws-sns"]["evidence"]["capture_method"] == "complaint"
    assert found["inbound-brevo"]["evidence"]["capture_method"] == "provider_opt_out"
    assert {row["bulk"] for row in found.values()} == {False}
    with tools.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM outbox_bulk")).scalar_one() == 0


def test_a_forgery_records_nothing_and_is_counted(tools: Tools) -> None:
    stranger, other = sent.secret(), sent.SendGrid()
    now = int(time.time())
    forged = {
        "twilio": sent.twilio_reply("stop", token=stranger, url=URL),
        "sendgrid": other.events({"event": "unsubscribe", "email": EMAIL}),
        "mailgun": sent.mailgun({"event": "unsubscribed", "recipient": EMAIL}, key=stranger, now=now),
        "brevo": sent.bearer({"event": "unsubscribed", "email": EMAIL}, key=stranger),
        "aws-sns": sent.Sns().notification({"eventType": "Complaint"}),
    }
    for source, request in forged.items():
        answer = tools.send(source, request)
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["field"]
        assert answer.json()["cure"]
        assert tools.webhooks(source, "bad_signature") == 1.0
    unsigned = Sent(body=b"{}", headers={"content-type": "application/json"})
    assert tools.send("vonage", unsigned).status_code == 503  # sent again signed
    assert tools.send("brevo", unsigned).status_code == 403
    assert tools.send("nothing", unsigned).status_code == 404
    assert tools.decisions() == []


@pytest.mark.parametrize("why", [LedgerUnavailableError("gone"), RuntimeError("a fault of ours")])
def test_what_cannot_be_recorded_is_answered_so_that_the_provider_sends_it_again(
    build: Build, ledger: Ledger, why: Exception
) -> None:
    def gone(*_: object, **__: object) -> Any:
        raise why

    class Gone(Ledger):
        transact = gone

    tools = build(Gone(engine=ledger.engine, context=ledger.context))
    answers = {source: tools.send(source, each).status_code for source, each in opt_outs(int(time.time())).items()}
    assert answers.pop("brevo") == 429
    assert set(answers.values()) == {503}
    assert tools.webhooks("brevo", "unavailable") == 1.0
    assert tools.decisions() == []


def test_a_certificate_that_cannot_be_fetched_is_asked_for_again(build: Build) -> None:
    def fails(_: str) -> bytes:
        raise NotFetchedError

    tools = build(fetch=fails)
    assert tools.send("aws-sns", SNS.notification({"eventType": "Complaint"})).status_code == 503


@pytest.mark.parametrize(("declared", "most"), [("", 64), ("1048576", 64), ("9" * 40, 64), ("100", 1_000)])
async def test_a_source_holds_no_more_requests_than_it_has_memory_for(ledger: Ledger, declared: str, most: int) -> None:
    source = Source(id="sendgrid", provider="sendgrid", channel="email", tenant="acme")
    metrics = InboundMetrics.on(CollectorRegistry(), sources=["sendgrid"])
    inbound = Inbound(sources={"sendgrid": source}, metrics=metrics)
    receiver = Receiver(ledger, RULES, inbound, on_bulk=lambda: None)
    with ExitStack() as held:
        for _ in range(most):
            held.enter_context(receiver.held(source, declared=declared))
        with pytest.raises(WebhookNotRecordedError), receiver.held(source, declared="100"):
            pass
    with receiver.held(source, declared=declared):
        pass


def test_a_subscription_of_our_topic_is_confirmed(tools: Tools) -> None:
    url = "https://sns.eu-west-3.amazonaws.com/?Action=ConfirmSubscription"
    assert tools.send("aws-sns", SNS.confirmation(url)).status_code == 200
    assert tools.fetched[-1] == url


def test_a_slash_at_the_end_of_a_url_is_no_redirect(tools: Tools) -> None:
    request = opt_outs(now_micros() // 1_000_000)["brevo"]
    answer = tools.client.post(
        "/v1/inbound/brevo/", content=request.body, headers=request.headers, follow_redirects=False
    )
    assert answer.status_code == 200
    assert tools.events("brevo", "withdrawn") == 1


def test_only_mailchimp_is_answered_by_get(tools: Tools) -> None:
    assert tools.client.get("/v1/inbound/mailchimp").status_code == 200
    assert tools.client.head("/v1/inbound/mailchimp").status_code == 200
    assert tools.client.get("/v1/inbound/vonage?text=stop").status_code == 405
    assert tools.client.get("/v1/inbound/nothing").status_code == 404


def test_a_mailgun_token_serves_no_other_body(tools: Tools) -> None:
    now = int(time.time())
    first = sent.mailgun({"event": "delivered", "recipient": EMAIL}, key=TOKEN, now=now, token="t1")
    forged = first.changed(body=first.body.replace(b"delivered", b"complained"))
    assert tools.send("mailgun", first).status_code == 200
    assert tools.send("mailgun", forged).status_code == 403
    assert tools.webhooks("mailgun", "replayed") == 1.0
    assert tools.decisions() == []


def test_a_replay_after_a_later_permission_withdraws_nothing(tools: Tools) -> None:  # R5
    request = sent.twilio_reply("STOP", token=TOKEN, url=URL, number=NUMBER, sid="SM1")
    tools.send("twilio", request)
    with tools.engine.begin() as connection:
        connection.execute(text("DELETE FROM idempotency_keys"))  # as after a week
        connection.execute(
            text("UPDATE decisions SET effective_at = effective_at - 10000000, recorded_at = recorded_at - 10000000")
        )
    tools.grant(NUMBER, occurred_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    assert tools.permitted(NUMBER)
    assert tools.send("twilio", request).status_code == 200
    assert tools.permitted(NUMBER)
    assert tools.events("twilio", "repeated") == 1.0


def test_start_and_oui_grant_nothing_and_soft_bounces_are_counted(tools: Tools) -> None:  # R18
    tools.decide(channel="sms", address=NUMBER, purpose="*", status="withdrawn")
    for text_ in ("START", "oui", "UNSTOP", "merci"):
        assert tools.send("twilio", sent.twilio_reply(text_, token=TOKEN, url=URL, number=NUMBER)).status_code == 200
    assert not tools.permitted(NUMBER)
    assert tools.events("twilio", "start") == 3.0
    assert tools.events("twilio", "other") == 1.0
    events = [{"event": "deferred"}, {"event": "delivered"}, {}]
    answer = tools.send(
        "sendgrid", SENDGRID.events(*[{"email": EMAIL, "sg_event_id": str(n), **e} for n, e in enumerate(events)])
    )
    assert answer.status_code == 200
    outcomes = ("soft_bounce", "delivered", "unreadable")
    assert [tools.events("sendgrid", each) for each in outcomes] == [1.0] * 3
    assert tools.decisions() == []


def _sendgrid_event(event: str, at: float, **fields: object) -> Sent:
    return SENDGRID.events(
        {"event": event, "email": EMAIL, "timestamp": int(at), "sg_event_id": str(uuid4()), **fields}
    )


def test_a_hard_bounce_denies_until_a_later_delivery_and_withdraws_nothing(tools: Tools) -> None:  # R21
    now = time.time()
    tools.grant(EMAIL, "email")
    assert tools.permitted(EMAIL, "email")
    assert tools.send("sendgrid", _sendgrid_event("bounce", now - 100, type="bounce")).status_code == 200
    asked = {"channel": "email", "address": EMAIL, "purpose": "newsletter"}
    explained = tools.client.post("/v1/explain", json=asked).json()
    assert explained["verdict"]["reason"] == "undeliverable"
    assert explained["deciding"]["purpose"] == "@delivery"
    assert [each["effect"] for each in explained["others"]] == ["in_effect"]
    for language, words in (("en", "No person has refused"), ("fr", "Personne n'a refusé")):
        text_ = tools.client.post(
            "/v1/explain", json=asked, headers={"Accept": "text/plain", "Accept-Language": language}
        )
        assert words in text_.text
    # Nothing of the person's changes: a new permission is in effect, and the purpose of any other sender is denied.
    assert tools.grant(EMAIL, "email", purpose="survey")["effect"] == "in_effect"
    assert not tools.permitted(EMAIL, "email", "survey")
    # A delivery of before the bounce, reported late, lifts nothing; one of after it does.
    assert tools.send("sendgrid", _sendgrid_event("delivered", now - 200)).status_code == 200
    assert not tools.permitted(EMAIL, "email")
    assert tools.send("sendgrid", _sendgrid_event("delivered", now - 50)).status_code == 200
    assert tools.permitted(EMAIL, "email")
    # Nor does a bounce of before that delivery deny again.
    assert tools.send("sendgrid", _sendgrid_event("bounce", now - 75, type="bounce")).status_code == 200
    assert tools.permitted(EMAIL, "email")
    assert [each["status"] for each in tools.decisions()] == ["undeliverable", "delivered"]
    with tools.engine.connect() as connection:
        published = connection.execute(text("SELECT count(*) FROM outbox_bulk")).scalar_one()
    assert published == 2


def test_our_own_link_names_the_person_of_a_complaint(tools: Tools, ledger: Ledger) -> None:  # R21
    links = Links(lambda: ledger.context.keyring)
    known, claimed = "known@example.com", "claimed@example.com"

    def complain(**link: Any) -> str:
        """Who has objected: by a report that claims another one, and returns a message with this link of ours."""
        token = links.token(
            Link(kind=LinkKind.ONE_CLICK, purpose="*", **{"tenant": "acme", "channel": "email", **link})
        )
        field = f"Subject: News\nList-Unsubscribe: <https://choices.example.com/u/{token}>"
        report = sent.complaint(claimed).replace(b"Subject: News", field.encode())
        before = {each["decision_id"] for each in tools.decisions()}
        assert tools.send("mail", sent.mail(report, key=WEBHOOK_SECRET, now=int(time.time()))).status_code == 200
        [new] = [each for each in tools.decisions() if each["decision_id"] not in before]
        assert (new["status"], new["evidence"]["capture_method"]) == ("objected", "complaint")
        keys = {ledger.context.keyring.address_key("acme", "email", address): address for address in (known, claimed)}
        with tools.engine.connect() as connection:
            where = {"address_id": new["address_id"]}
            query = text("SELECT address_key FROM address_keys WHERE address_id = :address_id")
            return keys[connection.execute(query, where).scalar_one()]

    assert complain(address=known) == known
    assert complain(channel="sms", address=NUMBER) == claimed


def test_one_text_may_confirm_a_stop_once_at_whichever_gate(tools: Tools, ledger: Ledger) -> None:  # R18
    def issue(address: str = NUMBER) -> Any:
        return tools.client.post("/v1/allow-once", json={"channel": "sms", "address": address})

    def use(token: str, number: str = NUMBER) -> bool:
        key = ledger.context.keyring.address_key("acme", "sms", number)
        body = {"channel": "sms", "address_key": key, "token": token}
        answer = tools.client.post("/v1/allow-once/use", json=body)
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["permitted"])

    assert issue().status_code == 404
    tools.decide(channel="sms", address=NUMBER, purpose="*", status="withdrawn")
    assert issue().status_code == 404  # No message of the person's is to be confirmed.
    assert tools.send("twilio", sent.twilio_reply("STOP", token=TOKEN, url=URL, number=NUMBER)).status_code == 200
    token = issue().json()["token"]
    assert issue().json()["token"] == token
    assert token.count(NUMBER) == 0
    other = "+33639980002"
    assert tools.send("twilio", sent.twilio_reply("STOP", token=TOKEN, url=URL, number=other)).status_code == 200
    decision_id, _, mark = token.partition(".")
    forged = (f"{uuid4()}.{mark}", f"{decision_id}.h1.{'A' * 43}", decision_id, "", "é", "\0" * 200)
    assert not any(use(each) for each in forged if each)
    assert not use(token, other)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(use, [token] * 16)) == 1
    assert issue().status_code == 404
    # A second STOP is withdrawn again, and not confirmed again.
    assert tools.send("twilio", sent.twilio_reply("stop!!", token=TOKEN, url=URL, number=NUMBER)).status_code == 200
    assert issue().status_code == 404
    # The other person's token ends with its five minutes.
    late = issue(other).json()["token"]
    with tools.engine.begin() as connection:
        connection.execute(text("UPDATE decisions SET recorded_at = recorded_at - 301000000, effective_at = 0"))
    assert not use(late, other)
    assert issue(other).status_code == 404


def test_a_refusal_is_the_reason_where_there_is_one(tools: Tools) -> None:
    assert tools.send("sendgrid", _sendgrid_event("bounce", time.time(), type="bounce")).status_code == 200
    tools.decide(channel="email", address=EMAIL, purpose="*", status="objected")
    body = {"channel": "email", "address": EMAIL, "purpose": "newsletter"}
    assert tools.client.post("/v1/explain", json=body).json()["verdict"]["reason"] == "objected"


def test_one_event_stops_no_other(tools: Tools, caplog: pytest.LogCaptureFixture) -> None:
    good = [{"event": "unsubscribe", "email": f"p{n}@example.com", "sg_event_id": str(n)} for n in range(120)]
    odd = [{"event": "unsubscribe", "email": "no address", "sg_event_id": "odd"}, {"event": []}, "text"]
    assert tools.send("sendgrid", SENDGRID.events(*odd, *good)).status_code == 200
    assert len(tools.decisions()) == 120
    assert tools.events("sendgrid", "no_address") == 1.0
    assert tools.events("sendgrid", "unreadable") == 2.0
    [logged] = [vars(each) for each in caplog.records if "change nothing" in each.message]
    assert (logged["source"], logged["no_address"], logged["unreadable"]) == ("sendgrid", 1, 2)


@pytest.mark.parametrize("target", [None, "list-1"])
def test_our_own_push_that_comes_back_is_no_new_choice(tools: Tools, target: str | None) -> None:  # R57
    decision = tools.decide(channel="email", address=EMAIL, purpose="*", status="withdrawn")
    pushed(tools.engine, decision, target="list-1")
    now = int(time.time())
    event = {"type": "opt_out", "address": EMAIL, "target": target}
    assert tools.send("generic", sent.standard(event, key=WEBHOOK_SECRET, now=now)).status_code == 200
    assert tools.events("generic", "echo") == 1.0
    assert tools.decisions() == []
    # In the same minute the person leaves another list, and complains.
    for true in ({**event, "target": "list-2"}, {**event, "type": "complaint"}):
        assert tools.send("generic", sent.standard(true, key=WEBHOOK_SECRET, now=now)).status_code == 200
    assert len(tools.decisions()) == 2


@pytest.mark.parametrize("target", [None, "list-1"])
def test_a_true_opt_out_after_a_permission_of_the_same_minute_is_kept(  # R57
    tools: Tools, target: str | None
) -> None:
    decision = tools.decide(
        channel="email", address=EMAIL, purpose="*", status="withdrawn", occurred_at="2026-01-01T00:00:00Z"
    )
    pushed(tools.engine, decision, target="list-1")
    tools.grant(EMAIL, "email")
    event = {"type": "opt_out", "address": EMAIL, "target": target}
    tools.send("generic", sent.standard(event, key=WEBHOOK_SECRET, now=int(time.time())))
    assert tools.events("generic", "withdrawn") == 1.0
    assert not tools.permitted(EMAIL, "email")


def test_an_opt_out_that_changes_nothing_is_heard(tools: Tools) -> None:  # R5
    tools.grant(EMAIL, "email")
    event = {"type": "opt_out", "address": EMAIL, "occurred_at": "2026-01-01T00:00:00Z"}
    assert tools.send("generic", sent.standard(event, key=WEBHOOK_SECRET, now=int(time.time()))).status_code == 200
    assert tools.permitted(EMAIL, "email")
    assert tools.events("generic", "superseded") == 1.0
    assert tools.events("generic", "withdrawn") == 0.0


def pushed(engine: Engine, decision: Mapping[str, Any], *, target: str) -> None:
    """The receipt of a suppression that the destination has taken."""
    with engine.begin() as connection:
        receipt = str(uuid4())
        (address,) = decision["addresses"]
        connection.execute(
            text(
                "INSERT INTO receipts VALUES (:id, 'acme', 'crm', 'email', :key, :target, 'suppress', 'accepted', 1,"
                " :now, :now, :now, 1, NULL, NULL)"
            ),
            {"id": receipt, "key": address, "target": target, "now": now_micros()},
        )
        connection.execute(
            text("INSERT INTO receipt_decisions VALUES (:decision, :id)"),
            {"decision": decision["decision_id"], "id": receipt},
        )


def paused(tools: Tools, reply: str = "trop de messages", *, seconds_ago: int = 10) -> dict[str, Any]:
    """The review of a reply in doubt, which has come so long ago; less than nothing: it is to come."""
    assert tools.send("twilio", sent.twilio_reply(reply, token=TOKEN, url=URL, number=NUMBER)).status_code == 200
    with tools.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE decisions SET effective_at = effective_at - :past, recorded_at = recorded_at - :past"
                " WHERE source_system = 'inbound-twilio'"
            ),
            {"past": seconds_ago * 1_000_000},
        )
    review: dict[str, Any] = tools.client.get("/v1/reviews").json()["reviews"][-1]
    return review


def resolve(tools: Tools, review: Mapping[str, Any], resolution: str) -> Any:
    return tools.client.post(f"/v1/reviews/{review['review_id']}", json={"resolution": resolution})


def test_a_reply_in_doubt_pauses_the_address_and_waits_for_a_person(tools: Tools) -> None:  # R18
    tools.grant(NUMBER)
    review = paused(tools)
    assert not tools.permitted(NUMBER)
    assert review["reply"] == "trop de messages"
    assert (review["channel"], review["source"]) == ("sms", "twilio")
    (decision,) = tools.decisions()
    assert decision["evidence"]["capture_method"] == "needs_review"
    with tools.engine.connect() as connection:
        sealed = connection.execute(text("SELECT sealed_reply FROM reviews")).scalar_one()
    assert b"messages" not in bytes(sealed)
    answer = resolve(tools, review, "withdrawal")
    assert answer.status_code == 200
    assert "reply" not in answer.json()
    assert tools.client.get("/v1/reviews").json() == {"reviews": []}
    assert not tools.permitted(NUMBER)
    assert resolve(tools, review, "withdrawal").status_code == 200
    assert resolve(tools, review, "not_a_withdrawal").status_code == 409


def test_a_reply_that_was_no_withdrawal_gives_back_what_it_ended_and_no_more(tools: Tools) -> None:
    tools.grant(NUMBER)
    tools.grant(NUMBER, purpose="survey")
    tools.grant(NUMBER, purpose="offers")
    tools.decide(channel="sms", subject_ref="s1", purpose="offers", status="refused")
    tools.decide(channel="sms", address=NUMBER, purpose="offers", status="refused", occurred_at="2026-03-01T00:00:00Z")
    with tools.engine.begin() as connection:
        connection.execute(
            text("UPDATE decisions SET effective_at = effective_at - 60000000, recorded_at = recorded_at - 60000000")
        )
    review = paused(tools)
    answer = resolve(tools, review, "not_a_withdrawal")
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["restored"]) == 2
    assert tools.permitted(NUMBER)
    assert tools.permitted(NUMBER, purpose="survey")
    assert not tools.permitted(NUMBER, purpose="offers")
    restored = tools.client.get(f"/v1/decisions/{answer.json()['restored'][0]}").json()
    assert restored["evidence"]["capture_method"] == "restored_after_review"
    assert restored["evidence"]["notice_id"] == EVIDENCE["notice_id"]
    assert restored["expires_at"].startswith("2029-01-05")
    assert resolve(tools, review, "not_a_withdrawal").json() == answer.json()


def test_a_second_reply_in_doubt_keeps_the_address_paused(tools: Tools) -> None:
    tools.grant(NUMBER)
    first, second = paused(tools, "non"), paused(tools, "ça suffit")
    assert resolve(tools, first, "not_a_withdrawal").json().get("restored") is None
    assert not tools.permitted(NUMBER)
    assert len(resolve(tools, second, "not_a_withdrawal").json()["restored"]) == 1
    assert tools.permitted(NUMBER)


def test_a_stop_after_a_reply_in_doubt_stays(tools: Tools) -> None:
    tools.grant(NUMBER)
    review = paused(tools)
    tools.send("twilio", sent.twilio_reply("STOP", token=TOKEN, url=URL, number=NUMBER))
    assert resolve(tools, review, "not_a_withdrawal").json().get("restored") is None
    assert not tools.permitted(NUMBER)


def test_a_refusal_of_since_the_reply_stays_though_it_comes_after_the_review(tools: Tools) -> None:  # R5
    tools.grant(NUMBER)
    review = paused(tools)
    assert len(resolve(tools, review, "not_a_withdrawal").json()["restored"]) == 1
    assert tools.permitted(NUMBER)
    refused_at = rfc3339(now_micros() - 5_000_000)
    tools.decide(channel="sms", subject_ref="s1", purpose="newsletter", status="withdrawn", occurred_at=refused_at)
    assert not tools.permitted(NUMBER)


def test_a_reply_of_this_moment_is_not_resolved_against_the_person(tools: Tools) -> None:
    tools.grant(NUMBER)
    review = paused(tools, "non", seconds_ago=-60)  # else a slow machine asks when the moment has passed
    answer = resolve(tools, review, "not_a_withdrawal")
    assert answer.status_code == 409
    assert answer.headers["retry-after"]


def test_reviews_are_for_operators_of_their_tenant(tools: Tools, keyring: Keyring) -> None:
    review = paused(tools)
    with tools.engine.begin() as connection:
        plain = key_store.create(connection, tenant="acme", scopes=["submit", "read"], name="t", now=now_micros())
        no_lift = key_store.create(
            connection, tenant="acme", scopes=["admin"], name="t", now=now_micros(), may_lift=False
        )
        assert reviews.pending(connection, keyring, tenant="other") == []
    path, body = f"/v1/reviews/{review['review_id']}", {"resolution": "not_a_withdrawal"}
    for key, status in ((plain, 403), (no_lift, 403)):
        answer = tools.client.post(path, json=body, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == status, answer.text
    assert tools.client.post(f"/v1/reviews/{uuid4()}", json=body).status_code == 404


def test_no_address_is_kept_in_the_clear(tools: Tools) -> None:  # R13
    for source, request in opt_outs(int(time.time())).items():
        tools.send(source, request)
    paused(tools, f"non, appelez le {NUMBER}")
    with tools.engine.connect() as connection:
        for table in ("decisions", "reviews", "idempotency_keys", "outbox"):
            rows = connection.execute(text(f"SELECT t::text FROM {table} t")).scalars().all()
            assert not any(part in row for row in rows for part in ("39980001", EMAIL)), table


def test_a_storm_of_webhooks_loses_nothing(tools: Tools) -> None:
    """Some hundreds at once, with a decision of another way in among them."""
    requests = [sent.twilio_reply("stop", token=TOKEN, url=URL, number=f"+3363998{number:04}") for number in range(200)]
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda each: tools.send("twilio", each).status_code, requests)
        tools.decide(channel="sms", address=NUMBER, purpose="*", status="withdrawn")
        assert set(answers) == {200}
    assert len(tools.decisions()) == 200
    labels = {"route": "/v1/inbound/{source_id}", "method": "POST", "status": "200"}
    assert tools.registry.get_sample_value("consent_relay_api_request_seconds_count", labels) == 200


def test_a_tool_whose_certificates_do_not_come_keeps_no_other_from_reporting_a_stop(build: Build) -> None:  # R46
    asked, go_on = Event(), Event()

    def hangs(_: str) -> bytes:
        asked.set()
        assert go_on.wait(60)
        raise NotFetchedError

    tools = build(fetch=hangs)
    stuck = SNS.notification({"eventType": "Complaint"})
    with ThreadPoolExecutor(2 * MAX_GROUP_SIZE + 1) as threads:
        answers = [threads.submit(tools.send, "aws-sns", stuck) for _ in range(2 * MAX_GROUP_SIZE)]
        try:
            assert asked.wait(30)
            for number in range(5):
                reply = sent.twilio_reply("stop", token=TOKEN, url=URL, number=f"+3363998{number:04}")
                assert threads.submit(tools.send, "twilio", reply).result(30).status_code == 200
        finally:
            go_on.set()
    assert {each.result().status_code for each in answers} == {503}
    assert len(tools.decisions()) == 5


def test_deliveries_that_wait_for_the_bulk_lane_delay_no_opt_out_of_the_same_tool(tools: Tools) -> None:  # R46
    tools.grant(EMAIL, "email")

    def send(event: str) -> int:
        report = {"email": EMAIL, "event": event, "timestamp": int(time.time()), "sg_event_id": uuid4().hex}
        return int(tools.send("sendgrid", SENDGRID.events(report)).status_code)

    assert send("delivered") == 200
    with ThreadPoolExecutor(2 * MAX_GROUP_SIZE + 1) as threads:
        with tools.engine.begin() as holding:
            holding.execute(text("LOCK TABLE deliverability IN EXCLUSIVE MODE"))
            waiting = [threads.submit(send, "delivered") for _ in range(2 * MAX_GROUP_SIZE)]
            for _ in range(5):
                assert threads.submit(send, "unsubscribe").result(5) == 200
            assert not any(each.done() for each in waiting)
        assert {each.result() for each in waiting} == {200}
    assert not tools.permitted(EMAIL, "email")

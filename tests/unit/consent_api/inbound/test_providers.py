"""Each provider's webhooks, built to its documentation: what is read of them, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from consent_api.errors import RefusedWebhook, WebhookRefusedError
from consent_api.inbound.providers import PROVIDERS, Account, InboundEvent, Kind, Payload, Webhook
from tests.support import provider_webhooks as sent
from tests.support.provider_webhooks import Sent
from tests.support.tables import each_of

NOW = 1_790_000_000
URL = "https://consent.example.com/v1/inbound/tool"
TOKEN, OTHER_TOKEN = sent.secret(), sent.secret()
STANDARD_SECRET = sent.webhook_secret()
SENDGRID = sent.SendGrid()
SNS = sent.Sns(valid_from=datetime(2026, 9, 1, tzinfo=UTC), days=60)


def read(
    provider: str, request: Sent, *, secrets: tuple[str, ...] = (TOKEN,), now: int = NOW, url: str = URL
) -> Payload:
    webhook = Webhook(query=request.query, headers=request.headers, body=request.body)
    account = Account(secrets=secrets, url=url, topics=frozenset({sent.TOPIC}), fetch=SNS.fetch)
    return PROVIDERS[provider].read(webhook, account, now)


def only(payload: Payload) -> InboundEvent:
    (event,) = payload.events
    assert payload.unreadable == 0
    return event


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A webhook and what it means."""

    provider: str
    request: Sent
    kind: Kind
    address: str
    occurred_at: int | None = None
    secrets: tuple[str, ...] = (TOKEN,)


def _ses(**message: object) -> Sent:
    return SNS.notification({"mail": {"destination": ["person@example.com"]}, **message})


STOP = {"number": "+33639980001", "token": TOKEN, "url": URL}
SAMPLES = [
    Sample(provider="twilio", request=sent.twilio_reply("Stop", **STOP), kind=Kind.REPLY, address="+33639980001"),
    Sample(
        provider="twilio",
        request=sent.twilio_reply("Arret", OptOutType="STOP", **STOP),
        kind=Kind.STOP,
        address="+33639980001",
    ),
    Sample(
        provider="twilio",
        request=sent.twilio_reply("start", OptOutType="START", **STOP),
        kind=Kind.OPT_IN,
        address="+33639980001",
    ),
    Sample(
        provider="twilio",
        request=sent.twilio_reply("été & 100 % = + ça 😀", sid="SM1", **STOP),
        kind=Kind.REPLY,
        address="+33639980001",
    ),
    Sample(
        provider="twilio",
        request=sent.twilio_json({"MessageSid": "SM2", "From": "+33639980001", "Body": "stop"}, token=TOKEN, url=URL),
        kind=Kind.REPLY,
        address="+33639980001",
    ),
    Sample(
        provider="twilio",
        request=sent.twilio(
            [("MessageSid", "SM3"), ("MessageStatus", "undelivered"), ("ErrorCode", "21610"), ("To", "+33639980001")],
            token=TOKEN,
            url=URL,
        ),
        kind=Kind.OPT_OUT,
        address="+33639980001",
    ),
    Sample(
        provider="twilio",
        request=sent.twilio(
            [("MessageSid", "SM4"), ("MessageStatus", "failed"), ("ErrorCode", "30005"), ("To", "+33639980001")],
            token=TOKEN,
            url=URL,
        ),
        kind=Kind.HARD_BOUNCE,
        address="+33639980001",
    ),
    *(
        Sample(
            provider="vonage",
            request=sent.vonage_sms(
                {
                    "msisdn": "33639980001",
                    "to": "38000",
                    "messageId": "0A01",
                    "text": "a&b=stop",
                    "timestamp": str(NOW),
                },
                key=TOKEN,
                method=method,
            ),
            kind=Kind.REPLY,
            address="+33639980001",
            occurred_at=NOW * 1_000_000,
        )
        for method in ("md5hash", "md5", "sha1", "sha256", "sha512")
    ),
    Sample(
        provider="vonage",
        request=sent.vonage_message(
            {"message_uuid": "u1", "from": "33639980001", "to": "38000", "channel": "sms", "text": "stop"},
            key=TOKEN,
            now=NOW,
        ),
        kind=Kind.REPLY,
        address="+33639980001",
    ),
    Sample(
        provider="aws-sns",
        request=SNS.notification(
            {"originationNumber": "+33639980001", "messageBody": "STOP", "inboundMessageId": "m1"}, version="2"
        ),
        kind=Kind.REPLY,
        address="+33639980001",
    ),
    Sample(
        provider="aws-sns",
        request=_ses(
            eventType="Complaint",
            complaint={
                "complainedRecipients": [{"emailAddress": "person@example.com"}],
                "timestamp": "2026-11-26T10:00:00.000Z",
            },
        ),
        kind=Kind.COMPLAINT,
        address="person@example.com",
        occurred_at=1_795_687_200_000_000,
    ),
    Sample(
        provider="aws-sns",
        request=_ses(
            notificationType="Complaint",
            complaint={
                "complainedRecipients": [{"emailAddress": "person@example.com"}],
                "complaintFeedbackType": "not-spam",
            },
        ),
        kind=Kind.OTHER,
        address="person@example.com",
    ),
    Sample(
        provider="aws-sns",
        request=_ses(
            eventType="Bounce",
            bounce={"bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": "person@example.com"}]},
        ),
        kind=Kind.HARD_BOUNCE,
        address="person@example.com",
    ),
    *(
        Sample(
            provider="aws-sns",
            request=_ses(
                eventType="Bounce",
                bounce={
                    "bounceType": "Permanent",
                    "bounceSubType": sub_type,
                    "bouncedRecipients": [{"emailAddress": "person@example.com", "status": status}],
                },
            ),
            kind=kind,
            address="person@example.com",
        )
        for sub_type, status, kind in (
            ("General", "5.1.1", Kind.HARD_BOUNCE),
            ("General", "5.7.1", Kind.SOFT_BOUNCE),
            ("MessageTooLarge", None, Kind.SOFT_BOUNCE),
            (["General"], None, Kind.HARD_BOUNCE),
        )
    ),
    Sample(
        provider="aws-sns",
        request=_ses(
            eventType="Delivery",
            delivery={"timestamp": "2026-09-21T14:13:20Z", "recipients": ["person@example.com"]},
        ),
        kind=Kind.DELIVERED,
        address="person@example.com",
        occurred_at=NOW * 1_000_000,
    ),
    Sample(
        provider="aws-sns",
        request=_ses(
            eventType="Bounce",
            bounce={"bounceType": "Transient", "bouncedRecipients": [{"emailAddress": "person@example.com"}]},
        ),
        kind=Kind.SOFT_BOUNCE,
        address="person@example.com",
    ),
    Sample(
        provider="aws-sns",
        request=_ses(eventType="Subscription", subscription={"newTopicPreferences": {"unsubscribeAll": True}}),
        kind=Kind.OPT_OUT,
        address="person@example.com",
    ),
    Sample(
        provider="aws-sns",
        request=_ses(
            eventType="Subscription",
            subscription={
                "newTopicPreferences": {
                    "unsubscribeAll": False,
                    "topicSubscriptionStatus": [{"topicName": "news", "subscriptionStatus": "OptOut"}],
                },
                "oldTopicPreferences": {
                    "topicSubscriptionStatus": [{"topicName": "news", "subscriptionStatus": "OptIn"}],
                },
            },
        ),
        kind=Kind.OPT_OUT,
        address="person@example.com",
    ),
    *(
        Sample(
            provider="sendgrid",
            request=SENDGRID.events({"email": "person@example.com", "timestamp": NOW, "sg_event_id": "x", **fields}),
            kind=kind,
            address="person@example.com",
            occurred_at=NOW * 1_000_000,
            secrets=(SENDGRID.verification_key,),
        )
        for fields, kind in (
            ({"event": "unsubscribe"}, Kind.OPT_OUT),
            ({"event": "group_unsubscribe", "asm_group_id": 10}, Kind.OPT_OUT),
            ({"event": "group_resubscribe", "asm_group_id": 10}, Kind.OPT_IN),
            ({"event": "spamreport"}, Kind.COMPLAINT),
            ({"event": "bounce", "type": "bounce"}, Kind.HARD_BOUNCE),
            ({"event": "bounce", "type": "blocked"}, Kind.SOFT_BOUNCE),
            ({"event": "bounce", "type": "bounce", "status": "5.2.2"}, Kind.SOFT_BOUNCE),
            ({"event": "bounce", "type": "blocked", "status": "5.1.1"}, Kind.HARD_BOUNCE),
            ({"event": "dropped", "reason": "Bounced Address"}, Kind.HARD_BOUNCE),
            ({"event": "dropped", "reason": "Unsubscribed Address"}, Kind.OPT_OUT),
            ({"event": "dropped", "reason": "Spam Content"}, Kind.OTHER),
            ({"event": "delivered"}, Kind.DELIVERED),
            ({"event": "open"}, Kind.OTHER),
        )
    ),
    *(
        Sample(
            provider="mailgun",
            request=sent.mailgun(
                {"recipient": "person@example.com", "timestamp": NOW + 0.25, "id": "e1", **fields}, key=TOKEN, now=NOW
            ),
            kind=kind,
            address="person@example.com",
            occurred_at=NOW * 1_000_000 + 250_000,
        )
        for fields, kind in (
            ({"event": "unsubscribed"}, Kind.OPT_OUT),
            ({"event": "complained"}, Kind.COMPLAINT),
            ({"event": "failed", "severity": "permanent", "reason": "bounce"}, Kind.HARD_BOUNCE),
            ({"event": "failed", "severity": "permanent", "reason": "suppress-unsubscribe"}, Kind.OPT_OUT),
            (
                {"event": "failed", "severity": "permanent", "delivery-status": {"enhanced-code": "5.7.1"}},
                Kind.SOFT_BOUNCE,
            ),
            ({"event": "failed", "severity": "temporary"}, Kind.SOFT_BOUNCE),
            ({"event": "delivered"}, Kind.DELIVERED),
            ({"event": "clicked"}, Kind.OTHER),
        )
    ),
    *(
        Sample(
            provider="mailchimp",
            request=sent.mailchimp(
                {"fired_at": "2026-11-26 21:35:57", "data[email]": "person@example.com", **fields}, key=TOKEN
            ),
            kind=kind,
            address="person@example.com",
        )
        for fields, kind in (
            ({"type": "unsubscribe", "data[action]": "unsub", "data[reason]": "manual"}, Kind.OPT_OUT),
            ({"type": "unsubscribe", "data[action]": "unsub", "data[reason]": "abuse"}, Kind.COMPLAINT),
            ({"type": "cleaned", "data[reason]": "hard"}, Kind.HARD_BOUNCE),
            ({"type": "cleaned", "data[reason]": "abuse"}, Kind.COMPLAINT),
            ({"type": "subscribe"}, Kind.OPT_IN),
            ({"type": "profile"}, Kind.OTHER),
        )
    ),
    *(
        Sample(
            provider="brevo",
            request=sent.bearer(
                {"event": event, "email": "person@example.com", "id": 26224, "ts_epoch": NOW * 1000}, key=TOKEN
            ),
            kind=kind,
            address="person@example.com",
            occurred_at=NOW * 1_000_000,
        )
        for event, kind in (
            ("unsubscribed", Kind.OPT_OUT),
            ("unsubscribe", Kind.OPT_OUT),
            ("spam", Kind.COMPLAINT),
            ("complaint", Kind.COMPLAINT),
            ("hard_bounce", Kind.HARD_BOUNCE),
            ("soft_bounce", Kind.SOFT_BOUNCE),
            ("delivered", Kind.DELIVERED),
            ("contact_deleted", Kind.OTHER),
        )
    ),
    *(
        Sample(
            provider="mailjet",
            request=sent.basic(
                [{"email": "person@example.com", "time": NOW, "MessageID": 13792286917004336, **fields}], key=TOKEN
            ),
            kind=kind,
            address="person@example.com",
            occurred_at=NOW * 1_000_000,
        )
        for fields, kind in (
            ({"event": "unsub", "mj_list_id": 1}, Kind.OPT_OUT),
            ({"event": "spam", "source": "JMRPP"}, Kind.COMPLAINT),
            ({"event": "bounce", "hard_bounce": True}, Kind.HARD_BOUNCE),
            ({"event": "bounce", "hard_bounce": False}, Kind.SOFT_BOUNCE),
            ({"event": "sent"}, Kind.DELIVERED),
            ({"event": "open"}, Kind.OTHER),
        )
    ),
    Sample(
        provider="generic",
        request=sent.standard(
            {"type": "opt_out", "address": "person@example.com", "occurred_at": "2026-09-21T14:13:20Z"},
            key=STANDARD_SECRET,
            now=NOW,
        ),
        kind=Kind.OPT_OUT,
        address="person@example.com",
        occurred_at=1_790_000_000_000_000,
        secrets=(STANDARD_SECRET,),
    ),
    Sample(
        provider="mail",
        request=sent.mail(sent.complaint("person@example.com"), key=STANDARD_SECRET, now=NOW),
        kind=Kind.COMPLAINT,
        address="person@example.com",
        secrets=(STANDARD_SECRET,),
    ),
]


@each_of("sample", SAMPLES)
def test_what_a_provider_reports_is_read(sample: Sample) -> None:  # R21
    event = only(read(sample.provider, sample.request, secrets=sample.secrets))
    assert (event.kind, event.address) == (sample.kind, sample.address)
    assert event.occurred_at == sample.occurred_at
    assert event.id is None or (sample.address not in event.id and "33639980001" not in event.id)


@each_of("sample", SAMPLES)
def test_a_forgery_is_refused(sample: Sample) -> None:
    strangers = {
        "generic": (sent.webhook_secret(),),
        "mail": (sent.webhook_secret(),),
        "sendgrid": (sent.SendGrid().verification_key,),
        "aws-sns": (),
    }.get(sample.provider, (OTHER_TOKEN,))
    if sample.provider != "aws-sns":
        with pytest.raises(WebhookRefusedError) as refused:
            read(sample.provider, sample.request, secrets=strangers)
        assert refused.value.reason is RefusedWebhook.BAD_SIGNATURE
    if sample.provider in ("mailgun", "mailchimp", "brevo", "mailjet"):
        return  # Their signature, where there is one, does not cover the body.
    body = sample.request.body.replace(b"33639980001", b"33639980002").replace(b"person@", b"victim@")
    with pytest.raises(WebhookRefusedError) as refused:
        read(sample.provider, sample.request.changed(body=body), secrets=sample.secrets)
    assert refused.value.reason is RefusedWebhook.BAD_SIGNATURE


@each_of("sample", SAMPLES[:1] + [s for s in SAMPLES if s.provider != "twilio"])
def test_a_request_that_is_not_signed_is_refused(sample: Sample) -> None:
    bare = {"content-type": sample.request.headers["content-type"]}
    body = sample.request.body
    if sample.provider in ("mailgun", "aws-sns"):
        unsigned = {k: v for k, v in json.loads(body).items() if k not in ("signature", "Signature")}
        body = json.dumps(unsigned).encode()
    elif sample.provider == "vonage":
        body = body.partition(b"&sig=")[0]
    with pytest.raises(WebhookRefusedError) as refused:
        read(sample.provider, sample.request.changed(headers=bare, body=body, query=""), secrets=sample.secrets)
    assert refused.value.reason is RefusedWebhook.UNSIGNED


@pytest.mark.parametrize(
    "provider", [name for name in PROVIDERS if name not in ("aws-sns", "sendgrid", "generic", "mail")]
)
def test_either_secret_serves_while_one_is_replaced(provider: str) -> None:
    request = next(sample.request for sample in SAMPLES if sample.provider == provider)
    assert read(provider, request, secrets=(OTHER_TOKEN, TOKEN)).events


def test_twilio_s_own_example() -> None:
    """https://www.twilio.com/docs/usage/security#validating-requests"""
    fields = "CallSid=CA1234567890ABCDE&Caller=%2B12349013030&Digits=1234&From=%2B12349013030&To=%2B18005551212"
    request = Sent(
        body=f"{fields}".encode(),
        headers={"content-type": sent.FORM, "x-twilio-signature": "0/KCTR6DLpKmkAf8muzZqo1nDgQ="},
        query="foo=1&bar=2",
    )
    with pytest.raises(WebhookRefusedError) as refused:
        read("twilio", request, secrets=("12345",), url="https://mycompany.com/myapp.php")
    assert refused.value.reason is RefusedWebhook.UNREADABLE  # signed well, and about a call


@pytest.mark.parametrize("signed_url", [URL, f"{URL}/", URL.replace(".com/", ".com:443/")])
@pytest.mark.parametrize("configured", [URL, f"{URL}/", URL.replace(".com/", ".com:443/")])
def test_twilio_signs_the_url_with_its_port_and_a_slash_or_without(signed_url: str, configured: str) -> None:
    request = sent.twilio_reply("stop", token=TOKEN, url=signed_url)
    assert only(read("twilio", request, url=configured)).kind is Kind.REPLY


def test_twilio_signs_each_value_of_a_repeated_field() -> None:
    fields = [
        ("MessageSid", "SM1"),
        ("From", "+33639980001"),
        ("Body", "b"),
        ("Body", "a"),
        ("Body", "a"),
        ("Empty", ""),
    ]
    assert only(read("twilio", sent.twilio(fields, token=TOKEN, url=URL))).address == "+33639980001"


@pytest.mark.parametrize(
    "changes",
    [
        {"TopicArn": "arn:aws:sns:eu-west-3:000000000001:ses-events"},
        {"SigningCertURL": "https://sns.eu-west-3.amazonaws.com.example.com/a.pem"},
        {"SigningCertURL": "http://sns.eu-west-3.amazonaws.com/a.pem"},
        {"SigningCertURL": "https://person@sns.eu-west-3.amazonaws.com/a.pem"},
        {"SigningCertURL": "https://sns.eu-west-3.amazonaws.com:8443/a.pem"},
        {"SigningCertURL": "https://example.com/sns.eu-west-3.amazonaws.com/a.pem"},
        {"SigningCertURL": "https://s3.amazonaws.com/a.pem"},
        {"SigningCertURL": "https://sns.eu-west-3.amazonaws.com/a.pem?x=.pem"},
        {"SigningCertURL": "https://sns.eu-west-3.amazonaws.com/a"},
        {"SigningCertURL": "https://sns.eu-west-3.amazonaws.com\\@example.com/a.pem"},
        {"SignatureVersion": "3"},
        {"Type": "UnsubscribeConfirmation"},
        {"Subject": "added"},
    ],
)
def test_sns_only_its_own_hosts_and_our_topics_count(changes: dict[str, str]) -> None:
    envelope = {**json.loads(SNS.notification({"eventType": "Complaint"}).body), **changes}
    with pytest.raises(WebhookRefusedError) as refused:
        read("aws-sns", Sent(body=json.dumps(envelope).encode(), headers={"content-type": "text/plain"}))
    assert refused.value.reason is RefusedWebhook.BAD_SIGNATURE


def test_sns_a_certificate_that_has_expired_signs_nothing() -> None:
    request = SNS.notification({"eventType": "Delivery", "mail": {"destination": ["person@example.com"]}})
    with pytest.raises(WebhookRefusedError):
        read("aws-sns", request, now=NOW + 90 * 86_400)


def test_sns_a_subscription_is_confirmed_at_sns_only() -> None:
    url = "https://sns.eu-west-3.amazonaws.com/?Action=ConfirmSubscription&Token=t"
    assert read("aws-sns", SNS.confirmation(url)).confirm == url
    with pytest.raises(WebhookRefusedError):
        read("aws-sns", SNS.confirmation("https://example.com/?Action=ConfirmSubscription"))


def test_mailgun_s_token_is_for_this_request_alone_and_for_half_a_day() -> None:
    request = sent.mailgun({"event": "unsubscribed", "recipient": "person@example.com"}, key=TOKEN, now=NOW, token="t1")
    assert read("mailgun", request, now=NOW + 8 * 3600).once == "t1"
    for late in (NOW + 13 * 3600, NOW - 3600):
        with pytest.raises(WebhookRefusedError) as refused:
            read("mailgun", request, now=late)
        assert refused.value.reason is RefusedWebhook.OUTSIDE_WINDOW


@pytest.mark.parametrize("moment", [NOW - 301, NOW + 301])
def test_standard_webhooks_are_good_for_five_minutes(moment: int) -> None:
    request = sent.standard({"type": "opt_out", "address": "a@example.com"}, key=STANDARD_SECRET, now=moment)
    with pytest.raises(WebhookRefusedError) as refused:
        read("generic", request, secrets=(STANDARD_SECRET,))
    assert refused.value.reason is RefusedWebhook.OUTSIDE_WINDOW


@pytest.mark.parametrize(
    "event", [{"type": "optout"}, {"type": "OPT_OUT"}, {}, {"type": 7}, {"type": "opt_out", "address": ""}]
)
@pytest.mark.parametrize("listed", [False, True])
def test_a_tool_of_one_s_own_hears_that_nothing_could_be_read(event: dict[str, object], listed: bool) -> None:  # R21
    event = {"address": "a@example.com", **event}
    right = {"type": "opt_out", "address": "b@example.com"}
    request = sent.standard({"events": [event]} if listed else event, key=STANDARD_SECRET, now=NOW)
    with pytest.raises(WebhookRefusedError) as refused:
        read("generic", request, secrets=(STANDARD_SECRET,))
    assert refused.value.reason is RefusedWebhook.UNREADABLE
    assert "opt_out" in refused.value.cure
    both = sent.standard({"events": [event, right]}, key=STANDARD_SECRET, now=NOW)
    beside = read("generic", both, secrets=(STANDARD_SECRET,))
    assert ([each.address for each in beside.events], beside.unreadable) == (["b@example.com"], 1)


def test_a_tool_of_one_s_own_may_send_no_event() -> None:
    request = sent.standard({"events": []}, key=STANDARD_SECRET, now=NOW)
    assert not read("generic", request, secrets=(STANDARD_SECRET,)).events


@pytest.mark.parametrize(
    "claims", [{"payload_hash": "0" * 64}, {"iat": NOW + 3600}, {"iat": "soon"}, {"exp": NOW - 3600}]
)
def test_vonage_s_token_covers_the_body_and_has_a_time(claims: dict[str, object]) -> None:
    with pytest.raises(WebhookRefusedError):
        read("vonage", sent.vonage_message({"message_uuid": "u"}, key=TOKEN, now=NOW, **claims))


@pytest.mark.parametrize("algorithm", ["none", "HS512", "RS256", ""])
def test_vonage_s_token_names_no_other_algorithm(algorithm: str) -> None:
    with pytest.raises(WebhookRefusedError):
        read("vonage", sent.vonage_message({"message_uuid": "u"}, key=TOKEN, now=NOW, algorithm=algorithm))


def test_an_event_that_cannot_be_read_stops_no_other() -> None:
    good = {"event": "unsubscribe", "email": "person@example.com", "sg_event_id": "x"}
    odd = [{}, {"event": None}, {"event": ["unsubscribe"], "email": 3}]
    payload = read("sendgrid", SENDGRID.events(*odd, good), secrets=(SENDGRID.verification_key,))
    assert [event.kind for event in payload.events] == [Kind.OPT_OUT]
    assert payload.unreadable == 3


HALF_A_PAIR = [
    b'{"sig": "%s", "text": "\\ud83d"}' % (b"a" * 64),
    b'{"sig": "%s", "text": "\\ud83d"}' % (b"a" * 32),
    b'{"signature": {"timestamp": "\\ud83d", "token": "t", "signature": "\\ud83d"}}',
]
"""Of UTF-16, as JSON may hold it."""


@each_of("body", [*HALF_A_PAIR, b"", b"\xff\xfe", b"[" * 100_000, b"null", b"1", b'"stop"', b"a=%ff", b"=&=&" * 1000])
@each_of("provider", sorted(PROVIDERS))
def test_no_body_raises_anything_but_a_refusal(provider: str, body: bytes) -> None:
    for media in (sent.FORM, sent.JSON, "multipart/form-data", ""):
        for request in (
            Sent(body=body, headers={"content-type": media, "authorization": f"Bearer {TOKEN}"}),
            Sent(body=body, headers={"content-type": media, "authorization": "Basic !"}),
            Sent(body=body, headers={"content-type": media, "authorization": f"Bearer {'a.' * 3}é"}),
        ):
            with suppress(WebhookRefusedError):
                assert not any(event.address for event in read(provider, request).events)


def test_a_byte_that_is_no_utf_8_costs_no_opt_out() -> None:
    request = sent.mailchimp({"type": "unsubscribe", "data[email]": "person@example.com"}, key=TOKEN)
    for added in (b"&data[merges][FNAME]=Andr%E9", b"&data[merges][FNAME]=Andr\xe9"):
        event = only(read("mailchimp", request.changed(body=request.body + added)))
        assert (event.kind, event.address) == (Kind.OPT_OUT, "person@example.com")


@each_of("provider", ["twilio", "mailchimp", "brevo", "mailjet"])
def test_a_url_with_more_parameters_than_anyone_sends_is_refused(provider: str) -> None:
    request = Sent(body=b"{}", headers={"content-type": sent.JSON, "x-twilio-signature": "x"}, query="a=b&" * 10_000)
    with pytest.raises(WebhookRefusedError):
        read(provider, request)


@each_of("emptied", [{"email": []}, {"email": [], "event": "hard_bounce"}])
def test_brevo_an_event_of_no_one_is_counted(emptied: dict[str, object]) -> None:
    payload = read("brevo", sent.bearer({"event": "unsubscribe", **emptied}, key=TOKEN))
    assert (list(payload.events), payload.unreadable) == ([], 1)


@each_of("complained", [{}, {"complainedRecipients": []}, {"complainedRecipients": None}])
def test_ses_a_complaint_of_no_one_is_counted(complained: dict[str, object]) -> None:
    payload = read("aws-sns", _ses(eventType="Complaint", complaint=complained))
    assert (list(payload.events), payload.unreadable) == ([], 1)


@each_of("pressed", [{"reply": {"title": "STOP"}}, {"button": {"text": "STOP", "payload": "p"}}])
def test_vonage_a_button_that_is_pressed_is_a_reply(pressed: dict[str, object]) -> None:  # R18
    fields = {"message_uuid": "u-1", "from": "33639980001", "channel": "rcs", **pressed}
    event = only(read("vonage", sent.vonage_message(fields, key=TOKEN, now=NOW)))
    assert (event.kind, event.address, event.text) == (Kind.REPLY, "+33639980001", "STOP")

"""What an export holds of an invented person, for tests and for pictures of it."""

from __future__ import annotations

from collections.abc import Iterator

from consent_api.http.models import Evidence
from consent_api.rights.access import model

AT = "2026-11-26T22:00:00.120000Z"
EVIDENCE = Evidence(
    controller="Maison Acme SAS, 12 rue de l’Église, 75000 Paris",
    notice_id="preference-centre",
    notice_version="3",
    notice_hash="sha256:" + "5f" * 32,
    notice_language="fr",
    capture_method="web-form",
    source_system="shop",
    actor="data-subject",
    withdrawal_method="The same page, by the link in every message, free of charge.",
)


def passed_on(recipient: str, action: str, stage: str, channel: str = "email") -> model.PassedOn:
    return model.PassedOn(
        recipient=recipient,
        channel=channel,
        target="marketing",
        action=action,
        stage=stage,
        at="2026-03-02T08:15:12.430000Z",
        reference="SM8801",
        detail=None,
    )


def decision(number: int, *, status: str = "given", purpose: str = "newsletter") -> model.HeldDecision:
    return model.HeldDecision(
        decision_id=f"019ac2f1-8d60-7c41-9b52-{number:012x}",
        channel="email",
        purpose=purpose,
        status=status,
        stated_at="2026-03-01T09:30:00Z",
        effective_at="2026-03-01T09:30:00Z",
        recorded_at="2026-03-01T09:30:01.250000Z",
        expires_at="2027-03-01T09:30:00Z" if status == "given" else None,
        effect="in_effect" if number else "superseded",
        superseded_by=None,
        superseded_since=None,
        event_source="shop",
        event_id=f"order-{number}",
        source_system="shop",
        evidence=EVIDENCE if status == "given" else Evidence(capture_method="sms-reply"),
        addresses=["ann@example.com"],
        passed_on=[
            passed_on("brevo-fr", "permit" if status == "given" else "suppress", "accepted"),
            passed_on("sendgrid", "permit" if status == "given" else "suppress", "effective"),
        ],
    )


HEAD = model.Head(
    version=1,
    generated_at=AT,
    controller="Maison Acme SAS, 12 rue de l’Église, 75000 Paris",
    person=model.Person(subject_ref="customer-4711", channel=None, address=None),
    held=True,
    subjects=[model.HeldSubject(subject_ref="customer-4711", known_since="2026-03-01T09:30:01.250000Z")],
    addresses=[
        model.HeldAddress(
            channel="email",
            address="ann@example.com",
            known_since="2026-03-01T09:30:01.250000Z",
            linked_at="2026-03-01T09:30:01.250000Z",
            unlinked_at=None,
            current=[
                model.Current(purpose="*", permitted=False, reason="unknown", since=None, expires_at=None),
                model.Current(
                    purpose="newsletter",
                    permitted=True,
                    reason="given",
                    since="2026-03-01T09:30:00Z",
                    expires_at="2027-03-01T09:30:00Z",
                ),
            ],
            delivered_at="2026-11-20T09:30:00Z",
            code_at="2026-11-21T09:30:00Z",
        ),
        model.HeldAddress(
            channel="sms",
            address="+33639980001",
            known_since="2026-03-01T09:30:01.250000Z",
            linked_at="2026-03-01T09:30:01.250000Z",
            unlinked_at="2026-06-01T09:30:00Z",
            current=[],
        ),
    ],
    purposes=[model.DescribedPurpose(purpose="newsletter", title="La lettre", text="Nos nouveautés, chaque mois.")],
    pauses=[
        model.HeldPause(
            channel="email",
            purpose="newsletter",
            paused_at="2026-11-01T09:30:00Z",
            ends_at="2026-12-01T09:30:00Z",
            permission_expires_at="2027-03-01T09:30:00Z",
        )
    ],
    requests=[
        model.HeldRequest(
            request_id="019ac2f1-8d60-7c41-9b52-6f0d3a5e7c18",
            kind="access",
            identity="operator",
            identity_note="passport seen at the counter",
            opened_at="2026-11-20T09:00:00Z",
            due_at="2026-12-20T09:00:00Z",
            extended_at=None,
            extension_reason=None,
            state="open",
            resolved_at=None,
            reason=None,
        )
    ],
    decided_by_another=[
        model.DecidedByAnother(
            channel="email",
            address="ann@example.com",
            purpose="promotions",
            status="withdrawn",
            effective_at="2026-05-01T09:30:00Z",
            expires_at=None,
            passed_on=[passed_on("brevo-fr", "suppress", "accepted")],
        )
    ],
    retained_proofs=[
        model.RetainedProof(
            channel="voice",
            purpose="promotions",
            effective_at="2025-09-01T09:30:00Z",
            recorded_at="2025-09-01T09:30:00Z",
            expires_at=None,
            notice={"notice_id": "call", "notice_version": "1"},
            ground="FR, Code de la consommation, R.223-2",
            kept_until="2028-09-01T09:30:00Z",
        )
    ],
    registers=[
        model.RegisterEntry(
            register="tps", channel="email", address="ann@example.com", purpose="*", as_of="2026-11-01T00:00:00Z"
        )
    ],
    holds=[
        model.HeldHold(reason="dispute 2026-118", set_at="2026-05-01T00:00:00Z", until=None, released_at=None),
    ],
)
TAIL = model.Tail(
    reviews=[
        model.HeldReview(
            channel="sms",
            source="twilio-fr",
            received_at="2026-05-02T09:30:00Z",
            reply="=stop? ou pas 😀",
            resolution=None,
            resolved_at=None,
        )
    ],
    recipients=[
        model.Recipient(
            recipient="brevo-fr", channel="email", first_at="2026-03-02T08:15:12Z", last_at="2026-05-01T09:31:00Z"
        )
    ],
)
NOTHING = model.Head(
    version=1,
    generated_at=AT,
    controller=None,
    person=model.Person(subject_ref=None, channel="email", address="no-one@example.com"),
    held=False,
    subjects=[],
    addresses=[],
    purposes=[],
    pauses=[],
    requests=[],
    decided_by_another=[],
    retained_proofs=[],
    registers=[],
    holds=[],
)


class SampleExport:
    """As `reading.Export`, of some pages of decisions."""

    def __init__(
        self,
        head: model.Head = HEAD,
        *,
        pages: list[list[model.HeldDecision]] | None = None,
        tail: model.Tail = TAIL,
    ) -> None:
        self.head = head
        self.tail = tail if head.held else model.Tail(reviews=[], recipients=[])
        default = [[decision(1)], [decision(2, status="withdrawn")]] if head.held else []
        self._pages = default if pages is None else pages

    def pages(self) -> Iterator[list[model.HeldDecision]]:
        yield from self._pages

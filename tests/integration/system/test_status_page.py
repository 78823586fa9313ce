"""The status page of the whole running system: every process, every stage, and an address explained. # R28 R39"""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from confluent_kafka import Message, Producer

from consent_http import api_keys
from local_stack.services import MEASURED
from local_stack.stack import Stack
from local_stack.status_link import status_link
from tests.integration.system.test_system import submit
from tests.support.waiting import until

OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def browser(system: Stack) -> Iterator[httpx.Client]:
    """Let in by the link that `up` and the demo print."""
    with httpx.Client(base_url=system.endpoints.status, headers=OWN, follow_redirects=True, timeout=30) as client:
        assert client.get(status_link(system.endpoints)).status_code == 200
        yield client


def plot(page: str, stage: str, name: str) -> str:
    """What is written beside a plot of a stage."""
    of_stage = page.partition(f"{stage}</h3>")[2].partition("</li>")[0]
    return of_stage.partition(f"<figcaption>{name}</figcaption>")[2].partition("<svg")[0]


def test_a_withdrawal_shows_at_every_stage(browser: httpx.Client, system: Stack) -> None:
    for number in range(10):
        address = f"06 39 98 40 {number:02}"
        submit(system.endpoints, channel="sms", address=address, purpose="promotions", status="withdrawn")
    stages = [
        "1. Request",
        "2. Ledger",
        "3. Outbox relay",
        "4. Changes topic",
        "5. Merge",
        "6. Suppression list",
        "7. Propagator",
        "8. Tools",
        "9. Receipts",
    ]

    def moving() -> str:
        page = browser.get("/status/").text
        return page if all(re.search(r"<strong>(?!0\.0)[\d.]+/s", plot(page, each, "Rate")) for each in stages) else ""

    page = until(moving, what="every stage has a rate")
    assert re.search(r"<strong>[\d.]+\s(ms|s)</strong>", plot(page, "8. Tools", "Until it knows"))
    assert "no answer since" not in page
    processes = page.partition('id="processes"')[2]
    assert all(f"<strong>{name}</strong>" in processes for name in MEASURED)
    assert all(f"{name} <span" in page for name in ("twilio-fr", "sendgrid-fr", "genesys-fr", "crm-webhook"))


def test_what_is_set_aside_is_listed_with_its_place_and_why(browser: httpx.Client, system: Stack) -> None:
    topic = f"{system.endpoints.topic_prefix}consent.inbound.v1"
    producer = Producer({"bootstrap.servers": system.endpoints.kafka})
    places: list[str] = []

    def note(_error: object, message: Message) -> None:
        places.append(f"{topic}:{message.partition()}:{message.offset()}")

    producer.produce(topic, key="odd", value=b"no record of ours", on_delivery=note)
    producer.flush(30)
    line = f"ingest set {places[0]} aside: it does not name its schema"

    def listed() -> str:
        page = browser.get("/status/?lang=en").text
        return page if line in page.partition('id="dead-letters"')[2] else ""

    page = until(listed, what="the dead letter is listed")
    assert "consent-relay dead-letters list" in page
    assert "no record of ours" not in page


def test_an_address_is_explained_as_the_api_explains_it(browser: httpx.Client, system: Stack) -> None:
    submit(system.endpoints, channel="sms", address="06 39 98 40 55", purpose="promotions", status="withdrawn")
    page = browser.get("/status/?lang=fr").text
    form = re.search(r'action="explain\?lang=fr">\s*<input type="hidden" name="form" value="(\w+)"', page)
    assert form is not None
    asked = {"form": form[1], "channel": "sms", "address": "06 39 98 40 55", "purpose": "promotions"}
    answer = browser.post("/status/explain?lang=fr", data=asked)
    assert answer.status_code == 200
    assert "Cette adresse ne peut pas être contactée par SMS pour promotions" in answer.text
    assert "06 39 98 40 55" not in str(answer.url)
    wrong = browser.post("/status/explain?lang=en", data={**asked, "address": "not a number"})
    assert wrong.status_code == 422
    assert 'role="alert"' in wrong.text


def test_a_key_of_the_gate_does_not_open_it(system: Stack) -> None:
    for token in (system.endpoints.check_key, api_keys.mint(tenant="acme", scopes=["operate"])[0]):
        answer = httpx.post(f"{system.endpoints.status}/status/links", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401

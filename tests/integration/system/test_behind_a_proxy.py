"""The running system behind the proxy that the documents show, by the real nginx."""

from __future__ import annotations

import os
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from local_stack.endpoints import Endpoints
from local_stack.stack import Stack
from tests.support.nginx import OWN_NETWORK, Nginx, configured, running
from tests.support.waiting import until

PERSON = "+33639980077"


@pytest.fixture(scope="module")
def proxy(system: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    endpoints = system.endpoints
    nginx = configured(
        tmp_path_factory.mktemp("nginx"),
        api=endpoints.api.removeprefix("http://"),
        gate=endpoints.gate.removeprefix("http://"),
        status=endpoints.status.removeprefix("http://"),
        user="root" if os.geteuid() == 0 else "",
    )
    with running(nginx):
        yield nginx


def bearer(endpoints: Endpoints, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {endpoints.api_key}", **headers}


def test_a_choice_and_a_check_go_through(system: Stack, proxy: Nginx) -> None:
    endpoints = system.endpoints
    key = {"Idempotency-Key": f'"{uuid4()}"'}
    withdrawal = {"channel": "sms", "address": PERSON, "purpose": "promotions", "status": "withdrawn"}
    with proxy.client("api.example.com") as api:
        answers = [
            api.post("/v1/decisions", json=withdrawal, headers=bearer(endpoints, **key)) for _ in ("first", "again")
        ]
    assert [each.status_code for each in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()

    check = {"channel": "sms", "purpose": "promotions", "addresses": [PERSON]}
    with proxy.client("gate.example.com") as gate:

        def reason() -> str:
            answer = gate.post("/v1/check", json=check, headers={"Authorization": f"Bearer {endpoints.check_key}"})
            assert answer.status_code == 200, answer.text
            return str(answer.json()["results"][0]["reason"])

        until(lambda: reason() == "withdrawn")


def test_one_click_works_and_a_scanner_changes_nothing(system: Stack, proxy: Nginx) -> None:
    made = httpx.post(
        f"{system.endpoints.api}/v1/links",
        json={"links": [{"channel": "email", "address": f"{uuid4().hex}@example.com", "purpose": "newsletter"}]},
        headers=bearer(system.endpoints),
    )
    assert made.status_code == 200, made.text
    path = httpx.URL(made.json()["links"][0]["list_unsubscribe"].strip("<>")).path
    with proxy.client("choices.example.com") as choices:
        looked = choices.get(path)
        clicked = choices.post(path, data={"List-Unsubscribe": "One-Click"})
    assert (looked.status_code, clicked.status_code) == (200, 200)
    assert {answer.headers["Cache-Control"] for answer in (looked, clicked)} == {"no-store"}
    logged = (proxy.directory / "consent-relay.log").read_text()
    assert "choices.example.com POST 200" in logged
    assert path.rpartition("/")[2] not in logged


def test_each_name_serves_what_it_is_for(proxy: Nginx) -> None:
    asked = {
        ("choices.example.com", "/v1/decisions"): 404,
        ("choices.example.com", "/console/"): 404,
        ("choices.example.com", "/.well-known/gpc.json"): 200,
        ("api.example.com", "/console/"): 404,
        ("api.example.com", "/openapi.json"): 404,
        ("gate.example.com", "/openapi.json"): 404,
        ("console.example.com", "/console/"): 403,
        ("status.example.com", "/status/"): 403,
    }
    answers = {}
    for name, path in asked:
        with proxy.client(name) as client:
            answers[name, path] = client.get(path).status_code
    assert answers == asked
    with proxy.client("unknown.example.com") as client, pytest.raises(httpx.ConnectError):
        client.get("/")


def test_what_is_too_large_does_not_reach_us(system: Stack, proxy: Nginx) -> None:
    with proxy.client("api.example.com") as api:
        body = api.post("/v1/decisions/batch", content=b" " * 4_194_305, headers=bearer(system.endpoints))
        head = api.get("/v1/notices", headers=bearer(system.endpoints, **{"X-Long": "x" * 17_000}))
    assert (body.status_code, head.status_code) == (413, 400)


def test_callers_are_distinguished_by_their_own_address(proxy: Nginx) -> None:
    """Who tries links is limited, whatever address it claims to have; another caller is not."""

    def tried(source: str, claimed: str) -> int:
        with proxy.client("choices.example.com", source=source) as client:
            return client.get(f"/u/{uuid4().hex}", headers={"X-Forwarded-For": claimed}).status_code

    answers = [tried("127.0.0.77", f"203.0.113.{number}") for number in range(40)]
    assert answers[0] == 404
    assert 429 in answers
    assert tried("127.0.0.78", "127.0.0.77") == 404


def test_employees_see_the_status_page_change(system: Stack, proxy: Nginx) -> None:
    with proxy.client("status.example.com", source=OWN_NETWORK) as status:
        page = status.get("/status/", headers=bearer(system.endpoints))
        elsewhere = [status.get(path).status_code for path in ("/", "/metrics", "/console/")]
        with status.stream("GET", "/status/events", headers=bearer(system.endpoints)) as pushed:
            lines = pushed.iter_lines()
            events = [next(line for line in lines if line == "event: figures") for _ in range(2)]
    assert (page.status_code, elsewhere) == (200, [404, 404, 404])
    assert pushed.headers["Content-Type"].startswith("text/event-stream")
    assert len(events) == 2, "as it comes, and not once it ends"

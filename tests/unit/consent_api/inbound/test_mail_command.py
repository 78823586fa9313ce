"""`consent-relay mail read`, as an MTA runs it: what it sends, and what its exit code has the MTA do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from click.testing import CliRunner

from consent_api.cli.mail import mail
from consent_api.inbound.providers import PROVIDERS, Account, Webhook
from consent_api.inbound.providers.base import Kind
from consent_api.inbound.providers.mail_reports import LONGEST
from tests.support import provider_webhooks as sent
from tests.support.served import answering

SECRET = sent.webhook_secret()


@contextmanager
def api(status: int) -> Iterator[tuple[str, list[Webhook]]]:
    """The API, answering this; the URL of a source, and what came."""
    received: list[Webhook] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            received.append(Webhook(query="", headers=headers, body=body))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"the reason")

        def log_message(self, *_: object) -> None:
            pass

    with answering(Handler) as url:
        yield f"{url}/v1/inbound/feedback", received


def run(url: str, mail_: bytes, folder: Path) -> tuple[int, str]:
    secret = folder / "secret"
    secret.write_text(SECRET + "\n")
    result = CliRunner().invoke(mail, ["read", "-", "--url", url, "--secret-file", str(secret)], input=mail_)
    return result.exit_code, result.output


def test_a_mail_is_signed_and_its_beginning_is_sent(tmp_path: Path) -> None:
    report = sent.complaint("person@example.com")
    for given in (report, report + b"x" * LONGEST):
        with api(200) as (url, received):
            assert run(url, given, tmp_path) == (0, "")
        [webhook] = received
        timestamp = int(webhook.headers["webhook-timestamp"])
        read = PROVIDERS["mail"].read(webhook, Account(secrets=[SECRET]), timestamp)
        assert [(each.kind, each.address) for each in read.events] == [(Kind.COMPLAINT, "person@example.com")]


@pytest.mark.parametrize(
    ("status", "code"), [(422, 65), (413, 65), (403, 78), (404, 78), (503, 75), (429, 75), (500, 75), (408, 75)]
)
def test_only_what_can_never_be_recorded_is_returned(status: int, code: int, tmp_path: Path) -> None:
    with api(status) as (url, _):
        found, output = run(url, b"mail", tmp_path)
    assert found == code
    assert f"{status}: the reason" in output


def test_an_api_that_does_not_answer_leaves_the_mail_with_the_mta(tmp_path: Path) -> None:
    with api(200) as (url, _):
        pass
    assert run(url, b"mail", tmp_path)[0] == 75

"""A wrong entry of one tenant in any of the API's files stops no other tenant, and fails closed for that one. # R45"""

from __future__ import annotations

import subprocess
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import yaml

from consent_api.links.token import Link, LinkKind, Links
from consent_contracts.cloudevents import rfc3339
from consent_privacy.keyring import Keyring
from consent_privacy.keyring_file import generate
from consent_service.clock import now_micros
from local_stack.preference_centre import THEME
from tests.integration.consent_api.test_api_process import Environment, api, environment, run
from tests.support import provider_webhooks as sent
from tests.support.evidence import EVIDENCE
from tests.support.waiting import until

__all__ = ["api", "environment"]

NUMBER, EMAIL = "+33639980001", "person@example.com"
SECRET = sent.secret()
SETTINGS = (
    "CONSENT_RELAY_TENANT_PURPOSES",
    "CONSENT_RELAY_THEME_FILE",
    "CONSENT_RELAY_INBOUND_FILE",
    "CONSENT_RELAY_REGISTERS_FILE",
)


@pytest.fixture
def keyring(environment: Environment, tmp_path: Path) -> Keyring:
    """Of two tenants, who have an entry in each file: acme's is right, globex's is not."""
    path = tmp_path / "two-tenants.toml"
    generate(path, ["acme", "globex"])
    theme = yaml.safe_load(THEME)["acme"]
    source = {"provider": "brevo", "channel": "email", "secrets": [{"env": "BREVO"}]}
    register = {"channels": ["voice"], "purposes": ["promotions"], "max_age_days": 28}
    files = {
        "purposes": {
            "acme": {"purposes": [each["id"] for each in theme["purposes"]]},
            "globex": {"purposes": ["Not a slug"]},
        },
        "themes": {"acme": theme, "globex": {**theme, "colours": {"text": "#fefefe"}}},
        "sources": {
            "sources": [
                {"id": "of-acme", "tenant": "acme", **source},
                {"id": "of-globex", "tenant": "globex", **source, "secrets": [{"file": "late"}]},
                {"id": "Not an id", "tenant": "globex", **source},
            ]
        },
        "registers": {"registers": [{"name": f"of-{each}", "tenant": each, **register} for each in ("acme", "globex")]},
    }
    for setting, (name, content) in zip(SETTINGS, files.items(), strict=True):
        (tmp_path / name).write_text(yaml.safe_dump(content))
        environment[setting] = str(tmp_path / name)
    environment |= {
        "BREVO": SECRET,
        "CONSENT_RELAY_KEYRING_FILE": str(path),
        "CONSENT_RELAY_PUBLIC_URL": "https://choices.example.com",
    }
    return Keyring.load(path)


def test_a_wrong_entry_of_one_tenant_stops_no_other(
    keyring: Keyring, environment: Environment, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    process: subprocess.Popen[bytes] = request.getfixturevalue("api")
    url = f"http://127.0.0.1:{environment['CONSENT_RELAY_API_PORT']}"
    keys = {
        tenant: run(
            environment, "keys", "create", "--tenant", tenant, "--scope", "submit", "--name", "t"
        ).stdout.strip()
        for tenant in ("acme", "globex")
    }

    def decide(tenant: str, purpose: str, status: str) -> httpx.Response:
        now = now_micros()
        of_permission = {
            "evidence": EVIDENCE,
            "occurred_at": rfc3339(now - 1_000_000),
            "expires_at": rfc3339(now + 86_400_000_000),
        }
        decision = {
            "subject_ref": "s1",
            "address": NUMBER,
            "channel": "sms",
            "purpose": purpose,
            "status": status,
            **(of_permission if status == "given" else {}),
        }
        headers = {"Authorization": f"Bearer {keys[tenant]}", "Idempotency-Key": str(uuid4())}
        return httpx.post(f"{url}/v1/decisions", json=decision, headers=headers, timeout=30)

    def report(source: str) -> httpx.Response:
        of = sent.bearer({"event": "unsubscribed", "email": EMAIL, "ts_epoch": 1_760_000_000_000}, key=SECRET)
        return httpx.post(f"{url}/v1/inbound/{source}", content=of.body, headers=of.headers, timeout=30)

    def page(tenant: str) -> httpx.Response:
        link = Link(tenant=tenant, kind=LinkKind.PREFERENCES, channel="sms", address=NUMBER)
        return httpx.get(f"{url}/p/{Links(lambda: keyring).token(link)}", timeout=30)

    def signal(tenant: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {keys[tenant]}"}
        return httpx.post(f"{url}/v1/gpc", json={"subject_ref": "s1"}, headers=headers, timeout=30)

    given = decide("acme", "newsletter", "given")
    assert given.status_code == 201, given.text
    assert decide("acme", "newsletter", "withdrawn").status_code == 201
    assert report("of-acme").status_code == 200
    assert 'name="sms.promotions"' in page("acme").text

    # What globex declares is not known: no permission is taken, and every refusal is.
    refused = decide("globex", "newsletter", "given")
    assert refused.status_code == 422
    assert "mend the purposes of this tenant" in refused.text
    assert decide("globex", "*", "withdrawn").status_code == 201
    # No decision has named it, so it may be misspelt.
    wider = decide("globex", "newsleter", "withdrawn")
    assert wider.status_code == 201
    assert [(each["field"], each["detail"]) for each in wider.json()["dropped"]] == [("/purpose", "purposes_not_known")]
    # The tool is asked to send again, by the status after which it does.
    assert (report("of-globex").status_code, report("of-globex").headers["Retry-After"]) == (429, "300")
    # An entry has no id that can be used: this URL may be its own.
    assert (report("of-another").status_code, report("of-another").headers["Retry-After"]) == (429, "300")
    # A person can still refuse everything.
    shown = page("globex")
    assert shown.status_code == 200
    assert 'value="refuse"' in shown.text
    assert "sms.promotions" not in shown.text
    # A site is to submit a browser's signal again: what it refuses is not known.
    signals = {tenant: signal(tenant) for tenant in keys}
    assert {tenant: each.status_code for tenant, each in signals.items()} == {"acme": 200, "globex": 503}
    assert signals["globex"].headers["Retry-After"] == "60"

    pages = f"http://127.0.0.1:{environment['CONSENT_RELAY_METRICS_PORT']}"
    notes = httpx.get(f"{pages}/readyz", timeout=10).text.splitlines()
    named = {
        "CONSENT_RELAY_TENANT_PURPOSES globex": "globex.purposes",
        "CONSENT_RELAY_THEME_FILE globex": "globex",
        "CONSENT_RELAY_INBOUND_FILE of-globex": "sources.of-globex.secrets.0",
        "CONSENT_RELAY_INBOUND_FILE sources.2": "sources.2.id",
        "CONSENT_RELAY_REGISTERS_FILE of-globex": "of-globex.purposes",
    }
    assert [
        (entry, at)
        for (entry, at), note in zip(named.items(), notes[1:], strict=True)
        if note.startswith(f"{entry}: not in use: names a file that is wrong at {at}: ")
    ] == list(named.items())
    metrics = httpx.get(f"{pages}/metrics", timeout=10).text.splitlines()
    counts = zip(SETTINGS, (1.0, 1.0, 2.0, 1.0), strict=True)
    assert {f'consent_relay_wrong_entries{{setting="{setting}"}} {count}' for setting, count in counts} <= set(metrics)
    assert 'consent_relay_api_register_stale_at_timestamp_seconds{register="of-acme"} 0.0' in metrics

    # Its secret comes after the process.
    (tmp_path / "late").write_text(SECRET)
    until(lambda: report("of-globex").status_code == 200, what="globex's source in use", every=1.0)
    remaining = httpx.get(f"{pages}/readyz", timeout=10).text
    assert "CONSENT_RELAY_INBOUND_FILE of-globex" not in remaining
    assert "CONSENT_RELAY_THEME_FILE globex: not in use" in remaining
    assert process.poll() is None

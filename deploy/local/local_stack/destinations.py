"""Destinations at the provider sandbox: one for each channel tool we know, and a tool of one's own by webhook."""

import base64
import secrets
from dataclasses import dataclass
from pathlib import Path

from consent_privacy import private_files

PURPOSES = ("newsletter", "promotions", "survey")

DESTINATIONS = """\
# Written by `consent-relay up`, for the provider sandbox. Secrets are referred to, never written here.
destinations:
  - name: twilio-fr
    connector: twilio
    channel: sms
    url: {sandbox}/twilio
    credentials: {{account_sid: {{file: secrets/twilio-account}}, auth_token: {{file: secrets/twilio-token}}}}
    purposes:
      newsletter: MG00000000000000000000000000000001
      promotions: MG00000000000000000000000000000002
      survey: MG00000000000000000000000000000003
  - name: sendgrid-fr
    connector: sendgrid
    channel: email
    url: {sandbox}/sendgrid
    credentials: {{api_key: {{file: secrets/sendgrid}}}}
    purposes: {{newsletter: "101", promotions: "102", survey: "103", "*": global}}
  - name: genesys-fr
    connector: genesys
    channel: voice
    url: {sandbox}/genesys
    credentials: {{client_id: {{file: secrets/genesys-id}}, client_secret: {{file: secrets/genesys-secret}}}}
    options: {{login_url: {sandbox}/genesys}}
    purposes:
      newsletter: 00000000-0000-4000-8000-000000000001
      promotions: 00000000-0000-4000-8000-000000000002
      survey: 00000000-0000-4000-8000-000000000003
    push_permissions: true
  - name: crm-webhook
    connector: webhook
    channel: email
    url: {sandbox}/webhook/crm
    credentials: {{secret: {{file: secrets/webhook}}}}
    options: {{allow_private: true}}
    purposes: same
    push_permissions: true
"""

ADDED_DESTINATION = """\
  - name: sendgrid-campaigns
    connector: sendgrid
    channel: email
    url: {sandbox}/sendgrid
    credentials: {{api_key: {{file: secrets/sendgrid}}}}
    purposes: {{newsletter: "104", survey: "105"}}
"""
"""What the demo and the chaos tests add to a running system."""

SANDBOX = """\
# Written by `consent-relay up`: the accounts that destinations.yaml names. Limits are the providers' documented ones.
control_token = "{sandbox-control}"

[twilio]
account_sid = "{twilio-account}"
auth_token = "{twilio-token}"

[sendgrid]
api_key = "{sendgrid}"
groups = {{ 101 = "newsletter", 102 = "promotions", 103 = "survey", 104 = "campaigns", 105 = "research" }}

[genesys]
client_id = "{genesys-id}"
client_secret = "{genesys-secret}"

[genesys.lists]
"00000000-0000-4000-8000-000000000001" = "newsletter"
"00000000-0000-4000-8000-000000000002" = "promotions"
"00000000-0000-4000-8000-000000000003" = "survey"

[webhook]
secrets = ["{webhook}"]
"""


@dataclass(frozen=True, kw_only=True)
class DestinationFiles:
    """What the propagator and the sandbox are started with."""

    destinations: Path
    sandbox: Path
    sandbox_token: str


def write_destinations(directory: Path, sandbox_url: str, declared: str = DESTINATIONS) -> DestinationFiles:
    """Write both files and fresh credentials for them under `directory`; `declared` may use those of DESTINATIONS."""
    credentials = {
        "twilio-account": f"AC{secrets.token_hex(16)}",
        "twilio-token": secrets.token_hex(16),
        "sendgrid": f"SG.{secrets.token_urlsafe(32)}",
        "genesys-id": secrets.token_hex(16),
        "genesys-secret": secrets.token_urlsafe(32),
        "sandbox-control": secrets.token_urlsafe(16),
        "webhook": f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}",
    }
    (directory / "secrets").mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, secret in credentials.items():
        private_files.replace(directory / "secrets" / name, secret)
    files = DestinationFiles(
        destinations=directory / "destinations.yaml",
        sandbox=directory / "secrets" / "sandbox.toml",
        sandbox_token=credentials["sandbox-control"],
    )
    private_files.replace(files.destinations, declared.format(sandbox=sandbox_url))
    private_files.replace(files.sandbox, SANDBOX.format(**credentials))
    return files

"""Reports that come by mail, which an MTA pipes into `consent-relay mail read`: signed as any other tool's webhook.

Who may write to the mailbox is for the MTA to bound: what a report claims is believed, as far as it leaves people
alone.
"""

from __future__ import annotations

import hashlib

from consent_api.inbound.providers import standard
from consent_api.inbound.providers.base import NEVER_PHONES, Account, Payload, Provider, Webhook
from consent_api.inbound.providers.mail_reports import LONGEST, read_report


def _read(webhook: Webhook, account: Account, now: int) -> Payload:
    standard.require_signature(webhook, account, now)
    name = hashlib.sha256(webhook.body).hexdigest()
    return Payload(events=read_report(webhook.body, account.open_link, name=name))


PROVIDER = Provider(
    read=_read, longest_body=LONGEST, in_thread=True, requires=frozenset({"secrets"}), not_on=NEVER_PHONES
)

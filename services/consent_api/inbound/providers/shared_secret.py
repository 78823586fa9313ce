"""Providers that sign nothing: the secret comes with the request, in one of the ways that each lets its users set.

`Authorization: Bearer`, `Authorization: Basic` with the secret as the password, the header `X-Webhook-Secret`, or the
parameter `secret` of the URL.
"""

from __future__ import annotations

import base64
import binascii

from consent_api.inbound.providers.base import Account, Webhook, any_equal, forged, missing, parameter


def require(webhook: Webhook, account: Account) -> None:
    """WebhookRefusedError unless the request carries one of the secrets."""
    given = _given(webhook)
    if not given:
        raise missing("authorization")
    if not any_equal(given, account.secrets):
        raise forged("authorization")


def _given(webhook: Webhook) -> str:
    scheme, _, value = webhook.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            raise forged("authorization") from None
    if own := webhook.headers.get("x-webhook-secret", "").strip():
        return own
    return parameter(webhook, "secret")

"""The providers whose webhooks are read, by the name that a source gives. Pure: certificates are fetched by others."""

from __future__ import annotations

from collections.abc import Mapping

from consent_api.inbound.providers import (
    aws_sns,
    brevo,
    mail,
    mailchimp,
    mailgun,
    mailjet,
    sendgrid,
    standard,
    twilio,
    vonage,
)
from consent_api.inbound.providers.base import Account, InboundEvent, Kind, Payload, Provider, Webhook

PROVIDERS: Mapping[str, Provider] = {
    "aws-sns": aws_sns.PROVIDER,
    "brevo": brevo.PROVIDER,
    "generic": standard.PROVIDER,
    "mail": mail.PROVIDER,
    "mailchimp": mailchimp.PROVIDER,
    "mailgun": mailgun.PROVIDER,
    "mailjet": mailjet.PROVIDER,
    "sendgrid": sendgrid.PROVIDER,
    "twilio": twilio.PROVIDER,
    "vonage": vonage.PROVIDER,
}

__all__ = ["PROVIDERS", "Account", "InboundEvent", "Kind", "Payload", "Provider", "Webhook"]

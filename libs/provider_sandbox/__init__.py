"""The providers' documented protocols, limits, latencies and faults, to try the push against.

One process speaks Twilio Consents, SendGrid suppressions, Genesys Cloud DNC lists and a Standard
Webhooks receiver, and holds what each provider believes, so that a test or the demo can compare it
with what was decided. It imports nothing of Consent Relay: it must not share our mistakes.
"""

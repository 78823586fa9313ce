"""The commands of this service. Heavy imports wait until a command runs."""

from consent_api.cli.api import api
from consent_api.cli.audit import audit
from consent_api.cli.dead_letters import dead_letters
from consent_api.cli.doctor import doctor
from consent_api.cli.explain import explain
from consent_api.cli.ingest import ingest
from consent_api.cli.keyring import keyring
from consent_api.cli.keys import keys
from consent_api.cli.links import links
from consent_api.cli.mail import mail
from consent_api.cli.migrate import migrate
from consent_api.cli.notices import notices
from consent_api.cli.registers import registers
from consent_api.cli.relay import relay
from consent_api.cli.renewals import renewals
from consent_api.cli.republish import republish
from consent_api.cli.reviews import reviews
from consent_api.cli.rights import rights
from consent_api.cli.topics import topics
from consent_api.cli.verify import verify

__all__ = [
    "api",
    "audit",
    "dead_letters",
    "doctor",
    "explain",
    "ingest",
    "keyring",
    "keys",
    "links",
    "mail",
    "migrate",
    "notices",
    "registers",
    "relay",
    "renewals",
    "republish",
    "reviews",
    "rights",
    "topics",
    "verify",
]

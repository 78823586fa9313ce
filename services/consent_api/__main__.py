"""The commands of this service. Heavy imports wait until a command runs."""

from .cli.api import api
from .cli.dead_letters import dead_letters
from .cli.explain import explain
from .cli.ingest import ingest
from .cli.keys import keys
from .cli.migrate import migrate
from .cli.relay import relay
from .cli.republish import republish
from .cli.verify import verify

__all__ = ["api", "dead_letters", "explain", "ingest", "keys", "migrate", "relay", "republish", "verify"]

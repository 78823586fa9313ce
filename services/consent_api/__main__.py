"""The commands of this service, each in `cli/` or beside what it runs. Heavy imports wait until a command runs."""

from .cli.api import api
from .cli.keys import keys
from .cli.migrate import migrate
from .kafka_commands import dead_letters, ingest, relay, republish

__all__ = ["api", "dead_letters", "ingest", "keys", "migrate", "relay", "republish"]

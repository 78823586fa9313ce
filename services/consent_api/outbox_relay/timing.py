"""The durations of the relay, in seconds, and how they depend on each other."""

from __future__ import annotations

from consent_api.ledger.lanes import Lane
from consent_service.retry import Backoff

RETRY_BACKOFF = Backoff((0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0), jitter=0.5)
"""After failures of the broker, the registry or the database in a row. Half of it is random, so that relays spread."""

TURN_INTERVAL_SECONDS = 1.0
"""A lane's next turn is taken so long after the last one, whichever relay takes it."""

WRITER_WAIT_SECONDS: dict[Lane, float] = {Lane.LIVE: 10.0, Lane.BULK: 90.0}
"""A turn is given up when the transactions that it waits for have not ended by then. Longer than such a transaction may
last (ledger/lanes.py): only one without the time limits, such as an operator's, makes a turn fail."""

WRITER_POLL_SECONDS = (0.01, 0.2)
"""Between two looks at the transactions that a turn waits for: the first pause, and the longest."""

RESOLVE_INTERVAL_SECONDS = 0.2
"""How often the relay looks for a newer resolved timestamp to publish on each partition."""

RESOLVED_AGE_LIMIT_SECONDS: dict[Lane, float] = {Lane.LIVE: 15.0, Lane.BULK: 300.0}
"""The relay is not ready while a lane's resolved timestamp is older: half of the time after which readers deny, or a
third of it (decision 6: 30 s and 15 min)."""

FULL_PRECISION_SECONDS = 60.0
"""Kept points older than this are thinned out to one in THINNED_TO: a backlog of hours needs no second's precision."""
THINNED_TO = 10

REFUSED_AGAIN_AFTER_SECONDS = 5.0
"""A record that the broker refused for another reason than its size is tried once more after this time."""
UNREPLACEABLE_AGAIN_AFTER_SECONDS = 60.0
"""A row that could not even be replaced by a denial is tried again this often."""

HOLE_CHECK_SECONDS = 0.2
"""How often the relay reads which holes the merge has found."""
REPAIR_LEASE_SECONDS = 15.0
"""A repair whose relay has given no sign of life for this long is taken over. Longer than a page takes."""
MARKER_CHECK_SECONDS = 5.0
"""How often the broker is asked whether the marker of a hole that is still open is still there."""
REPAIR_KEPT_SECONDS = 7 * 86_400.0
"""Finished repairs stay in the ledger for operators this long."""

"""How many examples a property gets, and from which seed.

`make test` runs the short form: few examples, the same ones each time. `make fuzz` sets FUZZ_EXAMPLES and a seed.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

_SHORT = 20
_CHOSEN = int(os.environ.get("FUZZ_EXAMPLES") or 0)
TIMES_SHORT = max(1.0, _CHOSEN / _SHORT)
"""How many times as long as the short form the run may last."""


def fuzzed(*, share: float = 1.0) -> Any:
    """A decorator for a property. `share` below 1: its examples are slow, so it gets fewer."""
    return settings(
        max_examples=max(1, int((_CHOSEN or _SHORT) * share)),
        derandomize=not _CHOSEN,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )

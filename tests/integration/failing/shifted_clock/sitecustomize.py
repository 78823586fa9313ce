"""Python imports this at start where PYTHONPATH names its directory: the wall clock of that process is then wrong by
TEST_CLOCK_SHIFT_SECONDS. Clocks that only measure durations stay right."""

import os
import time

_shift = int(os.environ["TEST_CLOCK_SHIFT_SECONDS"])
_time, _time_ns = time.time, time.time_ns

time.time = lambda: _time() + _shift
time.time_ns = lambda: _time_ns() + _shift * 1_000_000_000

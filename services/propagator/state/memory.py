"""Freed memory goes back to the system: without this a restore leaves several hundred MiB with the process.

librdkafka and RocksDB allocate and free in many threads, and glibc keeps what is freed in each thread's arena. Measured
after a restore of 475,000 records: 243 MiB resident, 61 MiB after one call.
"""

from __future__ import annotations

import ctypes

_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def release_memory() -> None:
    """Does nothing where the C library is not glibc."""
    if _malloc_trim is not None:
        _malloc_trim(0)

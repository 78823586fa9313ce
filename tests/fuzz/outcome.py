"""What reading foreign bytes may come to: a value, or the reader's documented error; and it costs little."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_MESSAGE = 2_000
MAX_CPU_SECONDS = 5.0
"""Of the reading thread's own time, so that a busy machine does not count. What is linear takes milliseconds."""


@contextmanager
def value_or(*documented: type[BaseException], longest: int = LONGEST_MESSAGE) -> Iterator[None]:
    """The block ends by itself or by one of these errors, whose text has at most `longest` characters."""
    began = time.thread_time()
    text = ""
    try:
        yield
    except documented as error:
        text = str(error)
    assert len(text) <= longest, f"the error has a text of {len(text)} characters"
    spent = time.thread_time() - began
    assert spent < MAX_CPU_SECONDS, f"reading took {spent:.1f} s of the processor"

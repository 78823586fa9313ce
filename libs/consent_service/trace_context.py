"""The trace of a choice: W3C Trace Context (level 1), over HTTP and in the headers of Kafka records.

`tracestate` is not carried on, which the standard permits. The identifiers are random numbers and mean nothing by
themselves.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from contextvars import ContextVar
from typing import NamedTuple

HEADER = "traceparent"
"""The header's name; of the header of a Kafka record, too."""
_VERSION = re.compile(r"(?!ff)[0-9a-f]{2}")
_FIELDS = re.compile(r"-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_LENGTH = 55
"""Of version 00, and of the part that later versions keep."""
MAX_LENGTH = 512
"""Of a later version, which may append fields."""
_SAMPLED = 1
_random = random.Random()  # noqa: S311 - unique, not secret; a system call for each would cost more


class TraceContext(NamedTuple):
    """One span of a trace. Identifiers in lower-case hexadecimal digits, 32 and 16, never all zero."""

    trace_id: str
    span_id: str
    sampled: bool
    """Whether the spans of the trace are exported, where a process exports any."""

    def __str__(self) -> str:
        """As the header's value, of version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"

    def child(self) -> TraceContext:
        """A new span of the same trace."""
        return TraceContext(self.trace_id, _identifier(16), self.sampled)


_current: ContextVar[TraceContext | None] = ContextVar("trace", default=None)


def current() -> TraceContext | None:
    """The span that this task works for: a request, or a call to a tool. None: there is none."""
    return _current.get()


def set_current(trace: TraceContext | None) -> None:
    """For the rest of the task, or of its context."""
    _current.set(trace)


def parse(sent: str | bytes | None) -> TraceContext | None:
    """What a caller sent, of any length and content. None: it is missing, or not valid; a new trace is begun then."""
    if sent is None or not _LENGTH <= len(sent) <= MAX_LENGTH:
        return None
    if isinstance(sent, bytes):
        try:
            sent = sent.decode("ascii")
        except UnicodeDecodeError:
            return None
    version, rest = sent[:2], sent[_LENGTH:]
    fields = _FIELDS.fullmatch(sent[2:_LENGTH])
    if fields is None or _VERSION.fullmatch(version) is None:
        return None
    if rest and (version == "00" or not rest.startswith("-")):
        return None
    return TraceContext(fields[1], fields[2], bool(int(fields[3], 16) & _SAMPLED))


def of_headers(headers: Iterable[tuple[str, str | bytes | None]] | None) -> TraceContext | None:
    """Of a Kafka record. None: there is no such header, or no valid one, or more than one."""
    found = [value for name, value in headers or () if name == HEADER]
    return parse(found[0]) if len(found) == 1 else None


def header_of(headers: Iterable[tuple[str, bytes | None]]) -> bytes | None:
    """Of a Kafka record, to be copied as it is: of the right length alone, since it costs a tenth of `of_headers`."""
    found = [value for name, value in headers if name == HEADER]
    return found[0] if len(found) == 1 and found[0] is not None and len(found[0]) == _LENGTH else None


def begin(*, sampled: bool) -> TraceContext:
    """The first span of a new trace."""
    return TraceContext(_identifier(32), _identifier(16), sampled)


def is_drawn(ratio: float) -> bool:
    """Whether this one is among the share `ratio`, 0 to 1, of all."""
    return ratio >= 1 or (ratio > 0 and _random.random() < ratio)


def _identifier(digits: int) -> str:
    while not (number := _random.getrandbits(4 * digits)):
        pass
    return f"{number:0{digits}x}"

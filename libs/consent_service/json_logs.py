"""Logs: one JSON object a line on standard error. Never an address (R13)."""

import json
import logging
import re
import sys
from datetime import UTC, datetime

from consent_service import request_ids, trace_context
from consent_service.terminal import shown

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

# The second net, for text we did not write (a driver's exception, a server's answer). It prefers to hide
# too much: numbers that are not addresses belong into fields, which keep integers as they are.
_LONGEST = 16_384
"""Characters of one text that are logged: a text that we did not write may have any length."""
E_MAIL = re.compile(
    # Begun at the first character of a word alone: from each of its characters, it would take quadratic time.
    r"""(?<![^\s@"'<>,;=/]) [^\s@"'<>,;=/]+ (?:@|%40) [^\s@"'<>,;]+   # or the user and password of a URL""",
    re.VERBOSE | re.IGNORECASE,
)
NUMBER = re.compile(
    r"""
    (?:\+|%2B|\uFF0B) [ ]? \d (?:[\s().\-]{0,2}\d){6,16}    # +33 6 ..., however it is spaced
    | (?<![\w.\-]) 0\d (?:[\s.\-]?\d\d){4} (?![\w\-])         # 06 12 34 56 78
    | (?<![\w.\-]) \d{9,15} (?![\w\-])                        # digits alone; microseconds have 16
    """,
    re.VERBOSE | re.IGNORECASE,
)

# They log every request with its URL: a line for each call adds nothing, and a URL is not ours to publish.
_CHATTY = ("httpx", "httpx2", "httpcore", "httpcore2")


def redact(text: str) -> str:
    """`text` with everything that has the shape of an e-mail or a phone number replaced, and cut where it is long."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text) - _LONGEST} characters more)"
    return NUMBER.sub("[redacted]", E_MAIL.sub("[redacted]", text))


class JsonLines(logging.Formatter):
    """ts, level, service, logger, message, request_id, trace_id, then whatever the caller gave as `extra`, then the
    exception."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": _message(record),
        }
        if (request_id := request_ids.current()) is not None:
            line["request_id"] = request_id
        if (trace := trace_context.current()) is not None:
            line["trace_id"] = trace.trace_id
        for name, value in vars(record).items():
            if name not in _STANDARD:
                line.setdefault(name, _field(value))
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = redact(self.formatException(record.exc_info))
        # People read logs on terminals, which obey more than what JSON has to escape.
        return shown(json.dumps(line, ensure_ascii=False))


def _message(record: logging.LogRecord) -> str:
    """The message, redacted. Numbers that the caller gave as such (offsets, counts) are no addresses and are kept."""
    if not record.args:
        return redact(str(record.msg))
    try:
        if isinstance(record.args, tuple):
            return redact(str(record.msg)) % tuple(map(_argument, record.args))
        return redact(record.getMessage())
    except (TypeError, ValueError):  # The message does not fit its arguments: it is shown as it is, and ends nothing.
        return redact(f"{record.msg} {record.args}")


def _argument(value: object) -> object:
    return value if isinstance(value, int | float) else redact(str(value))


def _field(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_field(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _field(each) for key, each in value.items()}
    return redact(str(value))


def configure(level: str, service: str) -> None:
    """Send every log of this process, warnings included, to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    logging.captureWarnings(True)

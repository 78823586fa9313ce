"""The id of the HTTP request that is being carried out: it is in every line that is logged meanwhile."""

from __future__ import annotations

import re
from contextvars import Context, ContextVar, copy_context
from uuid import uuid4

from consent_service import trace_context

HEADER = "Request-Id"
_current: ContextVar[str | None] = ContextVar("request_id", default=None)
_WELL_FORMED = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_DIALLED = re.compile(r"(?:[0-9][._-]*){8}")
"""As many digits could be a phone number, which must not get into a log."""


def current() -> str | None:
    """The id of the request that is being carried out; None outside of one."""
    return _current.get()


def set_current(request_id: str) -> None:
    """For the rest of the task that carries the request out."""
    _current.set(request_id)


def of_no_request() -> Context:
    """A context for a task that outlives the request which starts it: of no trace either."""
    context = copy_context()
    context.run(_current.set, None)
    context.run(trace_context.set_current, None)
    return context


def chosen(sent: str | None) -> str:
    """The caller's id, if it is well-formed, else one of ours."""
    if sent is None or not (_UUID.fullmatch(sent) or (_WELL_FORMED.fullmatch(sent) and not _DIALLED.search(sent))):
        return str(uuid4())
    return sent

"""The spans of the pushes of one call, each in the trace of its own decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from consent_service import spans, trace_context
from consent_service.trace_context import TraceContext
from propagator.connectors import call_traces
from propagator.connectors.base import Accepted, Outcome, Refused
from propagator.sending.call import Call

_MOST_DECISIONS = 10
"""Named in one span."""


class PushSpans:
    """Begins with the task that makes the call: its requests and its logs are those of the first push that has a
    trace. Without an exporter there are no spans, and the trace is carried on alone."""

    def __init__(self, destination: str, call: Call) -> None:
        self._destination = destination
        self._call = call
        self._start = spans.now()
        self._spans: list[TraceContext | None] = []
        if spans.is_on():
            parents = [item.delivery.trace for item in call.items]
            self._spans = [None if each is None else each.child() for each in parents]
            traces = [each for each in self._spans if each is not None]
        else:
            first = next((trace for item in call.items if (trace := item.delivery.trace) is not None), None)
            traces = [] if first is None else [first]
        call_traces.set_of_call(traces)
        trace_context.set_current(traces[0] if traces else None)

    def answered(self, outcomes: Sequence[Outcome]) -> None:
        """One outcome for each push, in order."""
        self._end(lambda number: _described(outcomes[number]), failed=False)

    def failed(self, error: Exception) -> None:
        """The call failed as a whole."""
        why = getattr(error, "reason", type(error).__name__)
        self._end(lambda _number: why, failed=True)

    def _end(self, outcome: Callable[[int], str], *, failed: bool) -> None:
        for number, span in enumerate(self._spans):
            if span is None or not span.sampled:
                continue
            item = self._call.items[number]
            wanted, result = item.delivery.planned.state, outcome(number)
            spans.end(
                "push",
                span,
                parent=item.delivery.trace,
                start=self._start,
                attributes={
                    "consent_relay.destination": self._destination,
                    "consent_relay.action": wanted.action,
                    "consent_relay.attempt": item.delivery.attempts,
                    "consent_relay.decision_ids": " ".join(wanted.decision_ids[:_MOST_DECISIONS]),
                    "consent_relay.outcome": result,
                },
                error=result if failed else None,
            )


def _described(outcome: Outcome) -> str:
    if isinstance(outcome, Accepted):
        return "accepted"
    return outcome.code if isinstance(outcome, Refused) else outcome.reason

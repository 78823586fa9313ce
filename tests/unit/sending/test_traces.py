"""A push is made in the trace of its decision: its spans, its receipts, and what the tool is given."""

from __future__ import annotations

from collections.abc import Sequence

from consent_service import trace_context
from consent_service.trace_context import TraceContext, begin
from propagator.connectors.base import CallBudget, Guard, Outcome, Push, Refused
from propagator.connectors.call_traces import RequestSpans
from propagator.errors import DestinationDownError
from tests.support.kept_spans import kept_spans
from tests.support.virtual_time import now_micros, until, virtually
from tests.unit.sending.fake_provider import FakeProvider
from tests.unit.sending.rig import Rig, decision, destination, key


class TracedProvider(FakeProvider):
    """Makes one request a call, as a connector does."""

    given: TraceContext | None = None
    logged: TraceContext | None = None

    async def push(self, pushes: Sequence[Push], *, guard: Guard, budget: CallBudget) -> Sequence[Outcome]:
        request = RequestSpans()
        self.given = trace_context.parse(request.headers().get(trace_context.HEADER))
        self.logged = trace_context.current()
        try:
            outcomes = await super().push(pushes, guard=guard, budget=budget)
        except DestinationDownError as error:
            request.end("POST", "tool.example.com", error=error.reason)
            raise
        request.end("POST", "tool.example.com", status=200)
        return outcomes


def decided(rig: Rig, *traces: TraceContext | None) -> None:
    """A withdrawal at an address of its own for each."""
    for number, trace in enumerate(traces):
        if trace is not None:
            rig.state.traceparents[key(number)] = str(trace)
        rig.state.decide(key(number), decision(f"d{number}"))


def test_each_push_of_a_call_is_in_its_own_trace() -> None:
    async def scenario() -> None:
        provider = TracedProvider()
        rig = Rig(destination=destination(batch=4), provider=provider)
        first, second, unsampled = begin(sampled=True), begin(sampled=True), begin(sampled=False)
        with kept_spans() as kept:
            decided(rig, None, first, unsampled, second)
            await rig.start()
            await until(lambda: rig.state.nothing_pending)
        [call] = provider.calls
        assert len(call.pushes) == 4
        pushes = {each.span.trace_id: each for each in kept.named("push")}
        assert {trace_id: each.parent for trace_id, each in pushes.items()} == {
            each.trace_id: each for each in (first, second)
        }
        assert {each.attributes["consent_relay.outcome"] for each in pushes.values()} == {"accepted"}
        requests = {each.span.trace_id: each for each in kept.named("tool request")}
        assert requests.keys() == pushes.keys()
        assert all(each.parent == pushes[trace_id].span for trace_id, each in requests.items())
        assert all(each.attributes["http.response.status_code"] == 200 for each in requests.values())
        assert provider.given in [each.span for each in requests.values()]
        assert provider.logged in [each.span for each in pushes.values()]
        await rig.stop()

    virtually(scenario())


def test_without_an_exporter_the_tool_is_given_the_trace_all_the_same() -> None:
    async def scenario() -> None:
        provider, trace = TracedProvider(), begin(sampled=True)
        rig = Rig(provider=provider)
        decided(rig, trace)
        await rig.start()
        await until(lambda: rig.state.nothing_pending)
        assert provider.given is not None
        assert (provider.given.trace_id, provider.given.sampled) == (trace.trace_id, True)
        assert provider.given.span_id != trace.span_id
        assert {each.traceparent for each in rig.state.receipts} == {str(trace)}
        await rig.stop()

    virtually(scenario())


def test_what_a_fill_delivers_belongs_to_no_trace() -> None:
    async def scenario() -> None:
        provider = TracedProvider()
        rig = Rig(provider=provider)
        rig.state.traceparents[key(1)] = str(begin(sampled=True))
        rig.state.fill_began_at = now_micros()
        rig.state.decide(key(1), decision("d1"), written_at=now_micros() - 1)
        with kept_spans() as kept:
            await rig.start()
            await until(lambda: rig.state.nothing_pending)
        assert len(provider.calls) == 1
        assert provider.given is provider.logged is None
        assert kept.spans == []
        assert {each.traceparent for each in rig.state.receipts} == {None}
        await rig.stop()

    virtually(scenario())


def test_a_failure_and_a_refusal_are_in_the_spans() -> None:
    async def scenario() -> None:
        provider = TracedProvider()
        provider.fails = lambda _pushes: DestinationDownError("unreachable") if len(provider.calls) == 1 else None
        provider.answer = lambda _push: Refused(code="21211")
        rig = Rig(provider=provider)
        with kept_spans() as kept:
            decided(rig, begin(sampled=True))
            await rig.start()
            await until(lambda: rig.state.nothing_pending)
        failed, refused = kept.named("push")
        assert (failed.error, failed.attributes["consent_relay.outcome"]) == ("unreachable", "unreachable")
        assert (refused.error, refused.attributes["consent_relay.outcome"]) == (None, "21211")
        assert [each.error for each in kept.named("tool request")] == ["unreachable", None]
        await rig.stop()

    virtually(scenario())

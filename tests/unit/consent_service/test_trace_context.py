"""W3C Trace Context, level 1: what is taken from callers, and what is given on."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_service import trace_context
from consent_service.trace_context import (
    HEADER,
    MAX_LENGTH,
    TraceContext,
    begin,
    header_of,
    is_drawn,
    of_headers,
    parse,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"
HEX = st.sampled_from("0123456789abcdef")
VERSION_00 = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]")


def digits(count: int) -> st.SearchStrategy[str]:
    return st.text(HEX, min_size=count, max_size=count)


traces = st.builds(
    TraceContext,
    digits(32).filter(lambda each: set(each) != {"0"}),
    digits(16).filter(lambda each: set(each) != {"0"}),
    st.booleans(),
)


def test_the_example_of_the_standard() -> None:
    assert parse(VALID) == TraceContext(TRACE, SPAN, True)
    assert parse(VALID.encode()) == TraceContext(TRACE, SPAN, True)
    assert parse(f"00-{TRACE}-{SPAN}-00") == TraceContext(TRACE, SPAN, False)


@given(traces)
def test_what_is_given_on_is_read_back(trace: TraceContext) -> None:
    assert VERSION_00.fullmatch(str(trace))
    assert parse(str(trace)) == trace


@given(traces)
def test_a_child_is_another_span_of_the_trace(trace: TraceContext) -> None:
    child = trace.child()
    assert (child.trace_id, child.sampled) == (trace.trace_id, trace.sampled)
    assert child.span_id != trace.span_id
    assert parse(str(child)) == child


@pytest.mark.parametrize("flags", ["01", "03", "ff", "81"])
def test_only_the_flag_sampled_is_read(flags: str) -> None:
    assert parse(f"00-{TRACE}-{SPAN}-{flags}") == TraceContext(TRACE, SPAN, True)


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        VALID[:-1],
        f"{VALID}0",
        f"{VALID}-",
        f"{VALID}-00",
        f" {VALID}",
        f"{VALID} ",
        f"{VALID}\n",
        VALID.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"0x-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        VALID.replace("4", "\uff14"),
        VALID.replace("4", "\u0664"),
        f"{VALID}, {VALID}",
        f"cc-{TRACE}-{SPAN}-01x",
        f"cc-{TRACE}-{SPAN}-01.what",
        f"cc-{TRACE}-{SPAN}-01-" + "x" * MAX_LENGTH,
    ],
)
def test_what_is_not_valid_is_none(sent: str | None) -> None:
    assert parse(sent) is None
    assert parse(None if sent is None else sent.encode()) is None


@given(digits(2).filter(lambda each: each not in ("00", "ff")), st.text(max_size=300).map("-{}".format))
def test_a_later_version_is_read_as_far_as_it_is_known(version: str, rest: str) -> None:
    assert parse(f"{version}-{TRACE}-{SPAN}-01{rest}") == TraceContext(TRACE, SPAN, True)
    assert parse(f"{version}-{TRACE}-{SPAN}-01") == TraceContext(TRACE, SPAN, True)


@given(st.one_of(st.text(), st.binary(), st.text(st.sampled_from("0-f1"), min_size=50, max_size=60)))
def test_hostile_values_come_out_valid_or_not_at_all(sent: str | bytes) -> None:
    found = parse(sent)
    assert found is None or VERSION_00.fullmatch(str(found))


@given(st.integers(0, 54), st.text(min_size=1, max_size=1).filter(lambda each: each not in "0123456789abcdef-"))
def test_one_wrong_character_spoils_it(position: int, character: str) -> None:
    assert parse(VALID[:position] + character + VALID[position + 1 :]) is None


def test_a_record_with_two_of_them_has_none() -> None:
    assert of_headers([("ce_id", b"1"), (HEADER, VALID.encode())]) == TraceContext(TRACE, SPAN, True)
    assert of_headers([(HEADER, VALID.encode()), (HEADER, VALID.encode())]) is None
    assert of_headers([(HEADER, None)]) is None
    assert of_headers([]) is None
    assert of_headers(None) is None


def test_what_is_copied_has_the_right_length() -> None:
    assert header_of([("ce_id", b"1"), (HEADER, VALID.encode())]) == VALID.encode()
    assert header_of([(HEADER, VALID.encode()), (HEADER, VALID.encode())]) is None
    assert header_of([(HEADER, VALID.encode() + b"-")]) is None
    assert header_of([(HEADER, None)]) is None
    assert header_of([]) is None


def test_new_traces_differ() -> None:
    begun = [begin(sampled=False) for _ in range(1_000)]
    assert len({each.trace_id for each in begun}) == len({each.span_id for each in begun}) == 1_000
    assert all(parse(str(each)) == each for each in begun)


def test_a_share_of_none_and_of_all() -> None:
    assert not any(is_drawn(0.0) for _ in range(1_000))
    assert all(is_drawn(1.0) for _ in range(1_000))
    assert 300 < sum(is_drawn(0.5) for _ in range(1_000)) < 700


def test_a_task_begins_without_a_trace() -> None:
    assert trace_context.current() is None

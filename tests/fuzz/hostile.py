"""Bytes and texts as an attacker sends them to break the reader."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from hypothesis import strategies as st

LONGEST = 20_000

_NUMBERS = (
    "0",
    "-1",
    "1e999",
    "-1e999",
    "1e-999",
    "1" * 5_000,
    "9" * 30,
    "NaN",
    "-0",
    "0x10",
    "1_000",
    "9223372036854775808",
)
_PIECES = (
    *(
        "\x00",
        "\ufffd",
        "\u202e",
        "\u200b",
        "\u0301" * 50,
        "\ufeff",
        "\r\n",
        "\x1b[2J",
        "\U0010ffff",
        "\u0130",
        "ﬀ",
        "＠",
        "％",
    ),
    *(
        "%00",
        "%40",
        "\\u0000",
        "\\ud800",
        "${x}",
        "{{x}}",
        "'",
        '"',
        "--",
        ";",
        "<script>",
        "../",
        "://",
        "@",
        "+",
        ".",
    ),
    *("é.", "a@", "@b.", "xn--", "tel:", "mailto:", "33639980001", "06 39 98 00 01", "a@example.com"),
    *("9999-12-31T23:59:59Z", "0000-00-00T00:00:00Z", "2026-02-30T00:00:00+99:99", "2016-12-31T23:59:60Z"),
    *_NUMBERS,
)

pieces = st.lists(st.one_of(st.sampled_from(_PIECES), st.text(max_size=8)), max_size=12).map("".join)
"""Fragments that readers stumble over, in any order."""

long_texts = st.builds(
    lambda piece, count: (piece * count)[:LONGEST], st.sampled_from(_PIECES), st.integers(1, LONGEST)
)
"""One fragment, very often: what a pattern or a loop that is not linear takes seconds for."""

texts = st.one_of(st.text(max_size=300), pieces, long_texts, st.text(st.characters(codec="utf-8"), max_size=40))
"""Any text that UTF-8 can carry."""

broken_texts = st.one_of(texts, st.text(st.characters(categories=["Cs", "Ll", "Nd"]), max_size=40))
"""Also with halves of surrogates, as JSON escapes can carry them."""

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**31, 2**63, -(2**63), 10**400]),
    st.floats(),
    broken_texts,
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(broken_texts, inner, max_size=4), max_leaves=8
)
"""Anything that JSON holds."""


def _nested(opening: str, closing: str, depth: int, *, closed: bool) -> bytes:
    return (opening * depth + (closing * depth if closed else "")).encode()


deep = st.builds(
    lambda pair, depth, closed: _nested(*pair, depth, closed=closed),
    st.sampled_from([("[", "]"), ('{"a":', "}"), ('{"decisions":[', "]}"), ("[{", "}]"), ("{", "}"), ("(", ")")]),
    st.sampled_from([1, 100, 1_000, 5_000]),
    st.booleans(),
)
"""Nested more deeply than a recursive reader can follow."""

_RAW = (
    b"",
    b"\x00",
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"null",
    b'"text"',
    b"[]",
    b"{}",
    b'{"a":1,"a":2}',
    b'{"a":"\\ud800"}',
    b'{"a":"\\u0000"}',
    *(number.encode() for number in _NUMBERS),
    *(b'{"a":' + number.encode() + b"}" for number in _NUMBERS),
)


def _dumped(value: object) -> bytes:
    return json.dumps(value).encode()


raw = st.one_of(st.binary(max_size=200), st.sampled_from(_RAW), deep, values.map(_dumped))
"""Bytes in place of a document."""


def mutated(valid: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Valid bytes with a few of them changed, cut, doubled or replaced."""
    return st.builds(_mutate, valid, st.randoms(use_true_random=False), st.integers(0, 4))


def _mutate(data: bytes, randomness: random.Random, times: int) -> bytes:
    for _ in range(times):
        data = randomness.choice(_MUTATIONS)(data, randomness)[: 10 * LONGEST]
    return data


def _flip(data: bytes, randomness: random.Random) -> bytes:
    changed = bytearray(data or b"\0")
    changed[randomness.randrange(len(changed))] = randomness.choice((0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF))
    return bytes(changed)


def _cut(data: bytes, randomness: random.Random) -> bytes:
    return data[: randomness.randint(0, len(data))]


def _insert(data: bytes, randomness: random.Random) -> bytes:
    at = randomness.randint(0, len(data))
    return (
        data[:at]
        + randomness.choice((b"\0", b"\xff" * 10, b"\xfe\xff\xff\xff\x0f", b"\x80" * 9 + b"\x01", b"{", b'"', b"\n"))
        + data[at:]
    )


def _drop(data: bytes, randomness: random.Random) -> bytes:
    at = randomness.randint(0, len(data))
    return data[:at] + data[at + randomness.randint(1, 8) :]


def _double(data: bytes, randomness: random.Random) -> bytes:
    start, end = sorted((randomness.randint(0, len(data)), randomness.randint(0, len(data))))
    return data[:end] + data[start:end] * randomness.choice((1, 2, 100)) + data[end:]


_MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (_flip, _cut, _insert, _drop, _double)

"""One JSON object a line, and no address even in text that we did not write (R13)."""

import json
import logging
import warnings
from collections.abc import Iterator

import pytest

from consent_service import json_logs


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:], root.level = before


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert isinstance(line, dict)
    return line


def test_a_line_is_one_json_object_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    json_logs.configure("INFO", "door")
    logging.getLogger("a.b").info("two\nlines", extra={"topic": "t", "offset": 639981234, "keys": ["h1.x", None]})
    line = last_line(capsys)
    assert line.pop("ts")
    assert line == {
        "level": "INFO",
        "service": "door",
        "logger": "a.b",
        "message": "two\nlines",
        "topic": "t",
        "offset": 639981234,
        "keys": ["h1.x", None],
    }


def test_exceptions_and_warnings_are_lines_without_addresses(capsys: pytest.CaptureFixture[str]) -> None:  # R13
    json_logs.configure("INFO", "door")
    try:
        raise ValueError("duplicate key (marked77@example.com) and +33 6 39 98 12 34")
    except ValueError:
        logging.getLogger("x").exception("failed for %s", "marked77@example.com", extra={"who": "0639981234"})
    text = json.dumps(last_line(capsys))
    assert "ValueError" in text
    for leaked in ("marked77", "98 12 34", "0639981234"):
        assert leaked not in text
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("look out", stacklevel=1)
    assert "look out" in str(last_line(capsys)["message"])


@pytest.mark.parametrize(
    "address",
    [
        "+33639981234",
        "+33 6 39 98 12 34",
        "+33 (0)6.39.98.12.34",
        "06 39 98 12 34",
        "0639981234",
        "06.39.98.12.34",
        "0033639981234",
        "33639981234",
        "%2B33639981234",
        "ann.example+x@example.com",
        "ann%40example.com",
        "élodie@exämple.com",
    ],
)
def test_what_has_the_shape_of_an_address_is_redacted(address: str) -> None:  # R13
    for text in (address, f"({address})", f"x={address}&y", f'"{address}" refused', f"/v1/x/{address}"):
        redacted = json_logs.redact(text)
        assert "[redacted]" in redacted
        assert "98" not in redacted
        assert "ann" not in redacted


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T01:57:48.123Z",
        "127.0.0.1:9092",
        "offset 12345678",
        "1763776668123456",
        "0192837465-not-a-phone",
        "01989f3e-1c2d-7abc-8def-0123456789ab",
        "consent.changes.v1:3:12345",
        "h1.Zm9vYmFyMDEyMzQ1Njc4OWFiY2RlZg",
    ],
)
def test_what_we_need_to_read_stays(text: str) -> None:
    assert json_logs.redact(text) == text


def test_nothing_in_a_line_is_obeyed_by_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    text = "a\x1b[2J\x9b31m\u202e\u2028é"
    json_logs.configure("INFO", "door")
    logging.getLogger("a").info(text, extra={"error": text})
    line = capsys.readouterr().err.removesuffix("\n")
    assert line.isprintable()
    assert "é" in line
    assert json.loads(line)["message"] == json.loads(line)["error"] == text


def test_numbers_that_are_arguments_are_no_telephone_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    json_logs.configure("INFO", "relay")
    logging.getLogger("x").info("partition %d restored at %d of %s (%.1f s)", 3, 639981234567, "0639981234", 1.25)
    assert last_line(capsys)["message"] == "partition 3 restored at 639981234567 of [redacted] (1.2 s)"


@pytest.mark.parametrize("arguments", [(1, 2), (), ({"a": 1},), ("text",), (None,)])
def test_a_message_that_does_not_fit_its_arguments_ends_nothing(
    arguments: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    json_logs.configure("INFO", "relay")
    logging.getLogger("x").info("partition %d of marked77@example.com", *arguments)
    written = capsys.readouterr().err
    assert "partition" in written
    assert "marked77" not in written
    assert "Traceback" not in written

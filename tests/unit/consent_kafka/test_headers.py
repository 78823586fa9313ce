"""Headers as a stranger can send them."""

from pathlib import Path
from typing import Any

from consent_kafka import clients


class Message:
    def __init__(self, found: Any) -> None:
        self._found = found

    def headers(self) -> Any:
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


def test_headers_are_bytes_by_name() -> None:
    found: list[tuple[str, Any]] = [("a", b"1"), ("b", "2"), ("c", None), ("a", b"")]
    expected = [("a", b"1"), ("b", b"2"), ("c", None), ("a", b"")]
    assert clients.headers(Message(found)) == expected  # type: ignore[arg-type]
    assert clients.headers(Message(None)) == []  # type: ignore[arg-type]


def test_a_name_that_is_not_utf8_hides_all_headers_and_ends_nothing() -> None:  # R16
    for error in (SystemError("returned a result with an exception set"), UnicodeDecodeError("utf-8", b"x", 0, 1, "")):
        assert clients.headers(Message(error)) == []  # type: ignore[arg-type]


def test_headers_are_asked_for_in_one_place() -> None:
    """Anywhere else, a record of a stranger ends the process."""
    root = Path(__file__).parents[3]
    files = [each for folder in ("libs", "services") for each in (root / folder).rglob("*.py")]
    assert [each.name for each in files if "message.headers()" in each.read_text("utf-8")] == []

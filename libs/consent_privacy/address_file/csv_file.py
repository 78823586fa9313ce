"""A CSV file as records that are written again byte for byte, whatever its encoding, quotes and line ends."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from consent_privacy.errors import FileNotReadableError

DELIMITERS = (",", ";", "\t", "|")
MAX_RECORD_CHARACTERS = 1024 * 1024
"""A quote that is not closed would otherwise make one record of all that follows."""
_QUOTE = '"'
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""The longer ones first: that of UTF-16 begins that of UTF-32."""
_TWO_BYTES = frozenset({"utf-16-le", "utf-16-be"})
_SINGLE_BYTES = re.compile(r"utf-8|ascii|iso8859-\d+|cp(?:125\d|437|850|852|858)|koi8-[rut]|mac-(?:roman|latin2)")
"""Encodings in which a delimiter, a quote and a line end are these bytes and nothing else is."""
_SEPARATOR_LINE = re.compile(r"sep=([,;\t|])(?:\r\n|\n|\r)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvFile:
    """`encoding`: of the addresses. In all but UTF-16 the signs that divide a file are single bytes, so it is divided
    as bytes (Latin-1), and what need not be read is never decoded.

    `prefix`: what comes before the first record: a byte order mark, a line `sep=;` for spreadsheets."""

    path: Path
    encoding: str
    delimiter: str
    prefix: bytes = b""

    @classmethod
    def look_at(cls, path: Path, *, encoding: str | None = None, delimiter: str | None = None) -> CsvFile:
        """The file with what its first bytes and its first record say of it. Raises FileNotReadableError, OSError."""
        if not path.is_file():
            raise FileNotReadableError("it is no file: it is read more than once")
        with path.open("rb") as file:
            start = file.read(4)
        bom, by_bom = next(((each, name) for each, name in _BOMS if start.startswith(each)), (b"", "utf-8"))
        stated = None if bom and encoding is not None and _is_of(encoding, by_bom) else encoding
        found = cls(path=path, encoding=_known(stated or by_bom), delimiter="", prefix=bom)
        first = next(found.records(), "")
        if (separator := _SEPARATOR_LINE.fullmatch(first)) is not None:
            delimiter = delimiter or separator[1]
            found = replace(found, prefix=bom + found.written(first))
            first = next(found.records(), "")
        if not first:
            raise FileNotReadableError("it has no lines")
        if "\0" in first:
            raise FileNotReadableError("its first line has NUL characters: state --encoding, such as utf-16-le")
        return replace(found, delimiter=delimiter or _delimiter(first))

    def records(self) -> Iterator[str]:
        """Each record unchanged, with its line end: to be given to `fields`, `written` and `text`."""
        for record, _ in self.records_and_positions():
            yield record

    def records_and_positions(self) -> Iterator[tuple[str, int]]:
        """The same, with the number of bytes read. Raises FileNotReadableError and OSError."""
        codec, errors = self._codec
        with self.path.open("rb") as raw, io.TextIOWrapper(raw, encoding=codec, errors=errors, newline="") as lines:
            raw.seek(len(self.prefix))
            number, record, inside = 0, "", False
            try:
                while line := lines.readline(MAX_RECORD_CHARACTERS):
                    number += 1
                    inside = (inside or _QUOTE in line) and _ends_within_quotes(line, self.delimiter, inside=inside)
                    record += line
                    if len(record) >= MAX_RECORD_CHARACTERS:
                        raise FileNotReadableError(
                            f"line {number} belongs to a record that is too long: is a quote open?"
                        )
                    if not inside:
                        yield record, raw.tell()  # not our word
                        record = ""
            except UnicodeDecodeError:
                raise FileNotReadableError(f"line {number + 1} is no {self.encoding}") from None
            if record:
                raise FileNotReadableError("it ends within quotes: a quote is opened and never closed")

    def fields(self, record: str) -> list[str]:
        """The values of a record, without quotes. Raises FileNotReadableError."""
        body = record.rstrip("\r\n")
        if _QUOTE not in body:
            return body.split(self.delimiter)
        try:
            return next(csv.reader([body], delimiter=self.delimiter))
        except csv.Error as error:
            raise FileNotReadableError(f"a record cannot be divided: {error}") from None

    def text(self, value: str) -> str:
        """A field as it is read, with U+FFFD for what is no text in the file's encoding."""
        if self.encoding in _TWO_BYTES or value.isascii():
            return value
        return value.encode("latin-1").decode(self.encoding, "replace")

    def written(self, record: str) -> bytes:
        """The bytes that the record was read from."""
        codec, errors = self._codec
        return record.encode(codec, errors)

    def with_field(self, record: str, value: str, *, columns: int) -> bytes:
        """The record with one more field, after `columns` others at least. `value` is ASCII, and needs no quotes."""
        body = record.rstrip("\r\n")
        missing = max(0, columns - len(self.fields(record)))
        return self.written(f"{body}{self.delimiter * (missing + 1)}{value}{record[len(body) :]}")

    @property
    def _codec(self) -> tuple[str, str]:
        """Without loss in both directions."""
        return (self.encoding, "surrogatepass") if self.encoding in _TWO_BYTES else ("latin-1", "strict")


def _known(name: str) -> str:
    """The codec's own name. Raises FileNotReadableError where bytes of a longer character could divide a file."""
    try:
        found = codecs.lookup(name).name.removesuffix("-sig")
    except LookupError:
        raise FileNotReadableError(f"encoding {name} is not known here") from None
    if found not in _TWO_BYTES and not _SINGLE_BYTES.fullmatch(found):
        raise FileNotReadableError(f"a file in {found} is not divided: convert it to UTF-8")
    return found


def _is_of(stated: str, by_bom: str) -> bool:
    """Whether the byte order mark says more exactly what is stated: UTF-16 of which order."""
    return stated.lower().replace("_", "-") in ("utf-16", "utf16") and by_bom in _TWO_BYTES


def _delimiter(header: str) -> str:
    """That of most fields in the header. Raises FileNotReadableError where two are as good."""
    unquoted = "".join(header.split(_QUOTE)[::2])
    counts = sorted(((unquoted.count(each), each) for each in DELIMITERS), reverse=True)
    if counts[0][0] and counts[0][0] == counts[1][0]:
        raise FileNotReadableError("its delimiter is not clear: state --delimiter")
    return counts[0][1] if counts[0][0] else DELIMITERS[0]


def _ends_within_quotes(line: str, delimiter: str, *, inside: bool) -> bool:
    """Whether the line's last field goes on in the next line. A quote counts at the beginning of a field alone, as in
    Python's csv and in spreadsheets: 5" is a value."""
    at = 0
    if not inside:
        at, inside = (1, True) if line.startswith(_QUOTE) else (0, False)
    while True:
        if inside:
            end = line.find(_QUOTE, at)
            if end < 0:
                return True
            if line.startswith(_QUOTE, end + 1):
                at = end + 2
                continue
            at, inside = end + 1, False
        begin = line.find(delimiter, at) if delimiter else -1
        if begin < 0:
            return False
        at = begin + 1
        if line.startswith(_QUOTE, at):
            at, inside = at + 1, True

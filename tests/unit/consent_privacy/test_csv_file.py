"""A campaign's file is divided into records that are written again byte for byte (R25)."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_privacy.address_file.csv_file import MAX_RECORD_CHARACTERS, CsvFile
from consent_privacy.errors import FileNotReadableError


def look_at(directory: Path, content: bytes, **stated: str) -> CsvFile:
    file = directory / "campaign.csv"
    file.write_bytes(content)
    return CsvFile.look_at(file, **stated)


def rows(source: CsvFile) -> list[list[str]]:
    return [[source.text(each) for each in source.fields(record)] for record in source.records()]


FILES = {
    "plain": b"name,phone\nann,+33639980001\nbob,+33639980002\n",
    "no end of line at the end": b"name,phone\nann,+33639980001",
    "DOS": b"name;phone\r\nann;+33639980001\r\n",
    "old Mac": b"name;phone\rann;+33639980001\r",
    "mixed line ends, blank lines": b"name;phone\r\n\nann;+33639980001\n\r\n",
    "quotes": b'"name","phone"\n"Doe, ""J""","+33639980001"\n',
    "a line end within quotes": b'name,phone\n"ann\r\nof Lyon",+33639980001\n',
    "a quote that is no opening one": b'size,phone\n5" pipe,+33639980001\n7",+33639980002\n',
    "byte order mark": "\ufeffname,phone\nZoé,+33639980001\n".encode(),
    "Windows-1252 that is not UTF-8": "name;phone\nZoé \x80;+33639980001\n".encode("latin-1"),
    "UTF-16": "\ufeffname\tphone\r\nZoé\t+33639980001\r\n".encode("utf-16-le"),
    "UTF-16, big endian": "\ufeffname\tphone\r\nZoé\t+33639980001\r\n".encode("utf-16-be"),
    "for spreadsheets": b"sep=;\r\nname;phone\r\nann, bob;+33639980001\r\n",
    "trailing delimiters, ragged rows": b"name,phone,\nann\nbob,+33639980002,,,\n",
    "NUL and control characters": b"name,phone\na\0b\x85c\x1cd,+33639980001\n",
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_every_byte_is_written_again(tmp_path: Path, content: bytes) -> None:
    source = look_at(tmp_path, content)
    assert source.prefix + b"".join(map(source.written, source.records())) == content


@given(
    content=st.binary(max_size=60)
    | st.text(alphabet='ab",;\t|\r\n\0é\ufeff', max_size=60).map(lambda text: text.encode())
    | st.text(max_size=30).map(lambda text: b"\xff\xfe" + text.encode("utf-16-le", "surrogatepass"))
)
def test_every_byte_of_any_file_is_written_again_or_it_is_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    directory = tmp_path_factory.getbasetemp()
    try:
        source = look_at(directory, content)
        again = source.prefix + b"".join(map(source.written, source.records()))
    except FileNotReadableError:
        return
    assert again == content


CELLS = st.text(alphabet='ab ",;\r\né', max_size=6)


@given(
    table=st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=5), delimiter=st.sampled_from(",;\t|")
)
def test_it_is_divided_as_python_s_csv_divides_it(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[str]], delimiter: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(table)
    source = look_at(tmp_path_factory.getbasetemp(), text.getvalue().encode(), delimiter=delimiter)
    assert rows(source) == table


@pytest.mark.parametrize(
    ("name", "row"),
    {
        "quotes": ['Doe, "J"', "+33639980001"],
        "a line end within quotes": ["ann\r\nof Lyon", "+33639980001"],
        "a quote that is no opening one": ['5" pipe', "+33639980001"],
        "byte order mark": ["Zoé", "+33639980001"],
        "UTF-16": ["Zoé", "+33639980001"],
        "for spreadsheets": ["ann, bob", "+33639980001"],
    }.items(),
)
def test_fields_are_read(tmp_path: Path, name: str, row: list[str]) -> None:
    assert rows(look_at(tmp_path, FILES[name]))[1] == row


def test_a_field_is_read_in_the_encoding_that_is_stated(tmp_path: Path) -> None:
    content = "mail\nzoé@example.com\n".encode("cp1252")
    assert rows(look_at(tmp_path, content, encoding="windows-1252"))[1] == ["zoé@example.com"]
    assert rows(look_at(tmp_path, content))[1] == ["zo\ufffd@example.com"]


def test_utf_16_may_be_stated_beside_its_byte_order_mark(tmp_path: Path) -> None:
    assert rows(look_at(tmp_path, FILES["UTF-16"], encoding="UTF-16"))[0] == ["name", "phone"]


@pytest.mark.parametrize(
    ("content", "stated", "why"),
    [
        (b"", {}, "no lines"),
        (b"\xef\xbb\xbf", {}, "no lines"),
        (b'name,phone\n"ann,+33639980001\n', {}, "never closed"),
        (b'name,phone\n"' + b"a\n" * MAX_RECORD_CHARACTERS, {}, "is a quote open"),
        (b"a" * (MAX_RECORD_CHARACTERS + 1), {}, "too long"),
        (b"a;b,c\n", {}, "--delimiter"),
        ("name,phone\n".encode("utf-16-le"), {}, "--encoding"),
        ("\ufeffname\n".encode("utf-32"), {}, "utf-32"),
        (b"name\n", {"encoding": "shift_jis"}, "shift_jis"),
        (b"name\n", {"encoding": "cp037"}, "cp037"),
        (b"name\n", {"encoding": "klingon"}, "not known"),
        ("\ufeffname\n".encode("utf-16-le") + b"x", {}, "is no utf-16-le"),
    ],
)
def test_what_could_be_divided_wrongly_is_refused(
    tmp_path: Path, content: bytes, stated: dict[str, str], why: str
) -> None:
    with pytest.raises(FileNotReadableError, match=why):
        list(look_at(tmp_path, content, **stated).records())


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotReadableError, match="no file"):
        CsvFile.look_at(tmp_path / "pipe")

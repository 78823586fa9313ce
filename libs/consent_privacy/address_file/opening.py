"""Opens a file of addresses: how it is divided, and which column has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from consent_privacy.address_file.column import choose, is_address
from consent_privacy.address_file.csv_file import CsvFile
from consent_privacy.errors import FileNotReadableError

_SAMPLE = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressColumn:
    """`names`: of the header; None where there is none. `columns`: of the header, or of the first record. `how` it was
    found, for the operator."""

    source: CsvFile
    index: int
    names: Sequence[str] | None
    columns: int
    how: str

    @property
    def shown(self) -> str:
        """Its name and its number, from 1."""
        number = self.index + 1
        return f"{number}" if self.names is None else f"{self.names[self.index].strip()} ({number})"

    def address(self, record: str) -> str:
        """Empty where the record has no such field: that is no address. Raises FileNotReadableError."""
        fields = self.source.fields(record)
        return self.source.text(fields[self.index]) if self.index < len(fields) else ""


def find_column(source: CsvFile, *, stated: str | None, header: bool, channel: str, region: str) -> AddressColumn:
    """The column of the channel's addresses. Raises FileNotReadableError and OSError."""
    records = islice(source.records(), _SAMPLE + 1)
    first, *sample = [[source.text(each) for each in source.fields(record)] for record in records]
    names = first if header else None
    if names is None:
        sample.insert(0, first)
    elif channel in ("email", "sms", "voice"):
        _require_header(names, channel, region)
    index, how = choose(stated, names, sample, channel, region)
    return AddressColumn(source=source, index=index, names=names, columns=len(first), how=how)


def _require_header(names: Sequence[str], channel: str, region: str) -> None:
    """A first record that is a person's would not be read as one."""
    if any(is_address(name, channel, region) for name in names if name.strip()):
        raise FileNotReadableError("its first line has an address in it, so it is no header: state --no-header")

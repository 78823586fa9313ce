"""Loads a file as a register: each address in it is refused, on the bulk lane, by a decision like any other.

An address is refused once for as long as it stays listed, so that a load may be repeated, and so that a permission
which the person gives later stays in force after the next file. One that has left the register stays refused; one that
comes back is refused again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection

from consent_api.domain.addresses import Named
from consent_api.domain.validation import ValidationRules, ValidDecision, named_address, validate
from consent_api.errors import RegisterNotLoadedError, SubmissionInvalidError
from consent_api.ledger import addresses, backlog
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.recording import LedgerContext, record
from consent_api.operations.republish.pacing import BulkPacing
from consent_api.registers import table
from consent_api.registers.declared import Register
from consent_api.registers.table import Load
from consent_privacy.address_file.csv_file import CsvFile
from consent_privacy.address_file.opening import AddressColumn, find_column

STATUS = "objected"
CAPTURE_METHOD = "register"
_AT_ONCE = 250
"""Decisions in one transaction, about: a live choice at one of its addresses waits for it."""
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisterFile:
    """A file that holds a register as it was issued at ``as_of`` (micros). ``by``: who loads it."""

    register: Register
    column: AddressColumn
    sha256: str
    as_of: int
    by: str

    @classmethod
    def open(
        cls,
        register: Register,
        path: Path,
        *,
        as_of: int,
        by: str,
        column: str | None,
        header: bool,
        encoding: str | None,
        delimiter: str | None,
    ) -> RegisterFile:
        """FileNotReadableError, OSError."""
        source = CsvFile.look_at(path, encoding=encoding, delimiter=delimiter)
        found = find_column(source, stated=column, header=header, channel=register.channels[0], region=register.region)
        return cls(register=register, column=found, sha256=_sha256(path), as_of=as_of, by=by)

    @property
    def evidence(self) -> Mapping[str, str]:
        return {
            "capture_method": f"{CAPTURE_METHOD} of {_day(self.as_of)}, sha256:{self.sha256}",
            "source_system": f"{CAPTURE_METHOD}-{self.register.name}",
            "actor": self.by,
        }


@dataclass(kw_only=True, slots=True)
class Counts:
    """Lines of the file: ``empty`` ones, ``invalid`` ones, which hold no address, and the others, ``addresses``.
    ``recorded``: the addresses that are refused by this load and were not before. ``read``: bytes of the file."""

    empty: int = 0
    invalid: int = 0
    addresses: int = 0
    recorded: int = 0
    read: int = 0


class InvalidLine(NamedTuple):
    """``number`` of the record in the file, from 1; ``content``: as it is there; ``why``: with the cure, no address."""

    number: int
    content: str
    why: str


class _Line(NamedTuple):
    number: int
    content: str
    address: str


@dataclass(kw_only=True, slots=True)
class _Chunk:
    """``valid`` lines; ``lines``: one of them for each address in its one spelling, on the register's first channel."""

    valid: int = 0
    lines: dict[str, _Line] = field(default_factory=dict)
    invalid: list[InvalidLine] = field(default_factory=list)
    empty: int = 0
    read: int = 0


def load(
    ledger: Ledger,
    file: RegisterFile,
    rules: ValidationRules,
    *,
    partitions: int,
    replaces: bool = False,
    on_invalid: Callable[[InvalidLine], None],
    on_begin: Callable[[], None] = lambda: None,
    waiting: Callable[[float], None] = lambda age: None,
    progress: Callable[[int], None] = lambda read: None,
    require_keys: Callable[[], None] = lambda: None,
) -> Counts:
    """Can be repeated, also after an interruption. Each line that holds no address is given to ``on_invalid``.
    ``replaces``: the day of the last load was a mistake, so that the file may be older. ``on_begin`` is called once the
    file is accepted, before the first decision; ``waiting`` before each wait for the bulk lane, with the age of its
    resolved timestamp in seconds. ``progress``: bytes of the file so far. ``require_keys`` is called before each
    transaction, and raises where the hash keys have changed. RegisterNotLoadedError, LedgerUnavailableError,
    FileNotReadableError, OSError."""
    [age] = ledger.transact(lambda c: table.ages(c, [file.register]))
    if age.as_of is not None and file.as_of < age.as_of and not replaces:
        raise RegisterNotLoadedError(
            f"{file.register.name} of {_day(age.as_of)} was loaded before, which is newer: load the file that was"
            " issued last, with its day; or repeat this with --replace if that day was a mistake"
        )
    if file.register.region:
        rules = replace(rules, default_region=file.register.region)
    pacing = BulkPacing(lambda: ledger.transact(partial(backlog.read, partitions=partitions)), waiting)
    on_begin()
    counts = Counts()
    for chunk in _chunks(file, rules):
        pacing.wait()
        require_keys()
        counts.recorded += _record(ledger, file, chunk, rules, since=age.as_of)
        counts.addresses += chunk.valid
        counts.invalid += len(chunk.invalid)
        counts.empty += chunk.empty
        counts.read = chunk.read
        for each in chunk.invalid:
            on_invalid(each)
        progress(chunk.read)
    if _sha256(file.column.source.path) != file.sha256:
        raise RegisterNotLoadedError("the file changed while it was read: load it again")
    return counts


def end(ledger: Ledger, file: RegisterFile, counts: Counts) -> None:
    """From now on the register is as old as the file. LedgerUnavailableError."""

    def add(connection: Connection, now: int) -> None:
        table.add_load(
            connection,
            Load(
                register=file.register,
                as_of=file.as_of,
                loaded_at=now,
                loaded_by=file.by,
                sha256=file.sha256,
                addresses=counts.addresses,
                recorded=counts.recorded,
                invalid=counts.invalid,
            ),
        )

    ledger.write(Lane.BULK, add)


def _chunks(file: RegisterFile, rules: ValidationRules) -> Iterator[_Chunk]:
    source, register = file.column.source, file.register
    at_once = max(1, _AT_ONCE // (len(register.channels) * len(register.purposes)))
    records = enumerate(source.records_and_positions(), start=1)
    if file.column.names is not None:
        next(records)
    while some := list(islice(records, at_once)):
        chunk = _Chunk(read=some[-1][1][1])
        for number, (content, _) in some:
            if not any(each.strip() for each in source.fields(content)):
                chunk.empty += 1
                continue
            line = _Line(number, source.text(content), file.column.address(content))
            try:
                canonical = named_address(register.channels[0], line.address, rules)
            except SubmissionInvalidError as error:
                chunk.invalid.append(_invalid(line, error))
            else:
                chunk.valid += 1
                chunk.lines.setdefault(canonical, line)
        yield chunk


def _record(ledger: Ledger, file: RegisterFile, chunk: _Chunk, rules: ValidationRules, *, since: int | None) -> int:
    """How many of the chunk's addresses were refused. Lines that the ledger refuses become invalid ones.
    ``since``: as of when the last load was that has ended."""

    def work(connection: Connection, now: int) -> tuple[int, list[InvalidLine]]:
        return _write(connection, ledger.context, file, chunk, rules, since=since, now=now)

    recorded, refused = ledger.write(Lane.BULK, work)
    chunk.invalid += refused
    chunk.valid -= len(refused)
    return recorded


def _write(
    connection: Connection,
    context: LedgerContext,
    file: RegisterFile,
    chunk: _Chunk,
    rules: ValidationRules,
    *,
    since: int | None,
    now: int,
) -> tuple[int, list[InvalidLine]]:
    register = file.register
    named = [(register.tenant, *each) for each in product(register.channels, chunk.lines)]
    before = _address_ids(connection, context, named, now=now)
    listed = table.listed(connection, register, before.values())
    wanted = [
        (name, purpose)
        for name, purpose in product(named, register.purposes)
        if not _stays_listed(listed.get((before.get(name, 0), purpose)), since)
    ]
    decisions, lines = _decisions(file, chunk, wanted, rules, now=now)
    outcomes = record(connection, context, decisions, lane=Lane.BULK) if decisions else []
    refused = {
        line.number: _invalid(line, outcome)
        for line, outcome in zip(lines, outcomes, strict=True)
        if not isinstance(outcome, RecordedDecision)
    }
    after = before if not decisions else _address_ids(connection, context, named, now=now)
    table.add_listed(
        connection,
        register,
        [
            (after[name], purpose)
            for name, purpose in product(named, register.purposes)
            if chunk.lines[name[2]].number not in refused and listed.get((after[name], purpose)) != file.as_of
        ],
        as_of=file.as_of,
    )
    numbers = {line.number for line in lines}
    return len(numbers - refused.keys()), list(refused.values())


def _address_ids(
    connection: Connection, context: LedgerContext, named: Collection[Named], *, now: int
) -> dict[Named, int]:
    """Of those that the ledger knows."""
    found = addresses.resolve(connection, context.keyring, named, now=now, create=False)
    return {name: address.address_id for name, address in found.items()}


def _stays_listed(last: int | None, since: int | None) -> bool:
    """Whether an address was in the load before already; one that was interrupted counts as well."""
    return last is not None and (since is None or last >= since)


def _decisions(
    file: RegisterFile, chunk: _Chunk, wanted: Sequence[tuple[Named, str]], rules: ValidationRules, *, now: int
) -> tuple[list[ValidDecision], list[_Line]]:
    """The decisions, and the line of each."""
    decisions = []
    for (tenant, channel, canonical), purpose in wanted:
        fields = {
            "channel": channel,
            "address": canonical,
            "purpose": purpose,
            "status": STATUS,
            "occurred_at": file.as_of,
        }
        # The evidence is ours: the digits of a hash are not to be read as a phone number.
        decision = validate(fields, tenant=tenant, rules=rules, now=now, bulk=True)
        decisions.append(replace(decision, evidence=file.evidence, sender=CAPTURE_METHOD))
    return decisions, [chunk.lines[canonical] for (_, _, canonical), _ in wanted]


def _invalid(line: _Line, error: SubmissionInvalidError) -> InvalidLine:
    why = "; ".join(f"{each.code}: {each.cure}" for each in error.faults)
    return InvalidLine(line.number, line.content.rstrip("\r\n"), why)


def _day(micros: int) -> str:
    return f"{datetime.fromtimestamp(micros / 1_000_000, UTC):%Y-%m-%d}"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_READ_BYTES):
            digest.update(part)
    return digest.hexdigest()

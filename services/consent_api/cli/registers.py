"""`consent-relay registers`: lists of oppositions with an age."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consent_api.cli.database_errors import NO_LEDGER, ledger_errors
from consent_service.terminal import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from consent_api.domain.validation import ValidationRules
    from consent_api.registers.age import RegisterAge
    from consent_api.registers.declared import Register
    from consent_api.registers.loading import InvalidLine
    from consent_api.settings import RegisterSettings
    from consent_privacy.keyring import Keyring
    from consent_service.wrong_entries import WrongEntry


_REPORT_HEADER = ("record", "content", "reason")


@click.group()
def registers() -> None:
    """Registers of oppositions, such as the TPS: files of addresses that are refused, with an age (docs/registers.md).

    Requires CONSENT_RELAY_REGISTERS_FILE, CONSENT_RELAY_API_DATABASE and CONSENT_RELAY_KEYRING_FILE.
    """


@registers.command("load")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--as-of", type=click.DateTime(["%Y-%m-%d"]), required=True, help="Day (UTC) on which the register was issued."
)
@click.option("--replace", is_flag=True, help="The day of the last load was a mistake: FILE may be older than that.")
@click.option("--column", help="Name of the column with the addresses, or its number from 1. Left out: found out.")
@click.option("--no-header", "header", flag_value=False, default=True, help="The first line is a person's.")
@click.option("--encoding", help="Of the addresses, if neither UTF-8 nor UTF-16 with a byte order mark: cp1252.")
@click.option("--delimiter", type=click.Choice([",", ";", "tab", "|"]), help="Left out: that of the first line.")
@click.option("--export", type=click.Path(path_type=Path, dir_okay=False), help="Then write this file for the gates.")
@click.option(
    "--invalid",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file of lines that hold no address; one of an earlier load is replaced. [FILE.invalid.csv]",
)
@click.option(
    "--invalid-at-most",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Lines that may hold no address. With more the register stays as old as it is.",
)
def load_register(
    name: str,
    file: Path,
    as_of: datetime,
    replace: bool,
    column: str | None,
    header: bool,
    encoding: str | None,
    delimiter: str | None,
    export: Path | None,
    invalid: Path | None,
    invalid_at_most: int,
) -> None:
    """Refuse every address of FILE, which is register NAME as it was issued on the day of --as-of.

    FILE has one address a line (--no-header), or is CSV with a column of them. Each is refused for the register's
    channels and purposes (objected), by the bulk lane, so that it delays no choice that a person makes now. An address
    is refused once for as long as it stays listed; one that is listed no more stays refused.

    Repeat it as often as you like: an interrupted load goes on.

    Requires CONSENT_RELAY_KAFKA and _REGISTRY too.

    \b
    Exit codes: 0  the register is as of that day now, and exported
                1  it is not: the file or a line of it cannot be read, or a server does not answer, what was recorded
                   stays; or the file of --export is not whole, as another entry is wrong
                2  a word or a setting is wrong, or a server refuses us
    """
    from sqlalchemy.exc import ProgrammingError

    from consent_api.cli import acts
    from consent_api.cli.publishing_ledger import publishing_ledger
    from consent_api.errors import LedgerUnavailableError, RegisterNotLoadedError
    from consent_api.ledger.database import connect, refuse_denied
    from consent_api.ledger.purposes import PurposeLimit
    from consent_api.registers import loading
    from consent_api.registers.loading import RegisterFile
    from consent_api.rights import audit
    from consent_api.rights.audit import Act
    from consent_kafka.registry import connect_codec
    from consent_privacy.errors import FileNotReadableError, KeyringError
    from consent_service import startup

    declared = _declared()
    settings, keyring, rules = declared.settings, declared.keyring, declared.rules
    register = declared.registers.get(name)
    if register is None:
        known = ", ".join(sorted(declared.registers)) or "it has none that can be used"
        raise click.BadParameter(f"CONSENT_RELAY_REGISTERS_FILE has no such register: {known}", param_hint="NAME")
    target = invalid or file.with_name(f"{file.stem}.invalid.csv")
    if target.resolve() == file.resolve():
        raise click.BadParameter("name another file than that of the register", param_hint="--invalid")
    if target.exists() and not _is_report(target):
        cure = f"{target} exists, and is no file of such lines: rename it, or name another"
        raise click.BadParameter(cure, param_hint="--invalid")
    moment = int(as_of.replace(tzinfo=UTC).timestamp()) * 1_000_000
    _check_day(register, as_of, oldest=rules.oldest_choice)
    engine = connect(settings.database, pool_size=2, application="consent-relay registers")
    refuse_denied(engine)
    codec = connect_codec(settings, wait_seconds=10)
    purposes = PurposeLimit(most=settings.max_purposes)
    ledger = publishing_ledger(engine, codec, settings, keyring, purposes=purposes)

    def require_keys() -> None:
        if startup.keyring(settings).hash_keys != keyring.hash_keys:
            raise RegisterNotLoadedError("the keyring has other hash keys now. Run the command again: it goes on")

    try:
        opened = RegisterFile.open(
            register,
            file,
            as_of=moment,
            by=audit.by_operator(),
            column=column,
            header=header,
            encoding=encoding,
            delimiter="\t" if delimiter == "tab" else delimiter,
        )
        where = f"{file}: {register.channels[0]} addresses in column {opened.column.shown}, {opened.column.how}"
        click.echo(shown(where), err=True)
        act = f"{name} of {as_of:%Y-%m-%d}, sha256:{opened.sha256}"
        with (
            _invalid_lines(target) as on_invalid,
            click.progressbar(length=max(file.stat().st_size, 1), label=f"loading {name}", file=sys.stderr) as bar,
        ):

            def say(label: str) -> None:
                bar.label = label
                bar.render_progress()

            def progress(read: int) -> None:
                bar.label = f"loading {name}"
                bar.update(read - bar.pos)

            counts = loading.load(
                ledger,
                opened,
                rules,
                partitions=settings.partitions,
                replaces=replace,
                on_invalid=on_invalid,
                on_begin=lambda: acts.record(Act.REGISTER_LOADED, tenant=register.tenant, object_id=act),
                waiting=lambda _: say(f"{name} waits: the bulk lane is more than a minute late"),
                progress=progress,
                require_keys=require_keys,
            )
        if counts.invalid <= invalid_at_most and counts.addresses:
            loading.end(ledger, opened, counts)
    except (RegisterNotLoadedError, LedgerUnavailableError) as error:
        raise click.ClickException(f"stopped: {error}. What was recorded stays.") from None
    except ProgrammingError:
        raise click.ClickException(NO_LEDGER) from None
    except (FileNotReadableError, OSError) as error:
        raise click.ClickException(shown(f"{file}: {error}")) from None
    except KeyringError as error:
        raise click.ClickException(str(error)) from None
    finally:
        engine.dispose()
    click.echo(
        f"{counts.addresses} addresses: {counts.recorded} refused now, {counts.addresses - counts.recorded} before;"
        f" {counts.empty} empty lines, {counts.invalid} invalid"
    )
    if not counts.addresses:
        raise click.ClickException(f"{file} has no addresses: {name} stays as old as it is")
    if counts.invalid > invalid_at_most:
        raise click.ClickException(
            f"{name} stays as old as it is: {target} has the lines that hold no address. Mend them in {file}, or repeat"
            f" the command with --invalid-at-most {counts.invalid}"
        )
    click.echo(f"{name} is as of {as_of:%Y-%m-%d}")
    if export is not None:
        _export(declared, export)


@registers.command("export")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def export_registers(path: Path) -> None:
    """Write to PATH until when each register may be relied on: for the gate (CONSENT_RELAY_GATE_REGISTERS_FILE), scrub
    and tools with the client library, which deny once it is over.

    Repeat it after each load, or give load the option --export. Where an entry of the file of registers is wrong, PATH
    keeps what it had of it, or is not written where it has nothing of it; the exit code is 1.
    """
    _export(_declared(), path)


@registers.command("list")
def list_registers() -> None:
    """Print name, tenant, day as of which it was loaded, age and greatest age in days, and state of each.

    Exit code 1 where one is stale, was never loaded, has changed since its load, or is wrong in the file.
    """
    from consent_api.registers.age import State

    declared = _declared()
    found, now = _ages(declared)
    for each in found:
        days = each.days(now)
        parts = (
            each.register.name,
            each.register.tenant,
            f"{datetime.fromtimestamp(each.as_of / 1_000_000, UTC):%Y-%m-%d}" if each.as_of is not None else "-",
            f"{days:.1f}" if days is not None else "-",
            str(each.register.max_age_days),
            each.state(now).value,
        )
        click.echo("\t".join(parts))
    bad = [each for each in found if each.state(now) not in (State.FRESH, State.ENDED)]
    sys.exit(1 if bad or declared.wrong else 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Declared:
    """``registers`` by name; ``wrong`` entries are not among them."""

    settings: RegisterSettings
    keyring: Keyring
    rules: ValidationRules
    registers: Mapping[str, Register]
    wrong: Sequence[WrongEntry]


def _declared() -> _Declared:
    from consent_api.cli import wrong_entries
    from consent_api.errors import MisconfiguredError
    from consent_api.settings import RegisterSettings
    from consent_service import startup
    from consent_service.exits import exit_with_errors
    from consent_service.settings import load

    settings = load(RegisterSettings)
    if settings.registers_file is None:
        exit_with_errors(["CONSENT_RELAY_REGISTERS_FILE is not set: docs/registers.md"])
    keyring = startup.keyring(settings)
    wrong: list[WrongEntry] = []
    try:
        rules = settings.rules(keyring.tenants, on_wrong=wrong_entries.warn)
        found = settings.registers(keyring.tenants, rules, on_wrong=wrong.append)
    except MisconfiguredError as error:
        exit_with_errors([str(error)])
    for each in wrong:
        wrong_entries.warn(each)
    return _Declared(settings=settings, keyring=keyring, rules=rules, registers=found, wrong=wrong)


def _ages(declared: _Declared) -> tuple[list[RegisterAge], int]:
    """Of each register, and the database's clock (micros)."""
    from consent_api.ledger import database
    from consent_api.registers import table

    engine = database.connect(declared.settings.database, pool_size=1, application="consent-relay registers")
    try:
        database.refuse_denied(engine)
        with ledger_errors():
            found = database.transact(engine, lambda c: table.ages(c, declared.registers.values()))
            return found, database.transact(engine, database.clock)
    finally:
        engine.dispose()


def _export(declared: _Declared, path: Path) -> None:
    """Of wrong entries the file keeps what it had, which denies when it is over. A file without them would never deny
    for them, so click.ClickException where it has nothing of one, and nothing is written; and after it was written
    with what it had."""
    from consent_client import registers
    from consent_client.errors import InvalidRegistersError
    from consent_client.registers import RegisterLimit

    found, _ = _ages(declared)
    limits = [
        RegisterLimit(
            name=each.register.name,
            tenant=each.register.tenant,
            channels=each.register.channels,
            purposes=each.register.purposes,
            stale_at=each.stale_at,
        )
        for each in found
    ]
    wrong = {each.entry for each in declared.wrong}
    cure = f"mend {', '.join(sorted(wrong))} in CONSENT_RELAY_REGISTERS_FILE, and repeat consent-relay registers export"
    try:
        kept = [each for each in registers.read(path).limits if each.name in wrong] if wrong and path.exists() else []
        if wrong - {each.name for each in kept}:
            raise click.ClickException(f"{path} is not written, as it would never deny for what is wrong: {cure}")
        limits += kept
        registers.write(path, limits)
    except InvalidRegistersError as error:
        raise click.ClickException(f"{error}: remove it, and repeat the command") from None
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    click.echo(f"{len(limits)} registers written to {path}")
    if wrong:
        raise click.ClickException(f"{path} has what it had of an entry that is wrong now: {cure}")


def _check_day(register: Register, as_of: datetime, *, oldest: int) -> None:
    """click.BadParameter for a day on which it cannot have been issued."""
    day, hint = as_of.date(), "--as-of"
    if day > datetime.now(UTC).date():
        raise click.BadParameter("the day is still to come: state when the register was issued", param_hint=hint)
    if int(as_of.replace(tzinfo=UTC).timestamp()) * 1_000_000 < oldest:
        raise click.BadParameter("the day is before CONSENT_RELAY_OLDEST_CHOICE", param_hint=hint)
    if register.ended is not None and day > register.ended:
        raise click.BadParameter(f"{register.name} ended on {register.ended}: state a day until then", param_hint=hint)


def _is_report(path: Path) -> bool:
    """Whether a former load wrote it: nothing else is removed."""
    header = ",".join(_REPORT_HEADER).encode() + b"\r\n"
    try:
        with path.open("rb") as file:
            return file.read(len(header)) == header
    except OSError:
        return False


@contextmanager
def _invalid_lines(target: Path) -> Iterator[Callable[[InvalidLine], None]]:
    """Writes lines that hold no address to the file, for its owner alone. It appears with the first of them; one of an
    earlier load is removed."""
    target.unlink(missing_ok=True)
    with ExitStack() as opened:
        writers: list[Any] = []

        def write(line: InvalidLine) -> None:
            if not writers:
                descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                file = opened.enter_context(os.fdopen(descriptor, "w", encoding="utf-8", newline=""))
                writers.append(csv.writer(file))
                writers[0].writerow(_REPORT_HEADER)
            writers[0].writerow(line)

        yield write

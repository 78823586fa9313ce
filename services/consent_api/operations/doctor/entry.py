"""The checks of the ledger, and of what the API reads at its start: of the entry point `api`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry
from sqlalchemy.exc import DBAPIError

from consent_api.errors import LedgerUnavailableError, MisconfiguredError
from consent_api.ledger.database import connect, transact
from consent_api.links import theme
from consent_api.operations.doctor.database import find_in_database
from consent_api.operations.doctor.ledger import DATABASE
from consent_api.registers import table
from consent_api.registers.age import RegisterAge, State
from consent_api.settings import (
    ApiSettings,
    IngestSettings,
    LedgerSettings,
    MigrateSettings,
    RegisterSettings,
    SubmissionSettings,
)
from consent_privacy.errors import InvalidKeyringError
from consent_privacy.keyring import Keyring
from consent_service.doctor.certificates import Certificate, certificate_of_file, judge_certificates
from consent_service.doctor.findings import MEND_KEYRING, Check, CheckContext, Finding, Result, all_ok, readable
from consent_service.doctor.secret_files import judge_secrets, referenced_secrets
from consent_service.health import Health
from consent_service.secret_files import SecretWatch
from consent_service.wrong_entries import WrongEntry, ignore

_KEYRING, _FILES, _CERTIFICATES, _INBOUND, _REGISTERS = (
    "keyring",
    "files of the API",
    "certificates of the database",
    "secrets of inbound sources",
    "registers",
)


def checks(context: CheckContext) -> list[Check]:
    """Those of the processes that use the ledger, and of the API's files."""
    if not context.concerns("api", "relay", "ingest", "migrate"):
        return []
    found = [
        Check(name=DATABASE, find=lambda: _database(context)),
        Check(name=_CERTIFICATES, find=lambda: judge_certificates(_CERTIFICATES, _certificates())),
    ]
    if context.concerns("api", "relay", "ingest"):
        found.append(Check(name=_KEYRING, find=_keyring))
    if context.concerns("api"):
        found += [
            Check(name=_FILES, find=_files),
            Check(name=_INBOUND, find=lambda: _inbound_secrets(context.secret_days)),
            Check(name=_REGISTERS, find=lambda: _registers(context.clock()), after=(_KEYRING,)),
        ]
    return found


def _database(context: CheckContext) -> list[Finding]:
    settings = readable(LedgerSettings)
    if settings is None:
        text = "CONSENT_RELAY_API_DATABASE is not set here, or wrong"
        return [Finding(name=DATABASE, result=Result.NOT_CONFIGURED, found=text)]
    found = find_in_database(settings, clock=context.clock, secret_days=context.secret_days)
    owner = readable(MigrateSettings)
    if owner is not None and owner.owner.username == settings.database.username:
        text = "CONSENT_RELAY_API_DATABASE and CONSENT_RELAY_API_DATABASE_OWNER name the same role"
        cure = "name a role of the services' own in the first, then run: consent-relay migrate"
        found.append(Finding(name=DATABASE, result=Result.FAULT, found=text, cure=cure))
    return found


def _certificates() -> list[Certificate]:
    settings = readable(LedgerSettings)
    named = settings.database.query if settings is not None else {}
    return [
        certificate_of_file(
            f"{name} of CONSENT_RELAY_API_DATABASE", Path(str(named[name])), bundle=name == "sslrootcert"
        )
        for name in ("sslrootcert", "sslcert")
        if name in named and named[name] != "system"
    ]


def _keyring() -> list[Finding]:
    """As each of these processes opens it: with seal keys, and with the tenants that settings name."""
    settings = readable(SubmissionSettings)
    if settings is None:
        return [Finding(name=_KEYRING, result=Result.NOT_CONFIGURED, found="settings of the API are not set here")]
    try:
        keyring = Keyring.load(settings.keyring_file)
    except InvalidKeyringError as error:
        return [Finding(name=_KEYRING, result=Result.FAULT, found=str(error), cure=MEND_KEYRING)]
    if not keyring.seal_keys:
        text = f"{settings.keyring_file} has hash keys only: API, relay and ingest need seal keys"
        return [
            Finding(name=_KEYRING, result=Result.FAULT, found=text, cure="give them the keyring of the installation")
        ]
    if foreign := sorted(_tenants_of_ingest() - set(keyring.tenants)):
        text = f"CONSENT_RELAY_INGEST_TENANT, _LIVE_TENANTS or _BULK_TENANTS names {foreign[0]}, who has no hash keys"
        cure = f"correct it, or: consent-relay keyring rotate FILE --tenant {foreign[0]}"
        return [Finding(name=_KEYRING, result=Result.FAULT, found=text, cure=cure)]
    tenants = len(keyring.tenants)
    return [Finding(name=_KEYRING, result=Result.OK, found=f"{tenants} tenants, {len(keyring.seal_keys)} seal keys")]


def _tenants_of_ingest() -> set[str]:
    settings = readable(IngestSettings)
    if settings is None:
        return set()
    alone = {settings.ingest_tenant} if settings.ingest_tenant is not None else set()
    return {*settings.ingest_live_tenants, *settings.ingest_bulk_tenants, *alone}


def _files() -> list[Finding]:
    settings = readable(ApiSettings)
    if settings is None:
        return [Finding(name=_FILES, result=Result.NOT_CONFIGURED, found="settings of the API are not set here")]
    try:
        tenants = Keyring.load(settings.keyring_file).tenants
    except InvalidKeyringError:
        return [Finding(name=_FILES, result=Result.NOT_CHECKED, found="because of keyring", cure="mend keyring first")]
    wrong: list[WrongEntry] = []

    def of_tenants() -> None:
        rules = settings.rules(tenants, on_wrong=wrong.append)
        theme.offered(settings.themes(tenants, on_wrong=wrong.append), rules, on_wrong=wrong.append)
        settings.inbound_sources(tenants, rules, on_wrong=wrong.append)
        settings.registers(tenants, rules, on_wrong=wrong.append)

    readers: list[Callable[[], object]] = [
        of_tenants,
        lambda: settings.code_webhook(SecretWatch(CollectorRegistry(), Health())),
    ]
    found = []
    for read in readers:
        try:
            read()
        except MisconfiguredError as error:
            found.append(Finding(name=_FILES, result=Result.FAULT, found=str(error)))
    found += [Finding(name=_FILES, result=Result.FAULT, found=f"{each.setting}: {each.why}") for each in wrong]
    if settings.theme_file is not None and settings.public_url is None:
        text = "CONSENT_RELAY_THEME_FILE is set and CONSENT_RELAY_PUBLIC_URL is not: no links are made"
        cure = "set CONSENT_RELAY_PUBLIC_URL"
        found.append(Finding(name=_FILES, result=Result.WARNING, found=text, cure=cure))
    return list(
        all_ok(_FILES, list(dict.fromkeys(found)), "purposes, themes, code webhook, inbound sources and registers fit")
    )


def _inbound_secrets(secret_days: float) -> list[Finding]:
    settings = readable(ApiSettings)
    path = None if settings is None else settings.inbound_file
    files = [] if path is None else referenced_secrets("CONSENT_RELAY_INBOUND_FILE", path)
    return list(judge_secrets(files, secret_days, name=_INBOUND))


def _registers(now: int) -> list[Finding]:
    settings = readable(RegisterSettings)
    if settings is None or settings.registers_file is None:
        return [Finding(name=_REGISTERS, result=Result.NOT_CONFIGURED, found="CONSENT_RELAY_REGISTERS_FILE is not set")]
    tenants = Keyring.load(settings.keyring_file).tenants
    try:
        declared = settings.registers(tenants, settings.rules(tenants, on_wrong=ignore), on_wrong=ignore)
    except MisconfiguredError:
        return [Finding(name=_REGISTERS, result=Result.NOT_CHECKED, found=f"because of {_FILES}", cure="mend those")]
    engine = connect(settings.database, pool_size=1, application="consent-relay doctor")
    try:
        ages = transact(engine, lambda connection: table.ages(connection, declared.values()), attempts=1)
    except (LedgerUnavailableError, DBAPIError):
        return [Finding(name=_REGISTERS, result=Result.NOT_CHECKED, found=f"because of {DATABASE}", cure="mend that")]
    finally:
        engine.dispose()
    return [_judge_register(each, now) for each in ages]


def _judge_register(age: RegisterAge, now: int) -> Finding:
    name, state, days = age.register.name, age.state(now), age.days(now)
    old = f", {days:.0f} days old" if days is not None else ""
    if state in (State.FRESH, State.ENDED):
        return Finding(name=_REGISTERS, result=Result.OK, found=f"{name}: {state.value}{old}")
    cure = f"load the one that was issued last: consent-relay registers load {name} FILE --as-of DAY"
    return Finding(name=_REGISTERS, result=Result.FAULT, found=f"{name}: {state.value}{old}", cure=cure)

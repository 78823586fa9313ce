"""The settings of this service's processes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from consent_api import tenant_purposes
from consent_api.domain.validation import Purposes, UnknownPurpose, ValidationRules, midnight
from consent_api.errors import MisconfiguredError
from consent_api.inbound.sources import Source, WrongSource, read_sources, refuse_file
from consent_api.ledger.notices import RequiredNotices
from consent_api.ledger.purposes import MAX_PURPOSES
from consent_api.links import theme
from consent_api.links.theme import Theme, read_themes
from consent_api.registers.declared import Register, read_registers
from consent_api.tenant_purposes import declared, read_tenant_purposes
from consent_http.rates import Rates
from consent_http.token_settings import AccessTokenSettings
from consent_http.webhook_signature import parse_secret
from consent_service.settings import CommaSeparated, KeyringSettings, ProcessSettings, secret_file
from consent_service.wrong_entries import WrongEntry, ignore

if TYPE_CHECKING:
    from consent_api.links.code_webhook import CodeWebhook
    from consent_service.secret_files import SecretWatch

LIVE, LIVE_BATCHES, BULK, READ = "live", "live_batches", "bulk", "read"
"""Budgets of the API: requests with one decision or links; decisions in batches; questions."""
_ALLOW_PRIVATE = "CONSENT_RELAY_CODE_WEBHOOK_ALLOW_PRIVATE=true"
_DATABASE = "postgresql://role:password@host:port/database of a role that `consent-relay migrate` created"


def _url(value: SecretStr) -> URL:
    """With psycopg 3 as the driver, whatever driver the setting names."""
    return make_url(value.get_secret_value()).set(drivername="postgresql+psycopg")


def _checked(value: SecretStr) -> SecretStr:
    try:
        url = make_url(value.get_secret_value())
    except ArgumentError:
        raise ValueError("is no database URL") from None
    if url.get_backend_name() != "postgresql" or not url.username:
        raise ValueError("must be a postgresql:// URL that names a role")
    return value


def refuse_start(wrong: WrongEntry) -> None:
    """MisconfiguredError for an entry of any of these files."""
    raise MisconfiguredError(f"{wrong.setting}: {wrong.why}.")


def _without_keys(setting: str, tenant: str) -> WrongEntry:
    why = f"names a tenant in its file that the keyring has no hash keys for: {tenant[:64]}"
    return WrongEntry(setting=setting, entry=tenant[:64], why=why)


class LedgerSettings(ProcessSettings):
    """Every process that uses the ledger."""

    service: ClassVar[str] = "consent-api"

    api_database: SecretStr = Field(description=_DATABASE)

    _check_database = field_validator("api_database")(_checked)

    @property
    def database(self) -> URL:
        return _url(self.api_database)

    @property
    def certificate_files(self) -> Mapping[str, Path | None]:
        return {**super().certificate_files, "database-certificate": self._named("sslcert")}

    @property
    def authority_files(self) -> Mapping[str, Path | None]:
        return {**super().authority_files, "database-authorities": self._named("sslrootcert")}

    def _named(self, parameter: str) -> Path | None:
        """A file that the database's URL names; None for the system's authorities, too."""
        named = str(self.database.query.get(parameter, "system"))
        return None if named == "system" else Path(named)


class DatabaseSettings(LedgerSettings, KeyringSettings):
    """Every process of this service that also reads or hides addresses."""

    api_database_pool: int = Field(8, ge=1, le=100, description="connections to the database, at most")


class SubmissionSettings(DatabaseSettings):
    """Every process that takes submissions: what the installation declares about them."""

    oldest_choice: date = Field(
        date(2000, 1, 1), ge=date(1970, 1, 1), description="day (UTC): choices dated earlier are taken for errors"
    )
    refused_references: CommaSeparated = Field(
        (), description="references that identify no one, comma separated, beside the built-in ones (walk-in, say)"
    )
    purposes: CommaSeparated | None = Field(
        None, description="the purposes that there are, comma separated; unset: every slug is one"
    )
    max_purposes: int = Field(
        MAX_PURPOSES, ge=1, le=10_000, description="purposes that a tenant may have; what names one more is refused"
    )
    unknown_purpose: UnknownPurpose = Field(
        UnknownPurpose.REFUSE, description="a refusal for an undeclared purpose: refuse it, or take it for everything"
    )
    tenant_purposes: Path | None = Field(
        None, description="path of a YAML file with the purposes of tenants that have others: docs/submitting.md"
    )

    notices: RequiredNotices = Field(
        RequiredNotices.ANY, description="the notices that a permission may name: any, or those in the registry alone"
    )
    subject_addresses: int = Field(
        50, ge=1, le=1_000, description="addresses of one subject, on all channels together; more are refused"
    )

    @field_validator("purposes")
    @classmethod
    def _purpose_slugs(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None:
            declared(names)
        return names

    @field_validator("tenant_purposes")
    @classmethod
    def _readable_purposes(cls, path: Path | None) -> Path | None:
        if path is not None:
            read_tenant_purposes(path, Purposes(), on_wrong=ignore)
        return path

    def rules(
        self, tenants: Collection[str], *, on_wrong: Callable[[WrongEntry], None] = refuse_start
    ) -> ValidationRules:
        """The rules for the keyring's ``tenants``. ``on_wrong`` is given each wrong entry of the file of purposes;
        MisconfiguredError by default, and for a tenant that the keyring has not: the one that was meant would have
        the purposes of the installation."""
        purposes = Purposes(
            declared=declared(self.purposes) if self.purposes is not None else None, unknown=self.unknown_purpose
        )
        path = self.tenant_purposes
        by_tenant = read_tenant_purposes(path, purposes, on_wrong=on_wrong) if path is not None else {}
        if unknown := sorted(by_tenant.keys() - set(tenants)):
            refuse_start(_without_keys(tenant_purposes.SETTING, unknown[0]))
        return ValidationRules(
            channels=self.channels,
            default_region=self.default_region,
            oldest_choice=midnight(self.oldest_choice),
            refused_references=self.refused_references,
            purposes=purposes,
            tenant_purposes=by_tenant,
        )


class RegisterSettings(SubmissionSettings):
    """The API and the commands that know registers."""

    registers_file: Path | None = Field(
        None, description="path of a YAML file with registers of oppositions, such as the TPS: docs/registers.md"
    )

    def registers(
        self,
        tenants: Collection[str],
        rules: ValidationRules,
        *,
        on_wrong: Callable[[WrongEntry], None] = refuse_start,
    ) -> dict[str, Register]:
        """By name. ``on_wrong`` is given each wrong entry of the file; MisconfiguredError by default, and for a file of
        another shape."""
        if self.registers_file is None:
            return {}
        return read_registers(self.registers_file, tenants=tenants, rules=rules, on_wrong=on_wrong)


class PublicLinkSettings(KeyringSettings):
    """Every process that makes the links which people are sent."""

    service: ClassVar[str] = "consent-api"

    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]+$",
        description="what the links begin with that people are sent; /u/ and /p/ below it lead to the API. Unset: no"
        " links are made",
    )
    theme_file: Path | None = Field(
        None, description="path of a YAML file with the tenants' preference centres: docs/preference-centre.md"
    )

    @field_validator("theme_file")
    @classmethod
    def _readable_themes(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None:
            read_themes(path, channels=info.data.get("channels", ()), on_wrong=ignore)
        return path

    def themes(
        self, tenants: Collection[str], *, on_wrong: Callable[[WrongEntry], None] = refuse_start
    ) -> dict[str, Theme]:
        """By tenant. ``on_wrong`` is given each wrong entry of the theme file, one of a tenant that the keyring has not
        among them; MisconfiguredError by default."""
        path = self.theme_file
        found = read_themes(path, channels=self.channels, on_wrong=on_wrong) if path is not None else {}
        unknown = sorted(found.keys() - set(tenants))
        for tenant in unknown:
            on_wrong(_without_keys(theme.SETTING, tenant))
            del found[tenant]
        # It may be the misspelt name of any that has no entry: what those sell or share is not known.
        not_named = set(tenants) - found.keys() if unknown else ()
        return found | {tenant: theme.not_known(tenant) for tenant in not_named}


class ApiSettings(RegisterSettings, PublicLinkSettings, AccessTokenSettings):
    """`consent-relay api`."""

    code_webhook_url: str | None = Field(
        None,
        description="https URL of yours that sends codes to persons without a link: docs/preference-centre.md. Unset:"
        " no codes are sent",
    )
    code_webhook_secret: SecretStr | None = Field(
        None, description="whsec_ and base64: what the messages to that URL are signed with (Standard Webhooks)"
    )
    code_webhook_allow_private: bool = Field(
        False, description="whether that URL may be http, and on a private network: for tests on one machine"
    )

    api_host: str = Field("127.0.0.1", description="address on which the HTTP API listens")
    api_port: int = Field(8080, ge=0, le=65535, description="port of the HTTP API; 0: any free one")
    api_max_body: int = Field(
        1_048_576,
        ge=1024,
        description="longest body of a batch in bytes (of any other request: 256 KiB, or this if less)",
    )
    api_threads: int = Field(
        8, ge=1, le=200, description="requests worked on at once, a quarter of them bulk; no more than connections"
    )
    api_key_live_rate: float = Field(
        200.0,
        ge=0,
        description="requests a second that record one decision or change links, of one API key, at one process, on"
        " average over 10 s; more are answered 429. 0: no limit",
    )
    api_tenant_live_rate: float = Field(400.0, ge=0, description="the same, of all API keys of a tenant")
    api_key_bulk_rate: float = Field(
        2_000.0, ge=0, description="decisions a second in bulk batches, and as many in live ones, of one API key"
    )
    api_tenant_bulk_rate: float = Field(4_000.0, ge=0, description="the same, of all API keys of a tenant")
    api_key_read_rate: float = Field(50.0, ge=0, description="questions a second, of one API key")
    api_tenant_read_rate: float = Field(100.0, ge=0, description="the same, of all API keys of a tenant")
    inbound_file: Path | None = Field(
        None, description="path of a YAML file with the tools whose webhooks are taken: docs/inbound-webhooks.md"
    )
    erasure_wait: int = Field(
        86_400,
        ge=60,
        le=7 * 86_400,
        description="seconds that an erasure waits at most for the tools to take the objection, for which they need the"
        " address",
    )
    api_shutdown_delay: float = Field(
        5.0,
        ge=0,
        le=60,
        description="seconds for which it goes on answering after SIGTERM, not ready, until"
        " load balancers send it no more",
    )
    api_docs: bool = Field(True, description="whether the API describes itself at /docs and /openapi.json, to anybody")
    metrics_port: int = Field(9464, ge=0, le=65535, description="port of /metrics and the health pages; 0: any")

    @field_validator("code_webhook_secret")
    @classmethod
    def _readable_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            parse_secret(secret.get_secret_value())
        return secret

    def code_webhook(self, watch: SecretWatch) -> CodeWebhook | None:
        """What sends codes; its secret, where it is in a file, is followed by ``watch``. MisconfiguredError with what
        is wrong with its settings."""
        url, secret = self.code_webhook_url, self.code_webhook_secret
        if url is None:
            return None
        # The HTTP client is the API's alone: relay, ingest and commands read these settings too, and start without it.
        from consent_api.links.code_webhook import CodeWebhook
        from consent_http.ssrf import url_error

        if (fault := url_error(url, allow_private=self.code_webhook_allow_private, switch=_ALLOW_PRIVATE)) is not None:
            raise MisconfiguredError(f"CONSENT_RELAY_CODE_WEBHOOK_URL: {fault}.")
        if secret is None:
            raise MisconfiguredError("CONSENT_RELAY_CODE_WEBHOOK_SECRET: set it: messages to the webhook are signed.")
        file = secret_file("code_webhook_secret", parse_secret)
        if file is not None:
            watch.follow(file)
        fixed = parse_secret(secret.get_secret_value())
        return CodeWebhook(
            url,
            secret=lambda: fixed if file is None else file.value,
            allow_private=self.code_webhook_allow_private,
        )

    def inbound_sources(
        self,
        tenants: Collection[str],
        rules: ValidationRules,
        *,
        on_wrong: Callable[[WrongSource], None] = refuse_file,
    ) -> dict[str, Source]:
        """The sources by id. MisconfiguredError with what is wrong with the file. ``on_wrong`` is given each wrong
        entry."""
        if self.inbound_file is None:
            return {}
        return read_sources(self.inbound_file, tenants=tenants, rules=rules, on_wrong=on_wrong)

    @property
    def rates(self) -> Mapping[str, Rates]:
        return {
            LIVE: Rates(per_key=self.api_key_live_rate, per_tenant=self.api_tenant_live_rate),
            LIVE_BATCHES: Rates(per_key=self.api_key_bulk_rate, per_tenant=self.api_tenant_bulk_rate),
            BULK: Rates(per_key=self.api_key_bulk_rate, per_tenant=self.api_tenant_bulk_rate),
            READ: Rates(per_key=self.api_key_read_rate, per_tenant=self.api_tenant_read_rate),
        }


class OutboxRelaySettings(DatabaseSettings):
    """`consent-relay relay`."""

    service: ClassVar[str] = "consent-api-relay"

    relay_batch: int = Field(2_000, ge=1, le=20_000, description="outbox rows published in one transaction, at most")
    relay_poll_shortest: float = Field(0.003, gt=0, le=1, description="seconds between looks at a busy outbox")
    relay_poll_longest: float = Field(0.020, gt=0, le=1, description="seconds between looks at an idle outbox")
    renewal_days: int = Field(
        30, ge=0, le=365, description="days before its end at which the renewal of a permission is asked for; 0: not"
    )
    scrub_days: float = Field(
        1.0, gt=0, le=30, description="days between two comparisons of all suppression lists with the ledger"
    )
    metrics_port: int = Field(9466, ge=0, le=65535, description="port of /metrics and the health pages; 0: any")


class IngestSettings(SubmissionSettings):
    """`consent-relay ingest`."""

    service: ClassVar[str] = "consent-api-ingest"

    ingest_batch: int = Field(1_000, ge=1, le=10_000, description="records recorded in one transaction, at most")
    ingest_bulk_batch: int = Field(
        250, ge=1, le=10_000, description="records of the bulk topic recorded in one transaction, at most"
    )
    ingest_tenant: str | None = Field(
        None, description="tenant of submissions that name none; unset: the keyring's, if it has only one"
    )
    ingest_live_tenants: CommaSeparated = Field(
        (), description="tenants that consent.inbound.v1 takes submissions of, comma separated; unset: all"
    )
    ingest_bulk_tenants: CommaSeparated = Field((), description="the same of consent.inbound.bulk.v1")
    ingest_no_lift: CommaSeparated = Field(
        (),
        description="topics and source systems (evidence.source_system or ce_source), comma separated, whose"
        " permissions lift no refusal: imports and feeds, such as a CRM's",
    )
    metrics_port: int = Field(9467, ge=0, le=65535, description="port of /metrics and the health pages; 0: any")


class OwnerSettings(ProcessSettings):
    """`consent-relay migrate` and `keys`: run by an operator, as the owner of the database."""

    service: ClassVar[str] = "consent-api-owner"

    api_database_owner: SecretStr = Field(
        description="postgresql://owner:password@host:port/database of a role that may create tables and roles"
    )

    _check_owner = field_validator("api_database_owner")(_checked)

    @property
    def owner(self) -> URL:
        return _url(self.api_database_owner)


class MigrateSettings(OwnerSettings):
    """`consent-relay migrate`: also creates the role that the services use, with the password given here."""

    api_database: SecretStr = Field(description="postgresql://role:password@host:port/database for the services")
    migrate_lock_timeout: float = Field(
        3.0,
        ge=0.1,
        le=60,
        description="seconds that a migration waits for a lock on a table, as do those who need the table after it;"
        " then it lets them pass and tries again",
    )

    _check_database = field_validator("api_database")(_checked)

    @property
    def database(self) -> URL:
        return _url(self.api_database)

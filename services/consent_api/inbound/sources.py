"""The inbound sources file: which tool may report what people say to it, and what that withdraws. Read once, at start;
the files that it names for secrets, again when they change. A source that is wrong concerns its tool alone: it asks
that to send again later.

    sources:
      - id: twilio-fr                      # the end of the URL: /v1/inbound/twilio-fr. Never reuse it
        provider: twilio
        tenant: acme                       # may be left out where the keyring has one tenant
        channel: sms
        purposes: ["*"]                    # what a STOP withdraws
        url: https://consent.example.com/v1/inbound/twilio-fr
        secrets: [{file: /run/secrets/twilio}, {env: TWILIO_OLD_TOKEN}]
        destination: twilio-fr             # whose pushes may come back as events of this source

docs/inbound-webhooks.md has an entry for each provider.
"""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from consent_api.domain.validation import ValidationRules
from consent_api.errors import MisconfiguredError
from consent_api.inbound.providers import PROVIDERS, sendgrid, standard
from consent_api.inbound.providers.base import Provider
from consent_api.yaml_file import read_yaml
from consent_contracts.decisions import EVERY_PURPOSE
from consent_contracts.records import PURPOSE
from consent_service.secret_files import SecretFile
from consent_service.wrong_entries import WrongEntry

SETTING = "CONSENT_RELAY_INBOUND_FILE"
_SLUG = r"^[a-z][a-z0-9-]{0,39}$"
_SHORTEST_SECRET = 16
_LONGEST_PROVIDER = 40
_AGAIN = 503
"""For a provider that is none of ours. Most send again after it; Brevo does not."""


class _Secret(BaseModel):
    """Where a secret is: in a file, or in an environment variable."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    file: Path | None = None
    env: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> _Secret:
        if (self.file is None) == (self.env is None):
            raise ValueError("give file or env")
        return self


class Source(BaseModel):
    """One tool that reports. ``keys`` are its secrets as they are used."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: Annotated[str, Field(pattern=_SLUG)]
    provider: str
    tenant: str = ""
    channel: str
    purposes: tuple[str, ...] = (EVERY_PURPOSE,)
    secrets: tuple[_Secret, ...] = ()
    url: str = ""
    topics: tuple[str, ...] = ()
    destination: str | None = None
    keys: Annotated[tuple[str, ...], Field(exclude=True, repr=False)] = ()

    @field_validator("keys", mode="before")
    @classmethod
    def _not_in_the_file(cls, _: object) -> None:
        raise ValueError("is not a member: give secrets")

    @field_validator("provider")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in PROVIDERS:
            raise ValueError(f"is one of {', '.join(PROVIDERS)}")
        return name

    @field_validator("purposes")
    @classmethod
    def _slugs(cls, purposes: tuple[str, ...]) -> tuple[str, ...]:
        if not purposes or not all(each == EVERY_PURPOSE or PURPOSE.fullmatch(each) for each in purposes):
            raise ValueError('requires slugs of a-z, 0-9, _ and -, or "*"')
        return purposes

    @field_validator("url")
    @classmethod
    def _public(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("https", "http") or not parts.netloc):
            raise ValueError(
                "requires the URL that the provider calls, such as https://consent.example.com/v1/inbound/x"
            )
        return url

    @property
    def called(self) -> Provider:
        return PROVIDERS[self.provider]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    sources: tuple[object, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class WrongSource(WrongEntry):
    """``source_id``: None where the entry has none that can be the end of a URL. ``again``: the status after which
    the tool sends again."""

    source_id: str | None
    again: int


def refuse_file(wrong: WrongEntry) -> None:
    """MisconfiguredError."""
    raise MisconfiguredError(f"{SETTING}: {wrong.why}")


def read_sources(
    path: Path,
    *,
    tenants: Collection[str],
    rules: ValidationRules,
    environ: Mapping[str, str] = os.environ,
    on_wrong: Callable[[WrongSource], None] = refuse_file,
) -> dict[str, Source]:
    """The sources by id, without those that are wrong: each is given to ``on_wrong``, with the member and the cure.
    MisconfiguredError for a file of another shape, and by default for a wrong source. No secret is in it."""
    try:
        content = read_yaml(path)
    except ValueError as error:
        raise MisconfiguredError(f"{SETTING}: {error}.") from None
    try:
        entries = _File.model_validate(content).sources
    except ValidationError as error:
        raise _not_valid(error) from None
    ids = Counter(each for entry in entries if (each := _id(entry)) is not None)
    found: dict[str, Source] = {}
    for number, entry in enumerate(entries):
        try:
            source = _source(entry, f"sources.{number}", path.parent, tenants, rules, environ)
            # Whose webhooks come to that URL cannot be known: the secrets of one would refuse those of the other.
            if ids[source.id] > 1:
                raise _wrong(f"sources.{source.id}", "several sources have this id: the end of each URL is its own")
            found[source.id] = source
        except MisconfiguredError as error:
            on_wrong(_wrong_source(entry, number, str(error)))
    return found


def _source(
    entry: object, at: str, folder: Path, tenants: Collection[str], rules: ValidationRules, environ: Mapping[str, str]
) -> Source:
    """The source of an entry. MisconfiguredError."""
    try:
        source = Source.model_validate(entry)
    except ValidationError as error:
        raise _not_valid(error, at) from None
    at = f"sources.{source.id}"
    tenant = source.tenant or (next(iter(tenants)) if len(tenants) == 1 else "")
    if tenant not in tenants:
        raise _wrong(f"{at}.tenant", "name a tenant that the keyring has hash keys for")
    if source.channel not in rules.channels:
        raise _wrong(f"{at}.channel", f"is one of {', '.join(rules.channels)}")
    if source.channel in source.called.not_on:
        raise _wrong(
            f"{at}.channel", f"{source.provider} reports no addresses of {source.channel}: name another channel"
        )
    declared = rules.purposes_of(tenant).declared
    if declared is not None and set(source.purposes) - declared - {EVERY_PURPOSE}:
        raise _wrong(f"{at}.purposes", "name purposes that are declared: CONSENT_RELAY_PURPOSES")
    for name in sorted(source.called.requires):
        if not getattr(source, name):
            raise _wrong(f"{at}.{name}", f"{source.provider} requires it")
    return source.model_copy(update={"tenant": tenant, "keys": _keys(source, folder, environ)})


def _id(entry: object) -> str | None:
    """As the entry has it; None where that is no id."""
    name = entry.get("id") if isinstance(entry, dict) else None
    return name if isinstance(name, str) and re.fullmatch(_SLUG, name) else None


def _wrong_source(entry: object, number: int, why: str) -> WrongSource:
    source_id = _id(entry)
    provider = entry.get("provider") if isinstance(entry, dict) else None
    near = difflib.get_close_matches(str(provider)[:_LONGEST_PROVIDER].lower(), PROVIDERS, n=1)
    return WrongSource(
        setting=SETTING,
        entry=source_id or f"sources.{number}",
        why=why.removeprefix(f"{SETTING}: "),
        source_id=source_id,
        again=PROVIDERS[near[0]].again if near else _AGAIN,
    )


def followed_secrets(
    path: Path | None, sources: Mapping[str, Source], environ: Mapping[str, str] = os.environ
) -> dict[str, SecretFile[tuple[str, ...]]]:
    """The secrets of each source of the file ``path``, read again when their files change. One that has turned bad
    concerns its source alone."""
    if path is None:
        return {}
    folder = path.parent
    return {
        source.id: SecretFile(
            f"inbound-{source.id}",
            [folder / each.file for each in source.secrets if each.file is not None],
            partial(_keys, source, folder, environ),
            errors=(MisconfiguredError,),
        )
        for source in sources.values()
    }


def _keys(source: Source, folder: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The secrets as they are used. MisconfiguredError."""
    at = f"sources.{source.id}.secrets"
    keys = tuple(_secret(each, f"{at}.{number}", folder, environ) for number, each in enumerate(source.secrets))
    for number, key in enumerate(keys):
        _check(source.provider, key, f"{at}.{number}")
    return keys


def _secret(given: _Secret, at: str, folder: Path, environ: Mapping[str, str]) -> str:
    if given.env is not None:
        found: Any = environ.get(given.env)
        if not found:
            raise _wrong(at, f"the environment variable {given.env} is not set")
        return str(found)
    assert given.file is not None
    try:
        text = (folder / given.file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(at, f"the file cannot be read ({type(error).__name__})") from None
    if not text:
        raise _wrong(at, "the file is empty")
    return text


def _check(provider: str, key: str, at: str) -> None:
    try:
        if provider == "sendgrid":
            sendgrid.check_key(key)
        elif provider in ("generic", "mail"):
            standard.parse_secret(key)
        elif len(key) < _SHORTEST_SECRET:
            raise ValueError(f"requires {_SHORTEST_SECRET} characters or more")
    except ValueError as error:
        raise _wrong(at, str(error)) from None


def _not_valid(error: ValidationError, *at: str) -> MisconfiguredError:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return _wrong(".".join(map(str, [*at, *first["loc"]])), str(first["msg"]))


def _wrong(at: str, cure: str) -> MisconfiguredError:
    return MisconfiguredError(
        f"{SETTING}: names a file that is wrong at {at or 'its beginning'}: {cure}. See docs/inbound-webhooks.md"
    )

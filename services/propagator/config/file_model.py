"""The destinations file as pydantic models: what may be written where, and its JSON Schema for editors.

Each connector of the catalogue has models of its own, with its credentials, options, limits and targets. The data are
those of `yaml_document`: a text is taken as it was written, a number or a boolean as YAML reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, Union

from annotated_types import Ge, Gt, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    Strict,
    Tag,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    create_model,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, PydanticUndefined

from consent_privacy.keyring import Keyring
from propagator.config.model import live_keys
from propagator.config.yaml_document import Scalar, is_printable
from propagator.connectors.base import ConnectorType, Option
from propagator.connectors.rotating import read_secret
from propagator.desired.model import Purposes

SAME = "same"
GIVE_SECRET = "{env: NAME} or {file: path}"  # noqa: S105 - how to give one
MAX_GENERATION = 1_000_000_000
MAX_BATCH = 1_000_000
_NO_CONNECTOR = "no connector"


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """What the values of a file are compared with. `keyring` None: not at hand, so no tenant is looked up in it.

    Paths of secrets are relative to `directory`.
    """

    channels: Collection[str]
    keyring: Keyring | None
    environ: Mapping[str, str]
    directory: Path


def error(fix: str, *, at: str = "") -> PydanticCustomError:
    """An error of ours with its fix; `at`: the field of a model that it is about."""
    return PydanticCustomError("fix", "{fix}", {"fix": fix, "at": at})


def _text(value: Any) -> str:
    if not isinstance(value, Scalar) or not value.written.strip():
        raise error("must be a text that is not empty")
    if not is_printable(value.written):
        raise error("must be a text without control characters and halves of surrogates")
    return value.written


def _as_read(value: Any) -> Any:
    return value.value if isinstance(value, Scalar) else value


def _matching(pattern: str, fix: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise error(fix)
        return text

    return AfterValidator(check)


def _shown(pattern: str) -> Any:
    """Part of a type: the pattern as the JSON Schema has it."""
    return Field(json_schema_extra={"pattern": f"^({pattern})$"})


_AS_READ = BeforeValidator(_as_read)
NAME = r"[a-z0-9][a-z0-9-]{0,62}"
_TENANT = r"[a-z0-9][a-z0-9_-]{0,63}"
_PURPOSE = rf"\*|{_TENANT}"

Text = Annotated[str, BeforeValidator(_text)]
Flag = Annotated[bool, Strict(), _AS_READ]
Name = Annotated[
    Text,
    _matching(NAME, "must be 1 to 63 of a-z, 0-9 and -, as it is part of record keys and a metric label"),
    _shown(NAME),
]
Tenant = Annotated[Text, _matching(_TENANT, "must be a tenant's name: a-z, 0-9, - and _"), _shown(_TENANT)]
Purpose = Annotated[Text, _matching(_PURPOSE, "must be a purpose (a-z, 0-9, _ and -) or *"), _shown(_PURPOSE)]


def _own_tenant(tenant: str | None, info: ValidationInfo) -> str:
    keyring = _installation(info).keyring
    if keyring is None:
        if tenant is None:
            raise error("`tenant` is missing: name it, or give the keyring, if that has exactly one tenant")
        return tenant
    known = ", ".join(sorted(keyring.tenants))
    if tenant is None and len(keyring.tenants) != 1:
        raise error(f"`tenant` is missing, and the keyring has several: name one of {known}")
    tenant = tenant or keyring.tenants[0]
    if tenant not in keyring.tenants:
        raise error(f"the keyring has no tenant {tenant!r}: use one of {known}")
    if not live_keys(keyring, tenant):
        # Which entries hold every decision would not be certain, so nothing at all could be sent.
        raise error(f"the keyring does not begin with the oldest hash key of tenant {tenant}: put the lowest id first")
    return tenant


def _known_channel(channel: str, info: ValidationInfo) -> str:
    channels = _installation(info).channels
    if channel not in channels:
        raise error(f"{channel!r} is not a channel of this installation: use one of {', '.join(sorted(channels))}")
    return channel


Channel = Annotated[Text, AfterValidator(_known_channel)]


def _from_environment(name: str, info: ValidationInfo) -> str:
    secret = _installation(info).environ.get(name, "").strip()
    if not secret:
        raise error(f"the environment variable {name} is missing or empty: set it")
    return secret


def _from_file(path: str, info: ValidationInfo) -> str:
    try:
        return read_secret(str(_installation(info).directory / path))
    except ValueError as wrong:
        raise error(str(wrong)) from None


def _installation(info: ValidationInfo) -> Installation:
    assert isinstance(info.context, Installation)
    return info.context


class Section(BaseModel):
    """A mapping of the file; a name that it does not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SecretReference(Section):
    """Where a secret is read from: it is never written in this file."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    env: Annotated[Text, AfterValidator(_from_environment)] = Field(
        "", repr=False, description="the environment variable that holds it"
    )
    file: Annotated[Text, AfterValidator(_from_file)] = Field(
        "", repr=False, description="the file that holds it, relative to this file"
    )
    _path: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_source(cls, given: Any) -> Any:
        if not isinstance(given, dict) or len(given) != 1 or not given.keys() <= {"env", "file"}:
            raise error(f"must be {GIVE_SECRET}: a secret is never written in this file")
        return given

    @model_validator(mode="wrap")
    @classmethod
    def _keep_path(cls, given: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        made = handler(given)
        return made.with_path(_installation(info).directory / given["file"].written) if made.file else made

    def with_path(self, path: Path) -> Self:
        self._path = path
        return self

    @property
    def secret(self) -> str:
        return self.env or self.file

    @property
    def path(self) -> Path | None:
        """Of the file, if that is where the secret is."""
        return self._path


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


class LimitsSection(Section):
    """How fast and how many at once; the defaults are those of the connector. Connectors override the defaults."""

    calls_per_second: Annotated[float, Strict(), Gt(0), Le(10_000), _AS_READ] = Field(
        1.0, description="calls a second that the account allows"
    )
    calls_per_minute: Annotated[float, Strict(), Gt(0), Le(600_000), _AS_READ] = Field(
        0.0,
        description="calls a minute, instead of calls_per_second",
        json_schema_extra=_without_default,
    )
    burst: Annotated[int, Strict(), Gt(0), Le(10_000), _AS_READ] = Field(1, description="calls at once after a pause")
    batch: Annotated[int, Strict(), Gt(0), Le(MAX_BATCH), _AS_READ] = Field(
        MAX_BATCH, description="addresses in one call, at most"
    )
    concurrency: Annotated[int, Strict(), Gt(0), Le(256), _AS_READ] = Field(1, description="calls in flight")

    @model_validator(mode="after")
    def _one_rate(self) -> LimitsSection:
        if {"calls_per_second", "calls_per_minute"} <= self.model_fields_set:
            raise error("give calls_per_second or calls_per_minute, not both", at="calls_per_minute")
        return self

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls_per_minute / 60 if self.calls_per_minute else self.calls_per_second


def _require_credentials(schema: dict[str, Any], section: type[DestinationSection]) -> None:
    """The model itself does not, so that an error names the credential that is missing."""
    if section.connector_type is not None and section.connector_type.credentials:
        schema["required"].append("credentials")


class DestinationSection(Section):
    """One account at one tool, and what it is sent. Connectors override what depends on them."""

    model_config = ConfigDict(json_schema_extra=_require_credentials)

    connector_type: ClassVar[ConnectorType | None] = None

    name: Name = Field(description="names its delivered state, metrics and receipts: never reuse it")
    tenant: Annotated[Tenant | None, AfterValidator(_own_tenant)] = Field(
        None, validate_default=True, description="whose decisions; may be left out where the keyring has one tenant"
    )
    connector: Text = Field(description="what calls the tool")
    channel: Channel = Field(description="the channel that the account serves")
    credentials: Any = Field(default_factory=dict, validate_default=True, description="the secrets of the account")
    options: Any = Field(default_factory=dict, validate_default=True, description="what this connector alone has")
    url: Any = Field(None, description="where this tool is called")
    purposes: Any = Field(description="what the tool calls each purpose; null: it never sends for that one")
    push_permissions: Flag = Field(False, description="whether permissions are sent too, not only refusals")
    limits: Any = Field(
        default_factory=dict, validate_default=True, description="lower or higher limits of the account"
    )
    timeout_seconds: Annotated[float, Strict(), Gt(0), Le(120), _AS_READ] = Field(
        15.0, description="seconds that one request may take"
    )
    paused: Flag = Field(False, description="while true, nothing is sent and pending changes are kept")
    generation: Annotated[int, Strict(), Ge(0), Le(MAX_GENERATION), _AS_READ] = Field(
        0, description="raise it: everything is sent again"
    )


class DestinationsFile(Section):
    """The destinations file of Consent Relay: which account at which tool is sent what."""

    by_connector: ClassVar[Mapping[str, type[DestinationSection]]] = {}
    """The models of `destinations`, by the tag that an error names: the connector."""

    destinations: list[Any]


def file_model(catalogue: Mapping[str, ConnectorType]) -> type[DestinationsFile]:
    """The model of a whole file, for these connectors. Validate with an `Installation` as the context."""
    return _file_model(tuple(sorted(catalogue.items())))


@lru_cache(maxsize=4)
def _file_model(connectors: tuple[tuple[str, ConnectorType], ...]) -> type[DestinationsFile]:
    """To build it takes 0.1 s."""
    catalogue = dict(connectors)
    known = ", ".join(catalogue)

    def no_such_connector(name: str) -> str:
        raise error(f"there is no connector {name!r}: use one of {known}")

    def tag(data: Any) -> str:
        named = data.get("connector") if isinstance(data, dict) else None
        return named.written if isinstance(named, Scalar) and named.written in catalogue else _NO_CONNECTOR

    # So that all else that is wrong with such a destination is reported too.
    fallback = create_model(
        "NoConnector",
        __base__=DestinationSection,
        connector=_as_in(DestinationSection, "connector", Annotated[Text, AfterValidator(no_such_connector)]),
    )
    models = {name: _destination(each) for name, each in catalogue.items()}
    tagged: list[Any] = [Annotated[model, Tag(name)] for name, model in models.items()]
    tagged.append(Annotated[SkipJsonSchema[fallback], Tag(_NO_CONNECTOR)])  # type: ignore[misc, valid-type]
    destination: Any = Annotated[Union[tuple(tagged)], Discriminator(tag)]  # noqa: UP007 - of a number known at run time
    file = create_model(
        "DestinationsFile",
        __base__=DestinationsFile,
        __doc__=DestinationsFile.__doc__,
        destinations=(list[destination], Field(min_length=1, description="at least one destination")),
    )
    file.by_connector = {**models, _NO_CONNECTOR: fallback}
    return file


def json_schema(catalogue: Mapping[str, ConnectorType]) -> str:
    """The JSON Schema of a file, for editors, as a text that is the same for the same catalogue."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **file_model(catalogue).model_json_schema()}
    return json.dumps(schema, indent=1, sort_keys=True)


def _destination(connector_type: ConnectorType) -> type[DestinationSection]:
    name = connector_type.name.title()
    can = connector_type.capabilities
    credentials: dict[str, Any] = {
        **{key: (SecretReference, Field(description=help_)) for key, help_ in connector_type.credentials.items()},
        **{
            key: (SecretReference, Field(None, description=help_))
            for key, help_ in connector_type.optional_credentials.items()
        },
    }
    options: dict[str, Any] = {key: _option(option) for key, option in connector_type.options.items()}
    defaults = {"calls_per_second": can.calls_per_second, "burst": can.burst, "concurrency": can.concurrency}
    limits: dict[str, Any] = {key: _as_in(LimitsSection, key, default=value) for key, value in defaults.items()}
    fields: dict[str, Any] = {
        "connector": Annotated[Literal[connector_type.name], BeforeValidator(_text)],
        "channel": _channel(connector_type),
        "credentials": create_model(f"{name}Credentials", __base__=Section, **credentials),
        "options": create_model(f"{name}Options", __base__=Section, **options),
        "url": _url(connector_type),
        "purposes": _purposes(connector_type),
        "limits": create_model(f"{name}Limits", __base__=LimitsSection, **limits),
    }
    required: dict[str, Any] = {"url": {"default": PydanticUndefined}} if connector_type.url_required else {}
    overridden: dict[str, Any] = {
        key: _as_in(DestinationSection, key, each, **required.get(key, {})) for key, each in fields.items()
    }
    section = create_model(
        f"{name}Destination",
        __base__=DestinationSection,
        __doc__=f"An account at a tool of connector {connector_type.name}.",
        **overridden,
    )
    section.connector_type = connector_type
    return section


def _as_in(base: type[Section], name: str, annotation: Any = None, **changes: Any) -> tuple[Any, Any]:
    """The field of `base`, with another type or default."""
    field = base.model_fields[name]
    if annotation is None:
        annotation = Annotated[field.annotation, *field.metadata]
    given = {
        "default": field.default,
        "default_factory": field.default_factory,
        "validate_default": field.validate_default,
        "description": field.description,
    }
    return annotation, Field(**given | changes)


def _option(option: Option) -> tuple[Any, Any]:
    kinds: dict[type, Any] = {bool: Flag, int: Annotated[int, Strict(), _AS_READ], str: Text}
    kind = Annotated[Literal[option.choices], BeforeValidator(_text)] if option.choices else kinds[option.type]
    return kind, Field(... if option.default is None else option.default, description=option.help)


def _channel(connector_type: ConnectorType) -> Any:
    channels = connector_type.channels
    if channels is None:
        return Channel
    served = ", ".join(sorted(channels))

    def check(channel: str) -> str:
        if channel not in channels:
            raise error(f"connector {connector_type.name} serves {served} only")
        return channel

    return Annotated[Channel, AfterValidator(check), WithJsonSchema({"type": "string", "enum": sorted(channels)})]


def _url(connector_type: ConnectorType) -> Any:
    def check(url: str, info: ValidationInfo) -> str:
        if not re.match(r"https?://[^/\s@]+", url):
            raise error("must be an http or https URL without a user name or password in it")
        options = info.data.get("options")  # None: wrong, which is an error of its own.
        wrong = connector_type.url_error(url, options.model_dump()) if options is not None else None
        if wrong is not None:
            raise error(wrong)
        return url.rstrip("/")

    return Annotated[Text, AfterValidator(check)]


class _Same:
    """Adds the word `same` to the JSON Schema of a mapping."""

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"const": SAME}, handler(core_schema)]}


def _purposes(connector_type: ConnectorType) -> Any:
    def check(target: str) -> str:
        if (wrong := connector_type.target_error(target)) is not None:
            raise error(wrong)
        return target

    def as_list(value: Any) -> Any:
        if isinstance(value, list):
            return value
        return [] if isinstance(value, Scalar) and value.value is None else [value]

    def read(value: Any, mapping: ValidatorFunctionWrapHandler) -> Purposes:
        if isinstance(value, Scalar) and value.value == SAME:
            if not connector_type.same_targets:
                raise error(
                    f"connector {connector_type.name} does not know our purposes by name: map each to its target"
                )
            return Purposes(targets={}, same=True)
        targets = {purpose: tuple(sorted(set(each))) for purpose, each in mapping(value).items()}
        if not any(targets.values()):
            raise error("names no target at all: nothing would ever be sent to this destination")
        return Purposes(targets=targets)

    targets = Annotated[
        list[Annotated[Text, AfterValidator(check)]], BeforeValidator(as_list), WithJsonSchema(_TARGETS)
    ]
    # As a Scalar, a name of the mapping is checked like any other text.
    name = Annotated[Purpose, BeforeValidator(lambda written: Scalar(written, written))]
    mapping = Annotated[dict[name, targets], WrapValidator(read)]
    return Annotated[mapping, _Same()] if connector_type.same_targets else mapping


_TARGET = {"type": ["string", "number"]}
_TARGETS = {"anyOf": [_TARGET, {"type": "array", "items": _TARGET}, {"type": "null"}]}
"""A target is a text, but an id of digits need not be quoted."""

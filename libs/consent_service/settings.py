"""A process's settings: environment variables `CONSENT_RELAY_<FIELD>`, or a file named by
`CONSENT_RELAY_<FIELD>_FILE` (how orchestrators hand over secrets)."""

import difflib
import os
import re
import socket
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from consent_contracts.topics import PROPAGATOR, Topics
from consent_service.errors import InvalidSettingsError
from consent_service.exits import exit_with_errors
from consent_service.link_settings import LinkSettings

if TYPE_CHECKING:
    from consent_service.secret_files import SecretFile

T = TypeVar("T")
PREFIX = "CONSENT_RELAY_"


def _parts(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parts)]
"""Parts without the blanks around them; an empty part is none."""
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_PREFIX_OF_TOPICS = re.compile(r"[A-Za-z0-9._-]{0,100}")
_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://", re.IGNORECASE)
"""What Kubernetes and Docker put into CONSENT_RELAY_API_PORT beside a service named consent-relay-api."""
_SERVICE_LINK_NAME = re.compile(r"(^|_)(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_[A-Z]+)?)$")
"""The names of the variables that they put beside it; of a service consent-relay, all that follows our prefix."""
_MISSPELT = 0.8
"""From this likeness to a setting (difflib's ratio) on, a variable is that setting, misspelt."""
MISSPELT = "is no setting of Consent Relay."
_NO_PROCESS = ("DATABASE", "TEST_SERVERS")
"""Read by `consent-relay up` and by the tests, from the environment that the processes have too."""


class ProcessSettings(LinkSettings):
    """What every process needs. A service subclasses it, sets `service`, and adds fields that carry its name."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)
    service: ClassVar[str] = "consent-relay"

    kafka: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, host:port, comma separated")
    registry: str = Field(
        "http://127.0.0.1:8081/apis/ccompat/v7",
        description="base URL of a schema registry that speaks Confluent's REST protocol",
        pattern=r"^https?://",
    )
    topic_prefix: str = Field("", description="put before every topic, group and transactional id")
    channels: CommaSeparated = Field(("sms", "email", "voice"), description="channels, comma separated")
    propagators: CommaSeparated = Field(
        ("default",), description="names of the installation's propagators, comma separated; each has topics of its own"
    )
    partitions: int = Field(4, ge=1, description="partitions of every topic in the chain, the same for all")
    default_region: str = Field("FR", description="ISO 3166 region in which national phone numbers are read")
    metrics_host: str = Field("127.0.0.1", description="address on which /metrics and the health pages listen")
    metrics_port: int = Field(9464, ge=0, le=65535, description="port of /metrics and the health pages; 0: any")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level logged")
    traces_endpoint: str | None = Field(
        None,
        description="URL to which spans are sent by OTLP over HTTP, such as http://collector:4318/v1/traces; needs"
        " consent-relay[traces]; without it none are made",
        pattern=r"^https?://",
    )
    traces_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of the traces begun here that are sampled; callers decide about their own",
    )
    instance_id: str = Field("", description="stable name of this instance; its static group membership")
    state_dir: Path = Field(
        Path("/var/lib/consent-relay"), description="directory for local state, rebuilt from Kafka when lost"
    )

    @property
    def topics(self) -> Topics:
        return Topics(prefix=self.topic_prefix, channels=self.channels, propagators=self.propagators)

    @property
    def sampled_ratio(self) -> float:
        """The share of the traces begun here that are sampled: none where this process exports no spans."""
        return self.traces_ratio if self.traces_endpoint is not None else 0.0

    @model_validator(mode="before")
    @classmethod
    def _name_the_instance(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {"instance_id": f"{socket.gethostname()}-{cls.service}", **values}

    @field_validator("channels", "propagators", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("topic_prefix")
    @classmethod
    def _prefix_of_topics(cls, prefix: str) -> str:
        if not _PREFIX_OF_TOPICS.fullmatch(prefix):
            raise ValueError("requires letters, digits, dots, _ and -, up to 100, as names of topics have")
        return prefix

    @field_validator("channels")
    @classmethod
    def _channel_slugs(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        if not channels or len(set(channels)) != len(channels) or not all(map(_SLUG.fullmatch, channels)):
            raise ValueError("requires different lower-case words, such as sms,email,voice")
        return channels

    @field_validator("propagators")
    @classmethod
    def _propagator_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or len(set(names)) != len(names) or not all(map(PROPAGATOR.fullmatch, names)):
            raise ValueError("requires different names of a-z, 0-9 and -, such as default,telephony")
        return names

    @field_validator("default_region")
    @classmethod
    def _known_region(cls, region: str) -> str:
        from phonenumbers import SUPPORTED_REGIONS

        if region not in SUPPORTED_REGIONS:
            raise ValueError("is no region with telephone numbers; two capital letters are required, such as FR")
        return region

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _EnvironmentSource(settings_cls), _FileSource(settings_cls)


def _readable(path: Path) -> Path:
    if not os.access(path, os.R_OK):
        raise ValueError("names a file that is missing or cannot be read by this user")
    return path


ReadableFile = Annotated[Path, AfterValidator(_readable)]


class KeyringSettings(ProcessSettings):
    """What every process needs that computes address keys or opens sealed addresses."""

    keyring_file: ReadableFile = Field(
        description="path of the keyring (TOML) with the tenants' hash keys and the seal keys"
    )


class _EnvironmentSource(EnvSettingsSource):
    """Without the links to services, which no operator has set."""

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__call__().items() if not _is_service_link(name, value)}


class _FileSource(PydanticBaseSettingsSource):
    """Reads `<NAME>_FILE`. A file that cannot be read, or a value given twice, is an error, never a default."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        value, _ = _from_file(_variable(field_name), os.environ)
        return value, field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        problems: list[str] = []
        for name in self.settings_cls.model_fields:
            value, problem = _from_file(_variable(name), os.environ)
            if problem:
                problems.append(problem)
            elif value is not None:
                found[name] = value
        if problems:
            raise InvalidSettingsError(problems)
        return found


def _from_file(variable: str, environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    path = environment.get(f"{variable}_FILE")
    if not path:
        return None, None
    beside = environment.get(variable)
    if beside and not _is_service_link(variable, beside):
        return None, f"{variable}: is given twice. Unset {variable} or {variable}_FILE."
    try:
        return Path(path).read_text(encoding="utf-8-sig").strip(), None
    except (OSError, UnicodeDecodeError):
        return None, f"{variable}_FILE: names a file that cannot be read as text. Correct the path or its mode."


def secret_file(field: str, parse: Callable[[str], T]) -> "SecretFile[T] | None":
    """The secret in the file that `CONSENT_RELAY_<FIELD>_FILE` names, as `parse` reads it (ValueError: it cannot be
    used); read again when the file changes. None where the variable itself holds the secret."""
    from consent_service.secret_files import SecretFile

    variable = _variable(field)
    path = os.environ.get(f"{variable}_FILE")
    if not path:
        return None

    def read() -> T:
        text, problem = _from_file(variable, os.environ)
        if problem is not None:
            raise InvalidSettingsError([problem])
        try:
            return parse(text or "")
        except ValueError as error:
            raise InvalidSettingsError([f"{variable}_FILE: {error}"]) from None

    return SecretFile(field.replace("_", "-"), [Path(path)], read, errors=(InvalidSettingsError,))


def _is_service_link(name: str, value: object) -> bool:
    return name.lower().endswith("_port") and isinstance(value, str) and _SERVICE_LINK.match(value) is not None


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


def _line(settings: type[BaseSettings], error: Mapping[str, Any]) -> str:
    """One error of pydantic as NAME: what is wrong; cure. Never the value: it may be a secret."""
    if not error["loc"]:
        message = error["msg"].removeprefix("Value error, ")
        return f"{message}." if message.startswith(PREFIX) else f"{PREFIX}*: {message}."
    name = str(error["loc"][0])
    variable = _variable(name)
    wrong = "is missing" if error["type"] == "missing" else error["msg"].removeprefix("Value error, ")
    field = settings.model_fields.get(name)
    wanted = f" ({field.description})" if field is not None and field.description else ""
    line = f"{variable}: {wrong}. Set {variable}{wanted}"
    if field is None or not _is_path(field):
        return f"{line}, or {variable}_FILE to a file that holds it."
    # `..._FILE` of a path is a file with the path in it, which is hardly ever meant.
    if f"{variable}_FILE" in os.environ:
        return f"{line} itself: {variable}_FILE names a file that has the path in it."
    return f"{line}."


def _is_path(field: FieldInfo) -> bool:
    return Path in (field.annotation, *get_args(field.annotation))


S = TypeVar("S", bound=ProcessSettings)


def load(cls: type[S]) -> S:
    """The settings, or one line per wrong variable on standard error and exit code 2."""
    unknown = unknown_variables(os.environ, cls)
    if misspelt := [f"{name}: {MISSPELT} Did you mean {near}?" for name, near in unknown.items() if near]:
        exit_with_errors(misspelt)
    try:
        return read(cls)
    except InvalidSettingsError as error:
        exit_with_errors(error.problems)


def read(cls: type[S]) -> S:
    """The settings, whatever else is set. Raises InvalidSettingsError."""
    given: dict[str, Any] = {}
    try:
        return cls(**given)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        missing = [_variable(str(each["loc"][0])) for each in found if each["type"] == "missing"]
        raise InvalidSettingsError([_line(cls, each) for each in found], missing=missing) from None


def unknown_variables(environment: Mapping[str, str], cls: type[ProcessSettings] = ProcessSettings) -> dict[str, str]:
    """The variables with our prefix that are settings of no process, each with the setting that it is nearly: it would
    have no effect. Empty where there is none such: it may be a credential that a destinations file names.

    Settings of other processes than that of `cls` are known: one environment may serve them all.
    """
    strange = {name.removeprefix(PREFIX) for name in environment if name.startswith(PREFIX)} - _variables(cls)
    if not strange:
        return {}
    known = _variables(*settings_classes().values())
    found = {}
    for name in sorted(strange - known):
        if not _is_link_of_orchestrator(name, environment[f"{PREFIX}{name}"]):
            near = difflib.get_close_matches(name, known, n=1, cutoff=_MISSPELT)
            found[f"{PREFIX}{name}"] = f"{PREFIX}{near[0]}" if near else ""
    return found


def _is_link_of_orchestrator(name: str, value: str) -> bool:
    """`name` without our prefix."""
    return _SERVICE_LINK_NAME.search(name) is not None or _is_service_link(f"_{name}", value)


def _variables(*classes: type[ProcessSettings]) -> set[str]:
    fields = {name.upper() for cls in classes for name in cls.model_fields}
    return fields | {f"{name}_FILE" for name in fields} | set(_NO_PROCESS)


def settings_classes() -> dict[str, type[ProcessSettings]]:
    """Of each process, by its name. By entry points, as no service may import another."""
    return {entry.name: entry.load() for entry in entry_points(group="consent_relay.settings")}

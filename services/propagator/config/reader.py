"""The destinations file: which account at which tool is sent what. Read once, at start; any error in it ends the start.

    destinations:
      - name: sendgrid-fr                  # names its delivered state, metrics and receipts: never reuse it
        tenant: acme                       # whose decisions; may be left out where the keyring has one tenant
        connector: sendgrid
        channel: email
        credentials: {api_key: {file: /run/secrets/sendgrid}}
        purposes: {newsletter: "1234", survey: "1235", "*": global, invoices: null}
        push_permissions: false
        limits: {calls_per_second: 10, batch: 500}
        paused: false                      # true: nothing is sent, pending changes are kept
        generation: 0                      # raise it: everything is sent again

A purpose with `null` is one this tool never sends for. A refusal of a purpose that is not named at all gets a
receipt `impossible`, so that it is seen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from consent_privacy.keyring import Keyring
from propagator.config.model import Destination, Limits, live_keys
from propagator.config.yaml_node import YamlNode, parse
from propagator.connectors.base import ConnectionSettings, ConnectorType, Options
from propagator.desired.model import Purposes
from propagator.errors import FileFault, InvalidDestinationsFileError

SAME = "same"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
PURPOSE = re.compile(r"\*|[a-z0-9][a-z0-9_-]{0,63}")
TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
REQUIRED = ("name", "connector", "channel", "purposes")
FIELDS = {
    *REQUIRED,
    "tenant",
    "url",
    "credentials",
    "push_permissions",
    "options",
    "limits",
    "timeout_seconds",
    "paused",
    "generation",
}
LIMITS = {"calls_per_second", "calls_per_minute", "burst", "batch", "concurrency"}
MAX_GENERATION = 1_000_000_000


def read(
    path: Path,
    *,
    catalogue: Mapping[str, ConnectorType],
    channels: Collection[str],
    keyring: Keyring | None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Destination, ...]:
    """All destinations of the file. `keyring` None: not at hand, so each tenant must be named and is not looked up.

    Raises InvalidDestinationsFileError with every error in the file, each with its line and the fix.
    """
    errors: list[FileFault] = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fix = f"cannot be read ({type(error).__name__}): give the path of a UTF-8 YAML file"
        raise InvalidDestinationsFileError(str(path), [FileFault(0, "file", fix)]) from error
    reader = _Reader(path.parent, catalogue, channels, keyring, environ)
    found = []
    if (root := parse(text, errors)) is not None:
        fields = root.fields()
        _refuse_unknown(fields, {"destinations"})
        if "destinations" not in fields:
            root.error("no `destinations:` list: declare at least one destination")
        else:
            found = [reader.destination(each) for each in fields["destinations"].items()]
            if not found and not errors:
                fields["destinations"].error("is empty: declare at least one destination")
    if errors:
        raise InvalidDestinationsFileError(str(path), sorted(errors))
    return tuple(each for each in found if each is not None)


class _Reader:
    def __init__(
        self,
        base: Path,
        catalogue: Mapping[str, ConnectorType],
        channels: Collection[str],
        keyring: Keyring | None,
        environ: Mapping[str, str],
    ) -> None:
        self._base = base
        self._catalogue = catalogue
        self._channels = channels
        self._keyring = keyring
        self._environ = environ
        self._names: dict[str, int] = {}

    def destination(self, here: YamlNode) -> Destination | None:
        """None when something is wrong; the error is then recorded."""
        fields = here.fields()
        _refuse_unknown(fields, FIELDS)
        missing = [name for name in REQUIRED if name not in fields]
        for absent in missing:
            here.error(f"`{absent}` is missing")
        if missing:
            return None
        name = self._name(fields["name"])
        tenant = self._tenant(here, fields.get("tenant"))
        connector_type = self._connector_type(fields["connector"])
        channel = self._channel(fields["channel"], connector_type)
        if name is None or tenant is None or connector_type is None or channel is None:
            return None
        options = _options(here, fields.get("options"), connector_type)
        purposes = _purposes(fields["purposes"], connector_type)
        connection = ConnectionSettings(
            destination=name,
            tenant=tenant,
            channel=channel,
            url=_url(here, fields.get("url"), connector_type, options),
            credentials=self._credentials(here, fields.get("credentials"), connector_type),
            options=options,
            targets=tuple(sorted(purposes.names)),
            timeout_seconds=_number(fields, "timeout_seconds", 15.0, at_most=120),
        )
        return Destination(
            connector_type=connector_type,
            connection=connection,
            purposes=purposes,
            push_permissions=_boolean(fields, "push_permissions"),
            limits=_limits(fields.get("limits"), connector_type),
            paused=_boolean(fields, "paused"),
            generation=int(_number(fields, "generation", 0, at_least=0, at_most=MAX_GENERATION, whole=True)),
        )

    def _name(self, here: YamlNode) -> str | None:
        name = here.text()
        if name is None:
            return None
        if not NAME.fullmatch(name):
            here.error("must be 1 to 63 of a-z, 0-9 and -, as it is part of record keys and a metric label")
            return None
        if name in self._names:
            here.error(f"is the name on line {self._names[name]} already: each destination needs its own name")
            return None
        self._names[name] = here.line
        return name

    def _tenant(self, parent: YamlNode, here: YamlNode | None) -> str | None:
        keyring = self._keyring
        if here is None:
            if keyring is None:
                parent.error("`tenant` is missing: name it, or give the keyring, if that has exactly one tenant")
            elif len(keyring.tenants) == 1:
                return self._with_keys(parent, keyring, keyring.tenants[0])
            else:
                known = ", ".join(sorted(keyring.tenants))
                parent.error(f"`tenant` is missing, and the keyring has several: name one of {known}")
            return None
        tenant = here.text()
        if tenant is None:
            return None
        if not TENANT.fullmatch(tenant):
            here.error("must be a tenant's name: a-z, 0-9, - and _")
            return None
        if keyring is None:
            return tenant
        if tenant not in keyring.tenants:
            known = ", ".join(sorted(keyring.tenants))
            here.error(f"the keyring has no tenant {tenant!r}: use one of {known}")
            return None
        return self._with_keys(here, keyring, tenant)

    def _with_keys(self, here: YamlNode, keyring: Keyring, tenant: str) -> str | None:
        if not live_keys(keyring, tenant):
            # Which entries hold every decision would not be certain, so nothing at all could be sent.
            here.error(
                f"the keyring does not begin with the oldest hash key of tenant {tenant}: put the lowest id first"
            )
            return None
        return tenant

    def _connector_type(self, here: YamlNode) -> ConnectorType | None:
        text = here.text()
        if text is not None and text not in self._catalogue:
            here.error(f"there is no connector {text!r}: use one of {', '.join(sorted(self._catalogue))}")
        return self._catalogue.get(text or "")

    def _channel(self, here: YamlNode, connector_type: ConnectorType | None) -> str | None:
        text = here.text()
        if text is None:
            return None
        if text not in self._channels:
            known = ", ".join(sorted(self._channels))
            here.error(f"{text!r} is not a channel of this installation: use one of {known}")
            return None
        if connector_type is not None and connector_type.channels is not None and text not in connector_type.channels:
            here.error(f"connector {connector_type.name} serves {', '.join(sorted(connector_type.channels))} only")
            return None
        return text

    def _credentials(self, parent: YamlNode, here: YamlNode | None, connector_type: ConnectorType) -> dict[str, str]:
        given = here.fields() if here is not None else {}
        _refuse_unknown(given, {*connector_type.credentials, *connector_type.optional_credentials})
        for name, meaning in connector_type.credentials.items():
            if name not in given:
                parent.error(f"`credentials.{name}` is missing ({meaning}): give {{env: NAME}} or {{file: path}}")
        found = {name: self._secret(each) for name, each in given.items()}
        return {name: secret for name, secret in found.items() if secret is not None}

    def _secret(self, here: YamlNode) -> str | None:
        fields = here.fields()
        if len(fields) != 1 or not fields.keys() <= {"env", "file"}:
            here.error("must be {env: NAME} or {file: path}: a secret is never written in this file")
            return None
        [(how, source)] = fields.items()
        reference = source.text()
        if reference is None:
            return None
        if how == "env":
            value = self._environ.get(reference, "").strip()
            if not value:
                source.error(f"the environment variable {reference} is missing or empty: set it")
            return value or None
        path = self._base / reference
        try:
            secret = path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            source.error(f"the file cannot be read ({type(error).__name__}): check path and permissions")
            return None
        if not secret:
            source.error("the file is empty: write the secret into it")
        return secret or None


def _purposes(here: YamlNode, connector_type: ConnectorType) -> Purposes:
    if not here.is_list and not here.is_null and here.value == SAME:
        if not connector_type.same_targets:
            here.error(f"connector {connector_type.name} does not know our purposes by name: map each to its target")
        return Purposes(targets={}, same=True)
    targets: dict[str, tuple[str, ...]] = {}
    fields = here.fields()
    for purpose, each in fields.items():
        if not PURPOSE.fullmatch(purpose):
            each.error("must be a purpose (a-z, 0-9, _ and -) or *")
            continue
        values = list(each.items()) if each.is_list else [] if each.is_null else [each]
        texts = [text for value in values if (text := _target(value, connector_type)) is not None]
        targets[purpose] = tuple(sorted(set(texts)))
    if fields and not any(targets.values()):
        here.error("names no target at all: nothing would ever be sent to this destination")
    return Purposes(targets=targets)


def _target(here: YamlNode, connector_type: ConnectorType) -> str | None:
    text = here.text()
    if text is None:
        return None
    wrong = connector_type.target_error(text)
    if wrong is not None:
        here.error(wrong)
        return None
    return text


def _options(parent: YamlNode, here: YamlNode | None, connector_type: ConnectorType) -> dict[str, bool | int | str]:
    given = here.fields() if here is not None else {}
    _refuse_unknown(given, connector_type.options)
    found: dict[str, bool | int | str] = {}
    for name, option in connector_type.options.items():
        if option.default is not None:
            found[name] = option.default
        if name not in given:
            if option.default is None:
                parent.error(f"`options.{name}` is missing: {option.help}")
            continue
        value = given[name].text() if option.type is str else given[name].value
        if option.choices and value is not None and value not in option.choices:
            given[name].error(f"must be one of {', '.join(option.choices)}: {option.help}")
        elif type(value) is option.type:
            found[name] = value
        elif value is not None or option.type is not str:
            given[name].error(f"must be of type {option.type.__name__}: {option.help}")
    return found


def _url(
    parent: YamlNode,
    here: YamlNode | None,
    connector_type: ConnectorType,
    options: Options,
) -> str | None:
    if here is None:
        if connector_type.url_required:
            parent.error("`url` is missing: where this tool is called")
        return None
    url = here.text()
    if url is None:
        return None
    if not re.match(r"https?://[^/\s@]+", url):
        here.error("must be an http or https URL without a user name or password in it")
        return None
    if (wrong := connector_type.url_error(url, options)) is not None:
        here.error(wrong)
    return url.rstrip("/")


def _limits(here: YamlNode | None, connector_type: ConnectorType) -> Limits:
    fields = here.fields() if here is not None else {}
    _refuse_unknown(fields, LIMITS)
    can = connector_type.capabilities
    per_second = _number(fields, "calls_per_second", can.calls_per_second, at_most=10_000)
    if "calls_per_minute" in fields:
        if "calls_per_second" in fields:
            fields["calls_per_minute"].error("give calls_per_second or calls_per_minute, not both")
        per_second = _number(fields, "calls_per_minute", 60, at_most=600_000) / 60
    batch = _number(fields, "batch", 1_000_000, at_most=1_000_000, whole=True)
    return Limits(
        calls_per_second=per_second,
        burst=int(_number(fields, "burst", can.burst, at_most=10_000, whole=True)),
        concurrency=int(_number(fields, "concurrency", can.concurrency, at_most=256, whole=True)),
        max_batch={action: min(size, int(batch)) for action, size in can.max_batch.items()},
    )


def _boolean(fields: Mapping[str, YamlNode], name: str) -> bool:
    return name in fields and bool(fields[name].boolean())


def _number(
    fields: Mapping[str, YamlNode],
    name: str,
    default: float,
    *,
    at_most: float,
    at_least: float | None = None,
    whole: bool = False,
) -> float:
    """`at_least` None: above zero."""
    if name not in fields:
        return default
    found = fields[name].number(at_least=at_least, at_most=at_most, whole=whole)
    return default if found is None else found


def _refuse_unknown(fields: Mapping[str, YamlNode], known: Collection[str]) -> None:
    for name, here in fields.items():
        if name not in known:
            here.error(f"is not known here: use {', '.join(sorted(known)) or 'nothing'}")

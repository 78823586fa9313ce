"""The destinations file: which account at which tool is told what. Read once, at start; any fault stops it.

    destinations:
      - name: sendgrid-fr                  # names its consumer group, metrics and receipts: never reuse it
        connector: sendgrid
        channel: email
        credentials: {api_key: {file: /run/secrets/sendgrid}}
        purposes: {newsletter: "1234", survey: "1235", "*": global, invoices: null}
        push_permissions: false
        limits: {calls_per_second: 10, batch: 500}

A purpose with `null` is one this tool never sends for. A refusal of a purpose that is not named at all gets a
receipt `impossible`, so that it is seen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from propagator.connector import Account, Action, Kind
from propagator.errors import Fault, WrongDestinations
from propagator.yaml_lines import Located, compose

SAME = "same"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
PURPOSE = re.compile(r"\*|[a-z0-9][a-z0-9_-]{0,63}")
FIELDS = {
    "name",
    "connector",
    "channel",
    "url",
    "credentials",
    "purposes",
    "push_permissions",
    "options",
    "limits",
    "timeout_seconds",
    "park_after",
}
LIMITS = {"calls_per_second", "calls_per_minute", "burst", "batch", "concurrency"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How fast and how many at once; the connector's defaults, overruled by the file."""

    calls_per_second: float
    burst: int
    concurrency: int
    max_batch: Mapping[Action, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Purposes:
    """The purpose mapping. `same`: every purpose is a target of its own name, `*` too."""

    targets: Mapping[str, tuple[str, ...]]
    """Purpose to targets; an empty tuple: the tool never sends for it."""
    same: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """One declared destination, complete and checked."""

    name: str
    kind: Kind
    account: Account
    purposes: Purposes
    push_permissions: bool
    limits: Limits
    park_after: int
    """Failures of one address, others succeeding meanwhile, before it is parked."""

    @property
    def channel(self) -> str:
        return self.account.channel


def read(
    path: Path,
    *,
    catalogue: Mapping[str, Kind],
    channels: Collection[str],
    environ: Mapping[str, str] = os.environ,
) -> tuple[Destination, ...]:
    """All destinations of the file; raises WrongDestinations with every fault in it, each with line and cure."""
    faults: list[Fault] = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cure = f"cannot be read ({type(error).__name__}): give the path of a UTF-8 YAML file"
        raise WrongDestinations(str(path), [Fault(0, "file", cure)]) from error
    reader = _Reader(path.parent, catalogue, channels, environ)
    found = []
    if (root := compose(text, faults)) is not None:
        fields = root.fields()
        _refuse_unknown(fields, {"destinations"})
        if "destinations" not in fields:
            root.fault("no `destinations:` list: declare at least one destination")
        else:
            found = [reader.destination(each) for each in fields["destinations"].items()]
            if not found and not faults:
                fields["destinations"].fault("is empty: declare at least one destination")
    if faults:
        raise WrongDestinations(str(path), sorted(faults))
    return tuple(each for each in found if each is not None)


class _Reader:
    def __init__(
        self, base: Path, catalogue: Mapping[str, Kind], channels: Collection[str], environ: Mapping[str, str]
    ) -> None:
        self._base = base
        self._catalogue = catalogue
        self._channels = channels
        self._environ = environ
        self._names: dict[str, int] = {}

    def destination(self, here: Located) -> Destination | None:
        """None when something is wrong; the fault is then recorded."""
        fields = here.fields()
        _refuse_unknown(fields, FIELDS)
        missing = [name for name in ("name", "connector", "channel", "purposes") if name not in fields]
        for absent in missing:
            here.fault(f"`{absent}` is missing")
        if missing:
            return None
        name = self._name(fields["name"])
        kind = self._kind(fields["connector"])
        channel = self._channel(fields["channel"], kind)
        if name is None or kind is None or channel is None:
            return None
        options = _options(here, fields.get("options"), kind)
        purposes = _purposes(fields["purposes"], kind)
        account = Account(
            destination=name,
            channel=channel,
            url=_url(here, fields.get("url"), kind, options),
            credentials=self._credentials(here, fields.get("credentials"), kind),
            options=options,
            targets=tuple(sorted({target for each in purposes.targets.values() for target in each})),
            timeout_seconds=_number(fields, "timeout_seconds", 15.0, at_most=120),
        )
        permissions = fields["push_permissions"].boolean() if "push_permissions" in fields else False
        return Destination(
            name=name,
            kind=kind,
            account=account,
            purposes=purposes,
            push_permissions=bool(permissions),
            limits=_limits(fields.get("limits"), kind),
            park_after=int(_number(fields, "park_after", 6, at_most=100, whole=True)),
        )

    def _name(self, here: Located) -> str | None:
        name = here.text()
        if name is None:
            return None
        if not NAME.fullmatch(name):
            here.fault("must be 1 to 63 of a-z, 0-9 and -, as it names a consumer group and a metric label")
            return None
        if name in self._names:
            here.fault(f"stands on line {self._names[name]} already: each destination needs its own name")
            return None
        self._names[name] = here.line
        return name

    def _kind(self, here: Located) -> Kind | None:
        text = here.text()
        if text is not None and text not in self._catalogue:
            here.fault(f"there is no connector {text!r}: use one of {', '.join(sorted(self._catalogue))}")
        return self._catalogue.get(text or "")

    def _channel(self, here: Located, kind: Kind | None) -> str | None:
        text = here.text()
        if text is None:
            return None
        if text not in self._channels:
            known = ", ".join(sorted(self._channels))
            here.fault(f"{text!r} is not a channel of this installation: use one of {known}")
            return None
        if kind is not None and kind.channels is not None and text not in kind.channels:
            here.fault(f"connector {kind.name} serves {', '.join(sorted(kind.channels))} only")
            return None
        return text

    def _credentials(self, parent: Located, here: Located | None, kind: Kind) -> dict[str, str]:
        given = here.fields() if here is not None else {}
        _refuse_unknown(given, {*kind.credentials, *kind.optional_credentials})
        for name, meaning in kind.credentials.items():
            if name not in given:
                parent.fault(f"`credentials.{name}` is missing ({meaning}): give {{env: NAME}} or {{file: path}}")
        found = {name: self._secret(each) for name, each in given.items()}
        return {name: secret for name, secret in found.items() if secret is not None}

    def _secret(self, here: Located) -> str | None:
        fields = here.fields()
        if len(fields) != 1 or not fields.keys() <= {"env", "file"}:
            here.fault("must be {env: NAME} or {file: path}: secrets never stand in this file")
            return None
        [(how, source)] = fields.items()
        reference = source.text()
        if reference is None:
            return None
        if how == "env":
            value = self._environ.get(reference, "").strip()
            if not value:
                source.fault(f"the environment variable {reference} is missing or empty: set it")
            return value or None
        path = self._base / reference
        try:
            secret = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            source.fault(f"the file cannot be read ({type(error).__name__}): check path and permissions")
            return None
        if not secret:
            source.fault("the file is empty: write the secret into it")
        return secret or None


def _purposes(here: Located, kind: Kind) -> Purposes:
    if not here.is_list and not here.is_null and here.value == SAME:
        if not kind.same_targets:
            here.fault(f"connector {kind.name} does not know our purposes by name: map each to its target")
        return Purposes(targets={}, same=True)
    targets: dict[str, tuple[str, ...]] = {}
    fields = here.fields()
    for purpose, each in fields.items():
        if not PURPOSE.fullmatch(purpose):
            each.fault("must be a purpose (a-z, 0-9, _ and -) or *")
            continue
        values = list(each.items()) if each.is_list else [] if each.is_null else [each]
        texts = [text for value in values if (text := _target(value, kind)) is not None]
        targets[purpose] = tuple(sorted(set(texts)))
    if fields and not any(targets.values()):
        here.fault("names no target at all: this destination would never be told anything")
    return Purposes(targets=targets)


def _target(here: Located, kind: Kind) -> str | None:
    text = here.text()
    if text is None:
        return None
    wrong = kind.target_error(text)
    if wrong is not None:
        here.fault(wrong)
        return None
    return text


def _options(parent: Located, here: Located | None, kind: Kind) -> dict[str, bool | int | str]:
    given = here.fields() if here is not None else {}
    _refuse_unknown(given, kind.options)
    found: dict[str, bool | int | str] = {}
    for name, option in kind.options.items():
        if name not in given:
            if option.default is None:
                parent.fault(f"`options.{name}` is missing: {option.help}")
            else:
                found[name] = option.default
            continue
        value = given[name].text() if option.type is str else given[name].value
        if value is None:
            continue
        if type(value) is not option.type:
            given[name].fault(f"must be of type {option.type.__name__}: {option.help}")
            continue
        found[name] = value
    return found


def _url(parent: Located, here: Located | None, kind: Kind, options: Mapping[str, bool | int | str]) -> str | None:
    if here is None:
        if kind.url_required:
            parent.fault("`url` is missing: where this tool is called")
        return None
    url = here.text()
    if url is None:
        return None
    if not re.match(r"https?://[^/\s@]+", url):
        here.fault("must be an http or https URL without a user name or password in it")
        return None
    if (wrong := kind.url_error(url, options)) is not None:
        here.fault(wrong)
    return url.rstrip("/")


def _limits(here: Located | None, kind: Kind) -> Limits:
    fields = here.fields() if here is not None else {}
    _refuse_unknown(fields, LIMITS)
    can = kind.capabilities
    per_second = _number(fields, "calls_per_second", can.calls_per_second, at_most=10_000)
    if "calls_per_minute" in fields:
        if "calls_per_second" in fields:
            fields["calls_per_minute"].fault("give calls_per_second or calls_per_minute, not both")
        per_second = _number(fields, "calls_per_minute", 60, at_most=600_000) / 60
    batch = _number(fields, "batch", 1_000_000, at_most=1_000_000, whole=True)
    return Limits(
        calls_per_second=per_second,
        burst=int(_number(fields, "burst", can.burst, at_most=10_000, whole=True)),
        concurrency=int(_number(fields, "concurrency", can.concurrency, at_most=256, whole=True)),
        max_batch={action: min(size, int(batch)) for action, size in can.max_batch.items()},
    )


def _number(fields: Mapping[str, Located], name: str, default: float, *, at_most: float, whole: bool = False) -> float:
    if name not in fields:
        return default
    found = fields[name].number(above=0, at_most=at_most, whole=whole)
    return default if found is None else found


def _refuse_unknown(fields: Mapping[str, Located], known: Collection[str]) -> None:
    for name, here in fields.items():
        if name not in known:
            here.fault(f"is not known here: use {', '.join(sorted(known)) or 'nothing'}")

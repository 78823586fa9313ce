"""Files that hold secrets: whether other users can read them, and how old they are."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import SecretStr

from consent_privacy import private_files
from consent_service.doctor.findings import Finding, Result, all_ok
from consent_service.settings import PREFIX, settings_classes

_ROTATE = "rotate it"
_ROTATIONS = {"CONSENT_RELAY_KEYRING_FILE": "rotate its keys: consent-relay keyring --help has the steps"}
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretFile:
    """``setting``: what names it. ``chmod``: the command that closes it to other users, None where it is closed.
    ``error``: why it cannot be looked at, else empty."""

    setting: str
    path: Path
    age_days: float = 0.0
    chmod: str | None = None
    error: str = ""


def secret_file(setting: str, path: Path) -> SecretFile:
    """What the file system has on it."""
    try:
        age_seconds = time.time() - path.stat().st_mtime
        return SecretFile(
            setting=setting, path=path, age_days=age_seconds / _DAY_SECONDS, chmod=private_files.cure(path)
        )
    except OSError as error:
        return SecretFile(setting=setting, path=path, error=error.strerror or type(error).__name__)


def judge_secrets(
    files: Collection[SecretFile], secret_days: float, *, name: str = "secret files"
) -> Sequence[Finding]:
    """Whether each can be read by its owner alone, and is younger than ``secret_days``."""
    if not files:
        return [Finding(name=name, result=Result.NOT_CONFIGURED, found="no setting names one")]
    found = [each for file in files for each in _judge_secret(name, file, secret_days)]
    oldest = max(file.age_days for file in files)
    return all_ok(name, found, f"{len(files)}, for their owner alone; the oldest {oldest:.0f} days old")


def _judge_secret(name: str, file: SecretFile, secret_days: float) -> Iterator[Finding]:
    where = f"{file.setting}: {file.path}"
    if file.error:
        cure = "correct the path, or give this user the right to read it"
        yield Finding(name=name, result=Result.FAULT, found=f"{where} cannot be read ({file.error})", cure=cure)
    if file.chmod is not None:
        found = f"{where} can be read or changed by other users"
        yield Finding(name=name, result=Result.FAULT, found=found, cure=f"{file.chmod} (Kubernetes: defaultMode: 0400)")
    if file.age_days > secret_days:
        cure = _ROTATIONS.get(file.setting, _ROTATE)
        yield Finding(name=name, result=Result.WARNING, found=f"{where} is {file.age_days:.0f} days old", cure=cure)


def files_of_settings(names: Iterable[str]) -> list[SecretFile]:
    """The keyring, the private keys of TLS, and each file that holds a secret setting, once."""
    paths: dict[Path, str] = {}
    classes = settings_classes()
    for name in names:
        for field, info in classes[name].model_fields.items():
            variable = f"{PREFIX}{field.upper()}"
            if SecretStr in (info.annotation, *getattr(info.annotation, "__args__", ())):
                variable = f"{variable}_FILE"
                path = os.environ.get(variable)
            else:
                path = os.environ.get(variable) if field == "keyring_file" or field.endswith("ssl_key_file") else None
            if path:
                paths.setdefault(Path(path), variable)
    return [secret_file(variable, path) for path, variable in paths.items()]


def referenced_secrets(setting: str, path: Path) -> list[SecretFile]:
    """The files of secrets that the YAML file at `path` names as {file: ...}, relative to its directory. None where it
    cannot be read, which is a finding of the check that reads it."""
    try:
        pending = [yaml.safe_load(path.read_text("utf-8"))]
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return []
    found: dict[Path, SecretFile] = {}
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if id(each) in seen:  # An alias costs nothing, however often it is used.
            continue
        if isinstance(each, dict):
            seen.add(id(each))
            if each.keys() == {"file"} and isinstance(each["file"], str):
                file = path.parent / each["file"]
                found[file] = secret_file(setting, file)
            pending += each.values()
        elif isinstance(each, list):
            seen.add(id(each))
            pending += each
    return list(found.values())

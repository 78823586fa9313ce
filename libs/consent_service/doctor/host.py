"""What a process finds on its host: a directory for its state, and the clock."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from consent_privacy import private_files
from consent_service.doctor.findings import Finding, Result, all_ok, readable
from consent_service.settings import ProcessSettings

LEAST_FREE_BYTES, LOW_FREE_BYTES = 256 * 1024**2, 2 * 1024**3
"""Of the disk of a state directory: below the one a process cannot go on, below the other it is time for a larger."""
_TIME_ERROR = 5
"""What adjtimex(2) returns while no NTP client keeps the clock synchronised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StateDirectory:
    """``exists``: else the process makes it. ``writable``: by this user, it or the directory that it is to be made in.
    ``chmod`` as of SecretFile."""

    path: Path
    exists: bool
    writable: bool
    free_bytes: int
    chmod: str | None


def judge_state(directory: StateDirectory | None, *, required: bool) -> Sequence[Finding]:
    """``required``: a process that keeps state must be able to run here."""
    name = "state directory"
    if directory is None:
        return [Finding(name=name, result=Result.NOT_CHECKED, found="the settings are wrong", cure="mend them first")]
    if not directory.exists and not required:
        found = f"{directory.path} does not exist: no process keeps state here"
        return [Finding(name=name, result=Result.NOT_CONFIGURED, found=found)]
    return all_ok(name, list(_judge_state(name, directory)), f"{directory.path}, {_gib(directory.free_bytes)} free")


def _judge_state(name: str, directory: StateDirectory) -> Iterator[Finding]:
    if not directory.writable:
        cure = "give the process's user the right to write there, or set CONSENT_RELAY_STATE_DIR"
        yield Finding(
            name=name, result=Result.FAULT, found=f"{directory.path} cannot be written by this user", cure=cure
        )
    if directory.chmod is not None:
        found = f"{directory.path} is open to other users"
        yield Finding(name=name, result=Result.WARNING, found=found, cure=directory.chmod)
    if directory.free_bytes < LOW_FREE_BYTES:
        result = Result.FAULT if directory.free_bytes < LEAST_FREE_BYTES else Result.WARNING
        cure = "make room, or use a larger disk: the state is restored from Kafka when it is lost"
        found = f"{directory.path}: {_gib(directory.free_bytes)} free"
        yield Finding(name=name, result=result, found=found, cure=cure)


def state_directory() -> StateDirectory | None:
    """That of the settings; None where these are wrong."""
    settings = readable(ProcessSettings)
    if settings is None:
        return None
    path = settings.state_dir
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    return StateDirectory(
        path=path,
        exists=path.exists(),
        writable=os.access(there, os.W_OK | os.X_OK),
        free_bytes=shutil.disk_usage(there).free,
        chmod=private_files.cure(path) if path.exists() else None,
    )


def _gib(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB"


def judge_ntp(synchronised: bool | None) -> Finding:
    """``synchronised``: what the kernel has on it; None where it does not say."""
    name = "clock of this host"
    if synchronised:
        return Finding(name=name, result=Result.OK, found="kept synchronised by NTP")
    found = "is not synchronised by NTP" if synchronised is False else "the system does not say whether NTP keeps it"
    return Finding(
        name=name, result=Result.WARNING, found=found, cure="run an NTP client, such as chrony, on this host"
    )


def is_synchronised() -> bool | None:
    """By adjtimex(2), which reads here and sets nothing."""
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR

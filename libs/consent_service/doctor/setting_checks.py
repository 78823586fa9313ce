"""Whether the settings of each process can be read, and whether a variable has no effect."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from consent_service.doctor.findings import CheckContext, Finding, Result
from consent_service.errors import InvalidSettingsError
from consent_service.settings import MISSPELT, PREFIX, read, settings_classes, unknown_variables


def find_settings(names: Sequence[str], context: CheckContext) -> list[Finding]:
    """Of these processes, and the variables that none of them knows."""
    classes = settings_classes()
    problems: dict[str, InvalidSettingsError | None] = {}
    for name in names:
        try:
            read(classes[name])
        except InvalidSettingsError as error:
            problems[name] = error
        else:
            problems[name] = None
    return [
        *(each for name in names for each in judge_settings(name, problems[name], required=name in context.processes)),
        *judge_unknown(unknown_variables(os.environ), _texts_that_name_variables()),
    ]


def judge_settings(process: str, wrong: InvalidSettingsError | None, *, required: bool) -> list[Finding]:
    """``wrong``: what keeps the process's settings from being read. ``required``: it must be able to run here."""
    name = f"settings of {process}"
    if wrong is None:
        return [Finding(name=name, result=Result.OK, found="complete")]
    if not required and len(wrong.missing) == len(wrong.problems):
        unset = ", ".join(wrong.missing)
        return [Finding(name=name, result=Result.NOT_CONFIGURED, found=f"not set here: {unset}")]
    found = []
    for line in wrong.problems:
        what, _, cure = line.partition(". ")
        found.append(Finding(name=name, result=Result.FAULT, found=what, cure=cure))
    return found


def judge_unknown(unknown: Mapping[str, str], files: str) -> list[Finding]:
    """``unknown``: variables that are no settings, each with the setting that it is nearly. ``files``: the texts of
    files that name variables with credentials."""
    found = []
    for name, near in unknown.items():
        if near:
            cure = f"unset it, or set {near}"
            found.append(Finding(name="settings", result=Result.FAULT, found=f"{name} {MISSPELT}", cure=cure))
        elif name not in files:
            cure = "unset it, or correct its name"
            found.append(Finding(name="settings", result=Result.WARNING, found=f"{name} has no effect", cure=cure))
    return found


def _texts_that_name_variables() -> str:
    """Of the files of destinations and of inbound sources, where they can be read: what is wrong with them is a finding
    of their own checks."""
    texts = []
    for setting in ("PROPAGATOR_DESTINATIONS", "INBOUND_FILE"):
        try:
            texts.append(Path(os.environ[f"{PREFIX}{setting}"]).read_text("utf-8"))
        except (KeyError, OSError, UnicodeDecodeError):
            continue
    return "\n".join(texts)

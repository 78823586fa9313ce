"""The destinations of the file, or its errors on standard error and exit code 2."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from consent_privacy.keyring import Keyring
from consent_service.exits import exit_with_errors
from consent_service.wrong_entries import WrongEntry, ignore
from propagator.config.model import Destination
from propagator.config.reader import SETTING, read
from propagator.connectors import CATALOGUE
from propagator.errors import InvalidDestinationsFileError, MisconfiguredError


def read_destinations(
    path: Path,
    channels: Collection[str],
    keyring: Keyring | None,
    *,
    on_wrong: Callable[[WrongEntry], None] | None = None,
) -> tuple[Destination, ...]:
    """All of them, secrets of a wrong form included. Makes no connection. With `on_wrong`, a wrong destination is given
    to that and left out, as long as one remains."""
    try:
        declared = read(path, catalogue=CATALOGUE, channels=channels, keyring=keyring, on_wrong=on_wrong)
    except InvalidDestinationsFileError as error:
        exit_with_errors([str(error)])
    wrong = _unusable(path, declared)
    sound = tuple(each for each in declared if each.name not in wrong)
    if wrong and (on_wrong is None or not sound):
        exit_with_errors(list(wrong.values()))
    for name, why in wrong.items():
        assert on_wrong is not None
        on_wrong(WrongEntry(setting=SETTING, entry=name, why=why))
    return sound


def has_mended(
    path: Path, channels: Collection[str], keyring: Keyring, *, used: Collection[str], wrong: Collection[str]
) -> bool:
    """Whether the file, read again, has one of the destinations `wrong` right, and all of those `used`. Of names."""
    try:
        declared = read(path, catalogue=CATALOGUE, channels=channels, keyring=keyring, on_wrong=ignore)
    except InvalidDestinationsFileError:
        return False
    sound = {each.name for each in declared} - _unusable(path, declared).keys()
    return sound.issuperset(used) and not sound.isdisjoint(wrong)


def _unusable(path: Path, declared: Iterable[Destination]) -> dict[str, str]:
    """What is wrong, by name, where a secret has the wrong form."""
    wrong: dict[str, str] = {}
    for each in declared:
        try:
            each.connector_type.build(each.connection)
        except MisconfiguredError as error:
            wrong[each.name] = f"{path}: destination {each.name}: {error}"
    return wrong

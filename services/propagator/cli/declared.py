"""The destinations of the file, or its errors on standard error and exit code 2."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from consent_privacy.keyring import Keyring
from consent_service.exits import exit_with_errors
from consent_service.wrong_entries import WrongEntry
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
    wrong: dict[str, str] = {}
    for each in declared:
        try:
            each.connector_type.build(each.connection)  # A secret of the wrong form is found here.
        except MisconfiguredError as error:
            wrong[each.name] = f"{path}: destination {each.name}: {error}"
    sound = tuple(each for each in declared if each.name not in wrong)
    if wrong and (on_wrong is None or not sound):
        exit_with_errors(list(wrong.values()))
    for name, why in wrong.items():
        assert on_wrong is not None
        on_wrong(WrongEntry(setting=SETTING, entry=name, why=why))
    return sound

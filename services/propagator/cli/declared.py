"""The destinations of the file, or its errors on standard error and exit code 2."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from consent_privacy.keyring import Keyring
from consent_service.exits import exit_with_errors
from propagator.config.model import Destination
from propagator.config.reader import read
from propagator.connectors import CATALOGUE
from propagator.errors import InvalidDestinationsFileError, MisconfiguredError


def read_destinations(path: Path, channels: Collection[str], keyring: Keyring | None) -> tuple[Destination, ...]:
    """All of them, secrets of a wrong form included. Makes no connection."""
    try:
        declared = read(path, catalogue=CATALOGUE, channels=channels, keyring=keyring)
    except InvalidDestinationsFileError as error:
        exit_with_errors([str(error)])
    wrong = []
    for each in declared:
        try:
            each.connector_type.build(each.connection)  # A secret of the wrong form is found here.
        except MisconfiguredError as error:
            wrong.append(f"{path}: destination {each.name}: {error}")
    if wrong:
        exit_with_errors(wrong)
    return declared

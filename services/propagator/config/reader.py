"""The destinations file: which account at which tool is sent what. Read once, at start. What checks the file refuses
all of it for any error; the process that sends does without the destinations that are wrong.

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
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from consent_privacy.keyring import Keyring
from consent_service.wrong_entries import WrongEntry
from propagator.config.explain_error import explain
from propagator.config.file_model import NAME, DestinationSection, Installation, file_model
from propagator.config.model import Destination, Limits
from propagator.config.yaml_document import Document, parse
from propagator.connectors.base import ConnectionSettings, ConnectorType
from propagator.errors import FileFault, InvalidDestinationsFileError

SETTING = "CONSENT_RELAY_PROPAGATOR_DESTINATIONS"


def read(
    path: Path,
    *,
    catalogue: Mapping[str, ConnectorType],
    channels: Collection[str],
    keyring: Keyring | None,
    environ: Mapping[str, str] = os.environ,
    on_wrong: Callable[[WrongEntry], None] | None = None,
) -> tuple[Destination, ...]:
    """All destinations of the file. `keyring` None: not at hand, so each tenant must be named and is not looked up.

    Raises InvalidDestinationsFileError with every error in the file, each with its line, its column and the fix. With
    `on_wrong`, a wrong destination is given to that and left out, as long as the file is sound beside it, and one
    remains.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fix = f"cannot be read ({type(error).__name__}): give the path of a UTF-8 YAML file"
        raise InvalidDestinationsFileError(str(path), [FileFault(0, 0, "file", fix)]) from error
    document = parse(text)
    if isinstance(document, FileFault):
        raise InvalidDestinationsFileError(str(path), [document])
    model = file_model(catalogue)
    installation = Installation(channels=channels, keyring=keyring, environ=environ, directory=path.parent)
    # A name that is given twice may be that of an alias, used in several destinations.
    of_file, of_entries = list(document.errors), _repeated_names(document)
    sections: list[DestinationSection] = []
    try:
        sections = model.model_validate(document.data, context=installation).destinations
    except ValidationError as invalid:
        for each in invalid.errors(include_url=False, include_input=False):
            fault = explain(each, model, document)
            match each["loc"]:
                case ("destinations", int(number), *_):
                    of_entries[number].append(fault)
                case _:
                    of_file.append(fault)
    errors = sorted([*of_file, *chain.from_iterable(of_entries.values())])
    if not errors:
        return tuple(map(_destination, sections))
    declared = document.data["destinations"] if not of_file else []
    sound = [each for number, each in enumerate(declared) if not of_entries[number]]
    if on_wrong is None or not sound:
        raise InvalidDestinationsFileError(str(path), errors)
    for number, faults in sorted(of_entries.items()):
        if faults:
            why = "; ".join(str(InvalidDestinationsFileError(str(path), [each])) for each in sorted(faults))
            on_wrong(WrongEntry(setting=SETTING, entry=_name(declared[number], number), why=why))
    sections = model.model_validate({"destinations": sound}, context=installation).destinations
    return tuple(map(_destination, sections))


def _name(entry: Any, number: int) -> str:
    """As the entry has it, if it can be shown; else its place."""
    name = getattr(entry.get("name"), "written", "") if isinstance(entry, dict) else ""
    return name if re.fullmatch(NAME, name) else f"destinations[{number}]"


def _repeated_names(document: Document) -> defaultdict[int, list[FileFault]]:
    """By the place of the destination. Of several with one name each is wrong: what is delivered is recorded by the
    name, and which of them it is of cannot be known."""
    found = document.data.get("destinations") if isinstance(document.data, dict) else None
    places: defaultdict[str, list[int]] = defaultdict(list)
    for index, each in enumerate(found if isinstance(found, list) else ()):
        name = each.get("name") if isinstance(each, dict) else None
        if (written := getattr(name, "written", None)) is not None:
            places[written].append(index)
    faults: defaultdict[int, list[FileFault]] = defaultdict(list)
    for indexes in places.values():
        marks = [document.locate(("destinations", index, "name")) for index in indexes]
        for number, index in enumerate(indexes if len(indexes) > 1 else ()):
            other = marks[0 if number else 1].line
            fix = f"is the name on line {other} too: each destination needs its own name"
            faults[index].append(FileFault(*marks[number], fix))
    return faults


def _destination(section: DestinationSection) -> Destination:
    connector_type = section.connector_type
    assert connector_type is not None
    assert section.tenant is not None
    max_batch = connector_type.capabilities.max_batch
    given = {name: getattr(section.credentials, name) for name in type(section.credentials).model_fields}
    return Destination(
        connector_type=connector_type,
        connection=ConnectionSettings(
            destination=section.name,
            tenant=section.tenant,
            channel=section.channel,
            url=section.url,
            credentials={name: each.secret for name, each in given.items() if each is not None},
            credential_files={name: each.path for name, each in given.items() if each is not None and each.path},
            options=section.options.model_dump(),
            targets=tuple(sorted(section.purposes.names)),
            timeout_seconds=section.timeout_seconds,
        ),
        purposes=section.purposes,
        push_permissions=section.push_permissions,
        limits=Limits(
            calls_per_second=section.limits.rate,
            burst=section.limits.burst,
            concurrency=section.limits.concurrency,
            max_batch={action: min(size, section.limits.batch) for action, size in max_batch.items()},
        ),
        paused=section.paused,
        generation=section.generation,
    )

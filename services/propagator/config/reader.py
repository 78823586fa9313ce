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
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from consent_privacy.keyring import Keyring
from propagator.config.explain_error import explain
from propagator.config.file_model import DestinationSection, Installation, file_model
from propagator.config.model import Destination, Limits
from propagator.config.yaml_document import Document, parse
from propagator.connectors.base import ConnectionSettings, ConnectorType
from propagator.errors import FileFault, InvalidDestinationsFileError


def read(
    path: Path,
    *,
    catalogue: Mapping[str, ConnectorType],
    channels: Collection[str],
    keyring: Keyring | None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Destination, ...]:
    """All destinations of the file. `keyring` None: not at hand, so each tenant must be named and is not looked up.

    Raises InvalidDestinationsFileError with every error in the file, each with its line, its column and the fix.
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
    errors = [*document.errors, *_repeated_names(document)]
    sections: list[DestinationSection] = []
    try:
        installation = Installation(channels=channels, keyring=keyring, environ=environ, directory=path.parent)
        sections = model.model_validate(document.data, context=installation).destinations
    except ValidationError as invalid:
        errors += (explain(each, model, document) for each in invalid.errors(include_url=False, include_input=False))
    if errors:
        raise InvalidDestinationsFileError(str(path), sorted(errors))
    return tuple(map(_destination, sections))


def _repeated_names(document: Document) -> Iterator[FileFault]:
    found = document.data.get("destinations") if isinstance(document.data, dict) else None
    lines: dict[str, int] = {}
    for index, each in enumerate(found if isinstance(found, list) else ()):
        name = each.get("name") if isinstance(each, dict) else None
        written = getattr(name, "written", None)
        if written is None:
            continue
        at = document.locate(("destinations", index, "name"))
        if written in lines:
            yield FileFault(*at, f"is the name on line {lines[written]} already: each destination needs its own name")
        lines.setdefault(written, at.line)


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

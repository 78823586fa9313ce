"""`consent-relay destinations schema`."""

from __future__ import annotations

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of the destinations file, by which an editor completes and checks it.

    Write it beside the file, and name it in the file's first line:
    # yaml-language-server: $schema=destinations.schema.json
    """
    from propagator.config.file_model import json_schema
    from propagator.connectors import CATALOGUE

    click.echo(json_schema(CATALOGUE))

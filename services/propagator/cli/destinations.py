"""`consent-relay destinations`: look at the destinations, and forget one that was removed."""

from __future__ import annotations

import click

from propagator.cli.check import check
from propagator.cli.forget import forget
from propagator.cli.schema import schema
from propagator.cli.status import list_destinations


@click.group()
def destinations() -> None:
    """Which tools are sent what, how far they are, and what is stored of them.

    `check` reads a destinations file, and `schema` lets an editor complete it; `list` asks a running propagator;
    `forget` deletes the delivered state of a destination that was removed from the file.
    """


destinations.add_command(check)
destinations.add_command(list_destinations)
destinations.add_command(forget)
destinations.add_command(schema)

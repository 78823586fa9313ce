"""The commands of the push: `propagator` tells the destinations, `destinations` looks at their declaration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from propagator.config import Destination


@click.command()
@click.option(
    "--destination",
    "only",
    multiple=True,
    metavar="NAME",
    help="Push to this destination only; may be repeated. Default: all of the file, in this one process.",
)
def propagator(only: tuple[str, ...]) -> None:
    """Tell each destination who may be contacted, and write a receipt for each that was told.

    Reads suppression.<channel>.v1 in one consumer group a destination (propagator.<name>), so that a slow one holds
    up no other. The destinations stand in the YAML file that CONSENT_RELAY_PROPAGATOR_DESTINATIONS names; try it
    with `consent-relay destinations check`. To push everything again, stop the workers of a destination and set its
    group's offsets to the earliest.
    """
    import sys

    from consent_runtime import logs, settings, starting
    from consent_runtime.provision import require_topics
    from propagator.app import run_propagator
    from propagator.settings import PropagatorSettings

    loaded = settings.load(PropagatorSettings)
    declared = _read(loaded.propagator_destinations, loaded.channels)
    names = {each.name for each in declared}
    if unknown := sorted(set(only) - names):
        starting.refuse(f"--destination {each}: not declared; there are {', '.join(sorted(names))}" for each in unknown)
    keyring = starting.keyring(loaded)
    logs.configure(loaded.log_level, loaded.service)
    topics = loaded.topics
    chosen = [each for each in declared if not only or each.name in only]
    sources = sorted({topics.suppression(each.channel) for each in chosen})
    require_topics(loaded, [topics.receipts, topics.parked, topics.dead_letters("propagator"), *sources])
    sys.exit(run_propagator(loaded, chosen, keyring))


@click.group()
def destinations() -> None:
    """Look at the destinations file: which tools are told what."""


@destinations.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--channels", default="sms,email,voice", show_default=True, help="The channels of the installation.")
def check(file: Path, channels: str) -> None:
    """Say what each destination of FILE would be told, or each wrong line with its cure (exit code 2).

    Credentials are looked up, and their form is checked, but they are not used: nothing is called.
    """
    for each in _read(file, tuple(channel.strip() for channel in channels.split(","))):
        click.echo(f"{each.name}: {each.kind.name}, {each.channel}{_permissions(each)}")
        for line in _mapping(each):
            click.echo(f"    {line}")
        limits = each.limits
        batches = ", ".join(f"{size} a {action} call" for action, size in sorted(limits.max_batch.items()))
        click.echo(f"    at most {limits.calls_per_second:g} calls/s, {limits.concurrency} at once, {batches}")


def _permissions(destination: Destination) -> str:
    return ", permissions too" if destination.push_permissions else ", refusals only"


def _mapping(destination: Destination) -> list[str]:
    if destination.purposes.same:
        return ["every purpose, under our own names"]
    return [
        f"{purpose} -> {', '.join(targets) or 'never sent by this tool'}"
        for purpose, targets in sorted(destination.purposes.targets.items())
    ]


def _read(path: Path, channels: tuple[str, ...]) -> tuple[Destination, ...]:
    from consent_runtime.starting import refuse
    from propagator import config
    from propagator.connectors import CATALOGUE
    from propagator.errors import Misconfigured, WrongDestinations

    try:
        declared = config.read(path, catalogue=CATALOGUE, channels=channels)
    except WrongDestinations as error:
        refuse([str(error)])
    wrong = []
    for each in declared:
        try:
            each.kind.build(each.account)  # Makes no connection; a secret of the wrong form is found here.
        except Misconfigured as error:
            wrong.append(f"{path}: destination {each.name}: {error}")
    if wrong:
        refuse(wrong)
    return declared

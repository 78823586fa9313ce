"""Run the sandbox until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from provider_sandbox.app import create_app, start
from provider_sandbox.change_log import FileChangeLog
from provider_sandbox.config import SandboxConfig


async def serve(config: SandboxConfig, *, host: str, port: int, state_file: Path | None) -> None:
    """Prints the address on one line once calls are accepted, so that a port of 0 can be found out."""
    log = FileChangeLog(state_file) if state_file else None
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    running = await start(create_app(config, log), host=host, port=port)
    click.echo(f"provider sandbox: {running.url}")
    try:
        await stopped.wait()
    finally:
        await running.close()
        if log:
            log.close()

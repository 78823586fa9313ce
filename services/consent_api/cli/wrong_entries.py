"""A wrong entry of a file that a command reads concerns its tenant alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from consent_service.wrong_entries import WrongEntry


def warn(wrong: WrongEntry) -> None:
    """On standard error."""
    click.echo(f"not in use: {wrong.setting}, {wrong.entry}: {wrong.why}", err=True)

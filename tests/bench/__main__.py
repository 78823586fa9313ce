"""`make bench`: runs the benchmarks one after the other and writes docs/benchmarks.md and docs/benchmarks.json."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.bench.figures import Figure, Servers
from tests.bench.page import Outcome, verdict, write
from tests.bench.running_servers import running_servers

NAMES = (
    "codec",
    "transport",
    "suppression_stage",
    "recovery",
    "check",
    "end_to_end",
    "push",
    "lanes",
    "resolved",
    "propagator",
    "scale",
    "verify",
    "inbound",
    "rolling",
    "footprint",
    "migrate",
)
DOCS = Path(__file__).parents[2] / "docs"


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--docs",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Where their figures in benchmarks.md and benchmarks.json are replaced. Default: docs/ after a run of all of"
    " them, else nowhere.",
)
def bench(names: tuple[str, ...], docs: Path | None) -> None:
    """Measure, against baselines in the same run, and report which targets are met.

    NAME is one or more of codec, transport, suppression_stage, recovery, check, end_to_end, push, lanes, resolved,
    propagator, scale, verify, inbound, rolling, footprint, migrate; without one, all run, which takes about half an
    hour, and docs/benchmarks.md and docs/benchmarks.json are written: with --docs docs, of the named ones alone, where
    each says when and on what it was measured.

    Kafka, the registry and PostgreSQL are started as the tests start them; CONSENT_RELAY_TEST_SERVERS may name a file
    with servers that run already. Leave the machine alone meanwhile. The exit code is 1 when a benchmark failed; a
    target that was missed is shown in the table and is no failure.
    """
    if unknown := sorted(set(names) - set(NAMES)):
        raise click.BadParameter(f"{', '.join(unknown)}: there are {', '.join(NAMES)}", param_hint="NAME")
    console = Console()
    load = os.getloadavg()[0]
    began = time.monotonic()
    with running_servers(console) as found:
        outcomes = [_run(console, name, found) for name in names or NAMES]
    _show(console, outcomes)
    console.print(f"took {(time.monotonic() - began) / 60:.1f} minutes", highlight=False)
    failed = [outcome.name for outcome in outcomes if outcome.failure]
    if docs is None and not names and not failed:
        docs = DOCS
    if docs is not None:
        write(docs, outcomes, load=load, order=NAMES)
        console.print(f"written: {docs / 'benchmarks.md'}, {docs / 'benchmarks.json'}", highlight=False)
    if failed:
        console.print(f"failed: {', '.join(failed)}", style="bold red")
        raise SystemExit(1)


def _run(console: Console, name: str, found: Servers) -> Outcome:
    module = import_module(f"tests.bench.bench_{name}")
    measure: Callable[[Servers], list[Figure]] = module.measure
    about = (module.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    began, began_at = time.monotonic(), datetime.now(UTC)
    figures: Sequence[Figure] = ()
    failure = ""
    with console.status(f"{name}: {about}"):
        try:
            figures = measure(found)
        except Exception as error:
            console.print_exception()
            failure = f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - began
    console.print(f"{name}: {'failed' if failure else 'done'} after {seconds:.0f} s", highlight=False)
    return Outcome(name=name, began=began_at, about=about, figures=tuple(figures), seconds=seconds, failure=failure)


def _show(console: Console, outcomes: Sequence[Outcome]) -> None:
    table = Table("figure", "value", "target", "met")
    for outcome in outcomes:
        table.add_section()
        for figure in outcome.figures:
            style = {True: "green", False: "red", None: ""}[figure.met]
            table.add_row(figure.name, figure.text, figure.target_text, verdict(figure), style=style)
        if outcome.failure:
            table.add_row(outcome.name, "failed", "", outcome.failure, style="bold red")
    console.print(table)


if __name__ == "__main__":
    bench()

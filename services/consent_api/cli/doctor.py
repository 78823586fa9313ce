"""`consent-relay doctor`."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from consent_service.doctor.findings import Check, CheckContext, Finding

GROUP = "consent_relay.checks"
_WIDTH = 120
_COLOURS = {"ok": "green", "warning": "yellow", "fault": "red", "not checked": "red", "not configured": None}


@click.command()
@click.option(
    "--process",
    "processes",
    multiple=True,
    metavar="NAME",
    help="Check what this process needs and nothing else (api, relay, ingest, suppression, gate, propagator, lag, "
    "status, migrate); what it lacks is a fault. May be repeated. Default: all that the environment has settings for.",
)
@click.option(
    "--secret-days",
    type=click.FloatRange(min=1),
    default=365.0,
    show_default=True,
    help="The age in days from which on a secret is to be replaced.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document: `exit_code`, and the list `findings`.")
def doctor(processes: tuple[str, ...], secret_days: float, as_json: bool) -> None:
    """Check an installation from here: what is wrong, and what to do about it.

    Run it where a process runs, with its environment, or where an operator works. It changes nothing, prints no secret
    and no address of a person, and works while parts are down: each check has its time, and none stops another.

    \b
    settings       of each process; variables that have no effect
    files          secrets and certificates: who may read them, their age, their end; themes, sources, destinations
    this host      NTP; local state: space and permissions
    Kafka          brokers, topics against the contract, access, the certificates that servers show
    registry       each schema registered, and compatible
    database       migration, rights of the services' role, clock, outbox, API keys
    destinations   each by requests that change nothing there, or by a connection alone
    lag            of each consumer group; freshness of the lists; the brokers' clock

    \b
    ok              as it should be
    warning         works, but is to be looked at
    fault           does not work, or is not safe; the line below says what to do
    not checked     could not be found out: counts as a fault
    not configured  this environment has no settings for it

    Exit code 0: all is well; 1: warnings; 2: a fault, or something that could not be checked.
    """
    import logging

    from consent_service.doctor import runner
    from consent_service.doctor.findings import CheckContext, exit_code
    from consent_service.settings import settings_classes

    if unknown := sorted(set(processes) - settings_classes().keys()):
        raise click.BadParameter(f"{unknown[0]} is none of {', '.join(settings_classes())}", param_hint="--process")
    # What clients log about servers that are down is in the findings.
    logging.getLogger().addHandler(logging.NullHandler())
    context = CheckContext(processes=frozenset(processes), secret_days=secret_days)
    progress = _Progress()
    outcome = runner.run(_checks(context), progress=progress.show)
    progress.clear()
    code = exit_code(outcome.findings)
    click.echo(_document(outcome.findings, code) if as_json else "\n".join(_table(outcome.findings)))
    if outcome.abandoned:
        # Threads that hang in a client's call would keep the interpreter, or end it by a signal.
        sys.stdout.flush()
        os._exit(code)
    raise SystemExit(code)


def _checks(context: CheckContext) -> list[Check]:
    """Those of every package, in the order of their entry points' names."""
    entries = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    return [check for entry in entries for check in _offered(entry, context)]


def _offered(entry: EntryPoint, context: CheckContext) -> Sequence[Check]:
    """Its checks, or one that reports why there are none."""
    from consent_service.doctor.findings import Check, Finding, Result

    try:
        checks: Sequence[Check] = entry.load()(context)
    except Exception as error:
        text, cure = f"its checks cannot be made ({type(error).__name__})", "report it as a bug of doctor"
        failed = Finding(name=entry.value, result=Result.NOT_CHECKED, found=text, cure=cure)
        return [Check(name=entry.value, find=lambda: [failed])]
    return checks


class _Progress:
    """A line on the terminal, which the table replaces."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()

    def show(self, done: int, running: Sequence[str]) -> None:
        if self._is_shown:
            line = f"{done} checks done, {len(running)} being made: {', '.join(running)}"
            click.echo(f"\r\x1b[K{textwrap.shorten(line, 79, placeholder=' ...')}", nl=False, err=True)

    def clear(self) -> None:
        if self._is_shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def _document(findings: Sequence[Finding], code: int) -> str:
    listed = [
        {"name": each.name, "result": each.result.value, "found": each.found, "cure": each.cure or None}
        for each in findings
    ]
    return json.dumps({"exit_code": code, "findings": listed}, indent=2)


def _table(findings: Sequence[Finding]) -> Iterator[str]:
    from consent_service.terminal import shown

    names = max([len("CHECK"), *(len(each.name) for each in findings)])
    results = max(len(each.result) for each in findings)
    indent = " " * (names + results + 4)
    yield f"{'CHECK':<{names}}  {'RESULT':<{results}}  FOUND"
    for each in findings:
        result = click.style(f"{each.result:<{results}}", fg=_COLOURS[each.result])
        # Answers of providers and names of roles are texts of others.
        lines = _wrapped(shown(each.found), _WIDTH - len(indent)) or [""]
        yield f"{each.name:<{names}}  {result}  {lines[0]}"
        yield from (indent + line for line in lines[1:])
        if each.cure:
            yield from (indent + line for line in _wrapped(f"-> {shown(each.cure)}", _WIDTH - len(indent)))
    counts = Counter(each.result.value for each in findings)
    yield ", ".join(f"{count} {result}" for result, count in sorted(counts.items()))


def _wrapped(text: str, width: int) -> list[str]:
    """Paths and options stay whole, so that they can be copied."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)

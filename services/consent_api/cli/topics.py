"""`consent-relay topics plan|apply|acls`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import click

from consent_kafka import access

if TYPE_CHECKING:
    from consent_kafka.provisioning import Provisioner
    from consent_kafka.topic_plan import Difference, Remedy

F = TypeVar("F", bound=Callable[..., Any])

WAIT_SECONDS = 10.0
DIFFERENT = 2
"""Exit code of `plan` where there is a difference; 1 is an error."""


class _PlanCommand(click.Command):
    """A command of which code 2 has a meaning of its own: wrong arguments end it with 1."""

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **extra)
        except click.UsageError as error:
            error.exit_code = 1
            raise


@click.group()
def topics() -> None:
    """Compare the Kafka topics and schemas that exist with those that the system requires, and change them.

    Reads CONSENT_RELAY_KAFKA, CONSENT_RELAY_REGISTRY, CONSENT_RELAY_TOPIC_PREFIX, CONSENT_RELAY_CHANNELS,
    CONSENT_RELAY_PROPAGATORS and CONSENT_RELAY_PARTITIONS.
    """


def _requirements(command: F) -> F:
    """The options that say what is required beside the contract."""
    for option in (
        click.option(
            "--min-insync",
            type=click.IntRange(min=1),
            default=None,
            help="min.insync.replicas of every topic: how many replicas must hold a record before it counts as "
            "written. Two, with three replicas, survives the loss of any one broker. Default: the broker's.",
        ),
        click.option(
            "--replication",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="Replicas of each topic that is created; three in production. Existing topics that have fewer are "
            "named.",
        ),
    ):
        command = option(command)
    return command


@topics.command("plan", cls=_PlanCommand)
@_requirements
@click.option("--json", "as_json", is_flag=True, help="One JSON document: the list `differences`.")
def plan(replication: int, min_insync: int | None, as_json: bool) -> None:
    """Show what `topics apply` would change, and change nothing.

    \b
    +  a topic or schema is created
    ~  a setting or a number of partitions is changed, from -> to
    !  `apply` leaves it: an option permits it, or a person has to act; the line below says which

    Exit code 0: everything is as required; 2: something differs; 1: an error, as where a server does not answer.
    """
    with _errors_as_code_1():
        found = _provisioner(replication, min_insync).plan()
    if as_json:
        click.echo(json.dumps({"differences": [_as_json(each) for each in found]}, indent=2))
    else:
        _show(found, permitted=frozenset())
    if found:
        raise SystemExit(DIFFERENT)


@topics.command("apply")
@_requirements
@click.option(
    "--allow-deletion",
    is_flag=True,
    help="Also shorten retentions and change clean-up policies, by which the broker deletes records, and lower size "
    "limits. Without it they are left as they are.",
)
@click.option(
    "--add-partitions",
    is_flag=True,
    help="Also add partitions to existing topics. Records of a key then go to another partition than before. Never to "
    "a list, changes or state topic that holds records: an address would have entries in two partitions.",
)
@click.option("--yes", is_flag=True, help="Do not ask. Required where no terminal is there to ask on.")
def apply(replication: int, min_insync: int | None, allow_deletion: bool, add_partitions: bool, yes: bool) -> None:
    """Show the plan, then create missing topics, change settings and register schemas. Safe to repeat.

    Nothing is deleted, made shorter or moved without its option. Exit code 0 when services can start with what is
    there then; 1 when something is left that keeps them from it.
    """
    from consent_api.cli import acts
    from consent_api.rights.audit import Act
    from consent_kafka.errors import ProvisionError
    from consent_kafka.topic_plan import Remedy
    from consent_service.settings import ProcessSettings, load

    permitted = frozenset(
        remedy
        for remedy, given in {Remedy.ALLOW_DELETION: allow_deletion, Remedy.ADD_PARTITIONS: add_partitions}.items()
        if given
    )
    provisioner = _provisioner(replication, min_insync)
    try:
        found = provisioner.plan()
        _show(found, permitted)
        changes = [each for each in found if _is_permitted(each, permitted)]
        if changes:
            _confirm(len(changes), yes=yes)
            prefix = load(ProcessSettings).topic_prefix
            acts.record(Act.TOPICS_APPLIED, object_id=f"prefix {prefix}" if prefix else None)
            provisioner.carry_out(changes, click.echo)
    except ProvisionError as error:
        raise click.ClickException(str(error)) from None
    if left := [each for each in found if not _is_permitted(each, permitted) and not each.safe]:
        raise click.ClickException("\n".join(["services do not start with what is left:", *map(str, left)]))


@topics.command("acls")
@click.argument("names", nargs=-1, type=click.Choice([*access.PROCESSES, *access.COMMANDS]), metavar="[NAME]...")
def acls(names: tuple[str, ...]) -> None:
    """List the ACLs that each process and command requires, by its NAME; by default all.

    A line has, between tabs: name, kind of resource, resource, literal or prefixed, operations. The resources are those
    of this installation (CONSENT_RELAY_TOPIC_PREFIX, _CHANNELS, _PROPAGATORS).
    """
    from consent_service.settings import ProcessSettings, load

    settings = load(ProcessSettings)
    for name in names or (*access.PROCESSES, *access.COMMANDS):
        found = [access.required(name, settings.topics, propagator=each) for each in settings.propagators]
        for acl in dict.fromkeys(chain.from_iterable(found)):
            pattern = "prefixed" if acl.prefixed else "literal"
            click.echo("\t".join((name, acl.resource, acl.name, pattern, ",".join(acl.operations))))


def _provisioner(replication: int, min_insync: int | None) -> Provisioner:
    from consent_kafka import provisioning
    from consent_service.settings import ProcessSettings, load

    return provisioning.provisioner(
        load(ProcessSettings), replication=replication, min_insync=min_insync, wait_seconds=WAIT_SECONDS
    )


@contextmanager
def _errors_as_code_1() -> Iterator[None]:
    """Also wrong settings, and servers that refuse us, which end every other command with 2."""
    from consent_kafka.errors import ProvisionError
    from consent_service.errors import LinkRefusedError

    try:
        yield
    except (ProvisionError, LinkRefusedError) as error:
        raise click.ClickException(str(error)) from None
    except SystemExit as ended:
        raise SystemExit(1) from ended


def _confirm(changes: int, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.ClickException("nothing was changed: there is no terminal to ask on; give --yes")
    click.confirm(f"Make {changes} changes?", abort=True)


def _is_permitted(difference: Difference, permitted: frozenset[Remedy]) -> bool:
    from consent_kafka.topic_plan import Remedy

    return difference.remedy is Remedy.APPLY or difference.remedy in permitted


def _show(found: Sequence[Difference], permitted: frozenset[Remedy]) -> None:
    for each in found:
        click.echo("\n".join(_lines(each, permitted)))
    left = Counter(each.remedy for each in found if not _is_permitted(each, permitted))
    changes = len(found) - left.total()
    counts = [f"{count} by {remedy}" for remedy, count in sorted(left.items())]
    click.echo("topics and schemas are as wanted" if not found else ", ".join([f"{changes} to change", *counts]))


def _lines(difference: Difference, permitted: frozenset[Remedy]) -> Iterator[str]:
    is_new = difference.kind in ("topic", "schema")
    mark = ("+" if is_new else "~") if _is_permitted(difference, permitted) else "!"
    yield f"{mark} {difference.of}: {difference.named(difference.found)} -> {difference.required}"
    if mark == "!":
        yield f"    {difference.cure}"
    if difference.effect:
        yield f"    {difference.effect}"


def _as_json(difference: Difference) -> dict[str, Any]:
    return {
        "of": difference.of,
        "kind": difference.kind,
        "name": difference.name or None,
        "from": difference.found,
        "to": difference.required,
        "remedy": difference.remedy.value,
        "cure": difference.cure,
        "effect": difference.effect or None,
        "services_start": difference.safe,
    }

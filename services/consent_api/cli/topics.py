"""`consent-relay topics apply|check|acls`."""

from __future__ import annotations

from itertools import chain

import click

from consent_kafka import access


@click.group()
def topics() -> None:
    """Create the Kafka topics and schemas the system needs, or compare what exists with what is wanted.

    Reads CONSENT_RELAY_KAFKA, CONSENT_RELAY_REGISTRY, CONSENT_RELAY_TOPIC_PREFIX, CONSENT_RELAY_CHANNELS and
    CONSENT_RELAY_PARTITIONS.
    """


_min_insync = click.option(
    "--min-insync",
    type=click.IntRange(min=1),
    default=None,
    help="min.insync.replicas of every topic: how many replicas must hold a record before it counts as "
    "written. Two, with three replicas, survives the loss of any one broker. Default: the broker's.",
)


@topics.command("apply")
@click.option(
    "--replication",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Replicas of each topic that is created; three in production. Existing topics keep theirs.",
)
@_min_insync
def apply(replication: int, min_insync: int | None) -> None:
    """Create missing topics, correct their settings, register the schemas. Safe to repeat."""
    from consent_kafka import provisioning
    from consent_kafka.errors import ProvisionError
    from consent_service.settings import ProcessSettings, load

    settings = load(ProcessSettings)
    try:
        done = provisioning.apply(
            bootstrap=settings.kafka,
            registry=settings.registry,
            topics=settings.topics,
            partitions=settings.partitions,
            replication=replication,
            min_insync=min_insync,
            client_config=settings.kafka_client,
            registry_config=settings.registry_client,
        )
    except ProvisionError as error:
        raise click.ClickException(str(error)) from None
    for line in done:
        click.echo(line)


@topics.command("check")
@_min_insync
def check(min_insync: int | None) -> None:
    """Say each difference between the topics and schemas that exist and those wanted; exit 1 if any."""
    from consent_kafka import provisioning
    from consent_kafka.errors import ProvisionError
    from consent_service.settings import ProcessSettings, load

    settings = load(ProcessSettings)
    try:
        found = [
            str(difference)
            for difference in provisioning.diff_topics(
                bootstrap=settings.kafka,
                topics=settings.topics,
                partitions=settings.partitions,
                min_insync=min_insync,
                client_config=settings.kafka_client,
                wait_seconds=10,
            )
        ]
    except ProvisionError as error:
        found = [str(error)]
    found += provisioning.diff_schemas(settings)
    for line in found:
        click.echo(line, err=True)
    if found:
        raise SystemExit(1)
    click.echo("topics and schemas are as wanted")


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

"""`consent-relay keyring`: the file of secrets, and the rotation of its keys, which asks the ledger."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from consent_api.cli import acts
from consent_api.cli.database_errors import NO_LEDGER, SETTING

if TYPE_CHECKING:
    from consent_api.settings import LedgerSettings
    from consent_privacy.keyring import Key, Keyring


@click.group("keyring")
def keyring() -> None:
    """Create and rotate the keys that hide addresses.

    \b
    To rotate a tenant's hash key, bring FILE, and new exports where there are any, to the services after each step that
    changes it. They read it within a second; a process that embeds consent_client is restarted. Where services
    have files of their own, always in this order: what reads the list (gates, tools, propagators), then the merge, the
    relay and ingest, the API last. So a reader has a new key before an entry exists under it (without it, it denies),
    and needs a retired one no longer when decisions cease to be published under it.
      1. consent-relay keyring rotate FILE --tenant acme   (a second live key: from now on both are published)
      2. consent-relay republish --tenant acme             (once every service has read FILE: all earlier decisions)
      3. consent-relay keyring promote FILE acme h2        (new key first; the old one is still found)
      4. consent-relay keyring retire FILE acme h1         (once every service has read step 3: others do not take it)

    Every service has read FILE when consent_relay_secret_file_last_read_timestamp_seconds{secret="keyring"} of each is
    later than the change.

    Between steps 1 and 2 a gate may deny a permission that a service with the old FILE has recorded.

    promote and retire need CONSENT_RELAY_API_DATABASE, _KAFKA and _REGISTRY: they refuse until step 2 has been
    completed since the key was added and the merge has read what it published, because a decision that is missing under
    the new key would no longer be found.
    """


_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@keyring.command("generate")
@_FILE
@click.option("--tenant", "tenants", multiple=True, required=True, help="A tenant's name; may be repeated.")
def generate(file: Path, tenants: tuple[str, ...]) -> None:
    """Write a new keyring FILE, readable by you only. Never replaces an existing one."""
    from consent_api.rights.audit import Act
    from consent_privacy import keyring_file
    from consent_privacy.errors import InvalidKeyringError

    acts.record(Act.KEYRING_GENERATED, object_id=f"{file.resolve()} for {', '.join(tenants)}")
    try:
        keyring_file.generate(file, tenants)
    except FileExistsError:
        raise click.ClickException(f"{file} exists. Keep it: without it no stored address is found again.") from None
    except (InvalidKeyringError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"wrote {file}")


@keyring.command("add-tenant")
@_FILE
@click.argument("tenant")
def add_tenant(file: Path, tenant: str) -> None:
    """Add TENANT to FILE with a first hash key. Restart the services that are to serve it."""
    from consent_api.rights.audit import Act
    from consent_privacy import keyring_file
    from consent_privacy.errors import InvalidKeyringError

    acts.record(Act.KEYRING_TENANT_ADDED, tenant=tenant, object_id=str(file.resolve()))
    try:
        keyring_file.add_tenant(file, tenant)
    except (InvalidKeyringError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"added {tenant}")


@keyring.command("export")
@click.argument(
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="CONSENT_RELAY_KEYRING_FILE",
)
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--tenant", "tenants", multiple=True, required=True, help="A tenant that is served; may be repeated.")
@click.option("--hash-only", is_flag=True, help="Leave the seal keys out: for all that only looks addresses up.")
def export(file: Path, target: Path | None, tenants: tuple[str, ...], hash_only: bool) -> None:
    """Write to TARGET what one process needs of FILE, readable by you only.

    FILE may be left out where CONSENT_RELAY_KEYRING_FILE names it. TARGET is <tenant>.hash-keys.toml, or
    <tenant>.keyring.toml, in this directory unless it is given.

    With --hash-only: for the gate, consent-relay-client, scrub, and tools of your own. Without it, the export also
    opens sealed addresses: for a propagator that serves these tenants alone. After each change of FILE, export again.
    An earlier export is replaced, nothing else.
    """
    target = target or Path(f"{'-'.join(tenants)}.{'hash-keys' if hash_only else 'keyring'}.toml")
    from consent_api.rights.audit import Act
    from consent_privacy import keyring_file
    from consent_privacy.errors import KeyringError

    keys = "hash keys" if hash_only else "hash and seal keys"
    acts.record(Act.KEYRING_EXPORTED, object_id=f"{keys} of {', '.join(tenants)} to {target.resolve()}")
    try:
        keyring_file.export(file, target, tenants, hash_only=hash_only)
    except FileExistsError:
        raise click.ClickException(f"{target} exists and is no export: name another file") from None
    except (KeyringError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"wrote {target}")


@keyring.command("rotate")
@_FILE
@click.option("--tenant", help="Add a second live hash key for this tenant; without it, add a new seal key.")
@click.option("--links", is_flag=True, help="With --tenant: a link key instead.")
def rotate(file: Path, tenant: str | None, links: bool) -> None:
    """Add a newer key to FILE; the older ones stay live.

    A second link key opens links once every API has read FILE; promote it then, and new links are made with it. Retire
    the old one when no message with its links is read any more, after years: they cease to work.
    """
    from consent_api.rights.audit import Act
    from consent_privacy import keyring_file
    from consent_privacy.errors import InvalidKeyringError

    if links and tenant is None:
        raise click.UsageError("--links needs --tenant: whose links?")
    kind = "seal key" if tenant is None else "link key" if links else "hash key"
    acts.record(Act.KEYRING_KEY_ADDED, tenant=tenant, object_id=f"{kind} in {file.resolve()}")
    try:
        if tenant is None:
            key_id = keyring_file.add_seal_key(file)
        else:
            key_id = (keyring_file.add_link_key if links else keyring_file.add_hash_key)(file, tenant)
    except InvalidKeyringError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"added {key_id}")


@keyring.command("promote")
@_FILE
@click.argument("tenant")
@click.argument("key_id")
@click.option("--links", is_flag=True, help="KEY_ID is a link key.")
def promote(file: Path, tenant: str, key_id: str, links: bool) -> None:
    """Make KEY_ID the primary hash key of TENANT, once a republish has published everything under it; or its primary
    link key."""
    from consent_api.ledger.key_rotation import required_to_promote
    from consent_api.rights.audit import Act
    from consent_privacy import keyring_file

    if links:
        acts.record(Act.KEYRING_KEY_PROMOTED, tenant=tenant, object_id=f"link key {key_id} in {file.resolve()}")
        _change_link_key(keyring_file.promote_link_key, file, tenant, key_id)
        click.echo(f"{key_id} is now the primary link key of {tenant}")
        return
    _change(file, tenant, key_id, required=required_to_promote, change=keyring_file.promote)
    click.echo(f"{key_id} is now the primary hash key of {tenant}")


@keyring.command("retire")
@_FILE
@click.argument("tenant")
@click.argument("key_id")
@click.option("--links", is_flag=True, help="KEY_ID is a link key.")
def retire(file: Path, tenant: str, key_id: str, links: bool) -> None:
    """Remove a hash key of TENANT that is not the primary one, once nothing is found under it alone; or a link key,
    whose links then cease to work. A key under which erased addresses are found alone stays: they cannot be hashed
    again, and without it an import would bring them back."""
    from consent_api.ledger.key_rotation import required_to_retire
    from consent_api.rights.audit import Act
    from consent_privacy import keyring_file

    if links:
        acts.record(Act.KEYRING_KEY_RETIRED, tenant=tenant, object_id=f"link key {key_id} in {file.resolve()}")
        _change_link_key(keyring_file.retire_link_key, file, tenant, key_id)
        click.echo(f"removed {key_id}")
        return
    _change(file, tenant, key_id, required=required_to_retire, change=keyring_file.retire, leaves=True)
    click.echo(f"removed {key_id}")


def _change_link_key(change: Callable[[Path, str, str], None], file: Path, tenant: str, key_id: str) -> None:
    """No entry depends on a link key, so the ledger is not asked."""
    from consent_privacy.errors import InvalidKeyringError

    try:
        change(file, tenant, key_id)
    except InvalidKeyringError as error:
        raise click.ClickException(str(error)) from None


def _change(
    file: Path,
    tenant: str,
    key_id: str,
    *,
    required: Callable[[Sequence[Key], str], Collection[str]],
    change: Callable[[Path, str, str], None],
    leaves: bool = False,
) -> None:
    """`leaves`: the key goes."""
    from consent_api.rights.audit import Act
    from consent_privacy.errors import InvalidKeyringError
    from consent_privacy.keyring import Keyring

    try:
        current = Keyring.load(file)
        keys = current.hash_keys.get(tenant, ())
        if key_id in {key.id for key in keys}:
            _require_complete(current, tenant, required(keys, key_id), leaving=key_id if leaves else None)
        act = Act.KEYRING_KEY_RETIRED if leaves else Act.KEYRING_KEY_PROMOTED
        acts.record(act, tenant=tenant, object_id=f"hash key {key_id} in {file.resolve()}")
        # What is wrong with the tenant or the key itself is reported here.
        change(file, tenant, key_id)
    except InvalidKeyringError as error:
        raise click.ClickException(str(error)) from None


def _require_complete(current: Keyring, tenant: str, key_ids: Collection[str], *, leaving: str | None) -> None:
    from sqlalchemy.exc import ProgrammingError

    from consent_api.errors import LedgerUnavailableError
    from consent_api.ledger.database import connect, refuse_denied, transact
    from consent_api.ledger.key_rotation import completed_at, erased_under, incomplete
    from consent_api.settings import LedgerSettings
    from consent_service.settings import load

    if not key_ids:
        return
    settings = load(LedgerSettings)
    engine = connect(settings.database, pool_size=1, application="consent-relay keyring")
    refuse_denied(engine)
    try:
        erased = 0 if leaving is None else transact(engine, lambda c: erased_under(c, current, tenant, leaving))
        missing = transact(engine, lambda connection: incomplete(connection, current, tenant, key_ids))
        if not missing:
            completed = transact(engine, lambda connection: completed_at(connection, current, tenant, key_ids))
    except LedgerUnavailableError as error:
        raise click.ClickException(f"the ledger cannot be asked, nothing was changed: {error}") from None
    except ProgrammingError:
        raise click.ClickException(f"{SETTING}: {NO_LEDGER}") from None
    finally:
        engine.dispose()
    if erased:
        raise click.ClickException(
            f"{erased} erased addresses and persons of tenant {tenant} are known by {leaving} alone, nothing was"
            " changed: they cannot be hashed again, and without the key an import would bring them back. It stays live,"
            " beside the primary one, until their objections need not be kept any more (docs/rights.md)."
        )
    if missing:
        raise click.ClickException(
            f"{', '.join(missing)} of tenant {tenant} does not hold every decision yet, nothing was changed. Bring"
            f" this keyring to every service, run consent-relay republish --tenant {tenant} to its end, then repeat"
            " this command."
        )
    _require_merged(settings, completed)


def _require_merged(settings: LedgerSettings, completed_at: int) -> None:
    from consent_api.errors import MergedUnknownError
    from consent_api.operations.republish.merged import CONSUMER, merged_until
    from consent_kafka import clients
    from consent_kafka.provisioning import refuse_without_access
    from consent_kafka.registry import connect_codec
    from consent_service.clock import now_micros

    codec = connect_codec(settings, wait_seconds=10)
    refuse_without_access(settings, "keyring")
    topics = settings.topics
    consumer = clients.consumer(settings.kafka, topics.group("keyring"), settings.kafka_client, **CONSUMER)
    try:
        merged = merged_until(consumer, codec, topics.resolved, settings.partitions, now=now_micros())
    except MergedUnknownError as error:
        raise click.ClickException(
            f"whether the merge has read the republish is not known: {error}. Nothing was changed."
        ) from None
    finally:
        consumer.close()
    if merged is None:
        raise click.ClickException(
            "up to when the merge has read is not known of every partition, nothing was changed. Start the merge and"
            " the relay, or wait for the repair of a hole, then repeat this command."
        )
    if merged <= completed_at:
        seconds = math.ceil((completed_at - merged) / 1_000_000)
        raise click.ClickException(
            f"the merge has not read all that the republish published, nothing was changed: it is {seconds} s short of"
            " its end. Repeat this command in a while."
        )

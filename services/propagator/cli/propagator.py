"""`consent-relay propagator`: the process that sends."""

from __future__ import annotations

import click


@click.command()
def propagator() -> None:
    """Bring every destination to the state of the suppression list, and write a receipt for each change.

    A destination is an account at a tool: a messaging provider, a contact centre, a webhook. The YAML file that
    CONSENT_RELAY_PROPAGATOR_DESTINATIONS names declares them; try it with `consent-relay destinations check`.

    Reads suppression.<channel>.v1 and propagation.state.<name>.v1, sends the difference, and records what was
    delivered in propagation.state.<name>.v1. A person who withdraws now is sent before any import.

    Run two or more of the same CONSENT_RELAY_PROPAGATOR_NAME: one sends, the others keep their tables at the end and
    take over within seconds. To share the work, run propagators of different names, each with a destinations file of
    its own (every name is listed in CONSENT_RELAY_PROPAGATORS; a destination is in one file only).

    Secrets in files are read again when they change: credentials with the next call; after a change of the hash keys
    the process starts itself again, as every address is planned by them.

    A destination that is wrong in the file is sent nothing; the health page, the log and a metric name it, and the
    others are sent theirs. Once it is right, as when the file of its secret has come, the process starts itself again.
    A file that is no YAML, or has no destination that can be used, ends the start.

    To send everything of a destination again, raise its `generation`; to stop it for a while, set `paused: true`.
    """
    import os
    import sys

    from prometheus_client import CollectorRegistry

    from consent_kafka.provisioning import require_topics
    from consent_kafka.transport import EXIT_RESTART
    from consent_service import settings, startup
    from consent_service.health import Health
    from consent_service.wrong_entries import WrongEntries
    from propagator.cli.declared import has_mended, read_destinations
    from propagator.config.reader import SETTING
    from propagator.settings import PropagatorSettings

    loaded = settings.load(PropagatorSettings)
    keyring = startup.keyring_file(loaded)
    startup.begin_logs(loaded)
    registry, health = CollectorRegistry(), Health()
    wrong_entries = WrongEntries(registry, health, settings=(SETTING,))
    path, channels = loaded.propagator_destinations, loaded.channels
    declared = read_destinations(path, channels, keyring.value, on_wrong=wrong_entries)
    used, wrong = ({each.name for each in declared}, {each.entry for each in wrong_entries.found})

    def mended() -> bool:
        return has_mended(path, channels, keyring.value, used=used, wrong=wrong)

    topics = loaded.topics
    require_topics(
        loaded,
        [
            topics.receipts,
            topics.resolved,
            topics.dead_letters("propagator"),
            topics.propagation_state(loaded.propagator_name),
            topics.propagation_active(loaded.propagator_name),
            *sorted({topics.suppression(each.channel) for each in declared}),
        ],
    )
    from propagator.app import run_propagator  # Last: what is wrong above is reported at once.

    code = run_propagator(loaded, declared, keyring, registry=registry, health=health, mended=mended if wrong else None)
    if code == EXIT_RESTART:
        # The same process by its id, so that whatever runs it does not take it for a crash.
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - as it was started
    sys.exit(code)

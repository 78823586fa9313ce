"""The schema registry, as a process opens it before it begins. One that refuses us ends the process with code 2."""

from contextlib import suppress

from consent_contracts.codec import Codec, ConfluentRegistry
from consent_contracts.errors import NotRegisteredError, RegistryRefusedError, RegistryUnavailableError
from consent_kafka.refusals import registry_refusal
from consent_service.exits import exit_with_errors
from consent_service.settings import ProcessSettings


def connect_codec(settings: ProcessSettings, *, wait_seconds: float = 60.0) -> Codec:
    """A codec that knows the schema ids. Waits up to `wait_seconds` for the registry, which may start beside us."""
    try:
        return Codec.connect(settings.registry, settings.topics, settings.registry_client, wait_seconds=wait_seconds)
    except RegistryRefusedError as error:
        exit_with_errors([str(registry_refusal(settings.registry, error))])
    except NotRegisteredError as error:
        exit_with_errors([f"CONSENT_RELAY_REGISTRY: {error}"])
    except RegistryUnavailableError as error:
        cure = f"Correct the URL ({settings.registry}), or start the registry"
        exit_with_errors([f"CONSENT_RELAY_REGISTRY: {error}. {cure}."])


def lazy_codec(settings: ProcessSettings) -> Codec:
    """A codec that looks ids up when it needs them, for a process that works while the registry does not answer. A
    registry that refuses us ends it all the same."""
    registry = ConfluentRegistry(settings.registry, settings.registry_client)
    with suppress(RegistryUnavailableError):
        try:
            registry.schemas_of("consent-relay")  # Any subject: the answer itself does not matter.
        except RegistryRefusedError as error:
            exit_with_errors([str(registry_refusal(settings.registry, error))])
    return Codec(registry)

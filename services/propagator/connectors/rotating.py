"""A connector whose credentials may be replaced while it is open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from consent_service.secret_files import SecretFile
from propagator.connectors.base import (
    CallBudget,
    ConnectionSettings,
    Connector,
    ConnectorType,
    Guard,
    Outcome,
    Push,
    Verified,
)
from propagator.errors import MisconfiguredError


def read_secret(path: str) -> str:
    """The secret in a file. ValueError with what is wrong and the fix; the secret is not in it."""
    try:
        with open(path, encoding="utf-8") as file:
            secret = file.read().strip()
    except (OSError, UnicodeDecodeError) as failed:
        raise ValueError(f"the file cannot be read ({type(failed).__name__}): check path and permissions") from None
    if not secret:
        raise ValueError("the file is empty: write the secret into it")
    return secret


def followed_connection(
    connector_type: ConnectorType, connection: ConnectionSettings
) -> SecretFile[ConnectionSettings]:
    """The account's settings with the credentials that its files hold now. Credentials of the wrong form are not
    taken."""

    def read() -> ConnectionSettings:
        credentials = dict(connection.credentials)
        for name, path in connection.credential_files.items():
            try:
                credentials[name] = read_secret(str(path))
            except ValueError as error:
                raise MisconfiguredError(name, f"{path}: {error}") from None
        now = replace(connection, credentials=credentials)
        connector_type.build(now)  # Raises what is wrong with their form; makes no connection.
        return now

    paths = connection.credential_files.values()
    return SecretFile(f"destination-{connection.destination}", paths, read, errors=(MisconfiguredError,))


@dataclass(kw_only=True, slots=True)
class _Opened:
    connector: Connector
    calls: int = 0


class RotatingConnector:
    """Opens another connector with the first call after the credentials have changed. Calls in flight end with the ones
    that they began with; the connector before is closed after the last of them."""

    def __init__(self, connector_type: ConnectorType, connection: SecretFile[ConnectionSettings]) -> None:
        """Raises MisconfiguredError, as `ConnectorType.build` does."""
        self._type = connector_type
        self._connection = connection
        self._settings = connection.value
        self._opened = _Opened(connector=connector_type.build(self._settings))

    async def verify(self, *, budget: CallBudget) -> Verified | None:
        async with self._current() as connector:
            return await connector.verify(budget=budget)

    async def push(self, pushes: Sequence[Push], *, guard: Guard, budget: CallBudget) -> Sequence[Outcome]:
        async with self._current() as connector:
            return await connector.push(pushes, guard=guard, budget=budget)

    async def close(self) -> None:
        await self._opened.connector.close()

    @asynccontextmanager
    async def _current(self) -> AsyncIterator[Connector]:
        before, settings = self._opened, self._connection.value
        if settings is not self._settings:
            self._settings, self._opened = settings, _Opened(connector=self._type.build(settings))
            if not before.calls:
                await before.connector.close()
        opened = self._opened
        opened.calls += 1
        try:
            yield opened.connector
        finally:
            opened.calls -= 1
            if opened is not self._opened and not opened.calls:
                await opened.connector.close()

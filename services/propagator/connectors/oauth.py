"""OAuth2 client credentials: one token for the whole account, renewed before it ends or when it is refused."""

from __future__ import annotations

import asyncio
import time

import msgspec

from propagator.connectors.answers import parsed, raise_common
from propagator.connectors.exchange import Exchange, basic
from propagator.errors import Misconfigured


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float = 0.0


class ClientCredentials:
    """The account's token. However many calls want a new one at once, one is asked for."""

    def __init__(self, *, url: str, client_id: str, client_secret: str, exchange: Exchange) -> None:
        self._url = url
        self._headers = {
            "Authorization": basic(client_id, client_secret),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        self._exchange = exchange
        self._token = ""
        self._renew_at = 0.0
        self._renewing = asyncio.Lock()

    async def token(self, *, instead_of: str | None = None) -> str:
        """A token that should hold; `instead_of` names one that was refused. Raises as every call does."""
        async with self._renewing:
            if not self._token or self._token == instead_of or time.monotonic() >= self._renew_at:
                await self._renew()
            return self._token

    async def _renew(self) -> None:
        answer = await self._exchange.call(
            "POST", self._url, headers=self._headers, body=b"grant_type=client_credentials"
        )
        if answer.status in (400, 401):
            raise Misconfigured("credentials", "no token for this OAuth client: check client_id and client_secret")
        raise_common(answer)
        if answer.status != 200:
            raise Misconfigured("login_url", f"{answer.status} where a token was due: check `login_url`")
        told = parsed(answer, _Token)
        self._token = told.access_token
        # Renewed at nine tenths of its life, so that no call meets a token in its last moment.
        self._renew_at = time.monotonic() + 0.9 * told.expires_in

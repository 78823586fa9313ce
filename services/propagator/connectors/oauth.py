"""OAuth2 client credentials: one token for the whole account, renewed before it ends or when it is refused."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import msgspec

from propagator.connectors.base import CallBudget
from propagator.connectors.http import HttpClient, basic
from propagator.connectors.responses import parsed, raise_for_status
from propagator.errors import MisconfiguredError


class _Token(msgspec.Struct):
    access_token: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._~+/-]{1,8000}=*$(?!\n)")]
    """As RFC 6750 spells it: anything else could not be, or would change, the header that carries it."""
    expires_in: float = 0.0


class ClientCredentials:
    """The account's token. However many calls need a new one at once, one is requested."""

    def __init__(self, *, url: str, client_id: str, client_secret: str, http: HttpClient) -> None:
        self._url = url
        self._headers = {
            "Authorization": basic(client_id, client_secret),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        self._http = http
        self._token = ""
        self._renew_at = 0.0
        self._renewing = asyncio.Lock()

    async def token(self, budget: CallBudget, *, instead_of: str | None = None) -> str:
        """A token that should be valid; `instead_of` names one that was refused. Raises as every call does."""
        async with self._renewing:
            if not self._token or self._token == instead_of or time.monotonic() >= self._renew_at:
                await self._renew(budget)
            return self._token

    async def _renew(self, budget: CallBudget) -> None:
        response = await self._http.call(
            "POST", self._url, budget=budget, headers=self._headers, body=b"grant_type=client_credentials"
        )
        if response.status in (400, 401):
            raise MisconfiguredError("credentials", "no token for this OAuth client: check client_id and client_secret")
        raise_for_status(response)
        if response.status != 200:
            raise MisconfiguredError("login_url", f"{response.status} where a token was due: check `login_url`")
        given = parsed(response, _Token)
        self._token = given.access_token
        # Renewed at nine tenths of its life, so that no call meets a token in its last moment.
        self._renew_at = time.monotonic() + 0.9 * given.expires_in

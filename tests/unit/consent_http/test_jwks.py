"""The public keys of an authorization server: which of them are used, and when they are fetched again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from joserfc.jwk import ECKey, OctKey, RSAKey

from consent_http.errors import InvalidJwksError, JwksUnavailableError, ProblemError
from consent_http.jwks import MAX_BYTES, MAX_KEYS, JwksFile, JwksTimes, JwksUrl, Keys, read_file
from tests.support.access_tokens import ALGORITHMS, Issuer, encoded, verifier
from tests.support.waiting import until_async

TIMES = JwksTimes(pause=10.0, refresh=300.0, longest=3_600.0)


def document(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


LONG = RSAKey.generate_key(2048).as_dict(private=False)
SHORT = {"kty": "RSA", "e": "AQAB", "n": encoded(b"\xc5" * 128)}


def rsa(**more: str) -> dict[str, Any]:
    return {**LONG, **more}


WHOLE_IS_REFUSED = {
    "no JSON": b"{",
    "nested without end": b'{"keys":' + b"[" * 100_000,
    "a list": b"[]",
    "no keys": b"{}",
    "keys that are none": b'{"keys": {}}',
    "an empty list": document(),
    "too long": b" " * MAX_BYTES + document(),
    "too many": document(*[{}] * (MAX_KEYS + 1)),
    "a secret": document(OctKey.generate_key(256, {"kid": "s"}).as_dict()),
    "a private key": document(ECKey.generate_key("P-256", {"kid": "p"}).as_dict(private=True)),
    "the same kid twice": document(rsa(kid="k"), rsa(kid="k")),
    "a short key": document({**SHORT, "kid": "k"}),
    "a key for encryption": document(rsa(kid="k", use="enc")),
    "a key of another algorithm": document(rsa(kid="k", alg="RS512")),
    "a key without its numbers": document({"kty": "RSA", "kid": "k"}),
    "numbers that are none": document({"kty": "RSA", "kid": "k", "n": "!!", "e": "AQAB"}),
    "another curve": document({**ECKey.generate_key("P-521").as_dict(private=False), "kid": "k"}),
    "a point that is not on its curve": document({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "k"}),
    "entries that are none": document(1, [], None, {"kty": []}, {"kid": 7, "kty": "RSA"}),
}


@pytest.mark.parametrize("case", WHOLE_IS_REFUSED)
def test_a_document_without_a_usable_key_is_refused(case: str) -> None:
    with pytest.raises(InvalidJwksError):
        Keys.parse(WHOLE_IS_REFUSED[case], algorithms=ALGORITHMS)


def test_keys_of_other_kinds_are_passed_over() -> None:
    keys = Keys.parse(
        document(rsa(kid="k"), rsa(kid="e", use="enc"), {"kty": "AKP", "kid": "q"}), algorithms=ALGORITHMS
    )
    assert keys.find("k") is not None
    assert keys.find("e") is None
    assert keys.find("q") is None


def test_the_only_key_needs_no_kid() -> None:
    one = Keys.parse(document(rsa(kid="k")), algorithms=ALGORITHMS)
    assert one.find(None) is one.find("k")
    assert one.find("k") is not None
    two = Keys.parse(document(rsa(kid="k"), rsa(kid="l")), algorithms=ALGORITHMS)
    assert two.find(None) is None


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    issuer, path = Issuer(), tmp_path / "jwks.json"
    path.write_bytes(issuer.jwks())
    file = read_file(path, algorithms=ALGORITHMS)
    tokens = verifier(JwksFile(file, longest=TIMES.longest))
    old = issuer.token()
    assert await tokens.caller(old)
    path.write_bytes(b"{")
    file.refresh()
    assert await tokens.caller(old)
    assert "is no JSON" in file.error
    issuer.rotate("r1", "r2")
    path.write_bytes(issuer.jwks())
    file.refresh()
    assert await tokens.caller(issuer.token(kid="r2"))
    with pytest.raises(ProblemError):
        await tokens.caller(old)


@pytest.mark.parametrize("wrong", [b"", b"{", b'{"keys": []}', None], ids=["empty", "no JSON", "no keys", "gone"])
async def test_a_file_that_cannot_be_used_counts_for_a_while_and_then_no_token_is_verified(
    tmp_path: Path, wrong: bytes | None
) -> None:
    issuer, path, clock = Issuer(), tmp_path / "jwks.json", Clock()
    path.write_bytes(issuer.jwks())
    file = read_file(path, algorithms=ALGORITHMS, clock=clock)
    tokens, good = verifier(JwksFile(file, longest=TIMES.longest)), issuer.token()
    if wrong is None:
        path.unlink()
    else:
        path.write_bytes(wrong)
    for seconds in (0.0, TIMES.longest):
        clock.now += seconds
        file.refresh()
        assert await tokens.caller(good)
    clock.now += 1
    file.refresh()
    with pytest.raises(ProblemError) as refused:
        await tokens.caller(good)
    assert (refused.value.status, refused.value.kind) == (503, "token-keys-unavailable")
    path.write_bytes(issuer.jwks())
    file.refresh()
    assert await tokens.caller(good)


class Server:
    """Serves an issuer's keys over HTTP, or something else."""

    def __init__(self) -> None:
        self.issuer = Issuer()
        self.content: bytes | None = None
        self.status = 200
        self.pause = 0.0
        self.fetches = 0
        self.elsewhere: str | None = None
        self.url = ""

    async def answer(self, _: web.Request) -> web.Response:
        self.fetches += 1
        await asyncio.sleep(self.pause)
        headers = {"Location": self.elsewhere} if self.elsewhere else {}
        return web.Response(
            body=self.issuer.jwks() if self.content is None else self.content, status=self.status, headers=headers
        )


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server, app = Server(), web.Application()
    app.router.add_get("/jwks", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    yield server
    await runner.cleanup()


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Rig:
    def __init__(self, server: Server, *, allow_private: bool = True) -> None:
        self.clock = Clock()
        self.reports: list[str] = []
        self.keys = JwksUrl(
            server.url,
            algorithms=ALGORITHMS,
            times=TIMES,
            allow_private=allow_private,
            report=self.reports.append,
            clock=self.clock,
        )
        self.tokens = verifier(self.keys)

    async def status(self, token: str) -> int:
        try:
            await self.tokens.caller(token)
        except ProblemError as problem:
            return problem.status
        return 200

    async def wait(self, token: str) -> str:
        """The Retry-After of a token that cannot be verified now."""
        with pytest.raises(ProblemError) as refused:
            await self.tokens.caller(token)
        assert refused.value.status == 503
        return refused.value.headers["Retry-After"]


async def test_however_many_tokens_come_the_keys_are_fetched_once(server: Server) -> None:
    rig, token = Rig(server), server.issuer.token()
    assert set(await asyncio.gather(*(rig.status(token) for _ in range(50)))) == {200}
    assert server.fetches == 1
    assert rig.reports == [""]


async def test_a_new_key_is_fetched_with_the_first_token_that_names_it(server: Server) -> None:
    rig = Rig(server)
    assert await rig.status(server.issuer.token()) == 200
    server.issuer.rotate("r1", "r2")
    rig.clock.now += TIMES.pause
    assert await rig.status(server.issuer.token(kid="r2")) == 200
    assert server.fetches == 2


async def test_a_new_key_within_the_pause_is_no_reason_to_drop_its_token(server: Server) -> None:
    rig = Rig(server)
    assert await rig.status(server.issuer.token()) == 200
    server.issuer.rotate("r1", "r2")
    new = server.issuer.token(kid="r2")
    rig.clock.now += 2.5
    assert await rig.wait(new) == "8"
    assert server.fetches == 1
    rig.clock.now += 7.5
    assert await rig.status(new) == 200
    assert server.fetches == 2


async def test_whether_a_key_exists_is_not_known_while_the_keys_cannot_be_fetched(server: Server) -> None:
    rig = Rig(server)
    assert await rig.status(server.issuer.token()) == 200
    server.status = 500
    rig.clock.now += TIMES.pause
    assert await rig.wait(server.issuer.token(header={"kid": "invented"})) == "10"
    server.status = 200
    rig.clock.now += TIMES.pause
    assert await rig.status(server.issuer.token(header={"kid": "invented"})) == 401


async def test_invented_kids_have_the_keys_fetched_once_in_a_pause(server: Server) -> None:
    rig, good = Rig(server), server.issuer.token()
    assert await rig.status(good) == 200
    rig.clock.now += TIMES.pause
    invented = [server.issuer.token(header={"kid": f"k{number}"}) for number in range(30)]
    assert set(await asyncio.gather(*map(rig.status, invented))) == {401}
    assert server.fetches == 2
    assert await rig.status(good) == 200


async def test_a_key_that_was_removed_counts_until_the_refresh(server: Server) -> None:
    rig, old = Rig(server), server.issuer.token()
    assert await rig.status(old) == 200
    server.issuer.rotate("r1", "r2")
    rig.clock.now += TIMES.refresh + 1
    assert await rig.status(old) == 200  # It starts the fetch, and does not wait for it.
    await until_async(lambda: len(rig.reports) == 2)
    assert await rig.status(old) == 503  # It could have been published again since.
    rig.clock.now += TIMES.pause
    assert await rig.status(old) == 401


FAULTS: dict[str, dict[str, Any]] = {
    "an error": {"status": 500},
    "no JSON": {"content": b"<html>"},
    "too long": {"content": b"x" * (MAX_BYTES + 100)},
    "a redirect": {"status": 302, "elsewhere": "/jwks"},
    "no keys": {"content": b'{"keys": []}'},
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_keys_that_cannot_be_fetched_again_count_for_a_while_and_then_no_token_is_verified(
    server: Server, fault: str
) -> None:
    rig, token = Rig(server), server.issuer.token()
    assert await rig.status(token) == 200
    for name, value in FAULTS[fault].items():
        setattr(server, name, value)
    rig.clock.now += TIMES.refresh + 1
    assert await rig.status(token) == 200
    await until_async(lambda: len(rig.reports) == 2)
    assert rig.reports[1]
    rig.clock.now += TIMES.longest
    assert await rig.status(token) == 503
    server.status, server.content, server.elsewhere = 200, None, None
    rig.clock.now += TIMES.pause
    assert await rig.status(token) == 200


async def test_a_server_that_is_down_at_the_start_is_503_and_asked_again_after_a_pause(server: Server) -> None:
    server.status = 503
    rig, token = Rig(server), server.issuer.token()
    assert await rig.status(token) == 503
    assert await rig.status(token) == 503
    assert server.fetches == 1
    server.status = 200
    rig.clock.now += TIMES.pause
    assert await rig.status(token) == 200


async def test_a_private_host_is_not_called_unless_it_is_permitted(server: Server) -> None:
    server.url = server.url.replace("127.0.0.1", "localhost")
    rig = Rig(server, allow_private=False)
    with pytest.raises(JwksUnavailableError):
        await rig.keys.key("r1", "RS256")
    assert server.fetches == 0
    assert "not public" in rig.reports[0]

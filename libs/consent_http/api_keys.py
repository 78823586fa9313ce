"""API keys: `cr_<id>_<secret>`, of which we keep the id and a digest (R15).

The secret is 256 random bits, so a plain SHA-256 is as hard to reverse as the secret is to guess; a slow
password hash would only slow the callers down."""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from consent_http.callers import Caller
from consent_http.errors import InvalidApiKeysError
from consent_privacy import private_files
from consent_service.secret_files import SecretFile

SCOPES = frozenset({"submit", "read", "check", "links", "admin", "rights:read", "rights:write", "console", "operate"})
LIFT = "lift"
"""The scope of an access token whose permissions may lift a refusal. Of API keys that is an option."""
TOKEN_SCOPES = SCOPES - {"console", "operate"} | {LIFT}
"""What an access token may have: the console and the status page are for persons with a key."""
_TOKEN = re.compile(r"cr_([a-z0-9]{6,32})_([A-Za-z0-9_-]{43})", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey(Caller):
    """What is stored of a key. The file for processes without a database, which record nothing, does not hold
    ``may_lift``."""

    digest: str  # sha256 of the secret, hexadecimal

    def matches(self, secret: str) -> bool:
        """Compares in constant time."""
        return hmac.compare_digest(self.digest, digest_of(secret))

    @property
    def who(self) -> str:
        return f"key:{self.id}"

    @property
    def sender(self) -> str:
        return f"api-key {self.id}"


_NO_KEY = ApiKey(id="", digest=hashlib.sha256(b"no key of ours").hexdigest(), tenant="", scopes=frozenset())


def mint(*, tenant: str, scopes: Iterable[str], may_lift: bool = True) -> tuple[str, ApiKey]:
    """A new token, to be shown once, and what to store of it."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    wanted = frozenset(scopes)
    if not wanted or not wanted <= SCOPES:
        raise ValueError(f"scopes are one or more of {', '.join(sorted(SCOPES))}")
    key = ApiKey(id=key_id, digest=digest_of(secret), tenant=tenant, scopes=wanted, may_lift=may_lift)
    return f"cr_{key_id}_{secret}", key


def parse(token: str) -> tuple[str, str] | None:
    """(id, secret), or None when `token` does not look like a key of ours."""
    match = _TOKEN.fullmatch(token)
    return (match[1], match[2]) if match else None


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def bearer(authorization: str | None) -> str | None:
    """The token in an Authorization header, or None."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def write(path: Path, keys: Iterable[ApiKey]) -> None:
    """The keys' digests for a process without a database. Replaced as a whole, so a reader never sees half; a
    new file is for its owner alone, one that is replaced stays readable for whom it was."""
    document = {
        "keys": [
            {"id": key.id, "sha256": key.digest, "tenant": key.tenant, "scopes": sorted(key.scopes)} for key in keys
        ]
    }
    private_files.replace(path, json.dumps(document, indent=2) + "\n")


def read(path: Path) -> dict[str, ApiKey]:
    """The keys of a file that `write` wrote, by id. Raises InvalidApiKeysError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidApiKeysError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InvalidApiKeysError(f"{path}: is no JSON") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise InvalidApiKeysError(f'{path}: needs a list "keys"')
    keys = [_entry(entry, f"{path}: key number {number}") for number, entry in enumerate(entries, start=1)]
    return {key.id: key for key in keys}


def _entry(entry: object, where: str) -> ApiKey:
    if not isinstance(entry, dict):
        raise InvalidApiKeysError(f"{where} is no object")
    key_id, digest, tenant, scopes = (entry.get(name) for name in ("id", "sha256", "tenant", "scopes"))
    if not (isinstance(key_id, str) and isinstance(tenant, str) and isinstance(digest, str)):
        raise InvalidApiKeysError(f"{where} needs id, sha256 and tenant, all text")
    if not _DIGEST.fullmatch(digest):
        raise InvalidApiKeysError(f"{where}: sha256 is 64 hexadecimal digits")
    if not isinstance(scopes, list) or not set(map(str, scopes)) <= SCOPES:
        raise InvalidApiKeysError(f"{where}: scopes are of {', '.join(sorted(SCOPES))}")
    return ApiKey(id=key_id, digest=digest, tenant=tenant, scopes=frozenset(map(str, scopes)))


class KeyFile:
    """A file of keys that may be replaced while we run: looked at again with each caller.

    A file that becomes unreadable raises InvalidApiKeysError: no caller is let in on keys that may have been
    revoked."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidApiKeysError."""
        self.file = SecretFile("api-keys", [path], lambda: read(path), errors=(InvalidApiKeysError,), kept=False)

    def find(self, token: str | None) -> ApiKey | None:
        """The key whose token this is, or None. One that is none takes as long as one that is."""
        self.file.refresh()
        key_id, secret = parse(token or "") or ("", "")
        key = self.file.value.get(key_id, _NO_KEY)
        return key if key.matches(secret) and key is not _NO_KEY else None

    def get(self, key_id: str) -> ApiKey | None:
        """The key with this id, or None."""
        self.file.refresh()
        return self.file.value.get(key_id)

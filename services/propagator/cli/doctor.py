"""What `consent-relay doctor` checks of destinations: of the entry point `propagator`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

from consent_privacy.errors import InvalidKeyringError
from consent_privacy.keyring import Keyring
from consent_service.doctor.findings import MEND_KEYRING, Check, CheckContext, Finding, Result, readable
from consent_service.doctor.secret_files import judge_secrets, referenced_secrets
from propagator.cli.verification import DestinationVerification, verify
from propagator.config.model import Destination
from propagator.config.reader import read
from propagator.connectors import CATALOGUE
from propagator.errors import InvalidDestinationsFileError, MisconfiguredError
from propagator.settings import PropagatorSettings

_FILE, _SECRETS = "destinations file", "credentials of destinations"
CONNECT_SECONDS = 5.0
VERIFY_SECONDS = 30.0
"""For the look-ups at one destination, at its own pace."""


def checks(context: CheckContext) -> list[Check]:
    """The file, the files of credentials, and each destination by a call that changes nothing there."""
    if not context.concerns("propagator"):
        return []
    settings = readable(PropagatorSettings)
    if settings is None:
        text = "settings of the propagator are not set here"
        return [_always(Finding(name=_FILE, result=Result.NOT_CONFIGURED, found=text))]
    path = settings.propagator_destinations
    try:
        declared = read(
            path, catalogue=CATALOGUE, channels=settings.channels, keyring=Keyring.load(settings.keyring_file)
        )
    except InvalidDestinationsFileError as error:
        lines = [Finding(name=_FILE, result=Result.FAULT, found=line) for line in str(error).splitlines()]
        return [Check(name=_FILE, find=lambda: lines)]
    except InvalidKeyringError as error:
        return [_always(Finding(name=_FILE, result=Result.NOT_CHECKED, found=str(error), cure=MEND_KEYRING))]
    secrets = referenced_secrets("CONSENT_RELAY_PROPAGATOR_DESTINATIONS", path)
    return [
        _always(Finding(name=_FILE, result=Result.OK, found=f"{path}: {len(declared)} destinations")),
        Check(name=_SECRETS, find=lambda: judge_secrets(secrets, context.secret_days, name=_SECRETS)),
        *(_destination(each) for each in declared),
    ]


def _always(finding: Finding) -> Check:
    return Check(name=finding.name, find=lambda: [finding])


def _destination(declared: Destination) -> Check:
    name = f"destination {declared.name}"

    def find() -> Sequence[Finding]:
        try:
            verification = asyncio.run(verify(declared))
        except MisconfiguredError as error:  # A secret or URL of the wrong form.
            return [Finding(name=name, result=Result.FAULT, found=str(error))]
        url = declared.connection.url
        # A tool that is asked nothing can be connected to, at least where the file names its address.
        unreachable = asyncio.run(_unreachable(url)) if url is not None and not verification.requests else None
        return judge(name, verification, unreachable=unreachable, paused=declared.paused)

    return Check(name=name, find=find, seconds=VERIFY_SECONDS)


async def _unreachable(url: str) -> str | None:
    """Why no connection can be made, with TLS where the URL has it; None where one was. Nothing is sent over it."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or (443 if secure else 80), ssl=secure)
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        return f"no connection to {parts.hostname} ({type(error).__name__})"
    return None


def judge(
    name: str, verification: DestinationVerification, *, unreachable: str | None, paused: bool
) -> Sequence[Finding]:
    """A tool that does not know us, or to which no connection can be made, is a fault; one that takes what is sent and
    stops nothing by it, a warning. Pure."""
    cure = "correct it in the destinations file or at the tool, then: consent-relay destinations check FILE --verify"
    found = [Finding(name=name, result=Result.FAULT, found=each, cure=cure) for each in verification.errors]
    found += [Finding(name=name, result=Result.WARNING, found=each, cure=cure) for each in verification.warnings]
    if unreachable is not None:
        route = "see whether the tool is down, and whether its address can be reached from here"
        found.append(Finding(name=name, result=Result.FAULT, found=unreachable, cure=route))
    if paused:
        text = "paused: nothing is sent, changes wait"
        found.append(Finding(name=name, result=Result.WARNING, found=text, cure="set paused: false when it may go on"))
    known = (
        "knows our account and every target"
        if verification.requests
        else "URL and secrets have the right form; the tool has no request that shows more and changes nothing"
    )
    return found or [Finding(name=name, result=Result.OK, found=known)]

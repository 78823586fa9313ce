"""What `consent-relay doctor` checks of destinations: of the entry point `propagator`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from consent_privacy.errors import InvalidKeyringError
from consent_privacy.keyring import Keyring
from consent_service.doctor.findings import MEND_KEYRING, Check, CheckContext, Finding, Result, all_ok, readable
from consent_service.doctor.secret_files import judge_secrets, referenced_secrets
from propagator.cli.verification import CONNECT_SECONDS, DestinationVerification, verify
from propagator.config.model import Destination
from propagator.config.reader import read
from propagator.connectors import CATALOGUE
from propagator.errors import (
    CallFailedError,
    InvalidDestinationsFileError,
    MisconfiguredError,
    ThrottledError,
    UnknownTargetsError,
)
from propagator.settings import PropagatorSettings

_FILE, _SECRETS = "destinations file", "credentials of destinations"
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
    connection = declared.connection

    def find() -> Sequence[Finding]:
        try:
            verification = asyncio.run(verify(declared))
        except MisconfiguredError as error:  # A secret or URL of the wrong form.
            return [Finding(name=name, result=Result.FAULT, found=str(error))]
        return judge(name, verification, credentials=list(connection.credentials), paused=declared.paused)

    return Check(name=name, find=find, seconds=max(VERIFY_SECONDS, connection.timeout_seconds + CONNECT_SECONDS))


def judge(
    name: str, verification: DestinationVerification, *, credentials: Sequence[str], paused: bool
) -> Sequence[Finding]:
    """A tool that does not know us, or to which no connection can be made, is a fault; one that takes what is sent and
    stops nothing by it, a warning. ``credentials``: the names of those that the destination has. Pure."""
    again = "then: consent-relay destinations check FILE --verify"
    found = []
    if verification.failure is not None:
        cure = f"{cure_of(verification.failure, credentials)}; {again}"
        found = [Finding(name=name, result=Result.FAULT, found=each, cure=cure) for each in verification.errors]
    at_tool = f"correct it in the destinations file or at the tool; {again}"
    found += [Finding(name=name, result=Result.WARNING, found=each, cure=at_tool) for each in verification.warnings]
    if paused:
        text = "paused: nothing is sent, changes wait"
        found.append(Finding(name=name, result=Result.WARNING, found=text, cure="set paused: false when it may go on"))
    return all_ok(name, found, verification.shown)


def cure_of(failure: CallFailedError, credentials: Sequence[str]) -> str:
    """What a person does, and at which field of the destinations file. Pure."""
    match failure:
        case UnknownTargetsError():
            return "correct `purposes` in the destinations file, or make at the tool what it names"
        case MisconfiguredError(reason="credentials"):
            names = ", ".join(credentials)
            return f"correct `credentials` ({names}) in the destinations file, or what they may do at the tool"
        case MisconfiguredError():
            return "correct the destination as it says, in the destinations file or at the tool"
        case ThrottledError():
            return "wait; if it stays so, lower `limits`, as another client uses the account's rate, too"
        case CallFailedError(reason="timeout"):
            return (
                "see whether the tool is down or a firewall drops our packets; if it is slow, raise `timeout_seconds`"
            )
        case _:
            return "see whether the tool is down, and whether `url` can be reached from here"

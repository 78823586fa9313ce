"""The checks that need no server: of the entry point `process`."""

from __future__ import annotations

from consent_service.doctor.certificates import certificates_of_settings, judge_certificates
from consent_service.doctor.findings import Check, CheckContext
from consent_service.doctor.host import is_synchronised, judge_ntp, judge_state, state_directory
from consent_service.doctor.secret_files import files_of_settings, judge_secrets
from consent_service.doctor.setting_checks import find_settings
from consent_service.settings import settings_classes

_KEEPERS_OF_STATE = ("suppression", "propagator")


def checks(context: CheckContext) -> list[Check]:
    """Settings, secrets and certificates in files, local state, this host's clock."""
    names = [name for name in settings_classes() if context.concerns(name)]
    certificates = "certificate files"
    found = [
        Check(name="settings", find=lambda: find_settings(names, context)),
        Check(name="secret files", find=lambda: judge_secrets(files_of_settings(names), context.secret_days)),
        Check(name=certificates, find=lambda: judge_certificates(certificates, certificates_of_settings(names))),
        Check(name="clock of this host", find=lambda: [judge_ntp(is_synchronised())]),
    ]
    if context.concerns(*_KEEPERS_OF_STATE):
        required = not context.processes.isdisjoint(_KEEPERS_OF_STATE)
        found.append(Check(name="state directory", find=lambda: judge_state(state_directory(), required=required)))
    return found

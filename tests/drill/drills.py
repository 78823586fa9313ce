"""Which fault is caused for which alerts, and which steps of the runbook end them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.drill import faults
from tests.drill.drill import Drill, Scene, Values
from tests.support import registers

SOON_SECONDS = 60.0
"""For alerts on a single event, or on a process that is gone, on a machine that has much else to do."""
AT_A_MINUTE_SECONDS = 150.0
"""For those that compare with 60 s."""


def _values(**values: str) -> Values:
    return lambda scene, printed: {name.replace("_", " "): value for name, value in values.items()}


def _files(of: Callable[[Scene], Mapping[str, Path]]) -> Values:
    return lambda scene, printed: {name: str(file) for name, file in of(scene).items()}


def _replaced(file: Path, new: str, old: str = "file that the destinations file names") -> Mapping[str, Path]:
    return {new: file.with_suffix(".right"), old: file}


def _transaction(scene: Scene, printed: str) -> Mapping[str, str]:
    """The id in the list whose producer the topic's description names."""
    values = {"topic": faults.topics_of(scene.stack).inbound, "partition": "0"}
    producers = re.findall(r"^(\d+)(?:\s+-?\d+){4}\s+\d+\s*$", printed, re.MULTILINE)
    for producer_id in producers:
        if found := re.search(rf"^(\S+)\s+\d+\s+{producer_id}\s+Ongoing\s*$", printed, re.MULTILINE):
            values["id"] = found[1]
    return values


def _open_request(scene: Scene, printed: str) -> Mapping[str, str]:
    found = re.search(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", printed)
    return {"your name": "drill", **({"id": found[0]} if found else {})}


def _lock_holder(scene: Scene, printed: str) -> Mapping[str, str]:
    """The session in the first row of the table."""
    found = re.search(r"^ *[^|]+\| +(\d+) \|", printed, re.MULTILINE)
    ledger = scene.stack.endpoints.database.replace("+psycopg", "", 1)
    return {"ledger": ledger, **({"pid": found[1]} if found else {})}


def drills(callers: faults.TokenCallers) -> Sequence[Drill]:
    """In an order in which none leaves another's alert firing. `callers`: those that send access tokens."""
    return (
        Drill(
            alerts={"ConsentRelayLagExporterAbsent": {}, "ConsentRelayProcessAbsent": {"process": "lag"}},
            caused="the lag exporter is killed (SIGKILL)",
            cause=faults.kill("lag"),
            within_seconds=SOON_SECONDS,
            steps=["restart-process"],
            values=_values(process="lag"),
        ),
        Drill(
            alerts={"ConsentRelaySecretUnreadable": {"process": "gate", "secret": "api-keys"}},
            caused="the file of the gate's API keys is cut off",
            cause=faults.damage_gate_keys,
            within_seconds=SOON_SECONDS,
            steps=["secret-file", "export-keys"],
            values=lambda scene, printed: {"file": str(faults.gate_keys(scene.stack)), "scope": "check"},
        ),
        Drill(
            alerts={"ConsentRelayAccessTokensRefused": {"process": "gate", "reason": "unknown_key"}},
            caused="the authorization server signs with a key that the gate does not have",
            cause=callers.rotate_and_ask,
            happens_once=True,
            within_seconds=SOON_SECONDS,
            steps=["replace-key-set"],
            values=_files(lambda scene: {"file with the new key set": callers.file.with_suffix(".right")}),
            ended="a token with the new key is accepted",
            end=callers.succeed,
        ),
        Drill(
            alerts={"ConsentRelayWebhooksRefused": {"outcome": "bad_signature"}},
            caused="a tool signs its webhooks with another secret",
            cause=faults.change_webhook_secret,
            happens_once=True,
            within_seconds=SOON_SECONDS,
            steps=["replace-webhook-secret"],
            values=_files(
                lambda scene: _replaced(
                    faults.inbound_secret(scene.stack), "file with the new secret", "file that the sources file names"
                )
            ),
            ended="the tool's next webhook is accepted",
            end=faults.send_signed_webhook,
        ),
        Drill(
            alerts={"ConsentRelayOptOutsNotRecorded": {"outcome": "unreadable"}},
            caused="a tool reports an opt-out without an address",
            cause=faults.report_without_address,
            happens_once=True,
            within_seconds=SOON_SECONDS,
            steps=["doctor"],
            ended="the opt-out, read in the tool's own list, is submitted",
            end=faults.submit_opt_out,
        ),
        Drill(
            alerts={"ConsentRelayDeadLetters": {"service": "consent-api", "reason": "not_framed"}},
            caused="a record that is no Avro arrives on `consent.inbound.v1`",
            cause=faults.send_unreadable_record,
            happens_once=True,
            within_seconds=SOON_SECONDS,
            steps=["dead-letters"],
            ended="the producer sends it again, as it should be",
            end=faults.submit_opt_out,
        ),
        Drill(
            alerts={
                "ConsentRelayRightsRequestOverdue": {"kind": "access"},
                "ConsentRelayRightsRequestDueSoon": {"kind": "access"},
            },
            caused=f"a request is opened, and dated back by {faults.DATED_BACK_DAYS} days in the database",
            cause=faults.open_old_request,
            within_seconds=AT_A_MINUTE_SECONDS,
            steps=["open-requests", "resolve-request"],
            values=_open_request,
        ),
        Drill(
            alerts={"ConsentRelayRegisterStale": {"register": registers.NAME}},
            caused=f"the last load of a register is dated back by {faults.DATED_BACK_DAYS} days in the database, and"
            " exported; the gate denies",
            cause=faults.date_register_back,
            within_seconds=AT_A_MINUTE_SECONDS,
            steps=["registers", "load-register", "export-registers"],
            values=lambda scene, printed: {
                "register": registers.NAME,
                "file of the register": f"{registers.file_of(scene.stack.endpoints)} --no-header",
                "day of the file": registers.today(),
                "file of CONSENT_RELAY_GATE_REGISTERS_FILE": scene.stack.endpoints.settings[registers.GATE_SETTING],
            },
            ended="the gate answers again",
            end=faults.be_answered_by_the_gate,
        ),
        Drill(
            alerts={"ConsentRelayDestinationHeld": {"destination": "twilio-fr"}},
            caused="twilio-fr does not know our credentials any more",
            cause=faults.wrong_credentials,
            within_seconds=AT_A_MINUTE_SECONDS,
            steps=["destinations", "verify-targets", "replace-credentials"],
            values=_files(lambda scene: _replaced(faults.twilio_token(scene.stack), "file with the right credentials")),
        ),
        Drill(
            alerts={"ConsentRelayWrongEntry": {}},
            caused="the entry of twilio-fr names a connector that there is not, and the propagator is restarted",
            cause=faults.misspell_connector,
            within_seconds=AT_A_MINUTE_SECONDS,
            steps=["doctor", "replace-file", "restart-process"],
            values=lambda scene, printed: {
                "process": "propagator",
                "file with the right entry": str(faults.destinations_file(scene.stack).with_suffix(".right")),
                "file that the setting names": str(faults.destinations_file(scene.stack)),
            },
        ),
        Drill(
            alerts={"ConsentRelayTargetStopsNothing": {"destination": "genesys-fr"}},
            caused="no campaign of genesys-fr names our lists",
            cause=faults.campaigns_name_no_list,
            within_seconds=AT_A_MINUTE_SECONDS,
            steps=["verify-targets"],
            ended="the tool's campaigns name the lists, and the propagator is restarted",
            end=faults.campaigns_name_lists,
        ),
        Drill(
            alerts={"ConsentRelayClockSkew": {"process": "relay"}},
            caused=f"the clock of the relay is {faults.CLOCK_SHIFT_SECONDS} s fast",
            cause=faults.shift_clock,
            within_seconds=SOON_SECONDS,
            steps=["doctor"],
            ended="the relay runs with the host's right clock",
            end=faults.set_clock_right,
        ),
        Drill(
            alerts={"ConsentRelayStateDiskFull": {"process": "propagator"}},
            caused="other data fill the disk of the propagator's state",
            cause=faults.fill_disk,
            within_seconds=SOON_SECONDS,
            steps=["state-disk", "remove-other-data"],
            values=_files(
                lambda scene: {
                    "state directory": scene.stack.state_directory("propagator"),
                    "file that is not ours": scene.stack.state_directory("propagator") / faults.OTHER_DATA,
                }
            ),
        ),
        Drill(
            alerts={"ConsentRelayRevocationImpossible": {"destination": "twilio-fr"}},
            caused="a person withdraws a purpose that twilio-fr has no target for",
            cause=faults.withdraw_without_target,
            within_seconds=SOON_SECONDS,
            steps=["add-purpose"],
        ),
        Drill(
            alerts={"ConsentRelayListDiffers": {}},
            caused="a foreign client writes an old entry over a newer one",
            cause=faults.write_old_entry,
            happens_once=True,
            within_seconds=AT_A_MINUTE_SECONDS,
            steps=["repair-lists", "verify-lists"],
        ),
        Drill(
            alerts={"ConsentRelayListNotCompared": {}},
            caused=(
                "the role of the services loses the right to write how far the comparison is, whose last pass is dated"
                f" back by {faults.UNCOMPARED_DAYS} days in the database"
            ),
            cause=faults.revoke_right_to_compare,
            within_seconds=AT_A_MINUTE_SECONDS,
            steps=["doctor", "grant-rights"],
        ),
        Drill(
            alerts={"ConsentRelayPausesDoNotEnd": {}},
            caused="pauses are over while someone's session holds them locked (`idle in transaction`)",
            cause=faults.hold_pauses,
            within_seconds=AT_A_MINUTE_SECONDS,
            steps=["lock-holders", "terminate-session"],
            values=_lock_holder,
            ended="the pause ends, and its person is permitted again",
            end=faults.await_end_of_pause,
        ),
        Drill(
            alerts={"ConsentRelayCertificateEnds": {"process": "relay", "secret": "registry-certificate"}},
            caused=f"the relay starts with a certificate for the registry that ends in {faults.SHORT_DAYS} days",
            cause=faults.use_short_certificate,
            within_seconds=SOON_SECONDS,
            steps=["certificate", "replace-certificate", "restart-process"],
            values=lambda scene, printed: {
                "process": "relay",
                "certificate file": str(faults.client_certificate(scene.stack)),
                "file with the new certificate": str(faults.client_certificate(scene.stack).with_suffix(".right")),
            },
            ended="the relay is seen to use the new one",
            end=faults.await_new_certificate,
        ),
        Drill(
            alerts={
                "ConsentRelayOutboxNotDraining": {},
                "ConsentRelayListStalled": {"lane": "live"},
                "ConsentRelayGateDenies": {"channel": "sms"},
                "ConsentRelayClientStale": {"channel": "sms"},
            },
            caused="the relay is killed (SIGKILL)",
            cause=faults.kill("relay"),
            within_seconds=AT_A_MINUTE_SECONDS,
            steps=["doctor", "restart-process"],
            values=_values(process="relay"),
        ),
        Drill(
            alerts={"ConsentRelayNoActiveSender": {"propagator": "default"}},
            caused="the only propagator is killed (SIGKILL)",
            cause=faults.kill("propagator"),
            within_seconds=SOON_SECONDS,
            steps=["doctor", "restart-process"],
            values=_values(process="propagator"),
        ),
        Drill(
            alerts={"ConsentRelayLagGrows": {}},
            caused="the merge is frozen (SIGSTOP)",
            cause=faults.freeze("suppression"),
            within_seconds=AT_A_MINUTE_SECONDS,
            steps=["doctor", "restart-process"],
            values=_values(process="suppression"),
        ),
        Drill(
            alerts={"ConsentRelayOpenTransaction": {}},
            caused="a foreign client leaves a transaction open on `consent.inbound.v1`",
            cause=faults.leave_transaction_open,
            within_seconds=AT_A_MINUTE_SECONDS,
            steps=["describe-producers", "list-transactions", "terminate-transaction"],
            values=_transaction,
        ),
        Drill(
            alerts={
                "ConsentRelayPromiseBrokenFast": {"destination": "crm-webhook"},
                "ConsentRelayPromiseBrokenSlowly": {"destination": "crm-webhook"},
            },
            caused="crm-webhook takes 7 s to answer a call",
            cause=faults.switch("latency/webhook/crm", {"p50_ms": 7_000, "p99_ms": 7_000}),
            within_seconds=AT_A_MINUTE_SECONDS,
            steps=["destinations"],
            ended="the tool answers at once again",
            end=faults.switch("latency/webhook/crm", {"p50_ms": 0, "p99_ms": 0}),
        ),
        Drill(
            alerts={
                "ConsentRelayBreakerOpen": {"destination": "crm-webhook"},
                "ConsentRelayRevocationPending": {"destination": "crm-webhook"},
                "ConsentRelayDeliveredUntilStalled": {"destination": "crm-webhook"},
            },
            caused="crm-webhook resets every connection",
            cause=faults.switch("outage/webhook/crm", {"mode": "reset"}),
            within_seconds=420.0,
            steps=["destinations", "verify-destinations"],
            ended="the tool answers again",
            end=faults.switch("outage/webhook/crm", {"mode": "off"}),
        ),
        Drill(
            alerts={"ConsentRelayRecordsDeletedUnread": {}},
            caused="records of `consent.inbound.v1` are deleted while ingest does not run",
            cause=faults.delete_unread_records,
            happens_once=True,
            within_seconds=SOON_SECONDS,
            steps=["doctor"],
            ended="the producer sends them again",
            end=faults.submit_opt_out,
        ),
        Drill(
            alerts={"ConsentRelayKafkaLostRecords": {}},
            caused="`consent.changes.v1` is deleted and created again, and the merge is killed (SIGKILL)",
            cause=faults.lose_changes,
            within_seconds=AT_A_MINUTE_SECONDS,
            steps=["doctor", "restart-process"],
            values=_values(process="suppression"),
        ),
    )

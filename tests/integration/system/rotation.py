"""The rotation of a hash key on a running system: its commands, its restarts, and what is compared after each step."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
from click.testing import CliRunner

from consent_contracts import Topics, effective_verdict
from consent_contracts.codec import Codec
from consent_privacy.keyring import Keyring
from consent_service.cli import cli
from consent_service.clock import now_micros
from local_stack.audit.compare import ChannelAddress, Difference, Findings, compare
from local_stack.audit.live import audit, tools
from local_stack.demo.population import CHANNELS, PURPOSES, Choice
from local_stack.demo.status import DemoStatus
from local_stack.demo.upstreams import HttpUpstream
from local_stack.stack import Stack
from tests.chaos import checks
from tests.chaos.load import PATIENCE, Load
from tests.chaos.stale_permissions import stale_permissions
from tests.chaos.story import story
from tests.support.topic_records import records
from tests.support.waiting import until

RESTART_ORDER = (("gate", "propagator"), ("suppression", "relay", "ingest"), ("api",))
"""Readers first: they know a new key before an entry exists under it, and no longer need one that is retired. What
publishes last, so that every decision is published under a retired key for as long as a reader needs it."""
BY_KEY = "crm-webhook"
HEAL_SECONDS = 60.0
SHOWN = 5


class Rotation:
    """Of one tenant's hash key, while `load` runs. `report` is called with a line of progress after each step."""

    def __init__(self, stack: Stack, load: Load, *, report: Callable[[str], None]) -> None:
        self._stack = stack
        self._endpoints = stack.endpoints
        self._load = load
        self._report = report
        self._topics = Topics(prefix=stack.endpoints.topic_prefix)
        self._codec = Codec.connect(stack.endpoints.registry, self._topics)
        self._progress = DemoStatus(stack.endpoints)
        self._upstream = HttpUpstream(stack.endpoints.api, stack.endpoints.api_key, load.book)
        self._began = time.monotonic()

    def close(self) -> None:
        self._upstream.close()

    def run(self, *command: str, code: int = 0) -> str:
        """What one `consent-relay` command prints, with the settings of the API."""
        result = CliRunner().invoke(cli, command, env=self._stack.supervisor.child("api").program.env)
        assert result.exit_code == code, result.output
        return result.output

    def keyring(self, command: str, *words: str, code: int = 0) -> str:
        """`consent-relay keyring` on the system's keyring."""
        return self.run("keyring", command, self._endpoints.keyring_file, *words, code=code)

    def live_key_ids(self) -> list[str]:
        return [key.id for key in self._keyring().hash_keys[self._endpoints.tenant]]

    def restart_in_order(self) -> None:
        """Every service is ended by SIGTERM and started with the keyring as it is now."""
        self.keyring("export", str(self._stack.gate_keyring), "--hash-only", "--tenant", self._endpoints.tenant)
        for names in RESTART_ORDER:
            self._stack.supervisor.run_parallel(*(partial(self._restart, name) for name in names))

    def read_again(self) -> None:
        """Every service takes the keyring as it is now, from its file, without a restart by a supervisor."""
        names = [name for names in RESTART_ORDER for name in names]
        changed = Path(self._endpoints.keyring_file).stat().st_mtime
        processes = {name: self._stack.supervisor.child(name).pid for name in names}
        # The gate's is an export: written first, as readers are to know a key before it is used.
        self.keyring("export", str(self._stack.gate_keyring), "--hash-only", "--tenant", self._endpoints.tenant)
        until(lambda: all(self._read_at(name) > changed for name in names), what="the new keyring in each service")
        assert processes == {name: self._stack.supervisor.child(name).pid for name in names}

    def give_again(self, places: Sequence[ChannelAddress]) -> None:
        """The person reached there permits, live, each purpose that is not permitted there."""
        missing = set(self._not_permitted(places))
        choices = [
            Choice(
                event_id=str(uuid4()),
                subject_ref=person.subject_ref,
                channel=channel,
                address=person.address(channel),
                written=person.address(channel),
                purpose=purpose,
                status="given",
                occurred_at=now_micros(),
            )
            for person in self._load.people
            for channel in CHANNELS
            for purpose in PURPOSES[channel]
            if ((channel, person.address(channel)), purpose) in missing
        ]
        assert {each.channel for each in choices} == set(CHANNELS)
        self._upstream.send(choices, seconds=PATIENCE)

    def places(self, part: int = 0, *, of: int = 1) -> list[ChannelAddress]:
        """All addresses with a decision, or one of `of` parts of them."""
        return sorted(self._load.book.verdicts())[part::of]

    def all_is_permitted(self) -> None:
        """Every purpose that people choose about is permitted at every address."""
        assert not self._not_permitted(self.places())

    def all_is_as_decided(self, step: str, *, but_suppressed_at_the_gate: bool = False) -> None:
        """0 lost, 0 wrongly permitted, 0 wrongly suppressed, and no permission after the newest refusal was delivered.

        The webhook, which knows addresses by key alone, is compared under the oldest live key.
        """
        assert not self._load.failures, self._load.failures
        checks.settle(self._stack, self._progress, self._report)
        findings = self._once_right(step, lambda: self._findings(but_suppressed_at_the_gate))
        for name in ("gate", *(tool.destination for tool in tools(self._endpoints))):
            assert findings.matches[name], f"{step}: nothing was compared at {name}"
        expected = self._load.book.verdicts()
        judged, stale = stale_permissions(self._endpoints, self._codec, expected, now=now_micros())
        assert judged, f"{step}: there is no history to judge"
        assert not stale, "\n".join([step, *stale[:SHOWN]])
        checks.no_crash(self._stack)
        seconds = time.monotonic() - self._began
        self._report(
            f"[{seconds:5.1f} s] {step}: {len(self._load.book)} decisions, {findings.matches.total()} as decided"
        )

    def all_is_suppressed_under(self, key_id: str) -> None:
        """The webhook has every refusal, and no permission that does not hold, under a key that is not the oldest."""
        keyring = self._keyring()

        def key(place: ChannelAddress) -> str:
            keys = keyring.live_address_keys(self._endpoints.tenant, *place)
            return next(each for each in keys if each.startswith(f"{key_id}."))

        (declared,) = (each for each in tools(self._endpoints) if each.destination == BY_KEY)
        tool = replace(declared, name_of=key, push_permissions=False)

        def findings() -> Findings:
            answer = httpx.get(f"{self._endpoints.sandbox_control}/_state/{tool.account}", timeout=60)
            return compare(self._load.book.verdicts(), tool, answer.json()["states"], now=now_micros())

        assert self._once_right(f"under {key_id}", findings).matches[BY_KEY]

    def rows_under(self, key_id: str) -> set[bytes]:
        """Keys of the delivered state of addresses under this hash key."""
        topic = self._topics.propagation_state("default")
        rows = {message.key(): message.value() for message in records(self._endpoints.kafka, topic)}
        return {key for key, value in rows.items() if key and value and f"{key_id}.".encode() in key}

    def _findings(self, but_suppressed_at_the_gate: bool) -> Findings:
        found = audit(self._endpoints, self._load.book.verdicts())
        if but_suppressed_at_the_gate:
            found.differences = [
                each for each in found.differences if (each.where, each.kind) != ("gate", "wrongly_suppressed")
            ]
        return found

    def _once_right(self, step: str, look: Callable[[], Findings]) -> Findings:
        """The first findings without differences: the gate reads by itself, and may be later than the tools."""
        deadline = time.monotonic() + HEAL_SECONDS
        while (found := look()).differences:
            assert time.monotonic() < deadline, self._shown(step, found.differences)
            time.sleep(0.5)
        return found

    def _not_permitted(self, places: Sequence[ChannelAddress]) -> list[tuple[ChannelAddress, str]]:
        verdicts, now = self._load.book.verdicts(), now_micros()
        return [
            (place, purpose)
            for place in places
            for purpose in PURPOSES[place[0]]
            if not effective_verdict(verdicts[place], purpose, now).permitted
        ]

    def _keyring(self) -> Keyring:
        return Keyring.load(Path(self._endpoints.keyring_file))

    def _read_at(self, name: str) -> float:
        """When the service read the keyring that it uses; 0 while it does not answer."""
        port = self._stack.supervisor.child(name).program.env["CONSENT_RELAY_METRICS_PORT"]
        try:
            text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        except httpx.HTTPError:
            return 0.0
        metric = "consent_relay_secret_file_last_read_timestamp_seconds"
        found = re.search(rf'^{metric}{{secret="keyring"}} (\S+)$', text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def _restart(self, name: str) -> None:
        self._stack.supervisor.child(name).stop()
        self._stack.supervisor.restart(name, seconds=120)

    def _shown(self, step: str, wrong: Sequence[Difference]) -> str:
        kinds = Counter((each.kind, each.where) for each in wrong)
        stories = (story(self._endpoints, self._codec, each) for each in wrong[:SHOWN])
        return "\n".join([f"{step}: {dict(kinds)}", *stories])

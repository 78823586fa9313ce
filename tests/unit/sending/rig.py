"""One destination in virtual time: a fake state, a fake provider, and the real worker between them."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from consent_contracts.decisions import Decision
from consent_privacy.keyring import Key, Keyring
from propagator.config.model import Destination, Limits
from propagator.connectors.base import PERMIT, SUPPRESS, Capabilities, ConnectionSettings, ConnectorType
from propagator.desired.model import Purposes
from propagator.metrics import Metrics
from propagator.sending.destination_worker import DestinationWorker
from propagator.sending.loop_share import LoopShare
from tests.support.virtual_time import now_micros
from tests.unit.sending.fake_provider import FakeProvider
from tests.unit.sending.fake_state import FakeState

KEYRING = Keyring(
    seal_keys=[Key(id="s1", secret=b"s" * 32)],
    hash_keys={
        "acme": [Key(id="h1", secret=b"h" * 32, primary=True)],
        "globex": [Key(id="h1", secret=b"g" * 32, primary=True)],
    },
)
TIMEOUT = 15.0


def key(number: int) -> str:
    return f"h1.a{number:06d}"


def seal(address_key: str) -> bytes:
    return KEYRING.seal(address_key, f"+3363998{int(address_key[-4:]):04d}")


def destination(
    *,
    targets: Mapping[str, tuple[str, ...]] | None = None,
    batch: int = 1,
    mixed: bool = False,
    per_second: float = 100.0,
    burst: int = 10,
    concurrency: int = 4,
    push_permissions: bool = False,
    paused: bool = False,
    tenant: str = "acme",
    address_required: bool = True,
) -> Destination:
    targets = {"newsletter": ("t1",)} if targets is None else targets
    limits = Limits(
        calls_per_second=per_second,
        burst=burst,
        concurrency=concurrency,
        max_batch={SUPPRESS: batch, PERMIT: batch},
    )
    return Destination(
        connector_type=ConnectorType(
            name="fake",
            channels=None,
            credentials={},
            capabilities=Capabilities(
                max_batch=limits.max_batch,
                mixed=mixed,
                calls_per_second=per_second,
                burst=burst,
                address_required=address_required,
            ),
            target_error=lambda _target: None,
            open=lambda _connection: FakeProvider(),
        ),
        connection=ConnectionSettings(
            destination="tool",
            tenant=tenant,
            channel="sms",
            url=None,
            credentials={},
            options={},
            targets=("t1",),
            timeout_seconds=TIMEOUT,
        ),
        purposes=Purposes(targets=targets),
        push_permissions=push_permissions,
        limits=limits,
        paused=paused,
    )


def decision(decision_id: str, status: str = "withdrawn", *, at: int | None = None, **more: Any) -> Decision:
    when = now_micros() if at is None else at
    fields: dict[str, Any] = {
        "subject_ref": "ann",
        "purpose": "newsletter",
        "effective_at": when,
        "recorded_at": when,
    } | more
    return Decision(decision_id=decision_id, status=status, **fields)


@dataclass
class Rig:
    """`state` and `provider` outlive a worker; `take_over` replaces it as another process would."""

    destination: Destination = field(default_factory=destination)
    provider: FakeProvider = field(default_factory=FakeProvider)
    state: FakeState = field(init=False)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    metrics: Metrics = field(init=False)
    fatal: list[BaseException] = field(default_factory=list)
    verified: list[bool | str] = field(default_factory=list)
    beats: int = 0
    worker: DestinationWorker | None = None
    loop_share: LoopShare | None = None

    def __post_init__(self) -> None:
        self.state = FakeState(self.destination.rules(KEYRING), seal=seal)
        self.metrics = Metrics.on(self.registry)

    async def start(self, seed: int = 7) -> None:
        self.worker = DestinationWorker(
            self.destination,
            self.provider,
            self.state,
            lambda: KEYRING,
            self.metrics,
            on_fatal_error=self.fatal.append,
            on_verified=self.verified.append,
            heartbeat=self._beat,
            now_micros=now_micros,
            loop_share=self.loop_share,
            rng=random.Random(seed),
        )
        self.state.listener = self.worker.offer
        await self.worker.start()

    async def stop(self, drain_seconds: float = 1.0) -> None:
        assert self.worker is not None
        self.state.listener = lambda _rows: None
        await self.worker.stop(drain_seconds)
        assert not self.fatal

    async def kill(self) -> None:
        """As kill -9: whatever is under way is cut, and nothing is recorded."""
        await self.stop(0.0)

    def sample(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"consent_relay_propagation_{name}", {"destination": "tool", **labels})

    def _beat(self) -> None:
        self.beats += 1

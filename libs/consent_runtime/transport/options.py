"""How a stream meets the broker."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from consent_runtime.progress import STALLED_SECONDS


@dataclass(frozen=True, kw_only=True)
class Options:
    """Times in seconds, sizes in records."""

    bootstrap: str
    instance_id: str
    client_config: Mapping[str, str] = field(default_factory=dict)
    session_timeout: float = 8.0
    commit_interval: float = 0.5
    max_chunk: int = 1_000
    max_outstanding: int = 5_000
    patience: float = 2.0
    stalled_after: float = STALLED_SECONDS

    def __post_init__(self) -> None:
        if not 6.0 <= self.session_timeout <= 10.0:
            raise ValueError(
                "a session timeout of 6 to 10 s: below, a busy machine loses partitions; above, a dead one keeps them"
            )

    @property
    def heartbeat_interval(self) -> float:
        return self.session_timeout / 5

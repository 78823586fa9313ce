"""DestinationState in memory, over the real plan. What was recorded is read back after a while, as in the real one."""

import asyncio
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from msgspec.structs import replace

from consent_contracts.decisions import Decision
from consent_contracts.verdict import verdicts
from propagator.desired.model import DeliveredTarget, DestinationRules, ListEntry, Plan, own_entry
from propagator.desired.plan import plan
from propagator.desired.receipt import Receipt
from propagator.errors import SenderFencedError
from propagator.sending.ports import Current, Kind, PendingPush
from tests.support.virtual_time import now_micros

READ_BACK_SECONDS = 0.2
COMMIT_SECONDS = 0.02

_Position = tuple[int, str, str]


class FakeState:
    """One destination's. It outlives workers: what is in it was committed."""

    def __init__(
        self, rules: DestinationRules, *, seal: Callable[[str], bytes | None] = lambda _key: b"sealed"
    ) -> None:
        self.rules = rules
        self.seal = seal
        self.entries: dict[str, ListEntry] = {}
        self.imported: Callable[[str], ListEntry] | None = None
        """Makes the entry of an address that was imported in bulk, when it is looked at."""
        self.traceparents: dict[str, str] = {}
        """Of the change that brings an entry, by address key."""
        self.rows: dict[str, dict[str, DeliveredTarget]] = {}
        self.fill_began_at = 0
        self.receipts: list[Receipt] = []
        self.forgotten: list[str] = []
        self.sending = True
        self.fenced = False
        self.hindrances: dict[str, str] = {}
        self.unreadable: dict[str, Exception] = {}
        self.commits: list[tuple[str, DeliveredTarget]] = []
        self.listener: Callable[[Sequence[PendingPush]], None] = lambda _rows: None
        self.largest_answer = 0
        self._index: dict[tuple[bool, Kind], list[_Position]] = {}
        self._by_address: dict[str, list[PendingPush]] = {}
        self._impossible: Counter[str] = Counter()
        self._rows: dict[tuple[str, str], PendingPush] = {}
        self._not_read_back: dict[str, int] = {}

    # What the list and the topics do

    def decide(self, address_key: str, *decisions: Decision, written_at: int | None = None, tenant: str = "") -> None:
        """Write the entry of an address, as the merge does; its plan is made and offered at once."""
        self.entries[address_key] = self._entry(
            address_key, decisions, now_micros() if written_at is None else written_at, tenant
        )
        self.replan([address_key])

    def import_bulk(self, address_keys: Sequence[str], *, at: int) -> None:
        """Withdrawals of long ago from every purpose, an address a micro apart, that the worker finds in the index.
        100,000 take no second."""
        since = {key: at + number for number, key in enumerate(address_keys)}
        targets = sorted({target for targets in self.rules.purposes.targets.values() for target in targets})
        rows = [
            PendingPush(address_key=key, target=target, kind="suppress", live=False, since=since[key])
            for key in address_keys
            for target in targets
        ]
        self._index[False, "suppress"] = [_position(each) for each in rows]
        self._rows.update({(each.address_key, each.target): each for each in rows})
        for each in rows:
            self._by_address.setdefault(each.address_key, []).append(each)

        def entry(key: str) -> ListEntry:
            made = tuple(
                Decision(
                    decision_id=f"b{key}.{purpose}",
                    subject_ref="ann",
                    purpose=purpose,
                    status="withdrawn",
                    effective_at=since[key],
                    recorded_at=since[key],
                    bulk=True,
                )
                for purpose in self.rules.purposes.targets
            )
            return self._entry(key, made, at)

        self.imported = entry

    def erase(self, address_key: str) -> None:
        del self.entries[address_key]
        self.replan([address_key])

    def begin_fill(self) -> None:
        self.fill_began_at = now_micros()
        self.replan(list(self.entries))

    def replan(self, address_keys: Iterable[str], *, offer: bool = True) -> None:
        changed: list[PendingPush] = []
        for key in address_keys:
            planned = self._plan(key)
            rows = self._still_live(key, _pending(key, planned))
            self._impossible[key] = len(planned.impossible)
            for each in self._by_address.pop(key, []):
                self._remove(each)
            if rows:
                self._by_address[key] = rows
            for each in rows:
                insort(self._index.setdefault((each.live, each.kind), []), _position(each))
                self._rows[each.address_key, each.target] = each
            changed += rows
        if changed and offer:
            self.listener(changed)

    def _still_live(self, address_key: str, rows: list[PendingPush]) -> list[PendingPush]:
        """As the tables do it."""
        since = {
            each.target: each.since
            for each in self._by_address.get(address_key, [])
            if each.live and each.kind == "suppress" and each.since > self.fill_began_at
        }
        return [
            replace(each, live=True, since=min(each.since, since[each.target]))
            if each.kind == "suppress" and each.target in since
            else each
            for each in rows
        ]

    # DestinationState

    def current(self, address_key: str) -> Current:
        if address_key in self.unreadable:
            raise self.unreadable[address_key]
        return Current(
            entry=self._entry_of(address_key),
            plan=self._plan(address_key),
            delivered=dict(self.rows.get(address_key, {})),
            newest_append=now_micros(),
            fill_began_at=self.fill_began_at,
        )

    def together(self, address_keys: Sequence[str]) -> AbstractContextManager[None]:
        return nullcontext()

    def pending(
        self, *, live: bool, kind: Kind, limit: int, due_by: int, skip_targets: Collection[str] = ()
    ) -> Sequence[PendingPush]:
        found: list[PendingPush] = []
        for _, key, target in self._index.get((live, kind), []):
            if target in skip_targets or key in self._not_read_back:
                continue
            if kind == "permit" and self.permission_hindrance(key) is not None:
                continue
            row = self._rows[key, target]
            if row.not_before <= due_by:
                found.append(row)
            if len(found) == limit:
                break
        self.largest_answer = max(self.largest_answer, len(found))
        return found

    def record(
        self, address_key: str, row: DeliveredTarget | None, *, target: str, receipts: Sequence[Receipt] = ()
    ) -> None:
        if self.fenced:
            raise SenderFencedError
        rows = self.rows.setdefault(address_key, {})
        if row is None:
            rows.pop(target, None)
        else:
            rows[target] = row
            self.commits.append((address_key, row))
        self.receipts += receipts
        self._read_back_later(address_key)

    async def record_now(self, address_key: str, row: DeliveredTarget, *, target: str) -> None:
        self.record(address_key, row, target=target)
        await asyncio.sleep(COMMIT_SECONDS)
        if self.fenced:
            raise SenderFencedError

    def record_receipts(self, address_key: str, receipts: Sequence[Receipt]) -> None:
        self.receipts += receipts

    def forget(self, address_key: str) -> None:
        self.forgotten.append(address_key)
        self.rows.pop(address_key, None)
        self._read_back_later(address_key)

    def permission_hindrance(self, address_key: str) -> str | None:
        return self.hindrances.get(address_key)

    def may_send(self) -> bool:
        return self.sending and not self.fenced

    def counts(self) -> Mapping[tuple[bool, Kind], int]:
        work: dict[tuple[bool, Kind], int] = {lane: len(rows) for lane, rows in self._index.items()}
        return work | {(False, "impossible"): self._impossible.total()}

    def oldest_pending(self, *, live: bool) -> int | None:
        rows = self._index.get((live, "suppress"))
        return rows[0][0] if rows else None

    def delivered_until(self) -> int | None:
        return self.oldest_pending(live=True) or now_micros()

    # What tests ask

    def stages(self, address_key: str) -> list[str]:
        return [each.stage for each in self.receipts if each.address_key == address_key]

    @property
    def nothing_pending(self) -> bool:
        return not any(self._index.values())

    def _entry(self, address_key: str, decisions: tuple[Decision, ...], written_at: int, tenant: str = "") -> ListEntry:
        return ListEntry(
            tenant=tenant or self.rules.tenant,
            channel=self.rules.channel,
            address_key=address_key,
            sealed_address=self.seal(address_key),
            decisions=decisions,
            verdicts=verdicts(decisions),
            written_at=written_at,
            traceparent=self.traceparents.get(address_key),
        )

    def _entry_of(self, address_key: str) -> ListEntry | None:
        found = self.entries.get(address_key)
        if found is None and self.imported is not None and (address_key, "t1") in self._rows:
            found = self.entries[address_key] = self.imported(address_key)
        return found

    def _plan(self, address_key: str) -> Plan:
        entry = self._entry_of(address_key)
        return plan(
            own_entry(self.rules, entry),
            self.rows.get(address_key, {}),
            self.rules,
            fill_began_at=self.fill_began_at,
            now=max(now_micros(), entry.written_at if entry is not None else 0),
        )

    def _read_back_later(self, address_key: str) -> None:
        self._not_read_back[address_key] = self._not_read_back.get(address_key, 0) + 1
        asyncio.get_running_loop().call_later(READ_BACK_SECONDS, self._read_back, address_key)

    def _read_back(self, address_key: str) -> None:
        self._not_read_back[address_key] -= 1
        if not self._not_read_back[address_key]:
            del self._not_read_back[address_key]
        self.replan([address_key])

    def _remove(self, row: PendingPush) -> None:
        positions = self._index[row.live, row.kind]
        del positions[bisect_left(positions, _position(row))]
        del self._rows[row.address_key, row.target]


def _position(row: PendingPush) -> _Position:
    return row.since, row.address_key, row.target


def _pending(key: str, planned: Plan) -> list[PendingPush]:
    rows = [
        PendingPush(
            address_key=key,
            target=each.state.target,
            kind=each.state.action,
            live=each.live,
            since=each.since,
            not_before=each.not_before,
        )
        for each in planned.pushes
    ]
    if planned.adoptions or planned.unmapped is not None:
        rows.append(PendingPush(address_key=key, target="", kind="record", live=True, since=now_micros()))
    if planned.forget:
        rows.append(PendingPush(address_key=key, target="", kind="forget", live=False, since=now_micros()))
    return rows

"""Whatever happens in between, a destination ends in the desired state (Hypothesis, over `plan` and `outcomes`).

A small model of the world: one address; its entry and the mapping change; a sender makes calls and records what becomes
of them; rows are committed later than they are recorded, and what is not committed is lost with the sender; a provider
executes calls, also a permission whose answer never came, up to two call time-outs after it was sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from consent_contracts import Decision, verdicts
from consent_contracts.decisions import EVERY_PURPOSE, permits
from consent_contracts.join import AddressEntry, join
from consent_contracts.verdict import UNKNOWN, effective_verdict
from propagator.desired import outcomes
from propagator.desired.model import (
    PERMIT,
    SUPPRESS,
    UNMAPPED,
    Action,
    DeliveredTarget,
    DestinationRules,
    ListEntry,
    Plan,
    PlannedPush,
    Purposes,
    own_entry,
)
from propagator.desired.plan import plan

SECOND = 1_000_000
START = 1_760_000_000 * SECOND
TIMEOUT = 15 * SECOND
"""Of one call."""
SETTLES = 2 * TIMEOUT
"""After a call was sent, it can no longer take effect."""
MAPPINGS = (
    {"newsletter": ("n",), "survey": ("s",)},
    {"newsletter": ("n",), "survey": ("n",)},
    {"survey": ("s",)},
    {"newsletter": ("n", "s"), EVERY_PURPOSE: ("all",)},
)
PURPOSES = ("newsletter", "newsletter", "newsletter", "survey", EVERY_PURPOSE)
Fate = Literal["never", "now", "late"]
FATES: st.SearchStrategy[tuple[Fate, float]] = st.tuples(
    st.sampled_from(("never", "now", "late")), st.sampled_from((0.0, 0.2, 1.0))
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request that was written to the socket, and has no answer yet."""

    push: PlannedPush
    row_before: DeliveredTarget | None
    version: int
    fill_began_at: int
    sent_at: int


@dataclass(frozen=True, kw_only=True)
class LatePermission:
    """A request whose sender has given up on it, and which the provider executes all the same."""

    target: str
    at: int


class World(RuleBasedStateMachine):
    """`rows` is delivered state as the sender sees it, `committed` as the next one would find it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.fill_began_at = START
        self.mapping = MAPPINGS[0]
        self.decisions: tuple[Decision, ...] = ()
        self.exists = False
        self.written_at = START
        self.rows: dict[str, DeliveredTarget] = {}
        self.committed: dict[str, DeliveredTarget] = {}
        self.calls: dict[str, Call] = {}
        self.late: list[LatePermission] = []
        self.provider: dict[str, Action] = {}
        self.versions: dict[str, int] = {}
        self.made = 0
        self.sent: dict[str, tuple[Action, frozenset[str]]] = {}
        """What each target accepted last, as long as nothing has happened since that makes a repetition necessary."""
        self.unrecorded: set[str] = set()
        """Targets at which a suppression was executed of which no row knows."""
        self.unknowable: set[str] = set()
        """Of these, targets whose mapping was changed afterwards: see `_check_target`."""

    # The sender's view

    @property
    def destination_rules(self) -> DestinationRules:
        return DestinationRules(
            destination="crm",
            tenant="acme",
            channel="sms",
            purposes=Purposes(targets=self.mapping),
            push_permissions=True,
            address_required=True,
            live_keys=("h1",),
        )

    def plan(self) -> Plan:
        entry = None
        if self.exists:
            entry = ListEntry(
                tenant="acme",
                channel="sms",
                address_key="h1.a",
                sealed_address=None,
                decisions=self.decisions,
                verdicts=verdicts(self.decisions),
                written_at=self.written_at,
            )
        rules = self.destination_rules
        return plan(
            own_entry(rules, entry),
            self.rows,
            rules,
            fill_began_at=self.fill_began_at,
            now=max(self.now, self.written_at),
        )

    def due(self) -> list[PlannedPush]:
        """One call a target at a time."""
        return [
            push for push in self.plan().pushes if push.not_before <= self.now and push.state.target not in self.calls
        ]

    def record(self, target: str, row: DeliveredTarget | None) -> None:
        if row is None:
            self.rows.pop(target, None)
        else:
            self.rows[target] = row

    # What people and operators do

    @rule(
        purpose=st.sampled_from(PURPOSES),
        status=st.sampled_from(["given", "given", "withdrawn"]),
        lasts=st.sampled_from([None, 20, 100]),
        bulk=st.booleans(),
    )
    def decide(self, purpose: str, status: str, lasts: int | None, bulk: bool) -> None:
        """A choice is made and merged. `lasts`: seconds until a permission ends."""
        if purpose == EVERY_PURPOSE:
            status = "withdrawn"  # A permission names its purposes.
        self.pass_time(3 * SECOND)
        self.made += 1
        decision = Decision(
            decision_id=f"d{self.made:03}",
            subject_ref="ann",
            purpose=purpose,
            status=status,
            effective_at=self.now,
            recorded_at=self.now,
            expires_at=self.now + lasts * SECOND if lasts is not None and status == "given" else None,
            bulk=bulk,
        )
        self.decisions = join(self._entry(self.decisions), self._entry((decision,))).decisions
        self.written_at, self.exists = self.now, True

    @staticmethod
    def _entry(decisions: tuple[Decision, ...]) -> AddressEntry:
        return AddressEntry(tenant="acme", channel="sms", address_key="h1.a", sealed_address=None, decisions=decisions)

    @rule(seconds=st.sampled_from([1, 4, 14, 40, 120]))
    def wait(self, seconds: int) -> None:
        self.pass_time(seconds * SECOND)

    @precondition(lambda self: not self.calls)
    @rule(mapping=st.sampled_from(MAPPINGS))
    def restart_with_another_mapping(self, mapping: dict[str, tuple[str, ...]]) -> None:
        self.commit()
        if mapping != self.mapping:
            self.unknowable |= self.unrecorded
            self.sent.clear()
        self.mapping = mapping

    @rule()
    def begin_a_fill(self) -> None:
        """A new generation, or lost state."""
        self.pass_time(1)
        self.fill_began_at = self.now
        self.sent.clear()

    @precondition(lambda self: self.exists and not self.calls and not self.late and self.plan().empty)
    @rule()
    def erase(self) -> None:
        """After everything was withdrawn, delivered and settled."""
        if any(permits(each) for each in self.decisions):
            return
        self.decisions, self.exists = (), False
        assert self.plan().forget == bool(self.rows)
        self.rows.clear()
        self.sent.clear()
        self.unrecorded.clear()

    # What the sender does

    @precondition(lambda self: self.due())
    @rule(data=st.data())
    def call(self, data: st.DataObject) -> None:
        self.send(data.draw(st.sampled_from(self.due())))

    def send(self, push: PlannedPush) -> None:
        self.now += 1
        target, action = push.state.target, push.state.action
        if action == PERMIT:
            self._check_permission(target)
        self._check_need(push)
        row = self.rows.get(target)
        version = outcomes.next_version(row, written_at=self.written_at, clock=self.now, newest_append=self.now)
        assert version > self.versions.get(target, 0)
        self.versions[target] = version
        self.calls[target] = Call(
            push=push, row_before=row, version=version, fill_began_at=self.fill_began_at, sent_at=self.now
        )
        if action == PERMIT:
            self.rows[target] = outcomes.permit_begins(push, version=version, fill_began_at=self.fill_began_at)
            self.commit()

    @rule()
    def commit(self) -> None:
        self.committed = dict(self.rows)

    @precondition(lambda self: self.plan().adoptions or self.plan().unmapped)
    @rule()
    def record_without_a_call(self) -> None:
        found = self.plan()
        for each in found.adoptions:
            if each.target not in self.calls:
                self.record(each.target, outcomes.adopted(self.rows[each.target], each))
        if found.unmapped is not None:
            self.record(UNMAPPED, outcomes.unmapped(found.unmapped, now=self.now, fill_began_at=self.fill_began_at))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def accept(self, data: st.DataObject) -> None:
        self.answer_accepted(data.draw(st.sampled_from(sorted(self.calls))))

    def answer_accepted(self, target: str) -> None:
        call = self.calls.pop(target)
        self.execute(target, call.push.state.action)
        row = outcomes.accepted(
            call.row_before,
            call.push,
            version=call.version,
            now=self.now,
            fill_began_at=call.fill_began_at,
            settles_at=self.now + SETTLES,
        )
        self.record(target, row)
        self.unrecorded.discard(target)
        self.sent.pop(target, None)
        if row is not None and not row.in_doubt and call.fill_began_at == self.fill_began_at:
            self.sent[target] = (call.push.state.action, frozenset(call.push.state.decision_ids))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        """For good: the provider will never take this for this address."""
        target = data.draw(st.sampled_from(sorted(self.calls)))
        call = self.calls.pop(target)
        row = outcomes.refused(
            call.row_before,
            call.push,
            code="21610",
            version=call.version,
            now=self.now,
            fill_began_at=call.fill_began_at,
            settles_at=self.now + SETTLES,
        )
        self.record(target, row)
        self.sent.pop(target, None)
        if row is None:
            self.provider.pop(target, None)  # Nothing more can be done about it.

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), seconds=st.sampled_from([0, 1, 60]))
    def fail(self, data: st.DataObject, seconds: int) -> None:
        """For this address alone; nothing was executed."""
        target = data.draw(st.sampled_from(sorted(self.calls)))
        call = self.calls.pop(target)
        row = self.rows.get(target)  # Of a permission: in doubt.
        self.record(target, outcomes.failed(row, call.push, reason="http_400", retry_at=self.now + seconds * SECOND))
        self.sent.pop(target, None)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def send_nothing(self, data: st.DataObject) -> None:
        """No connection, or the guard refused."""
        target = data.draw(st.sampled_from(sorted(self.calls)))
        call = self.calls.pop(target)
        self.versions[target] = call.version - 1
        if call.push.state.action == PERMIT:
            self.record(target, outcomes.not_sent(call.row_before, call.push))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def time_out(self, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from(sorted(self.calls)))
        self.give_up(target, *data.draw(FATES))

    def give_up(self, target: str, fate: Fate, part: float = 0.0) -> None:
        self.now = max(self.now, self.calls[target].sent_at + TIMEOUT)
        self.pass_time(0)
        self.lose(self.calls.pop(target), fate, part)

    def lose(self, call: Call, fate: Fate, part: float) -> None:
        """The sender never learns what became of the call. `part`: of the time in which it may still take effect."""
        target, action = call.push.state.target, call.push.state.action
        self.sent.pop(target, None)
        if action == PERMIT and fate == "late":
            left = max(0, call.sent_at + SETTLES - self.now)
            self.late.append(LatePermission(target=target, at=self.now + int(part * left)))
        elif fate != "never":
            self.execute(target, action)
            if action == SUPPRESS:
                self.unrecorded.add(target)

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """Another sender takes over from what was committed."""
        for target, row in self.rows.items():
            if row != self.committed.get(target) and row.action == SUPPRESS:
                self.unrecorded.add(target)
        self.rows = dict(self.committed)
        calls, self.calls = list(self.calls.values()), {}
        for call in calls:
            self.lose(call, *data.draw(FATES))
        self.sent.clear()

    # What the world does

    def execute(self, target: str, action: Action) -> None:
        self.provider[target] = action
        if action == PERMIT:
            self.unrecorded.discard(target)
            self.unknowable.discard(target)

    def pass_time(self, micros: int) -> None:
        """As far as the next time-out of a call, at most."""
        deadline = min((call.sent_at + TIMEOUT for call in self.calls.values()), default=self.now + micros)
        self.now = max(self.now, min(self.now + micros, deadline))
        for each in sorted(self.late, key=lambda each: each.at):
            if each.at <= self.now:
                self.late.remove(each)
                self.execute(each.target, PERMIT)

    # What must hold

    def _served(self, target: str) -> list[str]:
        served = [purpose for purpose, targets in self.mapping.items() if target in targets]
        return [each for each in served if each != EVERY_PURPOSE] or served

    def _desired(self, target: str) -> Action | None:
        """By the rule alone, without the code under test."""
        known = verdicts(self.decisions)
        answers = [effective_verdict(known, each, max(self.now, self.written_at)) for each in self._served(target)]
        if any(not each.permitted and each.reason != UNKNOWN for each in answers):
            return SUPPRESS
        return PERMIT if answers and all(each.permitted for each in answers) else None

    def _deciding(self, target: str) -> set[str]:
        known = verdicts(self.decisions)
        answers = [effective_verdict(known, each, max(self.now, self.written_at)) for each in self._served(target)]
        permitted = self._desired(target) == PERMIT
        return {each.decision_id for each in answers if each.decision_id is not None and each.permitted == permitted}

    def _check_permission(self, target: str) -> None:
        assert self.exists, "a permission is sent without an entry"
        assert self._desired(target) == PERMIT, "a permission is sent that the newest entry does not give"

    def _check_need(self, push: PlannedPush) -> None:
        last = self.sent.get(push.state.target)
        if last is None:
            return
        action, ids = last
        assert (push.state.action, frozenset(push.state.decision_ids)) != (action, ids), "sent twice without need"
        assert not push.state.action == action == SUPPRESS, "a target that is suppressed is suppressed again"

    @invariant()
    def a_permission_that_may_be_executed_is_in_doubt_in_the_next_senders_rows(self) -> None:
        for target, call in self.calls.items():
            if call.push.state.action == PERMIT:
                row = self.committed.get(target)
                assert row is not None
                assert row.in_doubt

    def teardown(self) -> None:
        """No more trouble: everything that is sent is accepted. Then the provider holds what is desired."""
        for _ in range(200):
            for target in sorted(self.calls):
                self.answer_accepted(target)
            found = self.plan()
            if found.forget:
                self.rows.clear()
            elif found.adoptions or found.unmapped:
                self.record_without_a_call()
            elif due := self.due():
                self.send(due[0])
            elif coming := self._coming():
                self.pass_time(max(1, min(coming) - self.now))
            else:
                break
        else:
            raise AssertionError("it does not come to rest")
        for target in {*self.provider, *(each for targets in self.mapping.values() for each in targets)}:
            self._check_target(target)

    def _coming(self) -> Iterable[int]:
        ends = [each.expires_at for each in self.decisions if each.expires_at is not None]
        return [
            each
            for each in [
                *ends,
                *(each.at for each in self.late),
                *(each.not_before for each in self.plan().pushes),
            ]
            if each > self.now
        ]

    def _check_target(self, target: str) -> None:
        if not self.exists:
            return
        wanted, held = self._desired(target), self.provider.get(target)
        row = self.rows.get(target)
        if row is not None and row.refused is not None:
            return
        if wanted is not None:
            assert row is not None
            assert (row.action, row.in_doubt) == (wanted, False)
            assert self._deciding(target) <= set(row.decision_ids), "the row has other decisions"
        if wanted == SUPPRESS:
            assert held == SUPPRESS, f"{target} is not suppressed"
        elif wanted == PERMIT:
            # A suppression that no row knows of is overruled by the next decision. Where the mapping was changed there
            # and back, there is none, and the address stays suppressed: it errs on the side of the person.
            assert held == PERMIT or target in self.unknowable, f"{target} is not permitted"
        elif not self._served(target):
            assert held != PERMIT, f"{target} left the mapping and is permitted"


@pytest.mark.long
def test_delivered_state_converges_to_desired_state() -> None:
    run_state_machine_as_test(
        World,
        settings=settings(
            max_examples=3 * settings().max_examples // 2,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def send_due(world: World) -> None:
    [push] = world.due()
    world.send(push)


def granted() -> World:
    """A permission is called for."""
    world = World()
    world.decide("newsletter", "given", None, False)
    send_due(world)
    return world


def test_a_withdrawal_over_a_permission_in_doubt_is_delivered_at_once_and_once_more() -> None:  # R30
    world = granted()
    world.give_up("n", "late", 1.0)
    world.decide("newsletter", "withdrawn", None, False)
    send_due(world)
    world.answer_accepted("n")
    assert world.provider["n"] == SUPPRESS
    assert world.due() == []
    world.teardown()


def test_an_earlier_permission_may_land_after_a_later_one_was_accepted_and_withdrawn() -> None:
    world = granted()
    world.give_up("n", "late", 1.0)
    send_due(world)
    world.answer_accepted("n")
    world.decide("newsletter", "withdrawn", None, False)
    send_due(world)
    world.answer_accepted("n")
    row = world.rows["n"]
    assert (row.action, row.in_doubt) == (SUPPRESS, True)
    world.teardown()
    assert world.provider["n"] == SUPPRESS


def test_a_permission_in_doubt_is_found_by_the_next_sender() -> None:
    world = granted()
    world.rows = dict(world.committed)
    world.lose(world.calls.pop("n"), "late", 1.0)
    world.decide("newsletter", "withdrawn", None, False)
    send_due(world)
    world.answer_accepted("n")
    assert world.rows["n"].in_doubt
    world.teardown()


def test_a_suppression_that_no_row_knows_of_is_overruled_by_the_next_permission() -> None:
    world = granted()
    world.answer_accepted("n")
    world.decide("newsletter", "withdrawn", None, False)
    send_due(world)
    world.give_up("n", "now")
    assert world.provider["n"] == SUPPRESS
    world.decide("newsletter", "given", None, False)
    world.teardown()
    assert world.provider["n"] == PERMIT


def test_a_2xx_that_was_not_committed_is_repeated_by_the_next_sender() -> None:
    world = World()
    world.decide("newsletter", "withdrawn", None, False)
    send_due(world)
    world.answer_accepted("n")
    world.rows = dict(world.committed)
    world.sent.clear()
    send_due(world)
    world.answer_accepted("n")
    assert world.plan().empty

"""The whole system, with 100,000 bulk refusals pending at each of four destinations at its documented limit: how long a
person who chooses now waits, and how fast bulk goes on."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from consent_contracts import Topics
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from local_stack.endpoints import Endpoints
from local_stack.scrape import scrape
from local_stack.stack import Stack
from propagator.connectors import genesys, sendgrid, twilio, webhook
from propagator.connectors.base import ConnectorType
from propagator.desired.model import SUPPRESS
from tests.bench.figures import Figure, Servers
from tests.bench.legacy import LegacyTopics
from tests.bench.load import Place, Sent, mobile, revoke
from tests.bench.processor_time import ProcessorTime
from tests.bench.sandbox_client import SandboxClient
from tests.bench.system import system
from tests.support.waiting import until

PURPOSES = ("newsletter", "promotions")
LIVE_PURPOSE = "newsletter"
ADDRESSES = 50_000
"""Of each channel."""
PENDING = ADDRESSES * len(PURPOSES)
RATE, SECONDS = 20.0, 60.0
BEFORE = 238.6
"""Seconds until Twilio was informed of one withdrawal after an import of 10,000, in the design before this one."""
PATIENCE = 60.0
SHARE, SHARE_BATCH, SHARE_SECONDS = 0.2, 50, 30.0
"""The second time the accounts that take batches have this share of their calls, and so many pushes in one: together
142 pushes a second, a third of what two cores deliver in all, so that the limit is what bounds them, and so many calls
that one at the end of the time does not matter."""

DESTINATIONS = """\
destinations:
  - name: twilio-fr
    connector: twilio
    channel: sms
    url: {sandbox}/twilio
    credentials: {{account_sid: {{file: secrets/twilio-account}}, auth_token: {{file: secrets/twilio-token}}}}
    purposes: {{newsletter: MG00000000000000000000000000000001, promotions: MG00000000000000000000000000000002}}
    paused: true
  - name: sendgrid-fr
    connector: sendgrid
    channel: email
    url: {sandbox}/sendgrid
    credentials: {{api_key: {{file: secrets/sendgrid}}}}
    purposes: {{newsletter: "101", promotions: "102"}}
    paused: true
  - name: genesys-fr
    connector: genesys
    channel: voice
    url: {sandbox}/genesys
    credentials: {{client_id: {{file: secrets/genesys-id}}, client_secret: {{file: secrets/genesys-secret}}}}
    options: {{login_url: {sandbox}/genesys}}
    purposes:
      newsletter: 00000000-0000-4000-8000-000000000001
      promotions: 00000000-0000-4000-8000-000000000002
    paused: true
  - name: own-webhook
    connector: webhook
    channel: email
    url: {sandbox}/webhook/own
    credentials: {{secret: {{file: secrets/webhook}}}}
    options: {{allow_private: true}}
    purposes: same
    paused: true
"""


BATCHED = (sendgrid.TYPE, genesys.TYPE)
"""A call of theirs holds so many addresses that two cores cannot fill as many calls as their limits allow."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tool:
    """One destination: where the sandbox counts it, what it may take, and within how many seconds it is informed."""

    destination: str
    account: str
    channel: str
    target: str
    """Of the live purpose."""
    connector: ConnectorType
    promise: float

    @property
    def pushes_per_second(self) -> float:
        """What the account's limit allows with full calls."""
        can = self.connector.capabilities
        return can.calls_per_second * can.max_batch[SUPPRESS]

    @property
    def calls_of_a_share(self) -> float:
        """A second."""
        return SHARE * self.connector.capabilities.calls_per_second

    @property
    def with_a_share_of_its_limit(self) -> str:
        """Its name and limits in the destinations file. Without a burst, which is a share of nothing."""
        return (
            f"name: {self.destination}\n    limits:"
            f" {{calls_per_second: {self.calls_of_a_share:g}, burst: 2, batch: {SHARE_BATCH}}}"
        )

    def name_of(self, sent: Sent) -> str:
        """The address as this tool knows it."""
        return sent.address_key if self.connector is webhook.TYPE else sent.place.address


TOOLS = (
    Tool(
        destination="twilio-fr",
        account="twilio",
        channel="sms",
        target="MG00000000000000000000000000000001",
        connector=twilio.TYPE,
        promise=3,
    ),
    Tool(
        destination="sendgrid-fr",
        account="sendgrid",
        channel="email",
        target="101",
        connector=sendgrid.TYPE,
        promise=3,
    ),
    Tool(
        destination="genesys-fr",
        account="genesys",
        channel="voice",
        target="00000000-0000-4000-8000-000000000001",
        connector=genesys.TYPE,
        promise=3,
    ),
    Tool(
        destination="own-webhook",
        account="webhook/own",
        channel="email",
        target=LIVE_PURPOSE,
        connector=webhook.TYPE,
        promise=2,
    ),
)


def measure(servers: Servers) -> list[Figure]:
    """Bulk is written to the lists while the destinations are paused; the propagator is then started again."""
    with system(servers, DESTINATIONS) as stack, closing(SandboxClient.of(stack.endpoints)) as sandbox:
        endpoints = stack.endpoints
        keyring = Keyring.load(Path(endpoints.keyring_file))
        legacy = LegacyTopics(servers, Topics(prefix=endpoints.topic_prefix), keyring)
        for channel in ("sms", "email", "voice"):
            legacy.entries(channel, range(ADDRESSES), PURPOSES)
        until(lambda: _pending(endpoints) >= PENDING, seconds=240, what=f"{PENDING} pushes pending at each destination")
        first = _restarted(stack, sandbox, {"paused: true": "paused: false"})
        processor_time = ProcessorTime(stack, servers)
        with processor_time.measured() as worked:
            sent, window = _revoked(endpoints, _places(range(int(RATE * SECONDS))))
        informed = {tool: _when_informed(sandbox, tool, sent) for tool in TOOLS}
        figures = [figure for tool in TOOLS for figure in _tool(tool, informed[tool], sent, window)]
        moments = [at for each in informed.values() for targets in each.values() for at in targets.values()]
        pushes = sum(map(window.holds, moments))
        figures += [_restart(first), *_processor(worked, window, pushes)]
        batched = [tool for tool in TOOLS if tool.connector in BATCHED]
        _restarted(stack, sandbox, {f"name: {tool.destination}": tool.with_a_share_of_its_limit for tool in batched})
        numbers = range(int(RATE * SECONDS), int(RATE * (SECONDS + SHARE_SECONDS)))
        more, later = _revoked(endpoints, _places(numbers))
        everyone = [*sent, *more]
        return figures + [_share(tool, _when_informed(sandbox, tool, more), everyone, later) for tool in batched]


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The time in which there was live traffic, micros."""

    begin: int
    end: int

    @property
    def seconds(self) -> float:
        return (self.end - self.begin) / 1e6

    def holds(self, moment: int) -> bool:
        return self.begin <= moment <= self.end


def _pending(endpoints: Endpoints) -> float:
    """Bulk revocations pending at the destination that has fewest."""
    samples = scrape(f"{endpoints.metrics['propagator']}/metrics")
    labels = {"class": "bulk", "kind": SUPPRESS}
    return min(
        samples.total("consent_relay_propagation_backlog", destination=tool.destination, **labels) for tool in TOOLS
    )


def _restarted(stack: Stack, sandbox: SandboxClient, changes: Mapping[str, str]) -> int:
    """Start the propagator again with a changed destinations file; the micros from the start of its process to its
    first call, once it has called every destination."""
    stack.supervisor.child("propagator").stop()
    file = Path(stack.endpoints.destinations_file)
    text = file.read_text()
    for old, new in changes.items():
        text = text.replace(old, new)
    file.write_text(text)
    calls = {tool: len(sandbox.pushes(tool.account)) for tool in TOOLS}
    began = now_micros()
    stack.restart("propagator", seconds=120)
    until(
        lambda: all(len(sandbox.pushes(tool.account)) > calls[tool] for tool in TOOLS),
        seconds=60,
        what="a call to each destination",
    )
    first: int = min(sandbox.pushes(tool.account)[calls[tool]]["arrived_at"] for tool in TOOLS)
    return first - began


def _revoked(endpoints: Endpoints, places: Sequence[Place]) -> tuple[list[Sent], Window]:
    begin = now_micros()
    sent = revoke(endpoints.api, endpoints.api_key, places, rate=RATE, purpose=LIVE_PURPOSE)
    return sent, Window(begin=begin, end=now_micros())


def _places(numbers: Iterable[int]) -> list[Place]:
    """Each channel in turn; none is among the legacy addresses."""
    channels = ("sms", "email", "voice")
    return [
        Place("email", f"live-{number:05}@example.com")
        if channels[number % 3] == "email"
        else Place(channels[number % 3], mobile(number))
        for number in numbers
    ]


def _when_informed(sandbox: SandboxClient, tool: Tool, sent: Sequence[Sent]) -> dict[str, dict[str, int]]:
    """By address and target; waits a while for those who chose live, and no longer."""
    live = {tool.name_of(each) for each in sent if each.place.channel == tool.channel}
    deadline = time.monotonic() + PATIENCE
    while True:
        informed = sandbox.informed(tool.account)
        if live <= informed.keys() or time.monotonic() > deadline:
            return informed
        time.sleep(2)


def _tool(tool: Tool, informed: Mapping[str, Mapping[str, int]], sent: Sequence[Sent], window: Window) -> list[Figure]:
    recorded = {tool.name_of(each): each.recorded_at for each in sent if each.place.channel == tool.channel}
    # Who was not informed at all has waited until now.
    waited = [informed.get(name, {}).get(tool.target, now_micros()) - at for name, at in recorded.items()]
    cuts = quantiles(waited, n=100)
    drained, left = _bulk(tool, informed, recorded, window, tool.pushes_per_second)
    return [
        Figure(
            name=f"{tool.destination}: live, accepted to 2xx, p99",
            value=cuts[98] / 1e6,
            unit="s",
            target=tool.promise,
            at_most=True,
            how=f"live: {RATE:.0f} withdrawals a second by HTTP for {SECONDS:.0f} s over three channels in turn, from"
            f" the moment in the ledger to the sandbox's; the former design took {BEFORE} s at Twilio, behind 10,000",
        ),
        Figure(name=f"{tool.destination}: live, accepted to 2xx, p50", value=cuts[49] / 1e6, unit="s"),
        Figure(
            name=f"{tool.destination}: bulk delivered, share of what the limit leaves",
            value=drained / left,
            unit="ratio",
            target=0.9,
            how="bulk: what was delivered in those seconds, of what was pending or, if that is less, of full calls at"
            " the account's rate (calls a second, pushes a call: "
            + ", ".join(
                f"{each.destination} {each.connector.capabilities.calls_per_second:g},"
                f" {each.connector.capabilities.max_batch[SUPPRESS]:,}"
                for each in TOOLS
            )
            + ") less the live ones",
        ),
        Figure(name=f"{tool.destination}: bulk delivered", value=drained / window.seconds, unit="/s"),
    ]


def _bulk(
    tool: Tool, informed: Mapping[str, Mapping[str, int]], live: Collection[str], window: Window, per_second: float
) -> tuple[int, float]:
    """Bulk pushes that were delivered within the window, and those that the limit, or what was pending, left."""
    bulk = [at for name, targets in informed.items() if name not in live for at in targets.values()]
    pending = PENDING - sum(at < window.begin for at in bulk)
    first = sum(window.holds(informed[name][tool.target]) for name in live if name in informed)
    return sum(map(window.holds, bulk)), max(1.0, min(pending, per_second * window.seconds - first))


def _share(tool: Tool, informed: Mapping[str, Mapping[str, int]], sent: Sequence[Sent], window: Window) -> Figure:
    live = {tool.name_of(each) for each in sent if each.place.channel == tool.channel}
    drained, left = _bulk(tool, informed, live, window, SHARE_BATCH * tool.calls_of_a_share)
    return Figure(
        name=f"{tool.destination}: bulk delivered, share of what a hundredth of the limit leaves",
        value=drained / left,
        unit="ratio",
        target=0.9,
        how=f"a hundredth: SendGrid and Genesys afterwards, for {SHARE_SECONDS:.0f} s and with all else the same, with"
        f" {SHARE:.0%} of their calls a second and {SHARE_BATCH} pushes a call, so few that the machine is no bound:"
        " whether bulk is given all that a limit leaves, not how fast it can go",
    )


def _restart(micros: int) -> Figure:
    return Figure(
        name=f"restart with its disk, {PENDING:,} pending at each of {len(TOOLS)}: first call",
        value=micros / 1e6,
        unit="s",
        target=5,
        at_most=True,
        how="restart: from the start of the process, Python's included, to the first call at any of them",
    )


def _processor(worked: Mapping[str, float], window: Window, pushes: int) -> list[Figure]:
    parts = sorted(worked.items(), key=lambda part: -part[1])
    return [
        Figure(
            name="processor time of the propagator meanwhile", value=worked["propagator"] / window.seconds, unit="cores"
        ),
        Figure(
            name="processor time of everything meanwhile",
            value=sum(worked.values()) / window.seconds,
            unit="cores",
            how="everything: servers and services, a push "
            + ", ".join(f"{name} {seconds / pushes * 1e3:.2f} ms" for name, seconds in parts)
            + f", of {pushes:,} pushes; the client comes on top",
        ),
        Figure(name="processor time of the propagator, a push", value=worked["propagator"] / pushes * 1e3, unit="ms"),
    ]

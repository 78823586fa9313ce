"""All that the page knows at one moment: 15 minutes of figures, which processes answer, what happened lately."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from status_page import dead_letters, questions
from status_page.dead_letters import DeadLetter
from status_page.events import MOST, Event, Facts, add, events, known
from status_page.findings import HELD_SECONDS
from status_page.history import LEAST_SHOWN_SECONDS, SECONDS, Answers, History
from status_page.queries import counted
from status_page.questions import Stage
from status_page.samples import Increases, Samples, increases
from status_page.settings import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What one process exports. ``not_ready``: why, as it answers; empty where it is ready."""

    samples: Samples
    not_ready: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Silence:
    """It gave no answer. ``reason`` is one of `errors.REASONS`."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessState:
    """Times in seconds since the epoch. ``silent_since``: None while it answers. ``answered_at``: None: never."""

    target: Target
    answered_at: float | None = None
    silent_since: float | None = None
    reason: str = ""
    not_ready: str = ""


class Observed:
    """Belongs to one event loop. ``interval``: seconds between two reads of all processes."""

    def __init__(self, targets: Collection[Target], path: Sequence[Stage], *, interval: float) -> None:
        self.path = path
        self.interval = interval
        self.history = History(questions.queries_of(path), interval=interval)
        self.events: deque[Event] = deque(maxlen=MOST)
        self.processes: dict[str, ProcessState] = {each.name: ProcessState(target=each) for each in targets}
        self.at = 0.0
        """Seconds since the epoch; 0: nothing was read yet."""
        self.elapsed = 0.0
        self._began: float | None = None
        self._facts = Facts()
        self._last: dict[str, tuple[float, Samples]] = {}

    def set_instances(self, targets: Collection[Target]) -> None:
        """The instances that there are now: one that is new has not answered yet, one that is gone is forgotten."""
        self.processes = {each.name: self.processes.get(each.name, ProcessState(target=each)) for each in targets}
        self._last = {name: last for name, last in self._last.items() if name in self.processes}

    def add(self, read: Mapping[str, Answer | Silence], *, at: float, elapsed: float) -> None:
        """What was read of every process, by name. ``elapsed``: of a clock that is never set, in seconds."""
        grown: dict[str, list[Increases]] = {}
        samples: dict[str, list[Samples]] = {}
        incomplete: set[str] = set()
        for name, answer in read.items():
            state = self.processes[name]
            process = state.target.process
            self.processes[name] = _next(state, answer, at)
            if isinstance(answer, Silence):
                incomplete.add(process)
                continue
            samples.setdefault(process, []).append(answer.samples)
            if (last := self._last.get(name)) is not None:
                grown.setdefault(process, []).append(increases(last[1], answer.samples, elapsed - last[0]))
            self._last[name] = elapsed, answer.samples
        self.history.add(Answers(at=elapsed, samples=samples, increases=grown, incomplete=incomplete))
        self.at, self.elapsed = at, elapsed
        self._began = elapsed if self._began is None else self._began
        facts = known(self._facts, self._read_facts(grown))
        for event in events(self._facts, facts, at=at):
            add(self.events, event)
        self._facts = facts

    @property
    def shown_seconds(self) -> float:
        """How much of the past is shown: all that is known, so that the first minutes fill the plots, too."""
        return min(SECONDS, max(LEAST_SHOWN_SECONDS, self.elapsed - (self._began or 0.0)))

    @property
    def silent(self) -> list[str]:
        """The names of the processes that do not answer."""
        return [name for name, state in self.processes.items() if state.silent_since is not None]

    @property
    def not_ready(self) -> dict[str, str]:
        """By name why, of those that answer."""
        return {
            name: state.not_ready
            for name, state in self.processes.items()
            if state.not_ready and state.silent_since is None
        }

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The last ones; of a process that does not answer, those it named before."""
        return dead_letters.last({name: samples for name, (_, samples) in self._last.items()})

    def silent_since(self, processes: Collection[str]) -> float | None:
        """Since when one of the instances of these kinds of processes gives no answer; None: all do."""
        times = (
            state.silent_since
            for state in self.processes.values()
            if state.target.process in processes and state.silent_since is not None
        )
        return min(times, default=None)

    def _read_facts(self, grown: Mapping[str, Sequence[Increases]]) -> Facts:
        return Facts(
            listed=frozenset(self.processes),
            silent={name: self.processes[name].reason for name in self.silent},
            not_ready=self.not_ready,
            down=self._down(),
            held={
                name: self.history.lasts(questions.VERIFIED, name, 0.0, seconds=HELD_SECONDS)
                for name in self.history.groups(questions.VERIFIED)
            },
            dead_letters={
                (asked.process, reason): round(count)
                for asked in questions.DEAD_LETTERS
                for reason, count in counted(asked, grown.get(asked.process, ())).items()
            },
        )

    def _down(self) -> dict[str, bool | None]:
        found = {name: self.history.now(questions.DOWN, name) for name in self.history.groups(questions.DOWN)}
        return {name: value == 1.0 if value is not None else None for name, value in found.items()}


def _next(state: ProcessState, answer: Answer | Silence, at: float) -> ProcessState:
    if isinstance(answer, Answer):
        return ProcessState(target=state.target, answered_at=at, not_ready=answer.not_ready)
    since = state.silent_since if state.silent_since is not None else state.answered_at or at
    return ProcessState(target=state.target, answered_at=state.answered_at, silent_since=since, reason=answer.reason)

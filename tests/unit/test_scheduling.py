"""A run of the tests ends, also when workers crash, and runs each test once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.scheduling import OneStart

FOLDER = [f"tests/integration/system/test_a.py::test_{n}" for n in range(6)]
FOLDERS = {"SYSTEM": "integration/system", "UNIT": "unit"}
ALONE = [f"tests/unit/test_b.py::test_{n}" for n in range(12)]


class Worker:
    """As xdist's: it runs a test when it knows the next one, or that there is none."""

    gateway = SimpleNamespace(id="gw")

    def __init__(self) -> None:
        self.queue: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        assert not self.shutting_down
        self.queue.extend(indices)

    def shutdown(self) -> None:
        self.shutting_down = True

    @property
    def runs(self) -> bool:
        return len(self.queue) > 1 or (self.shutting_down and bool(self.queue))


@given(
    tests=st.lists(st.sampled_from(FOLDER + ALONE), min_size=1, unique=True),
    workers=st.integers(1, 4),
    crashing=st.sets(st.sampled_from(FOLDER + ALONE), max_size=6),
    data=st.data(),
)
def test_each_test_runs_once_whatever_crashes(
    tests: list[str], workers: int, crashing: set[str], data: st.DataObject
) -> None:
    config: Any = SimpleNamespace(
        getvalue=lambda _: ["popen"] * workers, option=SimpleNamespace(loadscopereorder=True, debug=False)
    )
    scheduling: Any = OneStart(config)
    starting = [Worker() for _ in range(workers)]
    alive: list[Worker] = []
    ran: Counter[str] = Counter()
    while True:
        able = [each for each in alive if each.runs]
        ends = [each for each in alive if each.shutting_down and not each.queue]
        if not starting + able + ends:
            break
        worker = data.draw(st.sampled_from(starting + able + ends))
        if worker in starting:
            starting.remove(worker)
            alive.append(worker)
            scheduling.add_node(worker)
            scheduling.add_node_collection(worker, tests)
            if scheduling.collection_is_completed:
                scheduling.schedule()
        elif worker in ends:
            alive.remove(worker)
            if worker in scheduling.nodes:
                assert scheduling.remove_node(worker) is None
        else:
            index = worker.queue.pop(0)
            ran[tests[index]] += 1
            if tests[index] in crashing:
                alive.remove(worker)
                assert scheduling.remove_node(worker) == tests[index]
                starting.append(Worker())
            else:
                scheduling.mark_test_complete(worker, index)
    assert not alive
    assert scheduling.tests_finished
    assert ran == Counter(tests)


CONFTEST = """
from tests.support.scheduling import OneStart
from tests.support.time_limits import LastResort

def pytest_configure(config):
    config.pluginmanager.register(LastResort(grace_seconds=1))

def pytest_xdist_make_scheduler(config, log):
    return OneStart(config, log)
"""

TESTS = """
import asyncio, os, pytest, threading
from confluent_kafka.admin import AdminClient

def in_a_call():
    AdminClient({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}).list_topics(timeout=1_000)

HANGS = {
    (SYSTEM, 1): in_a_call,
    (UNIT, 0): threading.Event().wait,
    (UNIT, 2): lambda: asyncio.run(asyncio.sleep(1_000)),
}

def numbered(n):
    return pytest.param(n, marks=pytest.mark.timeout(0.5 if (__file__, n) in HANGS else 60))

@pytest.mark.parametrize("n", map(numbered, range(8)))
def test(n):
    os.write(os.open("ran", os.O_CREAT | os.O_APPEND | os.O_WRONLY), f"{__file__} {n}\\n".encode())
    if (__file__, n) == (UNIT, 7):
        os._exit(1)
    HANGS.get((__file__, n), int)()
"""


@pytest.mark.long
def test_a_run_in_which_tests_crash_and_hang_ends(tmp_path: Path) -> None:
    files = {name: tmp_path / f"tests/{folder}/test_it.py" for name, folder in FOLDERS.items()}
    known = "".join(f"{name} = {str(file)!r}\n" for name, file in files.items())
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for file in files.values():
        file.parent.mkdir(parents=True)
        file.write_text(known + TESTS)
    plugins = ["-p", "xdist", "-p", "pytest_timeout", "-p", "no:cacheprovider", "--import-mode=importlib"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "--rootdir=.", *plugins],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "4 failed, 12 passed" in run.stdout, run.stdout + run.stderr
    assert "Failed: Timeout" in run.stdout
    assert "Timeout (0:00:01.5" in run.stderr
    assert run.returncode == 1
    ran = (tmp_path / "ran").read_text().splitlines()
    assert len(ran) == len(set(ran)) == 16

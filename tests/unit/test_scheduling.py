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

from hypothesis import given
from hypothesis import strategies as st

from tests.support.scheduling import OneStart

FOLDER = [f"tests/integration/system/test_a.py::test_{n}" for n in range(6)]
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


def test_a_run_with_crashes_ends(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "def pytest_xdist_make_scheduler(config, log):\n"
        "    from tests.support.scheduling import OneStart\n"
        "    return OneStart(config, log)\n"
    )
    for folder, crash in (("tests/integration/system", 2), ("tests/unit", 11)):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"test_{crash}.py").write_text(
            "import os, pytest\n"
            "@pytest.mark.parametrize('n', range(12))\n"
            "def test(n):\n"
            "    os.write(os.open('ran', os.O_CREAT | os.O_APPEND | os.O_WRONLY), f'{__name__} {n}\\n'.encode())\n"
            f"    n != {crash} or os._exit(1)\n"
        )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-p", "no:cacheprovider", "-n", "2", "--rootdir=."],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "2 failed, 22 passed" in run.stdout
    ran = (tmp_path / "ran").read_text().splitlines()
    assert len(ran) == len(set(ran)) == 24

"""The end of a process is bounded as a whole, so that an orchestrator can be given a longer time. # R41"""

import threading
import time

from consent_service.stopping import join_all


def test_threads_that_end_are_waited_for() -> None:
    release = threading.Event()
    threads = [threading.Thread(target=release.wait, name=name) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    threading.Timer(0.05, release.set).start()
    assert join_all(threads, seconds=30) == []


def test_threads_that_hang_share_one_bound_and_are_named() -> None:
    release = threading.Event()
    hung = [threading.Thread(target=release.wait, name=f"hung-{number}") for number in range(50)]
    for thread in hung:
        thread.start()
    began = time.monotonic()
    try:
        assert join_all(hung, seconds=0.2) == [thread.name for thread in hung]
        # One after the other they would be given 10 s.
        assert time.monotonic() - began < 9
    finally:
        release.set()
        for thread in hung:
            thread.join()

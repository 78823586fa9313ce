"""Which worker of pytest-xdist runs which test."""

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

STARTED_ONCE = (
    "tests/integration/failing/",
    "tests/integration/system/",
    "tests/integration/security/",
    "tests/fuzz/http/",
    "tests/integration/local_stack/test_servers.py",
)
# One runs, one that the worker must know of before it runs that, and one for when the first has ended.
_AHEAD = 3


def started_once(nodeid: str) -> str | None:
    """The folder or file of `nodeid` if a whole system, or servers of its own, are started for it; else None."""
    return next((each for each in STARTED_ONCE if nodeid.startswith(each)), None)


class OneStart(LoadScopeScheduling):
    """The next free worker takes the next test; but what starts a whole system, or servers of its own, is one worker's:
    they are started once, and first.

    When a worker crashes, the test that it ran has failed, and what it had yet to run is run by others. xdist's own way
    hands out what has run already, and then waits for ever for a worker that waits for more.
    """

    def _split_scope(self, nodeid: str) -> str:
        return started_once(nodeid) or nodeid

    def remove_node(self, node: WorkerController) -> str | None:
        """Returns the test that crashed `node`; None where it had none left."""
        crashed = None
        for scope, unit in self.assigned_work.pop(node).items():
            left = [nodeid for nodeid, completed in unit.items() if not completed]
            if left and crashed is None:
                crashed = left.pop(0)
            if left:
                self.workqueue[scope] = dict.fromkeys(left, False)
                self.workqueue.move_to_end(scope, last=False)
        if crashed is not None:
            for other in self.nodes:
                self._reschedule(other)
        return crashed

    def _reschedule(self, node: WorkerController) -> None:
        # One that has replaced another is given its work when it has collected the tests.
        if node.shutting_down or node not in self.registered_collections:
            return
        while self.workqueue and self._pending_of(self.assigned_work[node]) < _AHEAD:
            self._assign_work_unit(node)
        if not self.workqueue:
            node.shutdown()

"""Which worker of pytest-xdist runs which test."""

from xdist.scheduler import LoadScopeScheduling

STARTED_ONCE = ("integration/system", "integration/security", "fuzz/http")


class OneStart(LoadScopeScheduling):
    """The next free worker takes the next test; but what starts a whole system, or servers of its own, is one worker's:
    they are started once, and first."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        for folder in STARTED_ONCE:
            if path.startswith(f"tests/{folder}/"):
                return folder
        return path if path == "tests/integration/local_stack/test_servers.py" else nodeid

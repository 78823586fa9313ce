"""The fixtures of all tests: real servers, started by the code that `consent-relay up` uses.

Nothing here skips: where a server cannot be started, the tests fail. `CONSENT_RELAY_TEST_SERVERS` may name a JSON
file (`consent-relay up --servers-only` writes one) with servers that run already, which spares their start. Only what
needs Node or Go is left out where they are not installed, and named at the end (`support/foreign_runtimes.py`).
"""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any
from uuid import uuid4
from zlib import crc32

import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import HealthCheck, settings
from psycopg import sql

from consent_contracts.topics import Topics
from consent_kafka import provisioning
from consent_privacy.keyring import Keyring
from consent_privacy.keyring_file import generate
from local_stack.processes.supervisor import Supervisor
from local_stack.servers import ServerEndpoints, Servers
from local_stack.stack import Stack
from tests.support import inbound_sources, registers
from tests.support.foreign_runtimes import installed_node_packages, left_out
from tests.support.rolling_restart import SHUTDOWN_DELAY
from tests.support.time_limits import LastResort, longer_limit

TENANT = "acme"


RUNNING = "CONSENT_RELAY_TEST_SERVERS"

# How long an example takes depends on the machine's other work, not on the code.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("busy machine"), max_examples=10)
settings.load_profile("busy machine")
_shared = ExitStack()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """With several workers (`-n`) their parent starts the servers, once, before it starts them; not for `make unit`."""
    without = "not servers" in session.config.getoption("markexpr")
    if session.config.getoption("numprocesses", None) and not without and RUNNING not in os.environ:
        directory = Path(_shared.enter_context(TemporaryDirectory(prefix="consent-relay-")))
        directory.chmod(0o755)
        _shared.enter_context(own_servers(directory)).write(directory / "servers.json")
        os.environ[RUNNING] = str(directory / "servers.json")


def pytest_unconfigure() -> None:
    _shared.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--half", type=int, choices=(1, 2), help="only half of the files, for two runs side by side")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    half = config.getoption("half")
    if half is None or not collection_path.name.startswith("test_"):
        return None
    return crc32(bytes(collection_path.relative_to(config.rootpath))) % 2 != half - 1 or None


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LastResort())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What uses the servers has their mark, and what lasts longer its limit."""
    for item in items:
        if "servers" in getattr(item, "fixturenames", ()):
            item.add_marker("servers")
        if seconds := longer_limit(item.nodeid):
            item.add_marker(pytest.mark.timeout(seconds))


def pytest_collectstart() -> None:
    """A quarter of the collection would be the garbage collector, which finds next to nothing there."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: the garbage collector need not go through it each time."""
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was left out is said by name, whatever the verbosity."""
    reports = terminalreporter.stats.get("skipped", ())
    for line in left_out(report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple)):
        terminalreporter.write_line(line, yellow=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    """Called where xdist is active (not with `-p no:xdist`); None: xdist's own for another `--dist` than `load`."""
    if config.getoption("dist") != "load":
        return None
    from tests.support.scheduling import OneStart

    return OneStart(config, log)


@contextmanager
def own_servers(directory: Path) -> Iterator[ServerEndpoints]:
    """Kafka, the registry and PostgreSQL, until the end of the block. None of them may crash."""
    supervisor = Supervisor(directory / "logs", report=_to_stderr)
    own = Servers(supervisor, directory, environ={})
    try:
        yield own.start()
    finally:
        supervisor.stop_all()
        own.remove()
    assert not supervisor.crashes, [f"{crash.name} {crash.how}\n{crash.tail}" for crash in supervisor.crashes]


@pytest.fixture(scope="session")
def servers_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers keep their data, and their logs in `logs`."""
    running = os.environ.get(RUNNING)
    return Path(running).parent if running else tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def servers(servers_directory: Path) -> Iterator[ServerEndpoints]:
    """Kafka, the registry and PostgreSQL, one set for the whole run. None of the tests may stop them."""
    running = os.environ.get(RUNNING)
    if running:
        yield ServerEndpoints.read(Path(running))
        return
    with own_servers(servers_directory) as addresses:
        yield addresses


@pytest.fixture(scope="session")
def kafka(servers: ServerEndpoints) -> str:
    """Bootstrap servers."""
    return servers.kafka


@pytest.fixture(scope="session")
def registry_url(servers: ServerEndpoints) -> str:
    """Base URL of the registry's Confluent interface."""
    return servers.registry


@contextmanager
def own_database(servers: ServerEndpoints) -> Iterator[str]:
    """The URL of an empty database that is gone after the block."""
    name = f"test_{uuid4().hex[:12]}"
    owner = servers.database.replace("+psycopg", "", 1)
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield f"{servers.database.rpartition('/')[0]}/{name}"
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database(servers: ServerEndpoints) -> Iterator[str]:
    """A SQLAlchemy URL of an empty database of the test's own, as a role that may do everything."""
    with own_database(servers) as url:
        yield url


@pytest.fixture
def topics(servers: ServerEndpoints) -> Iterator[Topics]:
    """An installation's topics under a prefix of the test's own, created and their schemas registered."""
    names = Topics(prefix=f"t{uuid4().hex[:8]}.")
    provisioning.apply(bootstrap=servers.kafka, registry=servers.registry, topics=names)
    yield names
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    for deleted in admin.delete_topics([spec.name for spec in names.specs()]).values():
        deleted.result()


@pytest.fixture(scope="session")
def node_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory below which Node finds the packages of all tests, installed once for all workers."""
    own = tmp_path_factory.getbasetemp()
    return installed_node_packages(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


@pytest.fixture
def node_directory(node_packages: Path) -> Path:
    """An empty directory of the test's own, below `node_packages`."""
    return Path(mkdtemp(dir=node_packages))


@pytest.fixture(scope="session")
def keyring_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A keyring with fresh secrets for the tenant `acme`."""
    path = tmp_path_factory.mktemp("keyring") / "keyring.toml"
    generate(path, [TENANT])
    return path


@pytest.fixture(scope="session")
def keyring(keyring_file: Path) -> Keyring:
    """The keyring of `keyring_file`, loaded."""
    return Keyring.load(keyring_file)


@pytest.fixture(scope="session")
def system(servers: ServerEndpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole running system under a prefix and a database of its own, for tests that kill nothing."""
    with own_database(servers) as url:
        existing = {
            "CONSENT_RELAY_KAFKA": servers.kafka,
            "CONSENT_RELAY_REGISTRY": servers.registry,
            "CONSENT_RELAY_DATABASE": url,
            "CONSENT_RELAY_TOPIC_PREFIX": f"t{uuid4().hex[:8]}.",
            **SHUTDOWN_DELAY,
        }
        directory = tmp_path_factory.mktemp("system")
        files = tmp_path_factory.mktemp("in")
        environ = {
            **existing,
            "CONSENT_RELAY_INBOUND_FILE": str(inbound_sources.write(files)),
            registers.SETTING: str(registers.write(files)),
            registers.GATE_SETTING: str(registers.write_exported(files)),
        }
        stack = Stack(directory, environ=environ, report=_to_stderr)
        with stack:
            stack.start()
            yield stack
    assert not stack.crashes, [f"{crash.name} {crash.how}\n{crash.tail}" for crash in stack.crashes]


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)

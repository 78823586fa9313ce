"""Apache Kafka 4.3.1: one KRaft node, broker and controller in one process."""

import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, TopicPartition

from local_stack.errors import StartFailedError
from local_stack.processes.child import Program
from local_stack.servers.java import ARCHIVE_SECONDS, BRIEF, archive_of, java
from local_stack.servers.packages import installed

# One node: no replication. Few internal partitions: each costs files and start-up time. The cleaner's default
# buffer (128 MB) is a quarter of the heap. After a kill -9 the controller takes a broker back only when
# its old session has timed out: 9 s by default.
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    "log.cleaner.dedupe.buffer.size": "16777216",
}
LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server
logger.server.level = info
"""


class Kafka:
    """One broker with its log in `directory`; the ports and the log survive restarts."""

    name = "kafka"

    def __init__(
        self, directory: Path, port: int, controller_port: int, settings: Mapping[str, str] | None = None
    ) -> None:
        """`settings` are set on top of ours."""
        self._address = ("127.0.0.1", port)
        self.bootstrap = f"127.0.0.1:{port}"
        self._controller = f"127.0.0.1:{controller_port}"
        self._settings = dict(settings or {})
        self._directory = directory / "kafka"
        self._properties = self._directory / "server.properties"
        self._logs = self._directory / "log"

    def prepare(self) -> None:
        """Write the configuration and format the log directory unless it is formatted."""
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "log4j2.properties").write_text(LOGGING)
        properties = SETTINGS | {
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{self._controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.quorum.voters": f"1@{self._controller}",
            "log.dirs": str(self._logs),
            **self._settings,
        }
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        formatted = self._directory / "formatted"
        if not formatted.exists():
            shutil.rmtree(self._logs, ignore_errors=True)
            self._format()
            formatted.touch()

    def program(self) -> Program:
        command = self._java("kafka.Kafka", [str(self._properties)], archive=archive_of(installed("kafka")))
        return Program(name=self.name, command=command, stop_seconds=ARCHIVE_SECONDS)

    def probe(self) -> str | None:
        """None when metadata and a group coordinator are served, else why not."""
        try:
            socket.create_connection(self._address, timeout=1).close()  # spares a client that would only log
            # A consumer and not the admin client: librdkafka 2.16.0 crashes the process when the admin client
            # asks for a group's offsets before there is a coordinator.
            consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "readiness", "log_level": 0})
            try:
                consumer.list_topics(timeout=5)
                consumer.committed([TopicPartition("readiness", 0)], timeout=5)
            finally:
                consumer.close()
        except (OSError, KafkaException) as error:
            return str(error)
        return None

    def _format(self) -> None:
        identifier = uuid4().hex[:22]
        arguments = ["format", "--cluster-id", identifier, "--config", str(self._properties)]
        command = self._java("kafka.tools.StorageTool", arguments)
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise StartFailedError(
                name="kafka", why="cannot format its log", log=self._logs, tail=result.stdout + result.stderr
            )

    def _java(self, main: str, arguments: Sequence[str], *, archive: Path | None = None) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self._directory / 'log4j2.properties'}"
        jars = f"{installed('kafka')}/*"
        brief = () if archive else (BRIEF,)
        return java(heap="512m", arguments=[*brief, logging, "-cp", jars, main, *arguments], archive=archive)
